"""What every one-dimensional network must do: gradients, another classifier, mixing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from runtime.errors import UserError


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def check_gradients(model: nn.Module, x: Tensor) -> None:
    """Every trainable parameter has a finite gradient, and none of them is zero throughout."""
    model.train()
    torch.nn.functional.softplus(model(x)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    largest = {n: p.grad.abs().max().item() for n, p in model.named_parameters()}
    assert all(value > 0 for value in largest.values()), min(largest, key=largest.get)


def check_classifier(model: nn.Module, x: Tensor, width: int) -> None:
    """get_classifier and reset_classifier, and features of the stated width."""
    model.eval()
    assert model.get_classifier().in_features == width
    model.reset_classifier(4)
    assert model(x).shape == (len(x), 4)
    model.reset_classifier(0)
    assert model(x).shape == (len(x), width)


def check_mixing(model: nn.Module, x: Tensor) -> None:
    """lam and idx mix the waveforms, and lam comes back."""
    model.eval()
    lam, idx = torch.tensor([0.25, 0.9]), torch.tensor([1, 0])
    logits, used = model(x, lam=lam, idx=idx)
    mixed = torch.stack([0.25 * x[0] + 0.75 * x[1], 0.9 * x[1] + 0.1 * x[0]])
    torch.testing.assert_close(logits, model(mixed))
    torch.testing.assert_close(used, lam)
    with pytest.raises(UserError, match="both"):
        model(x, lam=lam)
