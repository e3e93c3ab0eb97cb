"""Scores of glitches and mergers: what is drawn, the four statistics, and what they find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from competition import window_of

from benchmarks.detection import glitch_ranking
from benchmarks.detection.glitch_ranking import (
    STATISTICS,
    Drawer,
    compute_figures,
    compute_statistics,
    exponent_lost,
    format_figures,
)
from configs import Demo, Wave09
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from models1d import MatchedFilter1d
from physics.mass_laws import UniformComponents
from physics.observation import Observation
from physics.population import Population
from runtime.errors import UserError
from search.consistency import measure_consistency
from simulation import whitened_signals

NETWORK = {"templates": 5, "basis": 32, "before": 0.25, "after": 0.0625, "arrival": (0.5, 0.6)}


def small_network(glitches: bool = True) -> MatchedFilter1d:
    torch.manual_seed(0)
    return MatchedFilter1d(
        **NETWORK,
        stride=2,
        correlation=-0.6,
        glitches=glitches,
        observation=window_of(2048, "H1", "L1"),
    ).eval()


def test_what_is_drawn(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    pytest.importorskip("lalsimulation")
    monkeypatch.setenv("G2NET_CACHE", str(cache))
    monkeypatch.setattr(whitened_signals, "FITTED", 64)
    observation = Part(Observation, detectors=("H1", "L1"), window=1.0, min_frequency=20.0)
    masses = Part(UniformComponents, low=30.0, high=50.0)  # short enough for a second
    population = Part(Population, merger=(0.6, 0.8), masses=masses)
    settings = {"observation": observation, "population": population}
    drawer = Drawer.of(ConfigMeta("Short", (Wave09,), settings, register=False), 8)
    noise, glitches = (torch.cat(list(drawer.draw(k, 40, 0))) for k in ("noise", "glitches"))
    assert noise.shape == glitches.shape == (40, 2, 1024)
    assert noise.std().item() == pytest.approx(1, abs=0.03)
    # Other noise than the first, and in one detector much more than that.
    powers = glitches.square().mean(-1)
    assert (powers.amin(1) < 1.5).all()
    assert (powers.amax(1) > 1.3).float().mean() > 0.3
    everywhere = torch.cat(list(drawer.draw("glitches_everywhere", 40, 0)))
    assert (everywhere.square().mean(-1).amin(1) > 1.1).any()
    signals = torch.cat(list(drawer.draw("signals", 40, 0)))
    again = torch.cat(list(drawer.draw("signals", 40, 0)))
    assert torch.equal(signals, again)
    assert signals.square().mean() > noise.square().mean()


def test_experiments_without_whitened_simulation_are_refused() -> None:
    with pytest.raises(UserError, match="Demo does not train on whitened"):
        Drawer.of(Demo, 8)


def test_the_statistics_are_those_of_the_networks() -> None:
    model, plain = small_network(), small_network(glitches=False)
    plain.load_state_dict(model.state_dict(), strict=False)
    x = torch.randn(5, 2, 1024)
    x[0, 1, 400:700] *= 6  # a loud burst
    found = compute_statistics(model, x)
    with torch.inference_mode():
        # The logits of new networks are the log-ratios themselves.
        np.testing.assert_allclose(found[:, 0], plain(x)[:, 0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found[:, 1], model(x)[:, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[:, 0] - found[:, 2], found[:, 1] - found[:, 3], atol=1e-3)
    assert (found[:, 2] <= found[:, 0]).all()


@torch.inference_mode()
def test_what_chi_squared_takes_away() -> None:
    model = small_network()
    strain = torch.randn(2, 1024).numpy() * 2
    lost = exponent_lost(model, strain, 3, 7)
    merger, expected = (model.grid.first + 7) * 2, 0.0
    template = (model.templates[0][3] @ model.filters[0]).numpy()
    for d in range(2):
        reach = (model.grid.reach[d] + 1) * 2
        found = measure_consistency(strain[d], merger, reach, template, 256)
        expected += 0.76 * (found.snr**2 - found.reweighted_snr**2) / 2
    assert lost == pytest.approx(expected, rel=1e-5)
    assert lost > 0


def test_figures_by_hand() -> None:
    count = len(STATISTICS)
    noise = np.tile(np.linspace(0, 1, 101)[:, None], (1, count))
    signals = np.tile(np.arange(20.0)[:, None], (1, count))
    glitches = np.tile(np.array([[1.0], [8.0], [12.5], [-5.0]]), (1, count))
    glitches[:, 1] = -1.0
    everywhere = glitches[:2] + 2.5  # 3.5 and 10.5, where glitches are 1 and 8
    figures = compute_figures(noise, signals, glitches, everywhere, windows=1000 * np.exp(9.0))
    row = figures["ratio"]
    assert row["threshold"] == pytest.approx(0.99 + 9)  # log(0.01 x 1000 e^9 / 10)
    assert row["found"] == 0.5  # 10 to 19
    assert row["glitches_above"] == 0.25
    assert row["everywhere_above"] == 0.5
    assert row["loudest_everywhere"] == 10.5
    assert row["found_above_all_glitches"] == 7 / 20  # 13 to 19
    assert figures["glitch hypothesis"]["found_above_all_glitches"] == 0.5
    table = format_figures(figures)
    assert f"{0.7 ** (1 / 3):.3f}" in table
    assert all(f"| {name} |" in table for name in STATISTICS)


def test_the_command_line_refuses(tmp_path: Path) -> None:
    for line, words in (
        (["--config", "Mdc1Glitches", "--samples", "20"], "expected 200 or more"),
        (["--config", "Demo", "--untrained"], "no MatchedFilter1d with glitches"),
        (["--config", "Wave09", "--results", str(tmp_path)], r"fold<k>\.pt to score Wave09"),
    ):
        with pytest.raises(UserError, match=words):
            glitch_ranking.main(line)
