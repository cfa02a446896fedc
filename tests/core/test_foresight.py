"""Foresight: every rank counted against its positions, against real shards, and the proof."""

import math
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import isometry as iso
from isometry.adapters import adapter_for
from isometry.errors import ArgumentError
from isometry.foresight import Cut, Cuts, Foresight, Span, by_styles, by_use, foresee
from isometry.foresight.cost import memory, operations
from isometry.foresight.layout import Layout, layout
from isometry.foresight.proof import prove
from isometry.mesh import Mesh
from isometry.planner import plan_graph
from isometry.stream import _numpy, sample
from isometry.torch import meta
from isometry.torch.parallel_plan import parallel_plan
from isometry.types import Axes, Decision, Law, Plan

WIDTH, VOCABULARY = 36, 97
NORMAL = iso.Normal(std=0.02)


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=50, num_hidden_layers=5,
            num_attention_heads=6, num_key_value_heads=2,
        )
    )  # fmt: skip


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=5, n_head=6))


def mixtral() -> nn.Module:
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=50, num_hidden_layers=3,
            num_attention_heads=6, num_key_value_heads=2, num_local_experts=6,
        )
    )  # fmt: skip


def mlp() -> nn.Module:
    layers = (m for _ in range(4) for m in (nn.Linear(30, 30), nn.ReLU()))
    return nn.Sequential(*layers, nn.Linear(30, 7))


MODELS = {"llama": llama, "gpt2": gpt2, "mixtral": mixtral, "mlp": mlp}


def planned(name: str, own: bool = False, ep: bool = False) -> tuple[Plan, Cuts]:
    with meta():
        model = MODELS[name]()
    inputs = torch.zeros(2, 30) if name == "mlp" else torch.zeros(1, 8, dtype=torch.long)
    graph = adapter_for(model).read(model, inputs, None)
    plan = plan_graph(graph)
    plans = parallel_plan(model)
    return plan, by_styles(plan, plans.tp, plans.ep if ep else {}) if own else by_use(graph)


def of_rank(placed: Layout, rank: int, kind: str = "parameter") -> dict[str, int]:
    """How many elements of each tensor a rank holds, counted by its positions."""
    at, stage = placed.mesh.coordinates(rank), placed.stage(rank)
    return {
        t.decision.name: math.prod(sum(map(len, runs)) for runs in t.index(placed.mesh, at))
        for t in placed.tensors
        if stage in t.stages and t.decision.kind == kind
    }


MESHES = [
    ("llama", True, "dp=3,tp=2"), ("llama", False, "tp=3,dp=2,pp=2"), ("llama", True, "pp=5,replicate=2,dp=7"),
    ("gpt2", False, "replicate=2,dp=2,tp=5"), ("gpt2", False, "dp=4,pp=3,tp=2"),
    ("mixtral", True, "dp=2,ep=3,tp=2"), ("mixtral", False, "ep=4,dp=2,tp=3"), ("mixtral", True, "ep=2,pp=3"),
    ("mlp", False, "dp=4,tp=3"), ("mlp", False, "tp=3,pp=4"), ("mlp", False, "dp=100"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "own", "text"), MESHES)
def test_what_is_foreseen_is_what_the_ranks_hold(name: str, own: bool, text: str) -> None:
    mesh = Mesh.parse(text)
    plan, cuts = planned(name, own, mesh.size("ep") > 1)
    seen = foresee(plan, mesh, cuts, guessed=not own)
    placed = layout(plan, mesh, cuts, guessed=not own)
    buffers = {r: sum(of_rank(placed, r, "buffer").values()) for r in range(mesh.world)}
    held = [sum(of_rank(placed, rank).values()) for rank in range(mesh.world)]
    for number, stage in enumerate(seen.stages):
        ranks = [r for r in range(mesh.world) if placed.stage(r) == number]
        own_share = [held[r] for r in ranks]
        assert (stage.parameters.low, stage.parameters.high) == (min(own_share), max(own_share))
        size = [4 * (held[r] + buffers[r]) for r in ranks]  # all float32
        assert (stage.bytes.low, stage.bytes.high, stage.ranks) == (
            min(size),
            max(size),
            len(ranks),
        )
        assert stage.worst == ranks[size.index(max(size))]
        assert stage.mean == pytest.approx(np.mean(size))
        assert stage.seconds.high > 0
        assert stage.peak.high == stage.bytes.high  # laws of single numbers are written in place
    assert seen.parameters == sum(math.prod(d.shape) for d in plan if d.kind == "parameter")
    assert seen.proof is not None
    assert seen.proof.unequal == ()
    assert seen.proof.shards >= 10


@pytest.mark.parametrize(("name", "own", "text"), MESHES)
def test_every_element_is_on_one_rank_for_each_replica(name: str, own: bool, text: str) -> None:
    """Of all ranks together, each index of each tensor as often as the mesh does not cut it."""
    mesh = Mesh.parse(text)
    plan, cuts = planned(name, own, mesh.size("ep") > 1)
    placed = layout(plan, mesh, cuts, guessed=not own)
    for t in placed.tensors:
        count = np.zeros(t.decision.shape, dtype=int)
        for rank in range(mesh.world):
            if placed.stage(rank) in t.stages:
                index = t.index(mesh, mesh.coordinates(rank))
                places = [[i for run in runs for i in run] for runs in index]
                count[np.ix_(*places)] += 1
        cutting = {n for c in t.cuts for n in c.names}
        left = math.prod(s for n, s in mesh.sizes.items() if n != "pp" and n not in cutting)
        assert (count == left * len(t.stages)).all(), t.decision.name


def test_the_graph_and_the_models_own_plan_say_the_same() -> None:
    (_, own), (_, found) = planned("llama", own=True), planned("llama")
    assert found == own
    assert own["model.layers.3.self_attn.o_proj.weight"] == (Cut(1, "tp"),)
    assert own["model.layers.3.mlp.up_proj.weight"] == own["lm_head.weight"] == (Cut(0, "tp"),)
    assert not any("norm" in name for name in own)


def test_fused_matrices_biases_tables_and_experts() -> None:
    _, cuts = planned("gpt2")
    assert cuts["transformer.wte.weight"] == (Cut(0, "tp"),)
    assert cuts["transformer.h.0.attn.c_attn.weight"] == (Cut(1, "tp", (36, 36, 36)),)  # (in, out)
    assert cuts["transformer.h.0.attn.c_attn.bias"] == (Cut(0, "tp", (36, 36, 36)),)
    assert cuts["transformer.h.0.attn.c_proj.weight"] == (Cut(0, "tp"),)
    assert "transformer.h.0.attn.c_proj.bias" not in cuts  # added once the parts are summed
    assert "transformer.wpe.weight" not in cuts
    experts = "model.layers.0.mlp.experts"
    for own in (True, False):
        _, cuts = planned("mixtral", own)
        assert cuts[f"{experts}.gate_up_proj"] == (Cut(0, "ep"), Cut(1, "tp", (50, 50)))
        assert cuts[f"{experts}.down_proj"] == (Cut(0, "ep"), Cut(2, "tp"))
    _, cuts = planned(
        "mixtral", own=True, ep=True
    )  # as transformers has it: then tp leaves them alone
    assert cuts[f"{experts}.gate_up_proj"] == cuts[f"{experts}.down_proj"] == (Cut(0, "ep"),)


def test_stages_are_contiguous_and_even() -> None:
    plan, cuts = planned("llama", own=True)
    seen = foresee(plan, Mesh.parse("pp=3"), cuts)
    assert [s.holds for s in seen.stages] == [
        ("model.layers.{0-1}", "model.embed_tokens"),
        ("model.layers.{2-3}",),
        ("model.layers.4", "model.norm", "lm_head"),
    ]
    assert "pp=3 does not divide 5 blocks: 2 stages of 2, 1 stage of 1" in seen.notes
    plan, cuts = planned("gpt2")
    seen = foresee(plan, Mesh.parse("pp=5"), cuts)
    assert "tied, and so in several stages: transformer.wte.weight" in seen.notes
    twice = sum(s.parameters.high for s in seen.stages) - seen.parameters
    assert twice == VOCABULARY * WIDTH


def test_another_spelling_is_no_tie() -> None:
    """Equinox writes layers[0].weight for what a plan calls layers.0.weight."""
    names = [f"layers.{i}.weight" for i in range(4)]
    spelled = [replace(decision(n, (4, 4)), aliases=(f"layers[{n[7]}].weight",)) for n in names]
    spelled.insert(0, replace(decision("embed.weight", (4, 4)), aliases=("embed/weight",)))
    seen = foresee(Plan("Net", "auto", tuple(spelled)), Mesh.parse("pp=4"), {})
    assert seen.notes == ()
    assert [s.parameters.high for s in seen.stages] == [32, 16, 16, 16]


REAL = """
import json, math, sys, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers.distributed.configuration_utils import DistributedConfig
from transformers.distributed.tensor_parallel import apply_tensor_parallelism
from isometry.foresight.layout import layout
from isometry.mesh import Mesh
from isometry.torch import meta
from isometry.torch.sharded import is_dtensor, local_index
sys.path.insert(0, FOLDER)
import test_foresight as here

seen = 0
for name, dp, tp in (("llama", 3, 2), ("llama", 2, 3), ("mixtral", 2, 2), ("mixtral", 5, 1)):
    plan, cuts = here.planned(name, own=True)
    mesh = Mesh.parse(f"dp={dp},tp={tp}")
    placed = {t.decision.name: t for t in layout(plan, mesh, cuts, guessed=False).tensors}
    for rank in range(mesh.world):
        dist.init_process_group("fake", rank=rank, world_size=mesh.world, store=FakeStore())
        ranks = init_device_mesh("cpu", (dp, tp), mesh_dim_names=("dp", "tp"))
        with meta():
            model = here.MODELS[name]()
        if tp > 1:
            config = DistributedConfig(tp_size=tp, fsdp_size=dp, pp_size=1, ep_size=1)
            config.dp_replicate_size = 1
            apply_tensor_parallelism(model, ranks["tp"], model._expand_parallel_plan(dict(model._tp_plan)))
        for layer in model.model.layers:
            fully_shard(layer, mesh=ranks["dp"])
        fully_shard(model, mesh=ranks["dp"])
        for parameter, tensor in model.named_parameters():
            index = placed[parameter].index(mesh, mesh.coordinates(rank))
            foreseen = tuple(sum(map(len, runs)) for runs in index)
            assert is_dtensor(tensor), parameter
            assert tuple(tensor.to_local().shape) == foreseen, (name, rank, parameter, tensor.placements)
            seen += 1
        dist.destroy_process_group()
print("seen", seen)
"""


def test_the_shards_of_fsdp2_over_transformers_own_tensor_parallelism() -> None:
    """Local shapes of real DTensors on every rank, in a process of its own: a group is global."""
    code = REAL.replace("FOLDER", repr(str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "seen"
    assert int(done.stdout.split()[1]) > 500


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("llama", "pp=6", r"pp=6, and LlamaForCausalLM has 5 numbered blocks \(model.layers.{0-4}\): a stage needs one; write pp=5 at most"),
        ("llama", "tp=64", "tp=64, and model.layers.0.self_attn.q_proj.weight has 36 positions of axis 0 .*write tp=36 or less"),
        ("llama", "tp=128", "tp=128 cuts a matrix, and LlamaForCausalLM has none with more than 97"),
        ("llama", "ep=2", "ep=2 cuts a stack of experts, and LlamaForCausalLM has none; write the mesh without ep"),
        ("mixtral", "ep=7", "ep=7 cuts a stack of experts, and MixtralForCausalLM has none with more than 6"),
    ],
)  # fmt: skip
def test_more_ranks_than_there_is_to_give(name: str, text: str, message: str) -> None:
    plan, cuts = planned(name, own=True)
    with pytest.raises(ArgumentError, match=message):
        foresee(plan, Mesh.parse(text), cuts)


def test_without_blocks_there_are_no_stages() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    plan = Plan("Two", "auto", tuple(decision(f"{n}.weight", (4, 4)) for n in model))
    with pytest.raises(
        ArgumentError, match=r"has no numbered blocks: .* write the mesh without pp"
    ):
        foresee(plan, Mesh.parse("pp=2"), {})


def decision(
    name: str, shape: tuple[int, ...], law: Law = NORMAL, axes: Axes | None = None
) -> Decision:
    return Decision(
        name, (), "parameter", shape, "float32", "linear", axes, None, "", None, law, (), "", ""
    )


def test_the_bias_of_a_matrix_that_is_cut_along_its_inputs_is_whole() -> None:
    """As transformers has it: it is added once the parts are summed."""
    plan = Plan(
        "Two",
        "auto",
        tuple(
            decision(f"{n}.{s}", (8, 8)[: 1 + (s == "weight")])
            for n in ("up", "down")
            for s in ("weight", "bias")
        ),
    )
    cuts = by_styles(plan, {"up": "colwise", "down": "rowwise"}, {})
    assert cuts == {
        "up.weight": (Cut(0, "tp"),),
        "up.bias": (Cut(0, "tp"),),
        "down.weight": (Cut(1, "tp"),),
    }


def test_where_experts_are_cut_dp_takes_the_rest_along_both() -> None:
    plan, cuts = planned("mixtral", own=True, ep=True)
    rows = {
        r.name: (r.cut, r.shard) for r in foresee(plan, Mesh.parse("dp=2,ep=3,tp=2"), cuts).rows
    }
    assert rows["model.layers.*.self_attn.o_proj.weight"] == ("tp 1, dp+ep 0", (6, 18))
    assert rows["model.layers.*.mlp.experts.down_proj"] == ("ep 0, dp 0", (1, 36, 50))
    assert rows["model.norm.weight"] == ("dp+ep 0", (6,))


def test_what_a_guess_cannot_cut_stays_whole_and_is_said() -> None:
    plan = Plan("Two", "auto", (decision("wide", (64, 8)), decision("narrow", (3, 8))))
    cuts = {"wide": (Cut(0, "tp"),), "narrow": (Cut(0, "tp"),)}
    seen = foresee(plan, Mesh.parse("tp=6"), cuts, guessed=True)
    assert "with fewer positions than tp=6, and so whole: narrow" in seen.notes
    assert "tp=6 does not divide 64: parts of 11, the last of 9, in wide" in seen.notes
    assert seen.stages[0].parameters == Span(9 * 8 + 24, 11 * 8 + 24)
    with pytest.raises(ArgumentError, match="narrow has 3 positions of axis 0"):
        foresee(plan, Mesh.parse("tp=6"), cuts)


def test_bytes_are_those_of_the_dtype() -> None:
    plan, cuts = planned("gpt2")
    mesh = Mesh.parse("dp=2")
    full, half = (foresee(plan, mesh, cuts, dtype=d) for d in (None, "bfloat16"))
    assert (full.dtype, half.dtype) == ("float32", "bfloat16")
    assert full.bytes == 2 * half.bytes
    assert half.speed.dtype == "bfloat16"
    assert half.speed.bytes == pytest.approx(2 * half.speed.numbers)


def test_the_proof_is_the_same_for_the_same_seed() -> None:
    plan, cuts = planned("llama", own=True)
    placed = layout(plan, Mesh.parse("dp=3,tp=2"), cuts, guessed=False)
    proof, again, other = (prove(placed, seed=s) for s in (3, 3, 4))
    assert (proof.unequal, proof.shards) == ((), 32)
    assert proof.numbers > 1000
    assert 1 < proof.ranks <= 6
    assert again.numbers == proof.numbers != other.numbers


@pytest.mark.parametrize("at", [0, -1])
def test_the_proof_finds_one_wrong_bit(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault put into the reference: one bit of whatever it makes."""
    plan, cuts = planned("llama", own=True)
    placed = layout(plan, Mesh.parse("dp=3,tp=2"), cuts, guessed=False)
    right = _numpy.elementwise

    def wrong(how, key, dims, shape, dtype, out):  # type: ignore[no-untyped-def]
        right(how, key, dims, shape, dtype, out)
        rows = out.reshape(-1, out.shape[-1]).view(np.uint32)
        rows[at, :] ^= 1

    monkeypatch.setattr(_numpy, "elementwise", wrong)
    proof = prove(placed, seed=3)
    assert len(proof.unequal) == 32
    assert proof.unequal[0].startswith("model.layers.") or proof.unequal[0].startswith("lm_head")


def test_a_rank_that_holds_nothing_of_a_large_tensor_is_said() -> None:
    plan, mesh, cuts = planned_on("mixtral", "dp=4,ep=2")
    seen = foresee(plan, mesh, cuts)
    assert any("some ranks hold none of model.layers.0.mlp.experts" in note for note in seen.notes)
    assert "ep cuts the experts; everything else is cut by dp and ep together" in seen.notes
    seen = foresee(plan, Mesh.parse("ep=2"), cuts)
    assert seen.notes == ("ep cuts the experts; everything else is whole on each rank of ep",)


ORTHOGONAL = [
    ((512, 256), (100, 256)), ((512, 512), (512, 512)), ((3000, 2000), (200, 2000)), ((2000, 3000), (2000, 100)),
    ((6000, 1000), (6000, 1000)), ((6, 700, 700), (2, 700, 700)), ((200000, 32), (100000, 32)),
    ((128, 40000), (128, 3000)), ((12000, 400), (6000, 400)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "part"), ORTHOGONAL)
def test_the_memory_of_an_orthogonal_matrix_is_bounded_by_what_is_foreseen(
    shape: tuple[int, ...], part: tuple[int, ...]
) -> None:
    axes = Axes((2,), (1,), (0,)) if len(shape) == 3 else Axes((1,), (0,))
    d = decision("w", shape, iso.Orthogonal(), axes)
    foreseen = memory(d, [np.array(n) for n in part])
    tracemalloc.start()
    made = sample(d.law, shape, seed=0, name="w", index=tuple(slice(0, n) for n in part), axes=axes)
    peak = tracemalloc.get_traced_memory()[1] - made.nbytes
    tracemalloc.stop()
    assert peak <= foreseen
    assert foreseen <= 3 * peak + (24 << 20)


def test_an_orthogonal_matrix_costs_what_its_reflections_do() -> None:
    d = decision("w", (4096, 4096), iso.Orthogonal(), Axes((1,), (0,)))
    whole = float(operations(d, [np.array(4096), np.array(4096)]))
    assert whole == pytest.approx(4 / 3 * 4096**3)
    rows = operations(d, [np.array([4096, 512, 0]), np.array(4096)])
    assert rows[0] == whole
    assert 2 * 4096**3 / 8 < rows[1] < 2 * 4096**3 / 8 * 1.3
    assert rows[2] == 0


def test_orthogonal_laws_are_said_not_to_be_proved() -> None:
    plan = Plan("One", "auto", (decision("w", (64, 64), iso.Orthogonal(), Axes((1,), (0,))),))
    seen = foresee(plan, Mesh.parse("dp=3"), {})
    assert seen.proof is not None
    assert seen.proof.shards == 0
    assert any(
        note.startswith("1 tensor with orthogonal laws is not in the proof") for note in seen.notes
    )
    assert seen.speed.operations is not None
    assert seen.stages[0].seconds.high > 0
    assert seen.stages[0].peak.high > seen.stages[0].bytes.high


def test_parallel_plan_of_a_class_that_has_none() -> None:
    assert parallel_plan(nn.Linear(2, 2)) == ({}, {})
    assert isinstance(foresee(*planned_on("mlp", "dp=2")), Foresight)


def planned_on(name: str, text: str) -> tuple[Plan, Mesh, Cuts]:
    plan, cuts = planned(name)
    return plan, Mesh.parse(text), cuts


def test_a_mesh_of_many_ranks_is_counted_at_once() -> None:
    plan, mesh, cuts = planned_on("gpt2", "replicate=128,dp=256,tp=4,pp=5")
    seen = foresee(plan, mesh, cuts)
    assert seen.world == 655360
    assert [s.ranks for s in seen.stages] == [131072] * 5
