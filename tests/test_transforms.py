"""Waveform transforms against scipy, numpy written plainly and known signals."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy import signal

import transforms as T
from physics import noise
from physics.constants import DETECTORS, STRAIN_UNIT
from runtime.errors import UserError
from signal_transforms import denoising
from signal_transforms import linear_operators as filters

FS = 2048
CPU = torch.device("cpu")


def strain(batch: int = 2, length: int = 4096) -> torch.Tensor:
    """Red noise of the amplitude of strain, (batch, 3, length)."""
    return torch.randn(batch, 3, length).cumsum(-1) * 1e-21


# --- every transform -----------------------------------------------------------------------------

ALWAYS = {"always_apply": True}
EVERY = {
    "Normalize": lambda **k: T.Normalize((2.0, 3.0, 4.0), **k),
    "Normalize2": T.Normalize2,
    "MinMaxScaler": T.MinMaxScaler,
    "Scale": T.Scale,
    "VolumeControl": T.VolumeControl,
    "FlipWave": T.FlipWave,
    "FlipWavePerChannel": T.FlipWavePerChannel,
    "GaussianNoiseSNR": T.GaussianNoiseSNR,
    "PinkNoiseSNR": T.PinkNoiseSNR,
    "AddNoiseSNR2": T.AddNoiseSNR2,
    "BandPass": lambda **k: T.BandPass(30, 300, order=4, **k),
    "BandPass2": lambda **k: T.BandPass2([(30, 300), (20, 300), (20, 200)], order=2, **k),
    "BandPassTorch": T.BandPassTorch,
    "Whiten": lambda **k: T.Whiten(matrices=[np.eye(512) * 2] * 3, unit=1.0, **k),
    "WhitenTorch": lambda **k: T.WhitenTorch(None, **k),
    "DWTDenoise": T.DWTDenoise,
    "PitchShift": lambda **k: T.PitchShift(2, **k),
    "SpectralDropout": T.SpectralDropout,
    "DropChannel": lambda **k: T.DropChannel((0, 2), random=1, **k),
    "SwapChannel": T.SwapChannel,
    "GetDiff": T.GetDiff,
    "GlobalTimeShift": T.GlobalTimeShift,
    "TimeShift": T.TimeShift,
    "IndependentTimeShift": T.IndependentTimeShift,
    "AlignPhase": T.AlignPhase,
}
each = pytest.mark.parametrize("name", EVERY)


@each
def test_keeps_shape_and_input(name):
    x = torch.randn(4, 3, 512)
    before = x.clone()
    y = EVERY[name](**ALWAYS)(x)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert torch.equal(x, before)
    assert not torch.equal(y, x)


@each
def test_takes_one_sample_silence_and_none(name):
    transform = EVERY[name](**ALWAYS)
    for x in (torch.randn(1, 3, 512), torch.zeros(2, 3, 512), torch.zeros(0, 3, 512)):
        y = transform(x)
        assert y.shape == x.shape
        assert y.isfinite().all()


@each
def test_a_broken_row_stays_alone(name):
    x = torch.randn(4, 3, 512)
    x[2, 1, 77] = torch.nan
    y = EVERY[name](**ALWAYS)(x)
    assert y[[0, 1, 3]].isfinite().all()
    assert y[2].isnan().any()


@each
def test_the_seed_decides(name):
    x = torch.randn(8, 3, 512)
    results = []
    for seed in (1, 1):
        torch.manual_seed(seed)
        results.append(EVERY[name](always_apply=False, p=0.5)(x))
    assert torch.equal(*results)


@each
def test_p_is_the_probability_of_a_row(name):
    transform = EVERY[name](always_apply=False, p=0.3)
    x = torch.randn(600, 3, 512)
    changed = (transform(x) != x).any(-1)  # (row, detector)
    if transform.per_channel:
        mixed = changed.any(1) & ~changed.all(1)
        assert mixed.any()  # detectors draw on their own
    else:
        changed = changed.any(1)  # some transforms leave a detector as it is
    share = changed.float().mean()
    # binomial: 600 draws at 0.3 have a standard deviation of 0.019; and one shift in five of
    # PitchShift is by nothing
    assert abs(share - (0.24 if name == "PitchShift" else 0.3)) < 0.08
    assert torch.equal(EVERY[name](always_apply=False, p=0.0)(x), x)


@each
def test_refuses_what_is_no_batch_of_waveforms(name):
    with pytest.raises(UserError, match="batch, detector, time"):
        EVERY[name]()(torch.randn(3, 512))
    with pytest.raises(UserError, match="probability"):
        EVERY[name](p=1.5)


def test_every_transform_is_listed():
    listed = {name for name in T.__all__ if isinstance(getattr(T, name), type)}
    others = {"Compose", "OneOf", "ToTensor", "WaveTransform", "GaussianNoiseSNRTorch"}
    assert listed == set(EVERY) | others


def test_one_of_draws_for_each_row():
    x = torch.ones(900, 3, 4)
    y = T.OneOf([T.Scale(2.0), T.Scale(3.0), T.FlipWave(p=0.0)])(x)[:, 0, 0]
    for value in (1, 2, 3):
        assert abs((y == value).float().mean() - 1 / 3) < 0.08  # one sigma is 0.016
    with pytest.raises(UserError, match="at least one"):
        T.OneOf([])


def test_compose():
    flip = T.FlipWave(**ALWAYS)
    x = torch.randn(2, 3, 16)
    assert torch.equal(T.Compose(None)(x), x)
    assert torch.equal(T.Compose(flip)(x), -x)
    both = T.Compose([flip, T.Normalize((2.0, 2.0, 2.0))])
    assert torch.equal(both(x), -x / 2)
    assert len(both) == 2
    assert next(iter(both)) is flip
    assert not both.state_dict()


# --- scale and noise -----------------------------------------------------------------------------


def test_normalize():
    x = strain()
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


# --- band-pass -----------------------------------------------------------------------------------

BANDS = [(12, 360, 4), (12, 512, 8), (16, 512, 8), (24, 300, 4), (24, 350, 4), (30, 300, 4)]


@pytest.mark.parametrize(("lower", "upper", "order"), BANDS)  # all that the experiments use
def test_band_pass_is_that_of_scipy(lower, upper, order):
    x = torch.cat([strain(6), torch.randn(2, 3, 4096)])
    sections = signal.butter(order, (lower, upper), "bandpass", fs=FS, output="sos")
    padding = 3 * (2 * order + 1)  # filtfilt's default for the polynomial form
    expected = signal.sosfiltfilt(sections, x.double().numpy(), padlen=padding)
    transform = T.BandPass(lower, upper, order=order)
    error = np.abs(transform(x).numpy() - expected).max(-1)
    assert (error / np.abs(expected).max(-1)).max() < 1e-5
    # a constant is filtered to nothing; a few units of float32's last place are left of it
    assert transform(torch.ones(1, 3, 4096)).abs().max() < 1e-6


def test_band_pass_of_real_samples_is_that_of_scipy(real_samples):
    files = sorted(real_samples.glob("train/*/*/*/*.npy"))[:8]
    x = torch.tensor(np.stack([np.load(file, allow_pickle=False) for file in files])).float()
    sections = signal.butter(8, (12, 512), "bandpass", fs=FS, output="sos")
    expected = signal.sosfiltfilt(sections, x.double().numpy(), padlen=51)
    error = np.abs(T.BandPass(12, 512)(x).numpy() - expected).max(-1)
    assert (error / np.abs(expected).max(-1)).max() < 1e-5


@pytest.mark.parametrize("length", [100, 1001, 3000])
def test_band_pass_of_other_lengths(length):
    x = torch.randn(3, 3, length, dtype=torch.float64)
    sections = signal.butter(4, (20, 500), "bandpass", fs=FS, output="sos")
    expected = signal.sosfiltfilt(sections, x.numpy(), padlen=27)
    y = T.BandPass(20, 500, order=4)(x)
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_band_pass_agrees_with_filtfilt_where_that_is_exact():
    x = torch.randn(2, 3, 4096)
    b, a = signal.butter(4, (30, 300), "bandpass", fs=FS)
    expected = signal.filtfilt(b, a, x.double().numpy())
    y = T.BandPass(30, 300, order=4)(x).numpy()
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


def test_band_pass_has_unit_gain_inside_and_half_at_the_edge():
    time = torch.arange(4096, dtype=torch.float64) / FS
    tones = torch.stack([torch.cos(2 * torch.pi * f * time) for f in (100, 200, 400)])
    y = T.BandPass(50, 200)(tones[None].float())[0, :, 1500:2500]
    peaks = y.abs().amax(-1)
    torch.testing.assert_close(peaks, torch.tensor([1.0, 0.5, 0.0]), atol=3e-3, rtol=0)
    torch.testing.assert_close(y[0], tones[0, 1500:2500].float(), atol=1e-3, rtol=0)  # no phase


def test_taper_takes_the_edge_transients_away():
    x = strain(4)
    edge = T.BandPass(12, 512)(x)[..., :20].abs().amax()
    tapered = T.BandPass(12, 512, taper=128)(x)
    assert tapered[..., :20].abs().amax() < 0.5 * edge
    with pytest.raises(UserError, match="taper"):
        T.BandPass(12, 512, taper=3000)(x)


def test_band_pass_refuses_what_is_no_band():
    for lower, upper in ((0, 300), (300, 300), (30, 1024)):
        with pytest.raises(UserError, match="half the sampling rate"):
            T.BandPass(lower, upper)
    with pytest.raises(UserError, match="longer waveform"):
        T.BandPass(30, 300)(torch.randn(1, 3, 51))


@pytest.mark.parametrize("make", [lambda: T.BandPass(30, 300, order=4), T.Whiten])
def test_filters_keep_float32_whatever_the_precision_settings(make):
    x = strain(3, 512)
    expected = make()(x)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = make()(x)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_band_pass2_filters_each_channel_by_its_own_band():
    x = torch.randn(3, 3, 512)
    bands = [(12, 500), (20, 300), (30, 400)]
    y = T.BandPass2(bands, order=4)(x)
    for i, (lower, upper) in enumerate(bands):
        assert torch.equal(y[:, i : i + 1], T.BandPass(lower, upper, order=4)(x[:, i : i + 1]))
    with pytest.raises(UserError, match="3 bands for 2 channels"):
        T.BandPass2()(x[:, :2])


def test_causal_band_pass():
    x = torch.randn(2, 3, 1000)
    lower, upper = 50.0, 200.0
    # the analogue resonance, mapped by the bilinear transform with its centre kept in place
    centre = np.sqrt(lower * upper)
    width = (upper - lower) / centre
    warped = 2 * FS * np.tan(np.pi * centre / FS)
    b, a = signal.bilinear([width * warped, 0], [1, width * warped, warped**2], FS)
    sine = np.sin(2 * np.pi * centre / FS) / (2 * np.pi * centre / FS)
    y = T.BandPassTorch(lower, upper)(x)
    # the cookbook's alpha has sin(w) for w: at 100 of 2,048 Hz 1.6 % less width
    expected = signal.lfilter(b, a, x.double().numpy())
    np.testing.assert_allclose(y.numpy(), expected, atol=0.05 * np.abs(expected).max())
    alpha = np.sin(2 * np.pi * centre / FS) * width / 2
    assert sine > 0.98
    exact = signal.lfilter(
        np.array([alpha, 0, -alpha]) / (1 + alpha),
        np.array([1 + alpha, -2 * np.cos(2 * np.pi * centre / FS), 1 - alpha]) / (1 + alpha),
        x.double().numpy(),
    )
    np.testing.assert_allclose(y.numpy(), exact, atol=1e-5)
    time = torch.arange(4096) / FS
    tone = torch.sin(2 * torch.pi * 100 * time).expand(1, 3, -1)
    assert abs(T.BandPassTorch(lower, upper)(tone)[..., 2000:].abs().max() - 1) < 1e-3


# --- whitening -----------------------------------------------------------------------------------


def reference_whitening(detector: str, length: int) -> np.ndarray:
    """C^(-1/2) by scipy, float64, in 1 / 1e-21 strain."""
    from scipy.linalg import eigh, toeplitz

    values, vectors = eigh(toeplitz(noise.autocovariance(detector, length, FS)))
    return (vectors / np.sqrt(values)) @ vectors.T


def coloured_noise(batch: int, length: int) -> torch.Tensor:
    """Noise of the design curves without power below 10 Hz taken out, in strain."""
    from scipy.linalg import eigh, toeplitz

    rows = []
    for detector in DETECTORS:
        values, vectors = eigh(toeplitz(noise.autocovariance(detector, length, FS)))
        root = (vectors * np.sqrt(values)) @ vectors.T
        rows.append(np.random.default_rng(len(rows)).standard_normal((batch, length)) @ root)
    return torch.tensor(np.stack(rows, axis=1) * STRAIN_UNIT, dtype=torch.float32)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path_factory.getbasetemp() / "g2net"))


def test_whitening_is_exact():
    length = 512
    x = coloured_noise(400, length)
    y = T.Whiten()(x).numpy()
    for i, detector in enumerate(DETECTORS):
        expected = (x[:, i].double().numpy() / 1e-21) @ reference_whitening(detector, length)
        # strain is rounded to float32 before; the matrix amplifies that by its condition
        np.testing.assert_allclose(y[:, i], expected, atol=2e-4)
    # unit variance from the first sample to the last: 400 draws give it within 0.07 (one sigma)
    variance = (y.astype(np.float64) ** 2).mean(0)
    assert abs(variance.mean() - 1) < 0.01
    assert np.abs(variance - 1).max() < 0.4
    lagged = (y[..., 1:] * y[..., :-1]).mean()
    assert abs(lagged) < 0.01


def test_full_precision_takes_tf32_away_and_gives_it_back(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with filters.full_precision("cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


def test_whitening_with_a_given_psd_or_matrix():
    length = 256
    psd = noise.psd_on_grid("H1", noise.STRETCH_FACTOR * length, FS, noise.FLOOR) * 1e-42
    x = coloured_noise(4, length)[:, [0, 0]]
    expected = T.Whiten(("H1", "H1"))(x)
    by_psd = T.Whiten(psds=[psd, psd])(x)
    torch.testing.assert_close(by_psd, expected, rtol=0, atol=1e-4)
    matrix = reference_whitening("H1", length)
    by_matrix = T.Whiten(matrices=[matrix, matrix])(x)
    torch.testing.assert_close(by_matrix, expected, rtol=0, atol=1e-4)
    lopsided = np.triu(matrix)  # no symmetry to use
    y = T.Whiten(matrices=[lopsided, matrix])(x)
    expected = (x[:, 0].double().numpy() / 1e-21) @ lopsided.T
    np.testing.assert_allclose(y[:, 0].numpy(), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("decimate", [1, 2, 4])
def test_whitening_folds_band_and_decimation(decimate):
    length = 512
    x = coloured_noise(8, length)
    upper = 240
    y = T.Whiten(band=(30, upper), order=4, decimate=decimate)(x)
    assert y.shape == (8, 3, length // decimate)
    white = T.Whiten()(x).double().numpy()
    sections = signal.butter(4, (30, upper), "bandpass", fs=FS, output="sos")
    expected = signal.sosfiltfilt(sections, white, padlen=27)[..., ::decimate]
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("decimate", [2, 4])
def test_whitening_decimates_without_a_band_and_noise_stays_white(decimate):
    from scipy.fft import dct, idct

    length = 512
    whiten = T.Whiten(decimate=decimate)
    x = coloured_noise(8, length)
    white = T.Whiten()(x).double().numpy()
    kept = dct(white, norm="ortho")[..., : length // decimate]
    kept[..., :6] = 0  # below 12 Hz, in steps of 2 Hz
    np.testing.assert_allclose(whiten(x).numpy(), idct(kept, norm="ortho"), atol=1e-4)
    # noise of covariance C has D D^T after D C^(-1/2), that of white noise without low frequencies
    projection = filters.folded(np.eye(length), FS, None, 8, decimate)
    remaining = filters.without_low(torch.eye(length // decimate), FS / decimate).numpy()
    np.testing.assert_allclose(projection @ projection.T, remaining, rtol=0, atol=1e-6)
    assert np.trace(remaining) == pytest.approx(length // decimate - 6)
    tone = np.sin(2 * np.pi * 0.4 * FS / 2 / decimate * np.arange(length) / FS)
    low = projection @ tone  # what lies below the new Nyquist frequency passes, edges apart
    assert np.square(low).sum() == pytest.approx(np.square(tone).sum(), rel=0.01)


def test_spectral_dropout_removes_one_band_of_all_detectors():
    x = torch.randn(64, 3, 512)
    y = T.SpectralDropout(max_width=0.2, always_apply=True)(x)
    before, after = torch.fft.rfft(x), torch.fft.rfft(y)
    gone = after.abs() < 1e-4 * before.abs().amax()  # (row, detector, frequency)
    assert torch.equal(gone[:, 0], gone[:, 1])
    edges = (gone[:, 0, 1:] != gone[:, 0, :-1]).sum(1)  # one band has two, or one at an end
    assert edges.max() == 2
    width = gone[:, 0].float().mean(1)
    assert 0.15 < width.max() <= 0.21
    torch.testing.assert_close(after[~gone], before[~gone], rtol=1e-4, atol=1e-4)
    for width in (0, 1):
        with pytest.raises(UserError, match="max_width"):
            T.SpectralDropout(max_width=width)


def test_whitening_refuses_what_does_not_fit():
    with pytest.raises(UserError, match="folds over"):
        T.Whiten(decimate=0)
    with pytest.raises(UserError, match="folds over"):
        T.Whiten(band=(20, 600), decimate=2)
    with pytest.raises(UserError, match="always_apply"):
        T.Whiten(band=(20, 400), decimate=2, always_apply=False)
    with pytest.raises(UserError, match="not both"):
        T.Whiten(psds=[], matrices=[])
    with pytest.raises(UserError, match="2 channels"):
        T.Whiten()(torch.randn(1, 2, 512))
    with pytest.raises(UserError, match="does not fit"):
        T.Whiten(matrices=[np.eye(8)] * 3)(torch.randn(1, 3, 512))
    with pytest.raises(UserError, match="at least 1024"):
        T.Whiten(psds=[np.ones(257)] * 3)(torch.randn(1, 3, 512))
    with pytest.raises(UserError, match="positive"):
        T.Whiten(psds=[np.zeros(1025)] * 3)(torch.randn(1, 3, 512))


def test_filters_made_in_inference_mode_serve_training():
    filters.band_pass_operator.cache_clear()
    transform = T.BandPass(40, 300, order=4)
    with torch.inference_mode():
        transform(torch.randn(1, 3, 512))
    x = torch.randn(1, 3, 512, requires_grad=True)
    transform(x).square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_whitening_by_division():
    length = 4096
    psd = noise.psd_on_grid("V1", length, FS, noise.FLOOR) * 1e-42
    x = coloured_noise(6, 512)[:, :1]
    with pytest.raises(UserError, match="expected signal_len"):
        T.WhitenTorch(psds=[psd])(x)
    x = strain(3)
    y = T.WhitenTorch(psds=[psd] * 3)(x).double().numpy()
    window = signal.get_window("hann", length)
    scale = np.sqrt((window**2).mean()) * np.sqrt(psd * FS / 2)
    expected = np.fft.irfft(np.fft.rfft(x.double().numpy() * window) / scale)
    np.testing.assert_allclose(y, expected, atol=1e-4 * np.abs(expected).max())
    with pytest.raises(UserError, match="PSDs for"):
        T.WhitenTorch(psds=[psd])(x)


@pytest.mark.parametrize("amplitude", [1.0, 1e-23])
def test_whitening_by_the_average_of_segments(amplitude):
    length = 4096
    sections = signal.butter(2, (60, 300), "bandpass", fs=FS, output="sos")
    white = np.random.default_rng(0).standard_normal((4, 3, length + 1000))
    x = signal.sosfilt(sections, white)[..., 1000:] + 0.05 * white[..., 1000:]
    y = T.WhitenTorch()(torch.tensor(x * amplitude).float()).double().numpy()
    power = (y**2).mean()
    assert abs(power - 1) < 0.1
    _, before = signal.welch(x, FS, nperseg=256)
    _, after = signal.welch(y, FS, nperseg=256)
    spread = [np.log(p.mean((0, 1))[3:-3]).std() for p in (before, after)]
    assert spread[0] > 1.5
    assert spread[1] < 0.2
    # not phase only: a row's own spectrum still scatters as noise does
    magnitudes = np.abs(np.fft.rfft(y))[..., 100:1900]
    assert 0.4 < magnitudes.std() / magnitudes.mean() < 0.65  # Rayleigh: 0.52


# --- denoising and pitch -------------------------------------------------------------------------


@pytest.mark.parametrize("wavelet", ["haar", "db4", "sym5", "coif2"])
@pytest.mark.parametrize("level", [1, 2])
def test_denoising_is_that_of_pywt(wavelet, level):
    pywt = pytest.importorskip("pywt")
    time = np.arange(2048) / FS
    x = np.sin(2 * np.pi * 60 * time**2) + 0.3 * np.random.default_rng(1).standard_normal(
        (2, 3, 2048)
    )
    y = T.DWTDenoise(wavelet, level=level)(torch.tensor(x)).numpy()
    for row, found in zip(x.reshape(-1, 2048), y.reshape(-1, 2048), strict=True):
        parts = pywt.wavedec(row, wavelet, mode="periodization")
        finest = parts[-level]
        sigma = np.median(np.abs(finest - np.median(finest))) / 0.6745
        limit = sigma * np.sqrt(2 * np.log(2048))
        kept = [parts[0]] + [pywt.threshold(part, limit, "hard") for part in parts[1:]]
        expected = pywt.waverec(kept, wavelet, mode="periodization")
        assert np.abs(expected - row).max() > 0.3  # something was taken away
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("wavelet", ["haar", "db3", "db10"])
def test_wavelet_coefficients_are_those_of_pywt(wavelet):
    pywt = pytest.importorskip("pywt")
    x = torch.randn(3, 64, dtype=torch.float64)
    low = denoising.scaling_filter(wavelet)
    approximation, detail = denoising.analyse(x, low)
    expected = pywt.dwt(x.numpy(), wavelet, mode="periodization")
    np.testing.assert_allclose(approximation.numpy(), expected[0], atol=1e-12)
    np.testing.assert_allclose(detail.numpy(), expected[1], atol=1e-12)
    back = denoising.synthesise(approximation, detail, low)
    torch.testing.assert_close(back, x, atol=1e-10, rtol=0)
    for length in (64, 100, 2048, 4096):
        taps = len(low)
        assert denoising.max_level(length, taps) == pywt.dwt_max_level(length, taps)


def test_denoising_refuses_what_it_cannot_do(monkeypatch):
    with pytest.raises(UserError, match="periodic"):
        T.DWTDenoise(mode="symmetric")
    with pytest.raises(UserError, match="multiple of"):
        T.DWTDenoise()(torch.randn(1, 3, 1000))
    with pytest.raises(UserError, match="level"):
        T.DWTDenoise(level=11)(torch.randn(1, 3, 1024))
    pytest.importorskip("pywt")
    with pytest.raises(UserError, match="no wavelet"):
        T.DWTDenoise("daubechies")
    with pytest.raises(UserError, match="not orthogonal"):
        T.DWTDenoise("bior2.2")
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[dev\]'"):
        T.DWTDenoise("db4")


@pytest.mark.parametrize("semitones", [-12, -5, 3, 7])
def test_pitch_shift_moves_a_sine(semitones):
    time = torch.arange(4096, dtype=torch.float64) / FS
    x = torch.sin(2 * torch.pi * 150 * time).float()[None]
    y = denoising.shift_pitch(x, semitones)[0].double().numpy()
    assert y.shape == (4096,)
    inner = y[512:-512]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)), 2**17))
    frequency = spectrum.argmax() * FS / 2**17
    assert abs(frequency / (150 * 2 ** (semitones / 12)) - 1) < 5e-3  # a tenth of a semitone
    assert abs(np.sqrt(2) * inner.std() - 1) < 0.03  # the amplitude stays
    away = np.abs(np.arange(len(spectrum)) * FS / 2**17 - frequency) > 20
    assert (spectrum[away] ** 2).sum() < 0.02 * (spectrum**2).sum()


def test_pitch_shift_draws_whole_semitones_from_both_ends():
    time = torch.arange(2048, dtype=torch.float64) / FS
    x = torch.sin(2 * torch.pi * 200 * time).float().expand(60, 3, -1) * 1e-24
    y = T.PitchShift(2, **ALWAYS)(x)
    assert torch.equal(y[:, 0], y[:, 1])  # shared by the detectors
    spectrum = np.abs(np.fft.rfft(y[:, 0, 200:-200].double().numpy() * np.hanning(1648), 2**15))
    steps = 12 * np.log2(spectrum.argmax(-1) * FS / 2**15 / 200)
    assert np.abs(steps - steps.round()).max() < 0.15
    assert set(steps.round().astype(int)) == {-2, -1, 0, 1, 2}
    assert torch.equal(y[np.abs(steps) < 0.1], x[np.abs(steps) < 0.1])


# --- channels and time ---------------------------------------------------------------------------


def test_channels():
    x = torch.randn(400, 3, 8)
    y = T.DropChannel((0, 2))(x)
    assert torch.equal(y[:, 1], x[:, 1])
    assert y[:, [0, 2]].abs().sum() == 0
    dropped = (T.DropChannel((0, 2), random=1)(x) == 0).all(-1)
    assert (dropped.sum(1) == 1).all()
    assert abs(dropped[:, 0].float().mean() - 0.5) < 0.12  # one sigma is 0.025
    assert torch.equal(T.SwapChannel(**ALWAYS)(x), x[:, [1, 0, 2]])
    expected = torch.stack([x[:, 1] - x[:, 0], x[:, 2] - x[:, 1], x[:, 0] - x[:, 2]], dim=1)
    assert torch.equal(T.GetDiff()(x), expected)
    for broken in (T.DropChannel((3,)), T.SwapChannel((0, 3), **ALWAYS), T.DropChannel((-1,))):
        with pytest.raises(UserError, match="not all among"):
            broken(x)
    with pytest.raises(UserError, match="three channels"):
        T.GetDiff()(x[:, :2])
    for make in (lambda: T.DropChannel((0,), 2), lambda: T.SwapChannel((0, 1, 2))):
        with pytest.raises(UserError):
            make()


def found_shifts(x: torch.Tensor, y: torch.Tensor, limit: int) -> list[int]:
    """By how much each row (time,) was moved, its edges zeroed; asserts that it was."""
    shifts = []
    for before, after in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        for shift in range(-limit, limit + 1):
            moved = torch.zeros_like(before)
            source = before[max(0, -shift) : len(before) - max(0, shift)]
            moved[max(0, shift) : max(0, shift) + len(source)] = source
            if torch.equal(moved, after):
                shifts.append(shift)
                break
        else:
            pytest.fail("the row is not a shifted one")
    return shifts


def test_time_shifts():
    x = torch.randn(60, 3, 50)
    shifts = found_shifts(x, T.TimeShift(4, **ALWAYS)(x), 6)
    assert shifts[::3] == shifts[1::3] == shifts[2::3]
    assert set(shifts) == set(range(-4, 5))
    shifts = found_shifts(x, T.IndependentTimeShift((-2, 5), **ALWAYS)(x), 6)
    assert shifts[::3] != shifts[1::3]
    assert set(shifts) == set(range(-2, 6))
    y = T.GlobalTimeShift(**ALWAYS)(x)
    rolls = [
        next(s for s in range(50) if torch.equal(a.roll(s, dims=-1), b))
        for a, b in zip(x, y, strict=True)
    ]
    assert len(set(rolls)) > 25
    for make in (lambda: T.TimeShift(-1), lambda: T.IndependentTimeShift((3, 1))):
        with pytest.raises(UserError):
            make()


@pytest.mark.parametrize("amplitude", [1.0, 1e-23])
def test_align_phase(amplitude):
    pulse = torch.exp(-(((torch.arange(300.0) - 150) / 4) ** 2)) * amplitude
    x = torch.stack([pulse, pulse.roll(17), pulse.roll(-30)]).repeat(2, 1, 1)
    x[1] = x[1, 0]  # identical channels stay where they are
    y = T.AlignPhase(40)(x)
    torch.testing.assert_close(y, x[:, :1].expand_as(x), rtol=0, atol=0)
    near = T.AlignPhase(10)(x)  # as far as it is allowed to
    torch.testing.assert_close(near[0, 1], pulse.roll(7), rtol=0, atol=0)
    with pytest.raises(UserError, match="exceeds"):
        T.AlignPhase(400)(x)


def test_align_phase_is_the_maximum_of_numpys_correlation():
    x = torch.randn(5, 3, 200).cumsum(-1)
    y = T.AlignPhase(30)(x)
    for row, found in zip(x.double().numpy(), y, strict=True):
        for i in (1, 2):
            full = np.correlate(row[0], row[i], "full")  # zero lag at 199
            shift = int(full[199 - 30 : 199 + 31].argmax()) - 30
            np.testing.assert_array_equal(found[i], np.roll(row[i], shift).astype(np.float32))
