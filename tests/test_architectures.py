"""Image models: shapes, parameter counts, options and their refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from architectures import MultiInstanceSCNN, SpectroCNN
from utils import UserError


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


@pytest.fixture
def strain() -> Tensor:
    return torch.randn(2, 3, 4096)


@pytest.mark.parametrize(
    ("classifier", "expected"),
    # the whole of Nspec12, and of Nspec16 less the dead width of the original
    [("none", 7_702_403), ("gem", 8_422_916)],
)
def test_published_counts_of_b2(classifier: str, expected: int, strain: Tensor) -> None:
    model = SpectroCNN(
        "tf_efficientnet_b2.aa_in1k", spectrogram=Frames, custom_classifier=classifier
    )
    assert count(model) == expected
    assert model.eval()(strain).shape == (2, 1)


def test_multi_instance_04_counts() -> None:
    model = MultiInstanceSCNN(
        "xcit_tiny_12_p16_384.fb_dist_in1k", spectrogram=Frames, resize_img=(384, 768),
        upsample="bicubic", custom_classifier="gem",
    )  # fmt: skip
    assert count(model) == 6_720_905
    assert model.network.num_features == 2 * 192


def test_no_network_is_told_at_once_with_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://localhost:9")  # the discard port: nobody listens
    with pytest.raises(UserError, match=r"resnet18.*--no_pretrained.*--weights FILE"):
        SpectroCNN("resnet18.a1_in1k", pretrained=True, spectrogram=Frames)
