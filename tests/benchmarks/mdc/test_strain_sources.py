"""Strain of the challenge's files: searched like the same strain simulated."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from simple_scorer import OneTemplateScorer

from benchmarks.mdc.challenge_files import write_injections
from benchmarks.mdc.figures_of_merit import collect_findings, write_challenge_files
from benchmarks.mdc.run_folder import RunFolder
from benchmarks.mdc.search_run import EventSettings, Search, run_searches
from benchmarks.mdc.strain_sources import ChallengeStrain, SimulatedStrain, StrainSource
from configuration.class_with_arguments import Part
from physics.constants import STRAIN_UNIT
from physics.distance_laws import UniformChirpVolume
from physics.mass_laws import UniformComponents
from physics.observation import Observation
from physics.population import Population
from physics.spin_laws import NoSpins
from runtime.errors import UserError
from search.conditioned_stretch import ConditioningSettings
from simulation.strain_segments import simulate_segment
from simulation.strain_settings import StrainSettings

pytest.importorskip("lalsimulation")

OBSERVATION = Observation(("H1", "L1"), 512, 2.0, 15.0, "aLIGOZeroDetHighPower")
POPULATION = Population(
    masses=UniformComponents(30.0, 40.0),
    spins=Part(NoSpins),
    distance=UniformChirpVolume(30.0, 200.0),
    approximant="IMRPhenomD",
)
SETTINGS = StrainSettings(200, OBSERVATION, POPULATION, seed=8, longest_segment=100, gap=16)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Return the files of simulated strain as the challenge has them."""
    folder, rows = tmp_path_factory.mktemp("challenge"), []
    paths = {kind: folder / f"{kind}.hdf" for kind in ("background", "foreground", "injections")}
    with h5py.File(paths["background"], "w") as back, h5py.File(paths["foreground"], "w") as fore:
        for segment in SETTINGS.segments():
            simulated = simulate_segment(SETTINGS, segment)
            rows += simulated.injections
            for kind, file in (("background", back), ("foreground", fore)):
                for detector, values in zip(
                    OBSERVATION.detectors, simulated.strain[kind], strict=True
                ):
                    strain = values.astype(np.float64) * STRAIN_UNIT
                    data = file.create_dataset(f"{detector}/{segment.start}", data=strain)
                    data.attrs["start_time"] = float(segment.start)
                    data.attrs["delta_t"] = 1 / OBSERVATION.sample_rate
    write_injections(paths["injections"], rows)
    return paths


def open_files(files: dict[str, Path], longest: int = 3600) -> ChallengeStrain:
    return ChallengeStrain(**files, observation=OBSERVATION, population=POPULATION, longest=longest)


def search(source: StrainSource, path: Path):
    """Return what a search of some strain finds, with the files for the challenge's script."""
    one = Search(
        "one template",
        "one",
        OBSERVATION,
        OneTemplateScorer(OBSERVATION),
        EventSettings(cluster=1.0, least=25.0),
        {},
    )
    folder = RunFolder(path, source.identity())
    with folder.locked():
        findings = run_searches(source, folder, [one], ConditioningSettings(), show_progress=False)
        found = collect_findings(source, folder, findings["one"])
        write_challenge_files(findings["one"].folder, source, found)
    return found


def test_files_are_searched_like_the_strain_that_was_written(files, tmp_path: Path) -> None:
    from_files = search(open_files(files), tmp_path / "files")
    simulated = search(SimulatedStrain(SETTINGS), tmp_path / "simulated")
    assert len(simulated.injections) >= 5
    for name in ("time", "mass1", "mass2", "distance"):
        assert np.array_equal(
            getattr(from_files.injections, name), getattr(simulated.injections, name)
        )
    for kind in ("background", "foreground"):
        ours, theirs = getattr(simulated, kind), getattr(from_files, kind)
        assert len(ours) > 5
        assert np.allclose(ours.time, theirs.time, atol=1e-6)
        assert np.allclose(ours.score, theirs.score, rtol=1e-5)
    assert from_files.live == pytest.approx(simulated.live)
    # what the challenge's script reads is there
    for name in ("foreground.hdf", "background.hdf", "injections.hdf", "outline.hdf"):
        assert (tmp_path / "files" / "one" / name).is_file()


def test_long_strain_is_divided_and_each_injection_belongs_to_one_part(files) -> None:
    source = open_files(files, longest=40)
    segments = source.segments()
    assert [segment.duration for segment in segments] == [33, 33, 34, 33, 33, 34]
    rows = [row for loaded in source.load(segments) for row in loaded.injections]
    assert [row["geocent_time"] for row in rows] == [
        row["geocent_time"] for row in source.injections
    ]
    assert source.identity() != open_files(files).identity()


def test_files_of_different_times_are_refused(files, tmp_path: Path) -> None:
    other = tmp_path / "background.hdf"
    with h5py.File(files["background"]) as file, h5py.File(other, "w") as copy:
        for detector in OBSERVATION.detectors:
            key = next(iter(file[detector]))
            file.copy(f"{detector}/{key}", copy.require_group(detector))
    with pytest.raises(UserError, match="are of different times: give the two files of one data"):
        open_files({**files, "background": other})
    with h5py.File(other, "r+") as copy:
        del copy["L1"]
    with pytest.raises(UserError, match="L1"):
        open_files({**files, "background": other})


@pytest.mark.slow
def test_processes_simulate_the_same_strain() -> None:
    segments = SETTINGS.segments()
    alone = {each.segment.number: each for each in SimulatedStrain(SETTINGS).load(segments)}
    together = {each.segment.number: each for each in SimulatedStrain(SETTINGS, 2).load(segments)}
    assert alone.keys() == together.keys() == {0, 1}
    for number, one in alone.items():
        other = together[number]
        assert one.injections == other.injections
        for kind in ("background", "foreground"):
            for detector in OBSERVATION.detectors:
                start = float(one.segment.start)
                count = one.segment.duration * OBSERVATION.sample_rate
                values = [
                    each.recordings[kind][detector].read(start, count) for each in (one, other)
                ]
                assert np.array_equal(*values)
