"""A parameter in memory that cannot be written is refused; writing there would end the process."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import isometry as iso


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what may be written")
def test_a_parameter_mapped_for_reading_is_refused(tmp_path: Path) -> None:
    np.ones((16, 8), dtype=np.float32).tofile(tmp_path / "w.bin")
    mapped = np.memmap(tmp_path / "w.bin", dtype=np.float32, mode="r", shape=(16, 8))
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 16))
    before = model[0].weight.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch says that the array is not writable
        model[1].weight = nn.Parameter(torch.from_numpy(mapped))
    with pytest.raises(iso.ModelError, match=r"1\.weight lies in memory that cannot be written"):
        iso.initialize(model, torch.randn(4, 8), seed=0)
    assert torch.equal(model[0].weight, before)
    assert torch.equal(model[1].weight, torch.ones(16, 8))
    model[1].weight = nn.Parameter(model[1].weight.clone())
    iso.initialize(model, torch.randn(4, 8), seed=0)
    assert model[1].weight.std().item() > 0.1
