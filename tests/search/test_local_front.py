"""How far fronts see: against what their kernels say, and which part of a network is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layers.front import FrontStep
from models1d import BranchedResNet1d, CNN1d
from search.local_front import LocalFront, Probe, Reach, choose_fronts, count_products
from spectrograms.constant_q import CQT
from spectrograms.wavelets import ComplexMorletCWT

SAMPLES = 256


def reach_of(front, detectors: int = 2) -> Reach | None:
    probe = Probe(detectors, SAMPLES, "cpu")
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


def test_what_sees_all_times_is_not_local() -> None:
    assert not reach_of(Centred()).is_local
    assert reach_of(nn.AdaptiveAvgPool1d(1)) is None  # one column, whatever the length
    assert reach_of(nn.AvgPool1d(3)) is None  # three samples do not divide the window
    assert not reach_of(lambda x: x * float("nan")).is_local


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
    reach = Reach(1000, 63, 5, 16, 3, 2, False)  # 1000 = 62 x 16 + 8
    assert reach.strip == 5 * 16 + 8
    assert reach.work(100) == pytest.approx((2 * 88 + 96) / 1000)
    assert reach.work(10) == float("inf")  # windows closer than columns
    assert reach.count_bytes(11, 96) == 4 * 5 * (11 * 5 + 10 * 6 + 63)
    # A front that crops four columns at either end needs eight more in a strip.
    assert Reach(1024, 56, 5, 16, 3, 3, False).strip == (3 + 3 + 8) * 16
    whole = Reach(1024, 64, 5, 16, 64, 0, True)
    assert not whole.is_local
    assert whole.strip == 1024
    assert whole.count_bytes(10, 96) == 4 * 5 * 10 * 64


class Chain(nn.Module):
    """Layers one after the other, then a mean over time."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def front_steps(self) -> list[FrontStep]:
        def rest(place: int):
            return lambda x: nn.Sequential(*self.layers[place + 1 :])(x).mean(-1)

        return [FrontStep(layer, rest(place)) for place, layer in enumerate(self.layers)]


def test_the_front_ends_where_most_work_is_saved() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Conv1d(2, 8, 3, padding=1),
        nn.Conv1d(8, 32, 3, padding=1),  # most products
        nn.Conv1d(32, 1, 3, padding=20, dilation=20),  # few, and strips for all are longer with it
        Centred(),
    ]
    (found,) = choose_fronts([Chain(*layers)], 2, SAMPLES, 8)
    assert isinstance(found, LocalFront)
    assert len(found.steps) == 2
    x = torch.randn(3, 2, SAMPLES)
    expected = nn.Sequential(*layers)(x).mean(-1)
    torch.testing.assert_close(found.rest(found.front(x)), expected)
    assert count_products(layers[1], layers[0](x[:1])) == 8 * 32 * 3 * SAMPLES


def test_networks_without_a_local_front() -> None:
    assert choose_fronts([Chain(Centred(), nn.Conv1d(2, 8, 3))], 2, SAMPLES, 8) == []
    assert choose_fronts([nn.Linear(2, 2)], 2, SAMPLES, 8) == []  # says nothing of steps
    assert choose_fronts([Chain(nn.Conv1d(2, 8, 3, padding=1))], 2, SAMPLES, SAMPLES) == []


def test_what_is_apart_is_chosen_even_window_by_window() -> None:
    torch.manual_seed(0)
    small = {"widths": (4, 8), "depths": (1, 1), "kernel_sizes": (5, 5), "strides": (4, 2)}
    network = BranchedResNet1d(**small, first_kernel_size=7, attention="cbam").eval()
    (found,) = choose_fronts([network], 3, SAMPLES, 32)
    assert found.reach.is_apart
    assert (found.reach.left, found.reach.right) == (found.reach.columns, 0)
    (local,) = choose_fronts([BranchedResNet1d(**small, first_kernel_size=7).eval()], 3, 1024, 32)
    assert local.reach.is_local


def test_networks_of_several_folds_share_a_reach() -> None:
    torch.manual_seed(0)
    networks = [CNN1d().eval() for _ in range(3)]
    found = choose_fronts(networks, 3, SAMPLES, 16)
    assert [each.steps[0].step for each in found] == [each.features[0] for each in networks]
    assert len({each.reach for each in found}) == 1


def test_probing_draws_nothing_and_changes_nothing() -> None:
    torch.manual_seed(0)
    network = CNN1d().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    choose_fronts([network], 3, SAMPLES, 16)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_reflecting_front_has_one_column_more() -> None:
    found = reach_of(CQT(256, 8, fmin=40, fmax=120, bins_per_octave=4))
    assert (found.columns, found.stride) == (SAMPLES // 8 + 1, 8)
    assert found.is_apart
