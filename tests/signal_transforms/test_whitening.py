"""Whitening against C^(-1/2) by scipy, against division in the frequency domain, and on noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from competition import noise_of, window_of
from host_copies import RefuseHostCopies
from scipy import signal
from strain_batches import FS, coloured_noise, red_noise

import transforms as T
from physics import noise
from physics.observation import COMPETITION
from runtime.errors import UserError
from signal_transforms import whitening_operators
from signal_transforms.whitening_operators import (
    band_pass_and_decimate_rows,
    remove_low_frequencies,
)


def reference_whitening(detector: str, length: int) -> np.ndarray:
    """C^(-1/2) by scipy, float64, in 1 / 1e-21 strain."""
    from scipy.linalg import eigh, toeplitz

    values, vectors = eigh(toeplitz(noise.autocovariance(noise_of(detector), length)))
    return (vectors / np.sqrt(values)) @ vectors.T


def test_whitening_is_exact():
    length = 512
    x = coloured_noise(400, length)
    y = T.Whiten()(x).numpy()
    for i, detector in enumerate(COMPETITION.detectors):
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
    psd = noise_of("H1").psd_on_grid(noise.STRETCH_FACTOR * length, noise.FLOOR) * 1e-42
    x = coloured_noise(4, length)[:, [0, 0]]
    expected = T.Whiten(observation=window_of(length, "H1", "L1"))(x)
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
    projection = band_pass_and_decimate_rows(np.eye(length), FS, 12.0, None, 8, decimate)
    remaining = remove_low_frequencies(torch.eye(length // decimate), FS / decimate, 12.0).numpy()
    np.testing.assert_allclose(projection @ projection.T, remaining, rtol=0, atol=1e-6)
    assert np.trace(remaining) == pytest.approx(length // decimate - 6)
    tone = np.sin(2 * np.pi * 0.4 * FS / 2 / decimate * np.arange(length) / FS)
    low = projection @ tone  # what lies below the new Nyquist frequency passes, edges apart
    assert np.square(low).sum() == pytest.approx(np.square(tone).sum(), rel=0.01)


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


def test_whitening_by_division():
    length = 4096
    psd = noise_of("V1").psd_on_grid(length, noise.FLOOR) * 1e-42
    x = coloured_noise(6, 512)[:, :1]
    with pytest.raises(UserError, match="expected signal_len"):
        T.WhitenTorch(psds=[psd])(x)
    x = red_noise(3)
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


def test_given_psds_are_copied_to_the_device_once():
    transform = T.WhitenTorch(None, psds=[np.linspace(1, 2, 99)] * 3)
    x = torch.randn(2, 3, 512)
    first = transform(x)
    with RefuseHostCopies():
        assert torch.equal(transform(x), first)


@pytest.mark.parametrize(
    ("settings", "rows"), [((None, 8, 2), 32), (((100.0, 400.0), 2, 2), 32), ((None, 8, 3), 21)]
)
def test_a_decimated_whitening_is_kept_on_disk(settings, rows, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path))
    curve, device = COMPETITION.noise(0), torch.device("cpu")
    matrix = noise.whitening_matrix(curve, 64)
    lowest = whitening_operators.LOWEST_KEPT * curve.min_frequency
    wanted = band_pass_and_decimate_rows(matrix, curve.sample_rate, lowest, *settings)
    design = whitening_operators.design_whitening.__wrapped__  # without what this process knows
    first = design(curve, 64, *settings, device)
    kept = sorted(tmp_path.glob("whitening-*.npy"))
    assert len(kept) == 2  # the matrix and what was made of it

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(whitening_operators, "band_pass_and_decimate_rows", refuse)
    again = design(curve, 64, *settings, device)
    for found in (first, again):
        (only,) = found.matrices  # (in, out)
        assert only.shape == (64, rows)
        np.testing.assert_array_equal(only.numpy(), wanted.T.astype(np.float32))


def test_kept_rows_of_other_settings_are_others(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path))
    design, device = whitening_operators.design_whitening.__wrapped__, torch.device("cpu")
    for number, settings in enumerate(
        [(None, 8, 2), ((100.0, 400.0), 2, 2), ((90.0, 400.0), 2, 2)]
    ):
        design(COMPETITION.noise(0), 64, *settings, device)
        assert len(list(tmp_path.glob("whitening-*.npy"))) == number + 2
