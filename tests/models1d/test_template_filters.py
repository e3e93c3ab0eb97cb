"""Filters that are computed from a waveform bank: what they find, and the basis they lie in."""

from __future__ import annotations

import pytest
import torch

from models1d import MatchedFilter1d
from models1d.template_filters import FilterShape, template_filters
from models1d.template_outputs import power
from models1d.whitened_bank import BankInWindow
from physics.bank_settings import BankSettings
from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from transforms import Whiten

BANK = BankSettings(size=40, seed=1)
H1_V1 = BankInWindow.of(COMPETITION, COMPETITION_POPULATION, (0, 2), 2, 40, 1)


def test_template_filters_find_a_signal_of_the_bank() -> None:
    """Whitened by itself, the detector's strain has its merger where P is largest, and its SNR.

    The basis and the cut lose power: of the lightest binaries, which are seen for longest, 15 % of
    the SNR, of most less than 8 %. Nothing is gained but by noise, of which there is none.
    """
    pytest.importorskip("lalsimulation")
    waveforms = WaveformBank.build(BANK)
    signals = SignalGenerator(waveforms)
    model = MatchedFilter1d(
        pretrained=True, templates=40, basis=48, bank_size=40, stride=1, arrival=(1.5, 1.8)
    )
    numbers = torch.arange(0, 40, 5)
    zero = torch.zeros(len(numbers))
    strain = signals.project(
        numbers, longitude=zero + 1, dec=zero + 0.5, psi=zero, phase=zero, merger_time=zero + 1.65
    )
    snr = signals.optimal_snr(strain)  # (row, detector)
    white = Whiten(decimate=2)(strain * STRAIN_UNIT)
    arrival = 1.65 + signals.network.delays(torch.tensor([1.0]), torch.tensor([0.5]))[0]
    for detector, which in ((0, 0), (2, 1)):
        squares = 2 * power(model.filtered(white[:, detector], which, 0)).detach()
        best, place = squares.flatten(1).max(1)
        ratio = best.sqrt() / snr[:, detector]
        assert ratio.min() > 0.8
        assert ratio.median() > 0.92
        assert ratio.max() < 1.001
        times = (place % model.grid.num_times + model.grid.first) / 1024
        # Templates of other masses find it a few milliseconds away.
        assert (times - arrival[detector]).abs().max() < 6e-3


def test_template_filters_are_unit_quadratures_in_an_orthonormal_basis() -> None:
    pytest.importorskip("lalsimulation")
    basis, templates, _ = template_filters(H1_V1, FilterShape(tuple(range(40)), 48, 704, 64))
    assert basis.shape == (2, 48, 768)
    assert templates.shape == (2, 40, 2, 48)
    for which in range(2):
        torch.testing.assert_close(basis[which] @ basis[which].T, torch.eye(48), atol=1e-5, rtol=0)
    torch.testing.assert_close(templates.norm(dim=-1), torch.ones(2, 40, 2))
    # The quadratures of a whitened chirp are orthogonal but for the cut.
    assert (templates[:, :, 0] * templates[:, :, 1]).sum(-1).abs().max() < 0.05
