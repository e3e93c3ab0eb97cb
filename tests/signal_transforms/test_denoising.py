"""Wavelet denoising against PyWavelets, and the pitch shift on sines."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch
from strain_batches import ALWAYS, FS

import transforms as T
from runtime.errors import UserError
from signal_transforms import denoising


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
        assert np.abs(expected - row).max() > 0.3  # something was removed
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("wavelet", ["haar", "db3", "db10"])
def test_wavelet_coefficients_are_those_of_pywt(wavelet):
    pywt = pytest.importorskip("pywt")
    x = torch.randn(3, 64, dtype=torch.float64)
    low = denoising.scaling_filter(wavelet)
    approximation, detail = denoising.analysis_step(x, low)
    expected = pywt.dwt(x.numpy(), wavelet, mode="periodization")
    np.testing.assert_allclose(approximation.numpy(), expected[0], atol=1e-12)
    np.testing.assert_allclose(detail.numpy(), expected[1], atol=1e-12)
    back = denoising.synthesis_step(approximation, detail, low)
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


@pytest.mark.parametrize(("frames", "length"), [(9, 1000), (5, 500), (5, 900)])
def test_the_inverse_transform_is_that_of_torch(frames: int, length: int) -> None:
    window, hop = torch.hann_window(512), 128
    spectrum = torch.randn(6, 257, frames, dtype=torch.complex64)
    spectrum[:, 0].imag.zero_()  # of a real series
    spectrum[:, -1].imag.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the longest is filled with zeros
        expected = torch.istft(spectrum, 512, hop, window=window, length=length)
    assert torch.equal(denoising.invert_stft(spectrum, window, hop, length), expected)
