"""What a plan sees in real models that no shape shows: blocks, experts, gates, streams, padding."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import isometry as iso

from .zoo import ZOO, noise


def planned(name: str) -> tuple[nn.Module, iso.Plan]:
    torch.manual_seed(0)
    row = ZOO[name]
    model = row.make()
    return model, iso.initialize(model, row.inputs(), seed=0)


def assert_std(values: torch.Tensor, law: iso.Law, errors: float = 4.0) -> None:
    """The second moment of the values is the law's, within standard errors of a Gaussian."""
    q = float(values.double().square().mean())
    assert q == pytest.approx(law.variance, rel=errors * math.sqrt(2 / values.numel()))


def test_gpt2_writers_have_the_std_the_recipe_says() -> None:
    model, plan = planned("GPT2")
    names = [n for n, _ in model.named_parameters() if n.endswith("c_proj.weight")]
    assert len(names) == 4  # two layers, attention and MLP
    for name in names:
        decision = plan[name]
        assert decision.axes == iso.Axes(in_axis=(0,), out_axis=(1,))  # transformers' Conv1D
        assert "one of 4 that write its residual stream" in decision.reason
        assert_std(model.get_parameter(name).detach(), decision.law)
    # attention's reads the average of values, whose second moment is theirs: 1/4 of the stream's
    first, mlp = (plan[f"transformer.h.0.{part}.c_proj.weight"] for part in ("attn", "mlp"))
    stream = (
        plan["transformer.wte.weight"].law.variance + plan["transformer.wpe.weight"].law.variance
    )
    assert first.law.variance == pytest.approx(stream / 4 / 64, rel=1e-4)
    gelu = iso.moments("gelu_tanh").second
    assert mlp.law.variance == pytest.approx(stream / 4 / 256 / gelu, rel=1e-4)


@pytest.mark.parametrize(
    ("model", "name", "axis", "size"),
    [
        ("GPT2", "transformer.h.1.attn.c_attn.weight", 1, 64),
        ("ModernBert", "model.layers.1.attn.Wqkv.weight", 0, 64),
        ("nn.MultiheadAttention, packed", "in_proj_weight", 0, 16),
    ],
)
def test_fused_projections_have_a_law_for_each_block(
    model: str, name: str, axis: int, size: int
) -> None:
    module, plan = planned(model)
    decision = plan[name]
    assert [(b.name, b.axis, b.start, b.stop) for b in decision.blocks] == [
        ("q", axis, 0, size), ("k", axis, size, 2 * size), ("v", axis, 2 * size, 3 * size),
    ]  # fmt: skip
    for block in decision.blocks:
        assert block.fans == iso.Fans(size, size)  # and not three times as many outputs
        values = module.get_parameter(name).detach().narrow(axis, block.start, size)
        assert_std(values, block.law)
    glorot = iso.plan(module, ZOO[model].inputs(), recipe="glorot")[name]
    assert all(b.law.variance == pytest.approx(1 / size, rel=1e-5) for b in glorot.blocks)


def test_mixtral_experts_are_matrices_of_their_own() -> None:
    model, plan = planned("Mixtral")
    up, down = (plan[f"model.layers.0.mlp.experts.{n}"] for n in ("gate_up_proj", "down_proj"))
    assert up.role == down.role == "experts"
    for decision, fan_in in ((up, 64), (down, 128)):
        assert decision.axes is not None
        assert decision.axes.batch_axis == (0,)
        assert decision.fans is not None
        assert decision.fans.fan_in == fan_in
        assert_std(model.get_parameter(decision.name).detach(), decision.law)
    experts = model.get_parameter(down.name).detach()
    assert not any(torch.equal(a, b) for a, b in pairwise(experts))


@pytest.mark.parametrize("name", ["Llama", "Qwen3"])
def test_of_a_swiglu_only_the_down_projection_is_depth_scaled(name: str) -> None:
    _, plan = planned(name)
    for layer in (0, 1):
        up, gate, down = (
            plan[f"model.layers.{layer}.mlp.{n}_proj.weight"] for n in ("up", "gate", "down")
        )
        assert up.law == gate.law
        assert up.law.variance == pytest.approx(1 / 64, rel=1e-5)
        assert "residual" not in up.reason + gate.reason
        assert "one of 4 that write its residual stream" in down.reason
        # what it reads is x silu(g): 1 · E[silu²]
        swiglu = iso.moments("silu").second
        assert down.law.variance == pytest.approx(1 / 4 / 128 / swiglu, rel=1e-4)
        for projection in ("q", "k", "v"):
            assert (
                "residual"
                not in plan[f"model.layers.{layer}.self_attn.{projection}_proj.weight"].reason
            )


def test_lstm_forget_gates_are_one_in_total() -> None:
    model, plan = planned("nn.LSTM")
    biases = [n for n, _ in model.named_parameters() if n.startswith("bias_ih")]
    assert len(biases) == 4  # two layers, two directions
    for name in biases:
        total = model.get_parameter(name) + model.get_parameter(name.replace("_ih", "_hh"))
        expected = torch.zeros(64)
        expected[16:32] = 1.0  # i f g o
        assert torch.equal(total.detach(), expected)
    recurrent = model.weight_hh_l0.detach().double()
    for gate, block in zip(recurrent.split(16), plan["weight_hh_l0"].blocks, strict=True):
        assert isinstance(block.law, iso.Orthogonal)
        torch.testing.assert_close(
            gate @ gate.T, torch.eye(16, dtype=torch.double), atol=1e-5, rtol=0
        )


def test_lstm_and_gru_inputs_are_laws_gate_by_gate() -> None:
    for name, gates in (("nn.LSTM", "ifgo"), ("nn.GRU", "rzn")):
        model, plan = planned(name)
        decision = plan["weight_ih_l0"]
        assert [b.name for b in decision.blocks] == list(gates)
        assert all(b.fans == iso.Fans(8, 16) for b in decision.blocks)
        assert_std(model.weight_ih_l0.detach(), decision.blocks[0].law)


@pytest.mark.parametrize(
    "recipe", ["auto", "isometric", "lecun", "glorot", "he", "critical", "torch"]
)
def test_padding_rows_are_zero(recipe: str) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Embedding(50, 32, padding_idx=0)
            self.middle = nn.Embedding(50, 32, padding_idx=7)
            self.last = nn.Embedding(50, 32, padding_idx=-1)
            self.bag = nn.EmbeddingBag(50, 32, padding_idx=3)
            self.head = nn.Linear(32, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.first(ids) + self.middle(ids) + self.last(ids)
            return self.head(x.mean(1) + self.bag(ids))

    model = Reader()
    ids = torch.arange(20).reshape(2, 10)
    iso.initialize(model, ids, seed=0, recipe=recipe)
    for table, row in ((model.first, 0), (model.middle, 7), (model.last, 49), (model.bag, 3)):
        weight = table.weight.detach()
        assert bool((weight[row] == 0).all())
        others = torch.cat((weight[:row], weight[row + 1 :]))
        assert bool((others != 0).any(1).all())


def test_the_state_space_of_a_mamba_is_kept() -> None:
    torch.manual_seed(0)
    model = ZOO["Mamba"].make()
    special = ("A_log", ".D", "dt_proj.bias")
    before = {n: p.detach().clone() for n, p in model.named_parameters() if n.endswith(special)}
    assert len(before) == 6
    plan = iso.initialize(model, seed=0)
    for name, value in before.items():
        assert plan[name].keeps
        assert torch.equal(model.get_parameter(name).detach(), value)
    assert plan["backbone.layers.0.mixer.A_log"].role == "state_space"
    assert plan["backbone.layers.0.mixer.dt_proj.bias"].role == "state_space"


def test_tied_tables_carry_every_name() -> None:
    model, plan = planned("T5")
    assert plan["shared.weight"].aliases == (
        "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight",
    )  # fmt: skip
    assert plan["lm_head.weight"] is plan["shared.weight"]
    assert model.lm_head.weight is model.shared.weight


def test_attention_with_its_own_key_and_value_sizes() -> None:
    model, plan = planned("nn.MultiheadAttention, kdim and vdim")
    for name, fan_in in (("q", 16), ("k", 8), ("v", 12)):
        decision = plan[f"{name}_proj_weight"]
        assert decision.fans == iso.Fans(fan_in, 16)
        assert decision.blocks == ()
        assert_std(model.get_parameter(decision.name).detach(), decision.law)
    assert plan["bias_k"].role == plan["bias_v"].role == "positions"


def test_a_transformer_of_torch_has_two_stacks_of_streams() -> None:
    plan = iso.plan(
        nn.Transformer(64, 4, 2, 2, 128, batch_first=True), noise((3, 7, 64), (3, 5, 64))()
    )
    # post-norm: each branch writes a stream that its normalisation ends, so none is depth-scaled
    for name in (
        "encoder.layers.0.linear2.weight",
        "decoder.layers.1.multihead_attn.out_proj.weight",
    ):
        assert "that write its residual stream" not in plan[name].reason
