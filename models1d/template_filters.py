"""Matched filters computed from a waveform bank, as combinations of a reduced basis."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from physics.constants import MERGER_TIME
from physics.curves import DetectorNoise
from physics.waveforms import BankSettings, WaveformBank
from runtime.errors import UserError
from signal_transforms import whitening_operators

WHITENED_AT_A_TIME = 256  # waveforms


@functools.lru_cache(maxsize=2)
def template_filters(
    noises: tuple[DetectorNoise, ...],
    templates: int,
    basis: int,
    before: int,
    after: int,
    decimate: int,
    bank: BankSettings,
    samples: int,
) -> tuple[Tensor, Tensor]:
    """Return the matched filters of a bank's waveforms, as combinations of a few basis filters.

    The waveforms are whitened exactly, as `transforms.Whiten(decimate=…)` whitens strain, with
    the merger at `MERGER_TIME`, and cut around it. In white noise the matched filter of a signal
    is the signal itself. The basis consists of the leading right singular vectors of all
    waveforms, h+ and hx of every binary: of all bases of its size it loses the least of their
    power (Cannon et al., Physical Review D 82, 044025, 2010). A template has two quadratures of
    norm one: the h+ of a binary and its Hilbert transform.

    Args:
        noises: of the detectors.
        templates: number of templates; they are the first binaries of the bank.
        basis: number of basis filters.
        before, after: samples of a filter before the merger and from it on.
        decimate: decimation of the whitening; filters are sampled at the rate of the noise over
            `decimate`.
        bank: settings of the waveform bank.
        samples: of the window, before the decimation.

    Returns:
        The basis (detector, basis, before + after), and the coefficients of the templates in it
        (detector, templates, 2, basis), both float32.

    Raises:
        UserError: the bank is smaller than `templates` or half of `basis`, or the filters are
            longer than what lies before or after the merger.
    """
    rate = noises[0].sample_rate / decimate
    merger = round(MERGER_TIME * rate)  # sample, at the decimated rate
    if bank.size < templates or 2 * bank.size < basis:
        raise UserError(
            f"a bank of {bank.size} binaries is too small for {templates} templates in a basis of "
            f"{basis}: set bank_size to at least templates and basis / 2"
        )
    if before > merger or after > samples // decimate - merger:
        raise UserError(
            f"filters of {before} samples before and {after} after a merger at {MERGER_TIME} s do "
            f"not fit a window of {samples // decimate} samples at {rate:g} Hz"
        )
    waveforms = torch.as_tensor(WaveformBank.build(bank).waveforms)  # (binary, 2, stretch)
    # Cut a window out of the bank's series in which the merger lies at MERGER_TIME.
    first = bank.series.before - merger * decimate
    waveforms = waveforms[..., first : first + samples]
    around_merger = slice(merger - before, merger + after)
    bases, coefficients = [], []
    for noise in noises:
        whiten = whitening_operators.design_whitening(
            noise, samples, None, 8, decimate, torch.device("cpu")
        )
        # A bank and a whitening have the same unit of strain. The whitening takes rows:
        # (binaries, 2, samples) -> (binaries x 2, samples) -> (binaries, 2, time)
        white = torch.cat(
            [
                whiten(part.flatten(0, 1)).unflatten(0, (-1, 2))
                for part in waveforms.split(WHITENED_AT_A_TIME)
            ]
        )  # (binary, 2, time)
        white = white / white.norm(dim=-1, keepdim=True)
        # Rows of V^T in the singular value decomposition U S V^T of all waveforms.
        cut = white[..., around_merger].flatten(0, 1)  # (binary x 2, before + after)
        basis_filters = torch.linalg.svd(cut, full_matrices=False).Vh[:basis]
        plus = white[:templates, 0]  # (template, time)
        # Transformed before it is cut, because a cut has frequencies of its own.
        quadratures = torch.stack([plus, quadrature(plus)], dim=1)[..., around_merger]
        # Projected on the orthonormal basis: (template, 2, before + after) -> (template, 2, basis)
        projected = quadratures @ basis_filters.T
        bases.append(basis_filters)
        coefficients.append(projected / projected.norm(dim=-1, keepdim=True))
    return torch.stack(bases), torch.stack(coefficients)


def quadrature(x: Tensor) -> Tensor:
    """Return the Hilbert transform of x (..., time): a cosine becomes a sine."""
    # exp(-i pi / 2) = -i: every positive frequency is delayed by a quarter of its period.
    spectrum = torch.fft.rfft(x)
    return torch.fft.irfft(spectrum * -1j, x.shape[-1])
