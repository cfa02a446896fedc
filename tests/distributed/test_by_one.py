"""What a rank works out by itself, in a group that only pretends to be one."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import torch, torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore
import isometry as iso, isometry.torch as it
from isometry.torch.sharded import shared_constants

dist.init_process_group("fake", rank=3, world_size=4, store=FakeStore())
mesh = init_device_mesh("cpu", (4,))

def sharded(tensor, over=mesh):
    return distribute_tensor(tensor, over, [Shard(0)], src_data_rank=None)

wide = torch.float64
torch.set_default_dtype(torch.bfloat16)  # as training scripts do: no number is rounded to it
generator = torch.Generator().manual_seed(0)
noise = torch.randn(64, dtype=wide, generator=generator)
assert shared_constants([sharded((1 + 1e-4 * noise).float())]) == [None]
assert shared_constants([sharded(1 + 1e-12 * noise)]) == [None]
assert shared_constants([sharded(torch.full((64,), 0.1, dtype=wide))]) == [0.1]
assert shared_constants([sharded(torch.full((64,), 1e300, dtype=wide))]) == [1e300]
assert shared_constants([sharded(torch.full((64,), float("inf"), dtype=wide))]) == [None]
torch.set_default_dtype(torch.float32)

# A rank outside a tensor's mesh holds nothing of it, and is not asked.
part = DeviceMesh("cpu", [0, 1])
assert shared_constants([sharded(torch.ones(8), part)]) == [None]
for verify in (None, False):
    with it.meta():
        model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    for module in model:
        for name, parameter in list(module.named_parameters()):
            setattr(module, name, nn.Parameter(sharded(parameter.detach(), part)))
    iso.initialize(model, torch.zeros(2, 8), seed=0, verify=verify)
    assert all(p.to_local().numel() == 0 for p in model.parameters())

# A method beside forward that FSDP2 wraps on the module is the class's own while the model is read.
class Coder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return self.inner(x)

    def encode(self, x):
        return torch.relu(self.inner(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.coder, self.head = Coder(), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.coder.encode(x))

with it.meta():
    model = Net()
expected = iso.plan(model, torch.zeros(2, 8))
fully_shard(model.coder, mesh=mesh)
fully_shard(model, mesh=mesh)
register_fsdp_forward_method(model.coder, "encode")
before = model.coder.__dict__["encode"]
assert iso.initialize(model, torch.zeros(2, 8), verify=False).digest == expected.digest
assert model.coder.__dict__["encode"] is before
print("done")
"""


def test_constants_ranks_outside_a_mesh_and_methods_beside_forward() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("done\n")
