"""How far fronts see, against what their kernels say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search.local_front import Probe, Reach, join_reaches
from spectrograms.constant_q import CQT
from spectrograms.wavelets import ComplexMorletCWT

SAMPLES = 256


def reach_of(front, detectors: int = 2, samples: int = SAMPLES) -> Reach:
    probe = Probe(detectors, samples, "cpu")
    probe.advance(front)
    return probe.reach()


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(7, 1, 3), (8, 1, 4), (7, 4, 3), (16, 4, 8), (31, 8, 15)]
)
def test_a_convolution_sees_its_kernel(size: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    found = reach_of(nn.Conv1d(2, 3, size, stride, padding))
    columns = (SAMPLES + 2 * padding - size) // stride + 1
    # Column j sees the samples from `first` on, `size` of them.
    first = np.arange(columns) * stride - padding
    left, right = (first < 0).sum(), (first + size > SAMPLES).sum()
    assert (found.samples, found.columns, found.values) == (SAMPLES, columns, 3)
    assert (found.stride, found.left, found.right) == (stride, left, right)
    assert found.is_local
    assert not found.is_apart


@pytest.mark.parametrize("detectors", [1, 2, 3])
def test_a_maximum_sees_all_that_it_chooses_from(detectors: int) -> None:
    found = reach_of(nn.MaxPool1d(5, 1, 2), detectors)
    assert (found.left, found.right) == (2, 2)


def test_a_wavelet_sees_its_support() -> None:
    cwt = ComplexMorletCWT(2.0, 256, 20, 120, 8, stride=4)
    found = reach_of(cwt)
    # The longest wavelet of all rows has its largest support, `half`, on either side.
    assert found.left == -(-cwt.half // 4)
    assert found.right == -(-(cwt.half - 3) // 4)  # the last column is 3 samples before the end
    assert found.is_apart
    assert found.values == 2 * 8


class Centred(nn.Module):
    """Takes the mean over time off."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)


@pytest.mark.parametrize(
    "front",
    [
        Centred(),
        nn.AdaptiveAvgPool1d(1),  # one column, whatever the length
        nn.AvgPool1d(3),  # three samples do not divide the window
        lambda x: x * float("nan"),
        nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.LayerNorm([3, SAMPLES])),  # of one length
    ],
    ids=["mean", "one column", "no divisor", "not finite", "one length"],
)
def test_what_is_given_windows(front) -> None:
    found = reach_of(front)
    assert not found.is_local
    with torch.no_grad():
        columns = front(torch.randn(1, 2, SAMPLES)).shape[-1]
    assert (found.left, found.right, found.columns, found.stride) == (columns, 0, columns, 1)
    assert found.work(8) == 1


def test_detectors_are_apart_where_none_changes_another() -> None:
    torch.manual_seed(0)
    alone = nn.Conv1d(1, 4, 3, padding=1)

    def apart(x: Tensor) -> Tensor:
        return torch.stack([alone(x[:, d : d + 1]) for d in range(x.shape[1])], dim=1)

    def leaking(x: Tensor) -> Tensor:
        y = apart(x).clone()
        y[:, 1] += 1e-3 * x[:, :1]
        return y

    assert reach_of(apart).is_apart
    assert not reach_of(leaking).is_apart
    assert reach_of(apart, detectors=1).is_apart
    # A channel a detector is not enough: convolutions of all detectors may have as many.
    assert not reach_of(nn.Conv1d(2, 2, 3, padding=1)).is_apart


def test_strips_and_work() -> None:
    reach = Reach(1024, 64, 5, 16, 3, 2, False)
    assert reach.strip == 5 * 16
    assert reach.work(96) == pytest.approx((2 * 80 + 96) / 1024)
    assert reach.count_bytes(11, 960) == 4 * 5 * (11 * 5 + 10 * 6 + 64)
    # A front that crops four columns at either end needs eight more in a strip.
    assert Reach(1024, 56, 5, 16, 3, 3, False).strip == (3 + 3 + 8) * 16
    # A front that reflects the ends of a window has one more column than strides.
    assert Reach(1024, 65, 5, 16, 3, 3, False).strip == (3 + 3 - 1) * 16
    whole = reach.of_windows()
    assert not whole.is_local
    assert whole.strip == 1024
    assert whole.count_bytes(10, 900) == 4 * 5 * 10 * 64


def test_several_networks_have_the_reach_of_the_furthest() -> None:
    one = Reach(1024, 64, 5, 16, 3, 2, True)
    other = Reach(1024, 64, 5, 16, 1, 4, True)
    assert join_reaches([one, other]) == Reach(1024, 64, 5, 16, 3, 4, True)
    assert not join_reaches([one, Reach(1024, 128, 5, 8, 1, 1, True)]).is_local
    assert not join_reaches([one, Reach(1024, 64, 5, 16, 1, 1, False)]).is_apart


def test_a_reflecting_front_has_one_column_more() -> None:
    found = reach_of(CQT(256, 8, fmin=40, fmax=120, bins_per_octave=4))
    assert (found.columns, found.stride) == (SAMPLES // 8 + 1, 8)
    assert found.is_apart
