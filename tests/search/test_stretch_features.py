"""Features put together of a stretch and of strips: the same as of windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models1d import DenseNet1d, ResNet1d
from search.local_front import Probe, Reach
from search.stretch_features import StretchFeatures
from spectrograms.constant_q import CQT
from spectrograms.learned_front_ends import CNNSpectrogram
from spectrograms.wavelets import ComplexMorletCWT, RickerCWT

SAMPLES, HOP, COUNT = 512, 32, 23
STARTS = np.arange(COUNT) * HOP
RATE = 512


def strided(*kernels: tuple[int, int, int]) -> nn.Module:
    parts, channels = [], 2
    for size, stride, padding in kernels:
        parts += [nn.Conv1d(channels, 6, size, stride, padding), nn.BatchNorm1d(6), nn.SiLU()]
        channels = 6
    return nn.Sequential(*parts)


def morlet(**options: int) -> ComplexMorletCWT:
    return ComplexMorletCWT(3.0, RATE, 30, 200, 8, stride=8, **options)


FRONTS = {
    "odd kernels": lambda: strided((7, 1, 3), (5, 4, 2)),
    "even kernels": lambda: strided((16, 2, 8), (4, 2, 1)),
    "nothing added at the edges": lambda: strided((8, 8, 0)),
    "fewer columns": lambda: strided((9, 1, 0)),
    "max pooling": lambda: nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.MaxPool1d(3, 2, 1)),
    "stem of ResNet1d": lambda: nn.Sequential(
        *ResNet1d(2, base_filters=8, groups=2, kernel_size=6, n_block=4).feature_layers()[:3]
    ),
    "DenseNet1d": lambda: nn.Sequential(
        *DenseNet1d(4, (2, 2), 8, in_channels=2).feature_layers()[:6]
    ),
    "Morlet": lambda: morlet(),
    "Morlet, cropped": lambda: morlet(border_crop=20),
    "Ricker": lambda: RickerCWT(RATE, 30, 200, 8, stride=4),
    "constant Q": lambda: CQT(RATE, 8, fmin=60, fmax=200, bins_per_octave=6),
    "constant Q, by convolution": lambda: CQT(RATE, 16, fmin=60, fmax=200, bins_per_octave=6),
    "learned": lambda: CNNSpectrogram(2, 8, (15, 8), stride=4),
}


def make_features(front: nn.Module, batch_size: int) -> tuple[StretchFeatures, Tensor]:
    """Return the features of windows of noise, and what the front makes of the windows."""
    torch.manual_seed(1)
    series = torch.randn(2, (COUNT - 1) * HOP + SAMPLES + 7)
    windows = series.unfold(-1, SAMPLES, HOP).transpose(0, 1)[:COUNT].contiguous()
    probe = Probe(2, SAMPLES, "cpu")
    probe.advance(front)
    reach = probe.reach()
    assert reach.is_local
    with torch.inference_mode():
        features = StretchFeatures(front, reach, series, STARTS, batch_size)
        return features, front(windows)


@pytest.mark.parametrize("count", [1, 2])
def test_a_few_windows(count: int) -> None:
    front = morlet()
    probe = Probe(2, SAMPLES, "cpu")
    probe.advance(front)
    series = torch.randn(2, (count - 1) * HOP + SAMPLES)
    features = StretchFeatures(front, probe.reach(), series, STARTS[:count], 256)
    expected = front(series.unfold(-1, SAMPLES, HOP).transpose(0, 1).contiguous())
    found = features.take(np.tile(np.arange(count), (2, 1)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=3e-6)


@pytest.mark.parametrize("kind", FRONTS)
@pytest.mark.parametrize("batch_size", [5, 64])
def test_features_are_those_of_windows(kind: str, batch_size: int) -> None:
    torch.manual_seed(0)
    features, expected = make_features(FRONTS[kind]().eval(), batch_size)
    numbers = np.array([0, 1, 4, 5, 11, COUNT - 1, 3])
    found = features.take(np.tile(numbers, (2, 1)))
    assert found.shape == (len(numbers), *expected.shape[1:])
    torch.testing.assert_close(found, expected[numbers], rtol=1e-4, atol=3e-6)


def test_each_detector_shows_windows_of_its_own() -> None:
    torch.manual_seed(0)
    front = FRONTS["Morlet"]()
    features, expected = make_features(front, 8)
    shown = np.array([[0, 1, 2, 20], [5, 6, 7, 3]])
    found = features.take(shown)
    for detector in range(2):
        torch.testing.assert_close(
            found[:, detector], expected[shown[detector], detector], rtol=1e-4, atol=3e-6
        )


def test_windows_need_not_lie_evenly() -> None:
    torch.manual_seed(0)
    front = morlet()
    probe = Probe(2, SAMPLES, "cpu")
    probe.advance(front)
    starts = np.array([0, 24, 56, 80, 160, 168, 400])  # multiples of the stride
    series = torch.randn(2, 400 + SAMPLES)
    features = StretchFeatures(front, probe.reach(), series, starts, 3)
    shown = np.array([[6, 0, 3], [1, 5, 4]])
    windows = [[series[d, starts[k] :][:SAMPLES] for d, k in enumerate(pair)] for pair in shown.T]
    expected = front(torch.stack([torch.stack(pair) for pair in windows]))
    torch.testing.assert_close(features.take(shown), expected, rtol=1e-4, atol=3e-6)


def test_whole_windows_of_what_is_apart() -> None:
    """A front that sees all of a window, but one detector at a time."""

    def centred(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True))[:, :, None]  # (B, D, T) -> (B, D, 1, T)

    torch.manual_seed(1)
    series = torch.randn(2, (COUNT - 1) * HOP + SAMPLES)
    reach = Reach(SAMPLES, SAMPLES, 2, 1, SAMPLES, 0, True)
    features = StretchFeatures(centred, reach, series, STARTS, 4)
    windows = series.unfold(-1, SAMPLES, HOP)
    found = features.take(np.array([[2, 3], [9, 10]]))
    expected = [centred(windows[d, [a, b]][:, None]) for d, (a, b) in enumerate([(2, 3), (9, 10)])]
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


def test_a_front_runs_less_often_than_windows_would() -> None:
    taken = []
    inner = strided((7, 4, 3))

    def counted(x: Tensor) -> Tensor:
        taken.append(x.numel())
        return inner(x)

    features, _ = make_features(inner.eval(), 64)
    assert features.reach.work(HOP) < 0.2
    StretchFeatures(counted, features.reach, torch.randn(2, 2000), np.arange(40) * HOP, 64)
    assert sum(taken) < 0.3 * 40 * 2 * SAMPLES
