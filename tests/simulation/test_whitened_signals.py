"""Signals that are drawn whitened against the exact whitening of the same signals."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from physics.bank_settings import BankSettings
from physics.constants import STRAIN_UNIT
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from signal_transforms.whitening_operators import low_frequency_cosines, remove_low_frequencies
from simulation.whitened_signals import WhitenedSignals, leading_rows
from transforms import Whiten


@pytest.fixture(scope="module")
def signals(tmp_path_factory) -> SignalGenerator:
    settings = BankSettings(size=48, seed=5)
    return SignalGenerator(WaveformBank.build(settings, tmp_path_factory.mktemp("bank"), 1))


@pytest.fixture(scope="module")
def drawn(signals) -> dict[str, torch.Tensor]:
    return signals.draw_placements(256, torch.Generator().manual_seed(11))  # not those of the fit


def norms(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum((1, 2)).sqrt()


@pytest.mark.parametrize("decimate", [2, 4])
def test_they_are_those_of_the_exact_whitening(signals, drawn, decimate) -> None:
    whiten = Whiten(decimate=decimate)
    exact = whiten(signals.project(**drawn) * STRAIN_UNIT)
    fast = WhitenedSignals(signals, whiten)
    white, _ = fast.whitened(drawn)
    error = (norms(white - exact) / norms(exact)).numpy()
    # At an SNR of 27 a hundredth of a signal is a quarter of one standard deviation of the noise,
    # over all of its 6,144 values together.
    assert np.median(error) < 0.004
    assert np.quantile(error, 0.95) < 0.01
    assert error.max() < 0.05
    plain = fast.window_of(
        fast.whitened_stretch(drawn, fast.antenna_patterns(drawn))
    )  # what the edges change
    assert np.median(norms(plain - exact) / norms(exact)) > 0.015


@pytest.mark.parametrize("decimate", [2, 4])
def test_their_snr_is_that_of_the_whole_signal(signals, drawn, decimate) -> None:
    """Also of what decimation leaves out: a percent of some, and at 256 Hz a tenth."""
    fast = WhitenedSignals(signals, Whiten(decimate=decimate))
    expected = signals.optimal_snr(signals.project(**drawn)).norm(dim=1)
    white, snr = fast.whitened(drawn)
    torch.testing.assert_close(snr, expected, rtol=3e-3, atol=0)
    kept = norms(white) / snr
    assert kept.max() < 1.0001
    assert kept.min() < (0.995 if decimate == 2 else 0.95)
    unit = fast.draw_unit_snr(10, torch.Generator().manual_seed(3))
    assert unit.shape == (10, 3, 4096 // decimate)
    assert unit.dtype == torch.float32
    white, snr = fast.whitened(signals.draw_placements(10, torch.Generator().manual_seed(3)))
    torch.testing.assert_close(unit, white / snr[:, None, None])


def test_they_have_nothing_where_noise_has_nothing(signals, drawn) -> None:
    """The least rest would tell signals from noise without any noise in the way."""
    white, snr = WhitenedSignals(signals, Whiten(decimate=2)).whitened(drawn)
    cosines = low_frequency_cosines(2048, 1024.0, 12.0, torch.device("cpu"))
    noise = remove_low_frequencies(torch.randn(len(white), 3, 2048), 1024.0, 12.0)
    loudest = white * (27 / snr)[:, None, None]
    assert (loudest @ cosines).square().mean() < (noise @ cosines).square().mean()


def test_a_bank_of_one_binary(tmp_path) -> None:
    """Hardly anything to fit from, and still the edges are right."""
    one = SignalGenerator(WaveformBank.build(BankSettings(size=1, seed=2), tmp_path, 1))
    whiten = Whiten(decimate=2)
    fast, drawn = (
        WhitenedSignals(one, whiten),
        one.draw_placements(64, torch.Generator().manual_seed(1)),
    )
    exact = whiten(one.project(**drawn) * STRAIN_UNIT)
    assert (norms(fast.whitened(drawn)[0] - exact) / norms(exact)).max() < 0.02


def test_the_correction_is_fitted_once_for_the_same_signals(
    signals, tmp_path, monkeypatch, caplog
) -> None:
    whiten = Whiten(decimate=4)
    # The matrices of the whitening are made before the folder of kept files is another one.
    whiten(torch.zeros(1, 3, 4096))
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path))
    first = WhitenedSignals(signals, whiten)
    (path,) = tmp_path.glob("edges-1024-*.npy")
    content = path.read_bytes()
    with monkeypatch.context() as never:
        never.setattr(WhitenedSignals, "fit_edges", None)
        again = WhitenedSignals(signals, whiten)
    assert torch.equal(again.right, first.right)
    assert torch.equal(again.left, first.left)
    # One waveform that is another one by a thousandth asks for another fit, and so does another
    # whitening.
    other = copy.copy(signals)
    other.spectra = signals.spectra.clone()
    other.spectra[7] *= 1.001
    WhitenedSignals(other, whiten)
    WhitenedSignals(signals, Whiten(decimate=2))
    assert len(list(tmp_path.glob("edges-1024-*.npy"))) == 2
    assert len(list(tmp_path.glob("edges-2048-*.npy"))) == 1
    assert path.read_bytes() == content
    path.write_bytes(content[:1000])
    assert torch.equal(WhitenedSignals(signals, whiten).left, first.left)
    assert path.read_bytes() == content
    assert f"{path} cannot be read" in caplog.text


def test_phases_are_products_of_two_tables(signals) -> None:
    fast = WhitenedSignals(signals, Whiten(decimate=2))
    shift = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.2
    bins = torch.arange(fast.gain.shape[1], dtype=torch.float64)
    expected = torch.exp(-2j * torch.pi * shift[..., None] * bins)
    torch.testing.assert_close(
        fast.phase_factors(shift).to(torch.complex128), expected, rtol=0, atol=1e-6
    )


def test_leading_rows_are_the_right_singular_vectors() -> None:
    rng = np.random.default_rng(0)
    values = 0.5 ** np.arange(20)
    left, right = (np.linalg.qr(rng.standard_normal((size, 20)))[0] for size in (300, 100))
    matrix = torch.as_tensor(left * values @ right.T)
    basis = leading_rows(matrix, 6).numpy()
    # the same space: its projection takes all of the first six directions
    assert np.linalg.norm(basis.T @ right[:, :6], 2) == pytest.approx(1, abs=1e-6)
    assert np.linalg.svd(basis.T @ right[:, :6])[1].min() == pytest.approx(1, abs=1e-3)
