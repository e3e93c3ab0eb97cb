"""Matched filters computed from a waveform bank, as combinations of a reduced basis."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models1d.template_components import find_components
from models1d.whitened_bank import BankInWindow, quadratures_of
from runtime.errors import UserError

TESTED = 0.15  # part of a bank that templates are tested by, and not made of
LARGEST_SHIFT = 0.015  # s; the largest output of another template lies no farther away


@dataclass(frozen=True)
class FilterShape:
    """Which binaries of a bank are templates, and how long their filters are.

    Attributes:
        members: numbers of the binaries.
        basis: number of basis filters.
        before, after: samples of a filter before the merger and from it on, decimated.
        components: of each template; see template_components.py.
    """

    members: tuple[int, ...]
    basis: int
    before: int
    after: int
    components: int = 1


class TemplateFilters(NamedTuple):
    """Matched filters as combinations of a few basis filters, all float32.

    Attributes:
        basis: (noise, basis, before + after).
        templates: quadratures of the K components of each template, (noise, template, 2 K, basis).
        shares: of the components, see `TemplateComponents`, (noise, template, K).
    """

    basis: Tensor
    templates: Tensor
    shares: Tensor


@functools.lru_cache(maxsize=2)
def template_filters(where: BankInWindow, shape: FilterShape) -> TemplateFilters:
    """Return the matched filters of a bank's waveforms, as combinations of a few basis filters.

    The waveforms are whitened with the merger in the middle of the arrival times, and cut around
    it. In white noise the matched filter of a signal is the signal itself. The basis consists of
    the leading right singular vectors of all waveforms, h+ and hx of every binary: of all bases of
    its size it loses the least of their power (Cannon et al., Physical Review D 82, 044025, 2010).
    A template has two quadratures of norm one: the h+ of a binary and its Hilbert transform. With
    several components there are two more for each; see template_components.py.

    Args:
        where: the bank, in windows and noise.
        shape: of the filters.

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
    bases, coefficients, banks = [], [], []
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
        if shape.components > 1:
            banks.append(white[: binaries_to_fit(size)])
    if shape.components == 1:
        shares = torch.ones(len(bases), templates, 1)
        return TemplateFilters(torch.stack(bases), torch.stack(coefficients), shares)
    found = find_components(
        banks,
        bases,
        coefficients,
        shape.components,
        around_merger.start,
        round(LARGEST_SHIFT * where.rate),
    )
    return TemplateFilters(torch.stack(bases), found.vectors, found.shares)


def binaries_to_fit(size: int) -> int:
    """Return how many binaries of a bank templates and components are made of; the others test."""
    return size - math.ceil(TESTED * size)
