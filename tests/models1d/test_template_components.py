"""Components of templates: found again in signals that were made of them, and orthonormal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from models1d.template_choice import compute_choice
from models1d.template_components import (
    align,
    find_components,
    found_powers,
    orthonormalised,
    principal_vectors,
    without,
)
from models1d.template_filters import FilterShape, template_filters
from models1d.whitened_bank import BankInWindow, quadrature, quadratures_of
from physics.mass_laws import LogUniformTotalMass
from physics.observation import Observation
from physics.population import Population
from physics.spin_laws import IsotropicSpins
from runtime.errors import UserError

TIMES = np.arange(-256, 256) / 512
FIRST, LENGTH, REACH = 156, 160, 6  # of filters in windows of 512 samples, and of shifts


def wave(frequency: float, width: float = 0.03) -> torch.Tensor:
    """Return a burst of norm one around the middle of the window, (512,)."""
    x = np.exp(-((TIMES / width) ** 2)) * np.cos(2 * np.pi * frequency * TIMES)
    return torch.from_numpy(x / np.linalg.norm(x)).float()


def whole_basis() -> torch.Tensor:
    """Return the samples of a filter themselves as its basis, so that nothing is left out."""
    return torch.eye(LENGTH)


def pair_of(plus: torch.Tensor) -> torch.Tensor:
    """Return the quadratures of a template, (2, LENGTH)."""
    return quadratures_of(plus)[..., FIRST : FIRST + LENGTH]


def test_signals_are_aligned_in_time_and_phase() -> None:
    plus = wave(80)
    both = quadratures_of(plus)
    phases = torch.tensor([0.3, 2.0, -1.1])
    signals = torch.stack(
        [
            torch.roll(torch.cos(phi) * both[0] + torch.sin(phi) * both[1], shift)
            for phi, shift in zip(phases, (0, 4, -5), strict=True)
        ]
    )
    pair = pair_of(plus)
    powers, shifts = found_powers(signals, whole_basis(), pair[None], FIRST, REACH)
    torch.testing.assert_close(powers[0], torch.ones(3), atol=1e-4, rtol=0)
    assert shifts[0].tolist() == [0, 4, -5]
    every = pair.expand(3, -1, -1)
    aligned = align(signals, whole_basis(), every, FIRST + shifts[0], REACH)
    expected = torch.complex(pair[0], pair[1]).expand(3, -1)
    torch.testing.assert_close(aligned, expected, atol=1e-4, rtol=0)
    left = without(aligned, orthonormalised(pair))
    assert left.abs().max() < 1e-4


def test_principal_vectors_are_those_of_a_singular_value_decomposition() -> None:
    rows = torch.complex(torch.randn(30, 12), torch.randn(30, 12))
    found = principal_vectors(rows, 3)
    # of rows v^H: sum r r^H is that of their complex conjugates
    expected = torch.linalg.svd(rows, full_matrices=False).Vh[:3]
    torch.testing.assert_close((found.conj() * expected).sum(1).abs(), torch.ones(3))


def test_orthonormalised_rows_keep_their_direction() -> None:
    rows = torch.randn(5, 4, 9)
    found = orthonormalised(rows)
    torch.testing.assert_close(found @ found.mT, torch.eye(4).expand(5, 4, 4), atol=1e-5, rtol=0)
    assert ((found * rows).sum(-1) > 0).all()


def test_components_are_found_in_signals_that_were_made_of_them() -> None:
    """Signals are a template and 0.3 of another burst, in two noises at once, of any phase."""
    template, other = wave(80), wave(140)
    generator = torch.Generator().manual_seed(0)
    # plus and cross are the same, so that any direction sees the same signal
    waveforms = []
    for _ in range(60):
        amplitude = 0.3 * torch.randn((), generator=generator)
        phase = 2 * np.pi * torch.rand((), generator=generator)
        one = template + amplitude * other
        # a change of the phase of the whole signal
        turned = torch.cos(phase) * one + torch.sin(phase) * quadrature(one)
        waveforms.append(turned / turned.norm())
    bank = torch.stack(waveforms)[:, None].expand(-1, 2, -1)
    pairs = [pair_of(template)[None]] * 2
    found = find_components([bank, bank], [whole_basis()] * 2, pairs, 2, FIRST, REACH)
    assert found.vectors.shape == (2, 1, 4, LENGTH)
    assert found.counts.tolist() == [4 * 60]
    for which in range(2):
        rows = found.vectors[which, 0]
        torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)
        # The second component is the other burst, but for what the template holds of it.
        plane = rows[:2]
        rest = pair_of(other) - (pair_of(other) @ plane.T) @ plane
        held = (rest @ rows[2:].T).square().sum() / rest.square().sum()
        assert held > 0.99
        assert found.shares[which, 0, 0] == 1
        assert 0.03 < found.shares[which, 0, 1] < 0.15  # 0.3^2, normalised
    # In both noises it has the same phase.
    torch.testing.assert_close(found.vectors[0], found.vectors[1], atol=1e-4, rtol=0)


def test_a_component_without_signals_is_none() -> None:
    """All signals are the template: nothing is left for a second component."""
    template = wave(80)
    bank = template.expand(10, 2, -1)
    found = find_components([bank], [whole_basis()], [pair_of(template)[None]], 2, FIRST, REACH)
    assert found.shares[0, 0].tolist() == [1.0, 0.0]
    assert (found.vectors[0, 0, 2:] == 0).all()


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> BankInWindow:
    """A bank of precessing binaries in windows of one second."""
    pytest.importorskip("lalsimulation")
    observation = Observation(("H1",), window=1.0)
    law = Population(masses=LogUniformTotalMass((60.0, 90.0)), spins=IsotropicSpins(0.99))
    return BankInWindow.of(observation, law, (0,), 2, 400, 3)


def test_precessing_binaries_need_far_fewer_templates_of_several_components(
    where: BankInWindow,
) -> None:
    with pytest.raises(
        UserError, match="all 280 candidates among the 400 binaries of the bank lose"
    ):
        compute_choice(where, 0.025)
    several = compute_choice(where, 0.025, components=3)
    assert several.loss < 0.025
    assert several.components == 3
    assert len(several.members) <= 16
    with pytest.raises(UserError, match=r"templates of 2 components .* lose .*, more components"):
        compute_choice(where, 0.012, components=2)
    filters = template_filters(where, several.shape)
    assert filters.templates.shape == (1, len(several.members), 6, several.basis)
    assert filters.shares.shape == (1, len(several.members), 3)
    assert (filters.shares[..., 1] < 0.5).all()
    assert (filters.shares.diff(dim=-1) < 0.05).all()  # they fall


def test_shapes_without_further_components_are_as_they_were(where: BankInWindow) -> None:
    shape = FilterShape((0, 1, 2), 16, 160, 32)
    assert template_filters(where, shape).templates.shape == (1, 3, 2, 16)
    more = template_filters(where, dataclasses.replace(shape, components=2))
    assert more.templates.shape == (1, 3, 4, 16)
    first = orthonormalised(template_filters(where, shape).templates)
    torch.testing.assert_close(more.templates[:, :, :2], first, atol=1e-5, rtol=0)
