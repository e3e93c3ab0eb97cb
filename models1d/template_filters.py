"""Matched filters computed from a waveform bank, as combinations of a reduced basis."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from models1d.whitened_bank import BankInWindow, quadratures_of
from runtime.errors import UserError


@dataclass(frozen=True)
class FilterShape:
    """Which binaries of a bank are templates, and how long their filters are.

    Attributes:
        members: numbers of the binaries.
        basis: number of basis filters.
        before, after: samples of a filter before the merger and from it on, decimated.
    """

    members: tuple[int, ...]
    basis: int
    before: int
    after: int


@functools.lru_cache(maxsize=2)
def template_filters(where: BankInWindow, shape: FilterShape) -> tuple[Tensor, Tensor]:
    """Return the matched filters of a bank's waveforms, as combinations of a few basis filters.

    The waveforms are whitened with the merger in the middle of the arrival times, and cut around
    it. In white noise the matched filter of a signal is the signal itself. The basis consists of
    the leading right singular vectors of all waveforms, h+ and hx of every binary: of all bases of
    its size it loses the least of their power (Cannon et al., Physical Review D 82, 044025, 2010).
    A template has two quadratures of norm one: the h+ of a binary and its Hilbert transform.

    Args:
        where: the bank, in windows and noise.
        shape: of the filters.

    Returns:
        The basis (noise, basis, before + after), and the coefficients of the templates in it
        (noise, templates, 2, basis), both float32.

    Raises:
        UserError: the bank is smaller than the number of templates or half of `basis`, or the
            filters are longer than what lies before or after the merger.
    """
    size, templates = where.bank.size, len(shape.members)
    if size <= max(shape.members) or 2 * size < shape.basis:
        raise UserError(
            f"a bank of {size} binaries is too small for {templates} templates in a basis of "
            f"{shape.basis}: set bank_size to at least templates and basis / 2"
        )
    if shape.before > where.merger or shape.after > where.room:
        raise UserError(
            f"filters of {shape.before} samples before and {shape.after} after a merger at "
            f"{where.merger / where.rate:.4g} s do not fit a window of "
            f"{where.samples // where.decimate} samples at {where.rate:g} Hz"
        )
    around_merger = slice(where.merger - shape.before, where.merger + shape.after)
    bases, coefficients = [], []
    for noise in where.noises:
        white = where.whitened(noise)  # (binary, 2, time)
        # Rows of V^T in the singular value decomposition U S V^T of all waveforms.
        cut = white[..., around_merger].flatten(0, 1)  # (binary x 2, before + after)
        basis_filters = torch.linalg.svd(cut, full_matrices=False).Vh[: shape.basis]
        plus = white[list(shape.members), 0]  # (template, time)
        # Transformed before it is cut, because a cut has frequencies of its own.
        quadratures = quadratures_of(plus)[..., around_merger]
        # Projected on the orthonormal basis: (template, 2, before + after) -> (template, 2, basis)
        projected = quadratures @ basis_filters.T
        bases.append(basis_filters)
        coefficients.append(projected / projected.norm(dim=-1, keepdim=True))
    return torch.stack(bases), torch.stack(coefficients)
