"""Learned front-ends: published sizes, gradients, and what each branch sees."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from runtime.errors import UserError
from spectrograms import (
    CNNSpectrogram,
    ComplexMorletCWT,
    MultiSpectrogram,
    ResNetSpectrogram,
    WaveNetSpectrogram,
)

FS = 2048


WAVE = {"base_filters": 128, "kernel_size": 3, "wave_layers": (10, 6, 2)}


SEPARATE = {"in_channels": 1, "separate_channel": True, "wave_block": "none"}


@pytest.mark.parametrize(
    ("make", "parameters", "shape"),
    [
        (lambda: WaveNetSpectrogram(**WAVE), 1_199_616, (3, 128, 1024)),  # Nspec22
        (lambda: WaveNetSpectrogram(**WAVE, wave_block="none"), 2_077_440, (3, 128, 1024)),
        (lambda: CNNSpectrogram(3, 128, (32, 16, 4)), 20_352, (3, 128, 1024)),  # Nspec23
        (lambda: CNNSpectrogram(3, 128, (64, 16, 4)), 32_640, (3, 128, 1024)),
        (
            lambda: WaveNetSpectrogram(base_filters=256, wave_block="gated"),  # Nspec25
            8_283_648,
            (3, 256, 1024),
        ),
        (
            lambda: WaveNetSpectrogram(wave_layers=(10, 10, 10), **SEPARATE),  # Nspec30
            3_454_464,
            (3, 128, 1024),
        ),
        (lambda: WaveNetSpectrogram(wave_layers=(8, 8, 8), **SEPARATE), 2_764_032, (3, 128, 1024)),
        # published 23,808 with a batch norm of 64 that saw no data
        (ResNetSpectrogram, 23_808 - 64, (1, 128, 1024)),
        (lambda: ResNetSpectrogram(transpose=True), 23_808 - 64, (1, 1024, 128)),
    ],
)
def test_learned_front_ends_have_the_published_counts_and_shapes(make, parameters, shape):
    front_end = make()
    assert sum(p.numel() for p in front_end.parameters() if p.requires_grad) == parameters
    with torch.no_grad():
        assert front_end(torch.randn(2, 3, 4096)).shape == (2, *shape)


SMALL = {
    "wavenet": lambda **k: WaveNetSpectrogram(base_filters=8, wave_layers=(3, 2), **k),
    "chain": lambda **k: WaveNetSpectrogram(base_filters=(4, 8), wave_layers=(3, 2), **k),
    "cnn": lambda **k: CNNSpectrogram(base_filters=8, kernel_sizes=(9, 4), **k),
    "cnn chain": lambda **k: CNNSpectrogram(base_filters=(4, 6, 8), kernel_sizes=(9, 4), **k),
}


@pytest.mark.parametrize("name", SMALL)
def test_learned_front_ends_learn_everywhere(name):
    x = torch.randn(2, 3, 256)
    front_end = SMALL[name]()
    image = front_end(x)
    assert image.shape == (2, 2, 8, 16 if name == "chain" else 64)  # 4 * 4 in the chain
    (image * torch.randn_like(image)).sum().backward()
    assert all(p.grad.isfinite().all() for p in front_end.parameters())
    # the bias before a batch norm is the one that the norm removes
    assert all(p.grad.abs().sum() > 0 for n, p in front_end.named_parameters() if "weight" in n)
    squashed = SMALL[name](sigmoid=True, output_size=10)(x)
    assert squashed.shape == (2, 2, 8, 10)
    assert ((squashed > 0) & (squashed < 1)).all()


def test_cnn_front_end_is_a_convolution():
    x = torch.randn(2, 3, 256)
    front_end = CNNSpectrogram(3, 8, (9, 4))
    image = front_end(x)
    for i, (size, padding) in enumerate(((9, 4), (4, 1))):
        first = front_end.branches[i][0]
        assert first.weight.shape == (8, 3, size)
        expected = F.conv1d(x, first.weight, first.bias, stride=4, padding=padding)
        torch.testing.assert_close(image[:, i], expected)


def test_separate_channels_see_one_detector_each():
    front_end = WaveNetSpectrogram(1, 8, (2, 2, 2), separate_channel=True).eval()
    x = torch.randn(2, 3, 128)
    other = x.clone()
    other[:, 1] += 1
    changed = (front_end(x) != front_end(other)).flatten(2).any(-1)
    assert changed.tolist() == [[False, True, False]] * 2
    with pytest.raises(UserError, match="2 channels for 3 branches"):
        front_end(x[:, :2])
    with pytest.raises(UserError, match="in_channels = 1"):
        WaveNetSpectrogram(3, separate_channel=True)
    with pytest.raises(UserError, match="wave_block"):
        WaveNetSpectrogram(wave_block="gatted")


def test_reinit_draws_kaiming_normal():
    weight = CNNSpectrogram(3, 512, (32,), reinit=True).branches[0][0].weight
    assert abs(weight.std() / math.sqrt(2 / (3 * 32)) - 1) < 0.02  # 49,152 draws
    plain = CNNSpectrogram(3, 512, (32,), reinit=False).branches[0][0].weight
    assert plain.abs().max() <= 1 / math.sqrt(3 * 32)  # torch's uniform one


def test_disable_amp_keeps_float32():
    x = torch.randn(1, 3, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert CNNSpectrogram(3, 4, (4,))(x).dtype == torch.bfloat16
        assert CNNSpectrogram(3, 4, (4,), disable_amp=True)(x).dtype == torch.float32


def test_several_front_ends_at_once():
    x = torch.randn(2, 3, 512)
    members = [
        (
            ComplexMorletCWT,
            {
                "wavelet_width": 8,
                "fs": FS,
                "lower_freq": 64,
                "upper_freq": 900,
                "n_scales": 8,
                "stride": 4,
            },
        ),
        (CNNSpectrogram, {"base_filters": 8, "kernel_sizes": (9, 4)}),
    ]
    front_end = MultiSpectrogram(members)
    image = front_end(x)
    assert image.shape == (2, 5, 8, 128)
    torch.testing.assert_close(image[:, :3], ComplexMorletCWT(**members[0][1])(x))
    torch.testing.assert_close(image[:, 3:], front_end.members[1](x))
    image.sum().backward()  # learned members learn
    assert all(p.grad.abs().sum() > 0 for p in front_end.parameters())
    assert not any(p.requires_grad for p in MultiSpectrogram(members, frozen=True).parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert front_end(x).dtype == torch.float32
    members[1][1]["stride"] = 2
    with pytest.raises(UserError, match="different sizes"):
        MultiSpectrogram(members)(x)
    with pytest.raises(UserError, match="at least one"):
        MultiSpectrogram([])
