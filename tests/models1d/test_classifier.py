"""What all networks on the waveform share: the places where they may be cut in two."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models1d import BranchedResNet1d, CNN1d, DenseNet1d, MatchedFilter1d, ResNet1d, WaveNet1d
from physics.observation import Observation

PAIR = Observation(("H1", "L1"), sample_rate=1024, window=0.5, min_frequency=20.0)
NETWORKS = {
    "cnn": (lambda: CNN1d(hidden_dims=(4, 8), observation=PAIR), 6),
    "resnet": (
        lambda: ResNet1d(base_filters=4, groups=2, n_block=4, kernel_size=5, observation=PAIR),
        1 + 4 + 2,
    ),
    "densenet": (lambda: DenseNet1d(4, (1, 2), 8, observation=PAIR), 4 + 1 + 4 + 1 + 2),
    "wavenet": (lambda: WaveNet1d(hidden_dims=(4, 6), wave_layers=(2, 1), observation=PAIR), 2 + 1),
    "branched": (
        lambda: BranchedResNet1d(widths=(4, 8, 8, 8), second_concat=True, observation=PAIR),
        1,
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_steps_and_what_follows_them_are_the_network(kind: str) -> None:
    torch.manual_seed(0)
    make, count = NETWORKS[kind]
    network = make().eval()
    steps = network.front_steps()
    assert len(steps) == count
    x = torch.randn(2, 2, 512)
    with torch.inference_mode():
        expected, features = network(x), x
        for step, rest in steps:
            features = step(features)
            torch.testing.assert_close(rest(features), expected)


@pytest.mark.parametrize("base", [CNN1d, BranchedResNet1d])
@pytest.mark.parametrize("method", ["forward", "forward_features"])
def test_a_child_with_a_pass_of_its_own_is_not_cut(base: type, method: str) -> None:
    def halved(self, x: Tensor, *rest: Tensor) -> Tensor:
        return getattr(base, method)(self, x, *rest) / 2

    assert type("Halved", (base,), {method: halved})().front_steps() == []


def test_a_filter_bank_is_not_cut() -> None:
    bank = MatchedFilter1d(templates=4, basis=4, bank_size=8, arrival=(0.2, 0.4), observation=PAIR)
    assert bank.front_steps() == []
