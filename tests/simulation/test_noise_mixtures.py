"""Mixtures of noise: turned by an orthogonal matrix, so that independent noise stays so."""

from __future__ import annotations

import pytest
import torch

from simulation.noise_mixtures import MIXED, orthogonal_mixtures


@pytest.mark.parametrize("count", [1, 8, 13, 64])
def test_the_map_is_orthogonal(count) -> None:
    """Of the unit vectors it makes its own matrix, whose rows are orthonormal."""
    generator = torch.Generator().manual_seed(1)
    matrix = orthogonal_mixtures(torch.eye(72), count, generator)  # (count, given)
    assert matrix.shape == (count, 72)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(count), rtol=0, atol=1e-6)
    assert ((matrix != 0).sum(1) == MIXED).all()


def test_every_value_is_mixed_alike() -> None:
    """Detectors and times stay where they are: (rows, detector, time) is mixed along rows alone."""
    given = torch.randn(48, 3, 100, generator=torch.Generator().manual_seed(2))
    mixed = orthogonal_mixtures(given, 40, torch.Generator().manual_seed(3))
    matrix = orthogonal_mixtures(torch.eye(48), 40, torch.Generator().manual_seed(3))
    expected = torch.einsum("mg,gdt->mdt", matrix.double(), given.double())
    torch.testing.assert_close(mixed.double(), expected, rtol=0, atol=1e-6)


def test_calls_are_uncorrelated() -> None:
    """On average over the signs, what two calls return has no correlation."""
    generator = torch.Generator().manual_seed(4)
    given = torch.eye(16)
    first = torch.stack([orthogonal_mixtures(given, 1, generator)[0] for _ in range(4000)])
    products = (first[::2] * first[1::2]).sum(1)  # of rows that share four of eight, on average
    # each has a variance of 4 / 64, and so the mean of 2,000 one of 0.0056 squared
    assert products.square().mean().item() == pytest.approx(4 / 64, rel=0.1)
    assert abs(products.mean().item()) < 4 * 0.0056


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="16 stretches, not 12"):
        orthogonal_mixtures(torch.ones(12, 4), 9)
