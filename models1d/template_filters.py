"""Filters that see a merger at once: whitened waveforms of a bank, and a basis of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from physics.constants import MERGER_TIME, NUM_SAMPLES, SAMPLE_RATE, WINDOW_SECONDS
from physics.waveforms import BEFORE_MERGER, BankSettings, WaveformBank
from runtime.errors import UserError
from signal_transforms import whitening_operators

AT_A_TIME = 256  # waveforms whitened together


@functools.lru_cache(maxsize=2)
def template_filters(
    detectors: Sequence[str],
    templates: int,
    basis: int,
    before: int,
    after: int,
    decimate: int,
    bank: BankSettings,
) -> tuple[Tensor, Tensor]:
    """Return the matched filters of a bank's waveforms, as combinations of a few.

    The waveforms are whitened exactly, as `transforms.Whiten(decimate=…)` whitens strain, with
    the merger in the middle of where mergers are, and cut around it. The matched filter of a
    whitened waveform in white noise is the waveform. The singular vectors of all of them, h+ and
    hx of every binary, are the basis with which the least of their power is lost (reduced bases
    of template banks: Cannon et al., Physical Review D 82, 044025, 2010). A template is the h+ of
    a binary and its Hilbert transform, its two quadratures, each of norm one.

    Args:
        detectors: names of the design curves.
        templates: how many binaries of the bank become templates, its first.
        basis: filters in the basis.
        before, after: samples of a filter before the merger and from it on.
        decimate: of the whitening; filters are sampled at 2,048 Hz / decimate.
        bank: the binaries.

    Returns:
        Basis (detector, basis, before + after), and the templates in it (detector, templates, 2,
        basis), both float32.

    Raises:
        UserError: the bank is smaller than `templates` or half of `basis`, or the filters are
            longer than what lies before or after the merger.
    """
    rate = SAMPLE_RATE // decimate
    merger = round(MERGER_TIME * rate)
    if bank.size < templates or 2 * bank.size < basis:
        raise UserError(
            f"a bank of {bank.size} binaries is too small for {templates} templates in a basis of "
            f"{basis}: bank_size is at least templates and basis / 2"
        )
    if before > merger or after > NUM_SAMPLES // decimate - merger:
        raise UserError(
            f"filters of {before} samples before and {after} after a merger at {MERGER_TIME} s do "
            f"not fit a window of {WINDOW_SECONDS:g} s at {rate} Hz"
        )
    waveforms = torch.as_tensor(WaveformBank.build(bank).waveforms)  # (binary, 2, STRETCH)
    first = BEFORE_MERGER - merger * decimate
    waveforms = waveforms[..., first : first + NUM_SAMPLES]
    bases, combinations = [], []
    for name in detectors:
        whiten = whitening_operators.design_whitening(
            name, NUM_SAMPLES, SAMPLE_RATE, None, 8, decimate, torch.device("cpu")
        )
        # The unit of a bank and that of a whitening are the same.
        white = torch.cat(
            [
                whiten(part.flatten(0, 1)).unflatten(0, (-1, 2))
                for part in waveforms.split(AT_A_TIME)
            ]
        )  # (binary, 2, time)
        white = white / white.norm(dim=-1, keepdim=True)
        cut = white[..., merger - before : merger + after]
        directions = torch.linalg.svd(cut.flatten(0, 1), full_matrices=False).Vh[:basis]
        plus = white[:templates, 0]
        both = torch.stack([plus, quadrature(plus)], dim=1)[..., merger - before : merger + after]
        inside = both @ directions.T  # (template, 2, basis)
        bases.append(directions)
        combinations.append(inside / inside.norm(dim=-1, keepdim=True))
    return torch.stack(bases), torch.stack(combinations)


def quadrature(x: Tensor) -> Tensor:
    """Return the Hilbert transform of x (..., time), every frequency turned by a quarter."""
    spectrum = torch.fft.rfft(x)
    return torch.fft.irfft(spectrum * -1j, x.shape[-1])
