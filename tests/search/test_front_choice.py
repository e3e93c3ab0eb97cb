"""Which first part of a network is run over stretches."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from layers.front import FrontStep
from models1d import BranchedResNet1d, CNN1d
from search.front_choice import (
    agrees_with_windows,
    choose_fronts,
    choose_hop,
    count_products,
    place_windows,
)
from search.local_front import Reach

SAMPLES = 256


class Centred(nn.Module):
    """Takes the mean over time off."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)


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
    (found,) = choose_fronts([Chain(*layers)], 2, SAMPLES, 8.3)
    assert found.hop == 8
    assert len(found.steps) == 2
    x = torch.randn(3, 2, SAMPLES)
    expected = nn.Sequential(*layers)(x).mean(-1)
    torch.testing.assert_close(found.rest(found.front(x)), expected)
    assert count_products(layers[1], layers[0](x[:1])) == 8 * 32 * 3 * SAMPLES


def test_networks_without_a_front() -> None:
    assert choose_fronts([Chain(Centred(), nn.Conv1d(2, 8, 3))], 2, SAMPLES, 8) == []
    assert choose_fronts([nn.Linear(2, 2)], 2, SAMPLES, 8) == []  # says nothing of steps
    conv = Chain(nn.Conv1d(2, 8, 3, padding=1))
    assert choose_fronts([conv], 2, SAMPLES, SAMPLES) == []  # windows do not overlap
    assert choose_fronts([conv], 2, SAMPLES, 0.3) == []  # nor lie a sample apart


def test_what_is_apart_is_chosen_even_window_by_window() -> None:
    torch.manual_seed(0)
    small = {"widths": (4, 8), "depths": (1, 1), "kernel_sizes": (5, 5), "strides": (4, 2)}
    network = BranchedResNet1d(**small, first_kernel_size=7, attention="cbam").eval()
    (found,) = choose_fronts([network], 3, SAMPLES, 32)
    assert found.reach.is_apart
    assert (found.reach.left, found.reach.right) == (found.reach.columns, 0)
    (local,) = choose_fronts([BranchedResNet1d(**small, first_kernel_size=7).eval()], 3, 1024, 32)
    assert local.reach.is_local


@pytest.mark.parametrize(
    ("stride", "step", "hop"),
    [(1, 102.4, 102), (16, 102.4, 96), (16, 30.0, 32), (16, 23.0, None), (16, 5.0, None)],
)
def test_windows_of_all_detectors_lie_whole_columns_apart(stride, step, hop) -> None:
    reach = Reach(1024, 64, 5, stride, 3, 3, False)
    assert choose_hop(reach, step) == hop
    # Of each detector alone they may be uneven.
    apart = dataclasses.replace(reach, is_apart=True)
    assert choose_hop(apart, step) == (step if step >= stride else None)


def test_windows_begin_with_columns() -> None:
    assert place_windows(5, 25.6, 16).tolist() == [0, 32, 48, 80, 96]
    assert place_windows(4, 102.4, 1).tolist() == [0, 102, 205, 307]
    assert place_windows(0, 102.4, 1).tolist() == []


class Stairs(nn.Module):
    """Has a column for every sample, and in truth only every fourth."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., ::4].repeat_interleave(4, -1) * 2


def test_a_stride_that_is_hidden_is_found() -> None:
    (found,) = choose_fronts([Chain(Stairs())], 2, SAMPLES, 8)
    assert found.reach.is_local
    assert choose_fronts([Chain(Stairs())], 2, SAMPLES, 10) == []
    assert not agrees_with_windows(found._replace(hop=10), 2)


def test_a_hidden_stride_of_what_is_apart_is_found() -> None:
    """Windows of 64.1 samples begin at multiples of 64 at first."""

    def apart(x: Tensor) -> Tensor:
        return x[..., ::64].repeat_interleave(64, -1)[:, :, None] * 2

    network = Chain()
    network.front_steps = lambda: [FrontStep(apart, lambda y: y.mean((1, 2, 3))[:, None])]
    assert choose_fronts([network], 2, 1024, 64.1) == []


@pytest.mark.parametrize("error", [ValueError, IndexError, AssertionError, RuntimeError])
def test_a_front_that_refuses_long_strain_is_given_windows(error: type[Exception]) -> None:
    def picky(x: Tensor) -> Tensor:
        if x.shape[-1] != SAMPLES:
            raise error("one length only")
        return torch.stack([x, -x], dim=2)  # of each detector alone

    network = Chain()
    network.front_steps = lambda: [FrontStep(picky, lambda y: y.mean((1, 2, 3))[:, None])]
    (found,) = choose_fronts([network], 2, SAMPLES, 16)
    assert not found.reach.is_local


def test_memory_that_runs_out_is_no_refusal() -> None:
    def greedy(x: Tensor) -> Tensor:
        if x.shape[-1] != SAMPLES:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return x

    network = Chain()
    network.front_steps = lambda: [FrontStep(greedy, lambda y: y.mean((1, 2))[:, None])]
    with pytest.raises(torch.cuda.OutOfMemoryError):
        choose_fronts([network], 2, SAMPLES, 16)


def test_branches_of_any_window_are_chosen() -> None:
    """The stride divides no window of 1,000 samples: the branches are given windows."""
    torch.manual_seed(0)
    network = BranchedResNet1d(widths=(4, 8), depths=(1, 1), kernel_sizes=(5, 5), strides=(4, 2))
    (found,) = choose_fronts([network.eval()], 3, 1000, 100)
    assert found.reach.is_apart
    assert not found.reach.is_local


@pytest.mark.parametrize("narrow", [0, 2])
def test_networks_of_several_folds_share_the_furthest_reach(narrow: int) -> None:
    torch.manual_seed(0)
    networks = [CNN1d(kernel_size=7).eval() for _ in range(3)]
    (alone,) = choose_fronts(networks[1:2], 3, SAMPLES, 16)
    with torch.no_grad():
        for layer in networks[narrow].feature_layers()[::3]:
            layer.weight[..., [0, -1]] = 0  # this fold sees less
    (less,) = choose_fronts([networks[narrow]], 3, SAMPLES, 16)
    assert less.reach.left < alone.reach.left
    found = choose_fronts(networks, 3, SAMPLES, 16)
    assert [each.steps[0] for each in found] == [each.features[0] for each in networks]
    assert {each.reach for each in found} == {alone.reach}


def test_probing_draws_nothing_and_changes_nothing() -> None:
    torch.manual_seed(0)
    network = CNN1d().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    choose_fronts([network], 3, SAMPLES, 16)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
