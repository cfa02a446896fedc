"""Losses in closed form against PyTorch's own and its derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from isometry.errors import ArgumentError
from isometry.measuring.losses import objective, prior_and_claim

DRAWN = np.random.default_rng(0)
LOGITS = DRAWN.normal(size=(16, 7, 5)) * 3


def by_torch(loss: Any, output: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
    leaf = torch.tensor(output, requires_grad=True)
    value = loss(leaf)
    value.backward()
    assert leaf.grad is not None
    return float(value.detach()), leaf.grad.numpy()


def check(found: Any, output: np.ndarray[Any, Any], loss: Any) -> None:
    value, gradients = found.goal({"output": output})
    expected, gradient = by_torch(loss, output)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradients["output"], gradient, rtol=1e-9, atol=1e-12)
    assert gradients["output"].shape == output.shape


def test_cross_entropy_of_classes_and_of_probabilities() -> None:
    classes = DRAWN.integers(5, size=(16, 7))
    found = objective({"output": LOGITS}, "cross_entropy", classes)
    assert found.classes == 5
    flat = torch.from_numpy(classes).reshape(-1)
    check(found, LOGITS, lambda o: F.cross_entropy(o.reshape(-1, 5), flat))
    wanted = DRAWN.dirichlet(np.ones(5), size=(16, 7))
    soft = torch.from_numpy(wanted).reshape(-1, 5)
    found = objective({"output": LOGITS}, "cross_entropy", wanted)
    check(found, LOGITS, lambda o: F.cross_entropy(o.reshape(-1, 5), soft))


def test_mean_square_and_binary_cross_entropy() -> None:
    target = DRAWN.normal(size=LOGITS.shape)
    check(
        objective({"output": LOGITS}, "mse", target),
        LOGITS,
        lambda o: F.mse_loss(o, torch.from_numpy(target)),
    )
    ones = (target > 0).astype(np.float64)
    far = LOGITS * 300  # where a naive sigmoid overflows
    for output in (LOGITS, far):
        check(
            objective({"output": output}, "bce_with_logits", ones), output,
            lambda o: F.binary_cross_entropy_with_logits(o, torch.from_numpy(ones)),
        )  # fmt: skip


def test_drawn_targets_are_the_same_every_time() -> None:
    for loss in ("cross_entropy", "mse", "bce_with_logits"):
        first, second = (
            objective({"output": LOGITS}, loss, None).goal({"output": LOGITS}) for _ in range(2)
        )
        assert first[0] == second[0]


def test_without_a_loss_each_output_gets_a_gradient_of_length_one() -> None:
    outputs = {"a": np.zeros((64, 64), np.float32), "b": np.zeros((4096,), np.float32)}
    loss, gradients = objective(outputs, None, None).goal(outputs)
    assert loss is None
    for name, gradient in gradients.items():
        assert gradient.dtype == outputs[name].dtype
        # A mean of n squares: relative standard error sqrt(2/n).
        assert abs(float(np.square(gradient).sum()) - 1) < 5 * np.sqrt(2 / gradient.size)


def test_the_share_of_ones_and_what_is_claimed_of_it() -> None:
    target = np.array([[0, 0, 1, 0]] * 4, np.float32)
    prior, claimed = prior_and_claim({"o": np.zeros((4, 4))}, target)
    assert (prior, claimed) == (0.25, 0.0)  # zeros are probabilities already
    prior, claimed = prior_and_claim({"o": np.full((4, 4), -2.0)}, target)
    assert claimed == pytest.approx(1 / (1 + np.exp(2)))
    assert prior_and_claim({"o": np.zeros((4, 4))}, target + 0.5) == (None, None)
    assert prior_and_claim({"o": np.zeros((4, 4))}, None) == (None, None)


def test_what_does_not_fit_is_refused() -> None:
    for outputs, loss, target, message in [
        ({"output": LOGITS}, "hinge", None, "loss='hinge'; expected one of"),
        ({}, "mse", None, "needs a floating-point output"),
        ({"output": LOGITS[:, 0, 0]}, "cross_entropy", None, "needs logits"),
        ({"output": LOGITS}, "cross_entropy", np.zeros((16,), int), r"expects integers of shape \(16, 7\)"),
        ({"output": LOGITS}, "cross_entropy", np.full((16, 7), 5), r"has the class 5; expected integers in \[0, 5\)"),
        ({"output": LOGITS}, "mse", np.zeros((16, 7)), "compares them element by element"),
    ]:  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            objective(outputs, loss, target)
