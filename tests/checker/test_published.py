"""Models that nobody here wrote, as their authors initialise them: no error."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

import isometry as iso

from ..torch.zoo import ZOO

hf.logging.set_verbosity_error()

# A tied head that reads a signal of rms 1 through a table of std 1/sqrt(width), and Mamba's of
# 0.1: logits of rms 1, an excess of 0.5 to 1 over ln C, which at a vocabulary of 100 shows.
LARGE_LOGITS = {"T5", "Mamba"}


@pytest.mark.parametrize("name", ZOO)
def test_what_authors_do_is_no_error(name: str) -> None:
    row = ZOO[name]
    torch.manual_seed(0)
    report = iso.check(row.make(), row.inputs())
    assert report.layers
    assert report.ok, str(report)
    warned = {f.code for f in report.findings if f.severity == "warning"}
    assert warned == ({"ISO701"} if name in LARGE_LOGITS else set()), str(report)
    if row.vocabulary:
        assert report.loss is not None
