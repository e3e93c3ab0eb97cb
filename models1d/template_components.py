"""Templates of several components: the ways in which signals differ from their nearest template.

Without precession and higher modes a signal near a template is the template, but for amplitude,
phase and time. With them signals differ from it in shape, mostly in a few ways; these are its
further components, so that far fewer templates are needed for the same loss of SNR.

The analytic signal of h is a = h + i H[h], with the Hilbert transform H. If a signal is a template
with the quadratures p and q = H[p], h = cos(phi) p + sin(phi) q, then
H[h] = cos(phi) q - sin(phi) p, and a = exp(-i phi) (p + i q). So a signal is moved to the time at
which its nearest template finds it, and turned back by its phase phi. What the template leaves is

    r = exp(i phi) a - (its projection on p and q).

The further components are the principal vectors of the residuals r of all signals nearest to the
template, the eigenvectors of sum r r^H with the largest eigenvalues: no other vectors of their
number hold as much of the power of the residuals. Real and imaginary part of each are a pair
of quadratures, as p and q are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models1d.whitened_bank import quadrature, seen_by_a_detector

DIRECTIONS = 4  # from which each binary is seen
SIGNALS_AT_A_TIME = 4000
TEMPLATES_AT_A_TIME = 64
SMALLEST_SHARE = 1e-6  # of the first component's power, below which a component is none


@dataclass(frozen=True)
class TemplateComponents:
    """Templates of K components each, in a basis of filters.

    Attributes:
        vectors: quadratures of the components, orthonormal for each template,
            (noise, template, 2 K, basis).
        shares: mean power of a component in the signals that are nearest to the template, as a part
            of that of its first component, (noise, template, K).
        counts: how many signals are nearest to each template, (template,).
    """

    vectors: Tensor
    shares: Tensor
    counts: Tensor


def find_components(
    banks: Sequence[Tensor],
    filters: Sequence[Tensor],
    pairs: Sequence[Tensor],
    components: int,
    first: int,
    reach: int,
) -> TemplateComponents:
    """Return templates with the principal components of the signals around them.

    The residuals of a signal in all noises are one vector, so that the same component stands for
    the same difference in each, with the same phase.

    Args:
        banks: of each noise, whitened waveforms of norm one, (binary, 2, time), seen as signals.
        filters: of each noise, an orthonormal basis, (basis, samples).
        pairs: of each noise, the quadratures of the templates in it, (template, 2, basis).
        components: K.
        first: sample of the window at which the filters begin.
        reach: samples by which signals are moved before and after that.
    """
    seeds = range(1, DIRECTIONS + 1)
    signals = [torch.cat([seen_by_a_detector(white, seed) for seed in seeds]) for white in banks]
    found = [
        found_powers(own, basis, pair, first, reach)
        for own, basis, pair in zip(signals, filters, pairs, strict=True)
    ]
    nearest = sum(powers for powers, _ in found).argmax(0)  # (signal,)
    rows = torch.arange(len(nearest))
    aligned = [
        align(own, basis, pair[nearest], shifts[nearest, rows] + first, reach)
        for own, basis, pair, (_, shifts) in zip(signals, filters, pairs, found, strict=True)
    ]
    orthonormal = [orthonormalised(pair) for pair in pairs]
    vectors, shares = [], []
    for template in range(len(pairs[0])):
        own_signals = [a[nearest == template] for a in aligned]  # each (signal, basis) complex
        planes = [pair[template] for pair in orthonormal]  # each (2, basis)
        # (signal, noise x basis)
        residuals = torch.cat(
            [without(a, plane) for a, plane in zip(own_signals, planes, strict=True)], 1
        )
        further = principal_vectors(residuals, components - 1)
        parts = further.split([plane.shape[1] for plane in planes], 1)
        own = [
            with_shares(plane, part, a)
            for plane, part, a in zip(planes, parts, own_signals, strict=True)
        ]
        vectors.append(torch.stack([v for v, _ in own]))
        shares.append(torch.stack([s for _, s in own]))
    return TemplateComponents(
        torch.stack(vectors, 1),
        torch.stack(shares, 1),
        torch.bincount(nearest, minlength=len(pairs[0])),
    )


def found_powers(
    signals: Tensor, filters: Tensor, pairs: Tensor, first: int, reach: int
) -> tuple[Tensor, Tensor]:
    """Return the largest p^2 + q^2 of each template in each signal, and the shift at which it is.

    Args:
        signals: (signal, time).
        filters, pairs, first, reach: see `find_components`, of one noise.

    Returns:
        (template, signal) float32, and the same of int64, from -reach to reach.
    """
    padded = F.pad(signals, (reach, reach))  # silence outside the window
    best = torch.zeros(len(pairs), len(signals))
    where = torch.zeros(len(pairs), len(signals), dtype=torch.int64)
    for shift in range(-reach, reach + 1):
        begin = first + shift + reach
        on_basis = padded[:, begin : begin + filters.shape[1]] @ filters.T  # (signal, basis)
        for start in range(0, len(pairs), TEMPLATES_AT_A_TIME):
            rows = slice(start, start + TEMPLATES_AT_A_TIME)
            powers = (pairs[rows] @ on_basis.T).square().sum(1)  # (templates, signal)
            where[rows] = torch.where(powers > best[rows], shift, where[rows])
            best[rows] = torch.maximum(best[rows], powers)
    return best, where


def align(signals: Tensor, filters: Tensor, pairs: Tensor, begins: Tensor, reach: int) -> Tensor:
    """Return exp(i phi) a of each signal in the basis: moved and turned as its template is.

    Args:
        signals: (signal, time).
        filters: (basis, samples).
        pairs: the nearest template of each signal, (signal, 2, basis).
        begins: sample at which the filters begin for each signal, (signal,).
        reach: samples by which they may begin before or end after the window.

    Returns:
        (signal, basis) complex64.
    """
    samples = torch.arange(filters.shape[1])
    parts = []
    chunks = (x.split(SIGNALS_AT_A_TIME) for x in (signals, pairs, begins))
    for own, pair, begin in zip(*chunks, strict=True):
        indices = begin[:, None] + reach + samples
        real, imaginary = (
            F.pad(x, (reach, reach)).gather(1, indices) @ filters.T for x in (own, quadrature(own))
        )
        analytic = torch.complex(real, imaginary)
        # a = exp(-i phi) t with t = p + i q has the product exp(-i phi) |t|^2 with t.
        product = (analytic * torch.complex(pair[:, 0], -pair[:, 1])).sum(1, keepdim=True)
        parts.append(analytic * product.conj() / product.abs().clamp_min(1e-12))
    return torch.cat(parts)


def without(vectors: Tensor, plane: Tensor) -> Tensor:
    """Return complex vectors (n, basis) without what lies along real rows (2, basis)."""
    plane = plane.to(vectors.dtype)
    return vectors - (vectors @ plane.T) @ plane


def principal_vectors(residuals: Tensor, number: int) -> Tensor:
    """Return the complex vectors that hold most of the power of some rows.

    Args:
        residuals: (signal, length) complex.
        number: of vectors.

    Returns:
        (number, length) complex64.
    """
    rows = residuals.to(torch.complex128)
    # sum r r^H is Hermitian: eigenvalues are real, and rise.
    _, vectors = torch.linalg.eigh(rows.T @ rows.conj())
    return vectors[:, len(vectors) - number :].flip(1).T.to(torch.complex64)


def with_shares(plane: Tensor, further: Tensor, signals: Tensor) -> tuple[Tensor, Tensor]:
    """Return the quadratures of all components of a template, and the components' shares.

    Args:
        plane: its own quadratures, orthonormal, (2, basis).
        further: the further components, (K - 1, basis) complex.
        signals: aligned, (signal, basis) complex.

    Returns:
        (2 K, basis) orthonormal but for components that are none, which are zero; and (K,).
    """
    # (K - 1, 2, basis) -> (2 (K - 1), basis)
    pairs = torch.stack([further.real, further.imag], 1).flatten(0, 1)
    rows = orthonormalised(torch.cat([plane, pairs])[None])[0]
    along = signals @ rows.T.to(signals.dtype)  # (signal, 2 K)
    # (2 K,) -> (K, 2) -> (K,)
    powers = along.abs().square().sum(0).unflatten(0, (-1, 2)).sum(1)
    shares = powers / powers[0].clamp_min(1e-30)
    shares[0] = 1.0
    shares = torch.where(shares > SMALLEST_SHARE, shares, 0.0).clamp_max(1.0)
    return rows * (shares > 0).repeat_interleave(2)[:, None], shares


def orthonormalised(rows: Tensor) -> Tensor:
    """Return rows (..., n, length) made orthonormal one after the other, each in its direction."""
    q, r = torch.linalg.qr(rows.transpose(-1, -2))
    # Householder's reflections leave the sign open: the diagonal of R has that of the rows.
    signs = r.diagonal(dim1=-2, dim2=-1).sign()
    signs = torch.where(signs == 0, 1.0, signs)
    return (q * signs[..., None, :]).transpose(-1, -2)
