"""The distances that laws draw, beside their densities, and the cosmology beside astropy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from physics.distance_laws import (
    NEUTRON_STARS,
    RedshiftedVolume,
    UniformChirpVolume,
    UniformVolume,
    find_cosmology,
    luminosity_distance,
    redshift_at,
)
from physics.population import chirp_mass
from runtime.errors import UserError

U = np.random.default_rng(3).uniform(size=5000)


def test_uniform_in_volume() -> None:
    distance = UniformVolume(100, 1000).distance(U, None)
    assert kstest((distance**3 - 1e6) / (1e9 - 1e6), "uniform").pvalue > 1e-3


def test_uniform_in_the_volume_of_the_chirp_distance() -> None:
    mass = chirp_mass(np.linspace(10, 50, 5000), 10.0)
    distance = UniformChirpVolume(130, 350).distance(U, mass)
    chirp_distance = distance * (chirp_mass(1.4, 1.4) / mass) ** (5 / 6)
    assert pytest.approx(chirp_mass(1.4, 1.4)) == NEUTRON_STARS
    assert kstest((chirp_distance**3 - 130**3) / (350**3 - 130**3), "uniform").pvalue > 1e-3
    # Tensors as well, on a device.
    drawn = UniformChirpVolume(130, 350).distance(torch.tensor(U), torch.tensor(mass))
    np.testing.assert_allclose(drawn.numpy(), distance)


@pytest.mark.parametrize("evolution", [0.0, 2.9])
def test_redshifted_volume(evolution: float) -> None:
    pytest.importorskip("astropy")
    from scipy.integrate import cumulative_simpson

    law = RedshiftedVolume((0.01, 1.2), evolution)
    redshift = law.draw_redshift(U)
    grid = np.linspace(0.01, 1.2, 801)
    # Another way to the volume: c d_M^2 / H per steradian.
    cosmology = find_cosmology("Planck18")
    shell = cosmology.comoving_transverse_distance(grid).value ** 2 / cosmology.H(grid).value
    total = cumulative_simpson(shell * (1 + grid) ** (evolution - 1), x=grid, initial=0)
    assert kstest(redshift, lambda z: np.interp(z, grid, total / total[-1])).pvalue > 1e-3
    expected = cosmology.luminosity_distance(redshift[:50]).value
    np.testing.assert_allclose(law.distance(U, None)[:50], expected, rtol=1e-5)


def test_distances_and_redshifts_are_those_of_astropy() -> None:
    pytest.importorskip("astropy")
    redshift = np.array([1e-6, 1e-3, 0.02, 0.5, 3.0, 30.0])
    for name in ("Planck15", "Planck18"):
        distance = find_cosmology(name).luminosity_distance(redshift).value
        np.testing.assert_allclose(luminosity_distance(redshift, name), distance, rtol=1e-5)
        np.testing.assert_allclose(redshift_at(distance, name), redshift, rtol=2e-5)


def test_refusals() -> None:
    pytest.importorskip("astropy")
    with pytest.raises(UserError, match=r"no cosmology 'Planck17' .did you mean 'Planck1"):
        find_cosmology("Planck17")
    with pytest.raises(UserError, match="UniformVolume: low and high"):
        UniformVolume(500, 100)
    with pytest.raises(UserError, match=r"redshift = .*at most 100"):
        RedshiftedVolume((0.1, 1000))
