"""The strain of a segment in memory: the same as in files, whole signals over several blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from physics.mass_laws import LogUniformTotalMass
from physics.observation import Observation
from physics.population import Population
from simulation.continuous_strain import simulate_strain
from simulation.continuous_strain_files import read_record
from simulation.strain_glitches import GlitchRate
from simulation.strain_injections import InjectedSignal
from simulation.strain_segments import SignalAdder, simulate_segment
from simulation.strain_settings import StrainSettings

pytest.importorskip("lalsimulation")

OBSERVATION = Observation(("H1", "L1"), 512, 2.0, 15.0, "aLIGOZeroDetHighPower")
HEAVY = Population(masses=LogUniformTotalMass((60.0, 80.0)))
SETTINGS = StrainSettings(
    160,
    OBSERVATION,
    HEAVY,
    seed=3,
    longest_segment=80,
    start=1_238_166_018,
    glitches=GlitchRate(an_hour=400.0),
)


def test_a_segment_in_memory_is_what_the_files_hold(tmp_path: Path) -> None:
    simulate_strain(tmp_path / "out", SETTINGS, workers=1)
    for segment in SETTINGS.segments():
        simulated = simulate_segment(SETTINGS, segment)
        record = read_record(tmp_path / "out", segment)
        assert record["injections"] == simulated.injections
        assert record["glitches"] == simulated.glitches
        assert len(simulated.injections) >= 2
        assert len(simulated.glitches) >= 8
        for kind in ("background", "foreground"):
            for channel, detector in enumerate(OBSERVATION.detectors):
                with h5py.File(tmp_path / "out" / segment.strain_file(kind, detector)) as file:
                    written = file["strain/Strain"][:].astype(np.float64) * 1e21
                # float32 on both sides, rounded before and after the change of units
                values = simulated.strain[kind][channel]
                assert np.abs(values - written).max() < 3e-7 * np.abs(written).max()


def test_without_injections_there_is_no_foreground() -> None:
    settings = replace(SETTINGS, spacing=None)
    simulated = simulate_segment(settings, settings.segments()[1])
    assert (list(simulated.strain), simulated.injections) == (["background"], [])
    both = simulate_segment(SETTINGS, SETTINGS.segments()[1])
    assert np.array_equal(simulated.strain["background"], both.strain["background"])


def test_signals_that_reach_over_blocks_are_added_once_in_each_place() -> None:
    rng = np.random.default_rng(0)
    spans = [(-5, 12), (3, 40), (8, 9), (29, 35)]  # first sample and end within 36 samples
    signals = [
        InjectedSignal(first, rng.normal(size=(2, end - first)), {"number": number})
        for number, (first, end) in enumerate(spans)
    ]
    expected = np.zeros((2, 50))
    for signal in signals:  # 10 before, so that no index is negative
        expected[:, signal.first + 10 : signal.end + 10] += signal.strain
    adder = SignalAdder(iter(signals))
    found = np.zeros((2, 36))
    for first in range(0, 36, 9):
        adder.add(found[:, first : first + 9], first)
    assert np.allclose(found, expected[:, 10:46])
    assert [row["number"] for row in adder.rows] == [0, 1, 2, 3]
