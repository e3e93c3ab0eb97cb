"""Signals that are drawn whitened against the exact whitening of the same signals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noise import STRAIN_UNIT
from signals import SignalGenerator
from transforms import Whiten
from waveforms import BankSettings, WaveformBank
from whitened_signals import WhitenedSignals, leading_rows


@pytest.fixture(scope="module")
def signals(tmp_path_factory) -> SignalGenerator:
    settings = BankSettings(size=48, seed=5)
    return SignalGenerator(WaveformBank.build(settings, tmp_path_factory.mktemp("bank"), 1))


@pytest.fixture(scope="module")
def drawn(signals) -> dict[str, torch.Tensor]:
    return signals.place(256, torch.Generator().manual_seed(11))  # not those of the fit


def norms(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum((1, 2)).sqrt()


@pytest.mark.parametrize("decimate", [2, 4])
def test_they_are_those_of_the_exact_whitening(signals, drawn, decimate) -> None:
    whiten = Whiten(decimate=decimate)
    exact = whiten(signals.project(**drawn) * STRAIN_UNIT)
    fast = WhitenedSignals(signals, whiten)
    error = (norms(fast.whitened(drawn) - exact) / norms(exact)).numpy()
    # At an SNR of 27 a hundredth of a signal is a quarter of one standard deviation of the noise,
    # over all of its 6,144 values together.
    assert np.median(error) < 0.005
    assert np.quantile(error, 0.95) < 0.01
    assert error.max() < 0.05
    plain = fast.stretch(drawn)[..., : fast.length]  # what the edges take away
    assert np.median(norms(plain - exact) / norms(exact)) > 0.015


def test_their_norm_is_the_snr(signals, drawn) -> None:
    """But for what lies outside of 12 to 512 Hz."""
    fast = WhitenedSignals(signals, Whiten(decimate=2))
    snr = signals.optimal_snr(signals.project(**drawn)).norm(dim=1)
    ratio = (norms(fast.whitened(drawn)) / snr).numpy()
    assert ratio.max() < 1.002
    assert np.median(ratio) > 0.998
    assert ratio.min() > 0.95
    unit = fast.draw(10, torch.Generator().manual_seed(3))
    assert unit.shape == (10, 3, 2048)
    assert unit.dtype == torch.float32
    torch.testing.assert_close(norms(unit), torch.ones(10), rtol=1e-5, atol=0)


def test_a_bank_of_one_binary(tmp_path) -> None:
    """Hardly anything to fit from, and still the edges are right."""
    one = SignalGenerator(WaveformBank.build(BankSettings(size=1, seed=2), tmp_path, 1))
    whiten = Whiten(decimate=2)
    fast, drawn = WhitenedSignals(one, whiten), one.place(64, torch.Generator().manual_seed(1))
    exact = whiten(one.project(**drawn) * STRAIN_UNIT)
    assert (norms(fast.whitened(drawn) - exact) / norms(exact)).max() < 0.02


def test_phases_are_products_of_two_tables(signals) -> None:
    fast = WhitenedSignals(signals, Whiten(decimate=2))
    shift = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.2
    bins = torch.arange(fast.gain.shape[1], dtype=torch.float64)
    expected = torch.exp(-2j * torch.pi * shift[..., None] * bins)
    torch.testing.assert_close(fast.turned(shift).to(torch.complex128), expected, rtol=0, atol=1e-6)


def test_leading_rows_are_the_right_singular_vectors() -> None:
    rng = np.random.default_rng(0)
    values = 0.5 ** np.arange(20)
    left, right = (np.linalg.qr(rng.standard_normal((size, 20)))[0] for size in (300, 100))
    matrix = torch.as_tensor(left * values @ right.T)
    basis = leading_rows(matrix, 6).numpy()
    # the same space: its projection takes all of the first six directions
    assert np.linalg.norm(basis.T @ right[:, :6], 2) == pytest.approx(1, abs=1e-6)
    assert np.linalg.svd(basis.T @ right[:, :6])[1].min() == pytest.approx(1, abs=1e-3)
