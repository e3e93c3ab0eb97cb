"""Small image models and front-ends for tests, and the check that every gradient is finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class Frames(nn.Module):
    """A front-end without parameters: short stretches of strain as columns."""

    def __init__(self, rows: int = 64, channels: int = 3) -> None:
        super().__init__()
        self.rows, self.channels = rows, channels

    def forward(self, x: Tensor) -> Tensor:
        # (B, 3, T) -> (B, 3, rows, T / rows)
        image = x.unflatten(-1, (-1, self.rows)).transpose(-1, -2)
        return image[:, : self.channels]


class LearnedFrames(nn.Module):
    """A front-end with parameters."""

    def __init__(self, rows: int = 64) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, rows, 33, stride=64, padding=16)

    def forward(self, x: Tensor) -> Tensor:
        # (B, 3, T) -> (3B, 1, T) -> (3B, rows, T / 64) -> (B, 3, rows, T / 64)
        image = self.conv(x.reshape(-1, 1, x.shape[-1]))
        return image.unflatten(0, (-1, 3))


SMALL = {"model_name": "test_efficientnet", "spectrogram": Frames, "resize_img": (64, 96)}


TOKENS = {"model_name": "test_vit", "spectrogram": Frames, "resize_img": (64, 96)}


HEAD = 256 * 512 + 512 + 513  # of test_efficientnet's 256 features


def check_gradients(model: nn.Module, *arguments: Tensor) -> None:
    """Every trainable parameter has a finite gradient."""
    model.train()
    output = model(*arguments)
    logits = output[0] if isinstance(output, tuple) else output
    nn.functional.softplus(logits).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


LAM, IDX = torch.tensor([0.2, 0.7]), torch.tensor([1, 0])
