"""Scale, sign and added noise against numpy and the definitions of their levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from strain_batches import ALWAYS, red_noise

import transforms as T
from runtime.errors import UserError


def test_normalize():
    x = red_noise()
    factors = (4.61e-20, 4.23e-20, 1.11e-20)
    expected = x.double().numpy() / np.array(factors)[:, None]
    np.testing.assert_allclose(T.Normalize(factors)(x).numpy(), expected, rtol=1e-6)
    with pytest.raises(UserError, match="one factor a channel"):
        T.Normalize((1.0, 2.0))(x)
    with pytest.raises(UserError, match="zero"):
        T.Normalize((1.0, 0.0, 1.0))


def test_normalize2():
    x = torch.randn(4, 3, 64)
    x[1] = -x[1].abs()  # no positive sample
    largest = T.Normalize2("max")(x)
    np.testing.assert_allclose(
        largest.numpy(), x.numpy() / np.abs(x.numpy()).max((1, 2))[:, None, None], rtol=1e-6
    )
    mean = T.Normalize2("mean")(x)
    expected = x[0] / x[0][x[0] > 0].mean()
    torch.testing.assert_close(mean[0], expected)
    assert torch.equal(mean[1], x[1])
    with pytest.raises(UserError, match="'max' or 'mean'"):
        T.Normalize2("min")


def test_scalers():
    x = torch.randn(4, 3, 64) * 1e-22
    x[2, 1] = 0
    y = T.MinMaxScaler()(x)
    silent = torch.zeros(4, 3, dtype=torch.bool)
    silent[2, 1] = True
    torch.testing.assert_close(y.abs().amax(-1), (~silent).float())
    torch.testing.assert_close(y[0, 0], x[0, 0] / x[0, 0].abs().max())
    assert torch.equal(T.Scale(7.0)(x), x * 7.0)
    assert torch.equal(T.FlipWavePerChannel(**ALWAYS)(x), -x)


@pytest.mark.parametrize("mode", T.VolumeControl.MODES)
def test_volume_control(mode):
    x = torch.ones(200, 3, 128, dtype=torch.float64)
    gain = 20 * T.VolumeControl(6, mode, **ALWAYS)(x).log10()  # dB
    n = torch.arange(128, dtype=torch.float64)
    shape = {
        "uniform": torch.ones_like(n),
        "fade": 1 - n / 127,
        "cosine": torch.cos(2 * torch.pi * n / 128),
        "sine": torch.sin(2 * torch.pi * n / 128),
    }[mode]
    level = (gain * shape).sum(-1, keepdim=True) / shape.square().sum()  # least squares
    torch.testing.assert_close(gain, level * shape, atol=1e-4, rtol=0)
    assert torch.equal(level[:, :1].expand_as(level), level)  # shared by the detectors
    assert level.abs().max() <= 6.001
    assert level.min() < -4
    assert level.max() > 4
    with pytest.raises(UserError, match="choose from"):
        T.VolumeControl(mode="loud")


def test_to_tensor():
    array = np.arange(6, dtype=np.float64).reshape(2, 3)
    assert T.ToTensor()(array).dtype == torch.float32
    assert T.ToTensor("float64")(torch.ones(2)).dtype == torch.float64
    with pytest.raises(UserError, match="not a dtype"):
        T.ToTensor("float31")


@pytest.mark.parametrize("amplitude", [1.0, 1e-20, 1e-24])
def test_noise_has_the_peak_that_the_snr_says(amplitude):
    x = torch.randn(16, 3, 1024) * amplitude
    added = T.GaussianNoiseSNR(min_snr=12, max_snr=18, **ALWAYS)(x) - x
    ratio = x.abs().amax(-1) / added.abs().amax(-1)
    level = 20 * ratio.log10()  # (row, detector), in dB
    assert level.min() > 11.99
    assert level.max() < 18.01
    assert level.flatten().unique().numel() == level.numel()  # drawn for each
    assert level.max() - level.min() > 3
    scaled = (added / added.std(-1, keepdim=True)).flatten().double()
    assert abs((scaled**4).mean() - 3) < 0.2  # Gaussian; one standard deviation is 0.022


def test_noise_leaves_silence_silent():
    x = torch.randn(2, 3, 256)
    x[0, 1] = 0
    y = T.GaussianNoiseSNR(**ALWAYS)(x)
    assert torch.equal(y[0, 1], x[0, 1])
    assert (y[0, 0] != x[0, 0]).any()
    with pytest.raises(UserError, match="above max_snr"):
        T.GaussianNoiseSNR(20, 10)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_pink_noise_has_the_spectrum_that_the_exponent_says(exponent):
    x = torch.zeros(256, 3, 2048)
    x[..., 0] = 1.0  # a peak to scale by
    added = T.PinkNoiseSNR(0, 0, exponent, **ALWAYS)(x) - x
    added = (added / added.std(-1, keepdim=True)).double().numpy()
    power = (np.abs(np.fft.rfft(added)) ** 2).mean((0, 1))[1:-1]
    slope = np.polyfit(np.log(np.arange(1, 1024)), np.log(power), 1)[0]
    # averages of 768 draws: 4 % a bin, 1,023 bins
    assert abs(slope + exponent) < 0.03
    ratio = 1 / np.abs((T.PinkNoiseSNR(6, 6, exponent, **ALWAYS)(x) - x).numpy()).max(-1)
    np.testing.assert_allclose(20 * np.log10(ratio), 6, atol=1e-3)


@pytest.mark.parametrize("noise_type", ["gaussian", "pink", "brown"])
def test_one_noise_for_all_channels(noise_type):
    x = torch.randn(8, 3, 256)
    added = T.AddNoiseSNR2((0, 2), 0, noise_type, 0, 20, **ALWAYS)(x) - x
    assert torch.equal(added[:, 1], torch.zeros(8, 256))
    first, last = added[:, 0], added[:, 2]
    first, last = (part / part.abs().amax(-1, keepdim=True) for part in (first, last))
    torch.testing.assert_close(first, last, atol=1e-4, rtol=0)
    ratio = x[:, [0, 2]].abs().amax(-1) / added[:, [0, 2]].abs().amax(-1)
    assert ((ratio > 0.999) & (ratio < 10.001)).all()
    assert (ratio[:, 0] != ratio[:, 1]).all()  # each its own level


def test_noise_on_randomly_chosen_channels():
    x = torch.randn(600, 3, 64)
    changed = (T.AddNoiseSNR2((0, 1, 2), 2, **ALWAYS)(x) != x).any(-1)
    assert (changed.sum(1) == 2).all()
    assert (changed.float().mean(0) - 2 / 3).abs().max() < 0.08  # one sigma is 0.019
    for arguments in ({"noise_type": "blue"}, {"random_channel": 4}, {"target_channel": (0, 5)}):
        with pytest.raises(UserError):
            T.AddNoiseSNR2(**arguments, **ALWAYS)(x)
