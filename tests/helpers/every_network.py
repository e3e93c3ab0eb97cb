"""One small example of every network, loss and hook that configs can name.

Tests that hold for all of them go through these tables; that none is missing is a test as well.
Waveforms of the networks are (batch, 3, 1024).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from competition import window_of
from torch import Tensor, nn

import loss_functions as L
from architectures import MultiInstanceSCNN, SpectroCNN
from models1d import BranchedResNet1d, CNN1d, DenseNet1d, MatchedFilter1d, ResNet1d, WaveNet1d
from signal_transforms import image_augmentations as I
from spectrograms import ComplexMorletCWT
from training_extras import MixupTrain, MixupTrain2, TrainHook

SAMPLES = 1024
# Half a second of the competition's detectors.
OBSERVATION = window_of(SAMPLES)
FILTERS = {
    "templates": 5,
    "basis": 7,
    "before": 0.125,
    "after": 0.03125,
    "arrival": (0.25, 0.3),
    "decimate": 1,
    "observation": OBSERVATION,
}
IMAGE = {
    "model_name": "test_efficientnet",
    "spectrogram": ComplexMorletCWT,
    "spec_params": {
        "fs": 2048,
        "lower_freq": 60,
        "upper_freq": 900,
        "wavelet_width": 8,
        "n_scales": 16,
        "stride": 16,
        "trainable_width": True,
    },
    "resize_img": (64, 96),
    "upsample": "bicubic",
    "custom_classifier": "gem",
}
BLOCKS = {"widths": (8, 16), "depths": (1, 1), "kernel_sizes": (9, 5), "strides": (2, 2)}

# Each takes waveforms (batch, 3, 1024) and gives logits (batch, 1).
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet1d": lambda: ResNet1d(3, 8, 5, groups=4, n_block=6),
    "BranchedResNet1d": lambda: BranchedResNet1d(**BLOCKS, attention="cbam", drop_path=0.2),
    "DenseNet1d": lambda: DenseNet1d(8, (2, 3), 16),
    "WaveNet1d": lambda: WaveNet1d(hidden_dims=(8, 16), wave_layers=(3, 2), downsample=True),
    "CNN1d": CNN1d,
    "MatchedFilter1d": lambda: MatchedFilter1d(**FILTERS, learn_filters=True),
    "MatchedFilter1d of pairs": lambda: MatchedFilter1d(**FILTERS, correlation=-0.6),
    "MatchedFilter1d beside glitches": lambda: MatchedFilter1d(**FILTERS, glitches=True),
    "SpectroCNN": lambda: SpectroCNN(**IMAGE),
    "SpectroCNN that crops": lambda: SpectroCNN(
        **IMAGE, augmentations=[I.RandomResizedCrop((16, 40)), I.TimeResize(always_apply=True)]
    ),
    "SpectroCNN with its own head": lambda: SpectroCNN(**IMAGE | {"custom_classifier": "none"}),
    "MultiInstanceSCNN": lambda: MultiInstanceSCNN(**IMAGE | {"custom_classifier": "positional"}),
}


def draw_classes(logits: Tensor) -> Tensor:
    """Return targets of as many classes as there are logits, one a row."""
    classes = torch.arange(len(logits), device=logits.device) % logits.shape[1]
    return (classes[:, None] == torch.arange(logits.shape[1], device=logits.device)).float()


def draw_binary(logits: Tensor) -> Tensor:
    """Return targets 0, 1, 0, 1, ... of the shape of the logits."""
    rows = torch.arange(len(logits), device=logits.device) % 2
    return rows[:, None].expand(logits.shape).float()


# By name: the loss, the number of outputs, and the targets of outputs.
LOSSES: dict[str, tuple[nn.Module, int, Callable[[Tensor], Tensor]]] = {
    "BCEWithLogitsLoss": (L.BCEWithLogitsLoss(0.05, pos_weight=2.0), 1, draw_binary),
    "RankLoss": (L.RankLoss(0.9), 1, draw_binary),
    "FocalLoss": (L.FocalLoss(), 1, draw_binary),
    "PartialAUCLoss": (L.PartialAUCLoss(0.3), 1, draw_binary),
    "CrossEntropyLoss": (L.CrossEntropyLoss(0.1, weights=(1.0, 2.0, 3.0)), 3, draw_classes),
    "SmoothL1Loss": (L.SmoothL1Loss(), 2, torch.ones_like),
    "SquaredLoss": (L.SquaredLoss(), 2, torch.ones_like),
}

HOOKS: dict[str, Callable[[], TrainHook]] = {
    "TrainHook": TrainHook,
    "MixupTrain": MixupTrain,
    "MixupTrain of waveforms": lambda: MixupTrain(level="waveform"),
    "MixupTrain2": MixupTrain2,
}


def make_batch(rows: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return white noise for the networks, with targets 0, 1, 0, 1, ..."""
    return {
        "waveform": torch.randn(rows, 3, SAMPLES).to(device),
        "target": (torch.arange(rows) % 2).float()[:, None].to(device),
        "index": torch.arange(rows),
    }
