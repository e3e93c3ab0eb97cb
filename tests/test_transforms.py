"""Waveform transforms against scipy, numpy written plainly and known signals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal

import filters
import noise
import transforms as T
from utils import UserError

FS = 2048
CPU = torch.device("cpu")


def strain(batch: int = 2, length: int = 4096) -> torch.Tensor:
    """Red noise of the amplitude of strain, (batch, 3, length)."""
    return torch.randn(batch, 3, length).cumsum(-1) * 1e-21


# --- every transform -----------------------------------------------------------------------------

ALWAYS = {"always_apply": True}
EVERY = {
    "Normalize": lambda **k: T.Normalize((2.0, 3.0, 4.0), **k),
    "FlipWave": T.FlipWave,
    "GaussianNoiseSNR": T.GaussianNoiseSNR,
    "BandPass": lambda **k: T.BandPass(30, 300, order=4, **k),
    "Whiten": lambda **k: T.Whiten(matrices=[np.eye(512) * 1e-21] * 3, **k),
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
    assert not torch.equal(y, x) or name == "Whiten"  # whose matrix is one here


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
    x = torch.randn(600, 3, 64 if name != "Whiten" else 512)
    if name == "Whiten":
        x = x * 2  # see below: a matrix of one leaves x as it is, so use another
        transform = T.Whiten(matrices=[np.eye(512) * 2e-21] * 3, always_apply=False, p=0.3)
    changed = (transform(x) != x).any(-1)  # (row, detector)
    if transform.per_channel:
        mixed = changed.any(1) & ~changed.all(1)
        assert mixed.any()  # detectors draw on their own
    else:
        assert torch.equal(changed.any(1), changed.all(1))
    share = changed.float().mean()
    # binomial: 600 draws at 0.3 have a standard deviation of 0.019
    assert abs(share - 0.3) < 0.08
    assert torch.equal(EVERY[name](always_apply=False, p=0.0)(x), x)


@each
def test_refuses_what_is_no_batch_of_waveforms(name):
    with pytest.raises(UserError, match="batch, detector, time"):
        EVERY[name]()(torch.randn(3, 512))
    with pytest.raises(UserError, match="probability"):
        EVERY[name](p=1.5)


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
    for detector in noise.DETECTORS:
        values, vectors = eigh(toeplitz(noise.autocovariance(detector, length, FS)))
        root = (vectors * np.sqrt(values)) @ vectors.T
        rows.append(np.random.default_rng(len(rows)).standard_normal((batch, length)) @ root)
    return torch.tensor(np.stack(rows, axis=1) * noise.STRAIN_UNIT, dtype=torch.float32)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path_factory.getbasetemp() / "g2net"))


def test_whitening_is_exact():
    length = 512
    x = coloured_noise(400, length)
    y = T.Whiten()(x).numpy()
    for i, detector in enumerate(noise.DETECTORS):
        expected = (x[:, i].double().numpy() / 1e-21) @ reference_whitening(detector, length)
        # strain is rounded to float32 before; the matrix amplifies that by its condition
        np.testing.assert_allclose(y[:, i], expected, atol=2e-4)
    # unit variance from the first sample to the last: 400 draws give it within 0.07 (one sigma)
    variance = (y.astype(np.float64) ** 2).mean(0)
    assert abs(variance.mean() - 1) < 0.01
    assert np.abs(variance - 1).max() < 0.4
    lagged = (y[..., 1:] * y[..., :-1]).mean()
    assert abs(lagged) < 0.01


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


def test_whitening_refuses_what_does_not_fit():
    with pytest.raises(UserError, match="folds over"):
        T.Whiten(decimate=2)
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
