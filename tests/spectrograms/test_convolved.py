"""Front-ends as convolutions give the images that they give in the frequency domain."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spectrograms.constant_q import CQT
from spectrograms.convolved import ConvolvedFrontEnd, with_convolved_front_ends
from spectrograms.learned_front_ends import MultiSpectrogram
from spectrograms.wavelets import ComplexMorletCWT, RickerCWT

MORLET = {"wavelet_width": 8, "fs": 2048, "lower_freq": 40, "upper_freq": 900, "n_scales": 12}
RICKER = {"fs": 2048, "lower_freq": 40, "upper_freq": 500, "n_scales": 9}
FRONT_ENDS = {
    "morlet": lambda: ComplexMorletCWT(**MORLET, stride=8),
    "morlet, cropped": lambda: ComplexMorletCWT(**MORLET, stride=4, border_crop=33),
    "morlet, trained width": lambda: ComplexMorletCWT(**MORLET, stride=8, trainable_width=True),
    "morlet, trained filters": lambda: ComplexMorletCWT(**MORLET, stride=8, trainable_filter=True),
    "ricker": lambda: RickerCWT(**RICKER, stride=5),
    "ricker, trained": lambda: RickerCWT(**RICKER, stride=8, border_crop=16, trainable_filter=True),
    "constant Q": lambda: CQT(sr=2048, fmin=40, hop_length=8, bins_per_octave=8, n_bins=24),
    "constant Q, large hops": lambda: CQT(sr=2048, fmin=60, hop_length=32, n_bins=30),
}


def change_parameters(module: nn.Module) -> nn.Module:
    """Change parameters, so that the initial values alone cannot pass."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.1)
    return module


@pytest.mark.parametrize("scale", [1.0, 1e-20])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_same_image(name: str, scale: float) -> None:
    front_end = change_parameters(FRONT_ENDS[name]())
    x = torch.randn(2, 3, 2048) * scale
    convolved = with_convolved_front_ends(front_end)
    assert isinstance(convolved, ConvolvedFrontEnd)
    expected, found = front_end(x), convolved(x)
    assert found.shape == expected.shape
    # Sums of some thousand float32 products in another order.
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_front_ends_anywhere_in_a_network_and_the_network_as_it_was() -> None:
    members = [(ComplexMorletCWT, {**MORLET, "stride": 8}), (RickerCWT, {**MORLET, "stride": 8})]
    del members[1][1]["wavelet_width"]
    network = nn.Sequential(MultiSpectrogram(members), nn.Flatten())
    before = [type(module) for module in network.modules()]
    convolved = with_convolved_front_ends(network)
    assert sum(isinstance(module, ConvolvedFrontEnd) for module in convolved.modules()) == 2
    assert [type(module) for module in network.modules()] == before
    x = torch.randn(2, 3, 2048)
    torch.testing.assert_close(convolved(x), network(x), atol=1e-4, rtol=1e-4)


def test_silence_stays_silence() -> None:
    convolved = with_convolved_front_ends(ComplexMorletCWT(**MORLET, stride=8))
    assert (convolved(torch.zeros(1, 3, 2048)) == 0).all()
