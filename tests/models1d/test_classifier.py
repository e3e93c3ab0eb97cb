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


def test_networks_with_features_of_their_own_making_say_so_themselves() -> None:
    class Halved(CNN1d):
        def forward_features(self, x: Tensor) -> Tensor:
            return super().forward_features(x) / 2

    assert Halved().front_steps() == []
    assert MatchedFilter1d.front_steps is CNN1d.front_steps
    assert MatchedFilter1d.forward_features is not CNN1d.forward_features
