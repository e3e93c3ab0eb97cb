"""Continuous strain in a folder: what is in the files, killed and repeated runs, bad input."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from child_processes import kill_when, run_at_once, start

from physics.mass_laws import LogUniformTotalMass
from physics.observation import Observation
from physics.population import Population
from runtime.errors import UserError
from simulation import continuous_strain
from simulation.continuous_strain import simulate_strain
from simulation.continuous_strain_files import Segment
from simulation.strain_settings import StrainSettings

pytest.importorskip("lalsimulation")

# A rate at which everything takes little time.
RATE = 1024
OBSERVATION = Observation(("H1", "L1"), RATE, 2.0, 15.0, "aLIGOZeroDetHighPower")
HEAVY = Population(masses=LogUniformTotalMass((60.0, 80.0)))
SETTINGS = StrainSettings(
    192, OBSERVATION, HEAVY, seed=7, longest_segment=70, gap=8, start=1_238_166_018
)


def content_digests(out: Path) -> dict[str, str]:
    """Return a digest of every file in a folder."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def read_strain(out: Path, kind: str, segment: Segment) -> np.ndarray:
    """Return (detector, time) float64."""
    rows = []
    for detector in SETTINGS.observation.detectors:
        with h5py.File(out / segment.strain_file(kind, detector)) as file:
            rows.append(file["strain/Strain"][:].astype(np.float64))
    return np.stack(rows)


def read_table(out: Path) -> list[dict[str, str]]:
    with open(out / "injections.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("strain") / "out"
    summary = simulate_strain(out, SETTINGS, workers=1)
    assert (summary["segments"], summary["written"]) == (3, 3)
    return out


# --- what is in the files ---------------------------------------------------------------------


def test_every_file_is_there_and_no_other(finished: Path) -> None:
    expected = {"injections.csv", "segments.csv", "strain.json"}
    for segment in SETTINGS.segments():
        expected.add(segment.record_file)
        for kind in ("background", "foreground"):
            expected |= {segment.strain_file(kind, detector) for detector in ("H1", "L1")}
    assert set(content_digests(finished)) == expected
    with open(finished / "segments.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["start"]) for row in rows] == [s.start for s in SETTINGS.segments()]
    assert {row["curve_L1"] for row in rows} == {"aLIGOZeroDetHighPower"}


def test_the_background_has_the_psd_of_the_curve(tmp_path: Path) -> None:
    from scipy.signal import welch

    settings = replace(SETTINGS, seconds=2048, spacing=None, longest_segment=2048)
    simulate_strain(tmp_path / "out", settings, workers=1)
    (segment,) = settings.segments()
    for channel, values in enumerate(read_strain(tmp_path / "out", "background", segment)):
        frequencies, power = welch(values * 1e21, RATE, nperseg=8 * RATE)
        inside = (frequencies > 18) & (frequencies < 480)
        expected = settings.observation.noise(channel).psd_on_grid(8 * RATE)
        ratio = power[inside] / expected[inside]
        # 511 half-overlapping stretches, some 350 independent ones: 5.4 % a bin.
        assert abs(ratio.mean() - 1) < 0.01
        assert np.abs(ratio - 1).max() < 0.3


def test_the_foreground_is_the_background_with_bilbys_injections(finished: Path) -> None:
    bilby = pytest.importorskip("bilby")
    bilby.core.utils.logger.setLevel("WARNING")
    table = read_table(finished)
    for segment in SETTINGS.segments():
        rows = [r for r in table if segment.start <= float(r["geocent_time"]) < segment.end]
        assert len(rows) == 2
        added = read_strain(finished, "foreground", segment)
        added -= read_strain(finished, "background", segment)
        spectrum = np.fft.rfft(added)
        frequencies = np.fft.rfftfreq(added.shape[1], 1 / RATE)
        spectrum[:, frequencies < 20] = 0  # bilby's signals begin at 20 Hz, ours grow up to it
        added = np.fft.irfft(spectrum, added.shape[1])
        for channel, name in enumerate(SETTINGS.observation.detectors):
            detector = bilby.gw.detector.get_empty_interferometer(name)
            detector.minimum_frequency, detector.maximum_frequency = 20, RATE / 2
            detector.set_strain_data_from_zero_noise(RATE, segment.duration, segment.start)
            for row in rows:
                words = ("waveform_approximant", "reference_frequency", "minimum_frequency")
                arguments = {word: row[word] for word in words}
                arguments |= {word: float(row[word]) for word in words[1:]}
                generator = bilby.gw.WaveformGenerator(
                    duration=segment.duration,
                    sampling_frequency=RATE,
                    frequency_domain_source_model=bilby.gw.source.lal_binary_black_hole,
                    waveform_arguments=arguments,
                )
                parameters = {
                    key: float(value)
                    for key, value in row.items()
                    if key not in (*words, "mode_array", "signal_start") and "snr" not in key
                }
                detector.inject_signal(parameters, waveform_generator=generator)
            expected = detector.strain_data.time_domain_strain
            assert np.abs(added[channel] - expected).max() < 1e-3 * np.abs(expected).max()


def test_segments_of_a_family_draw_their_curves(tmp_path: Path) -> None:
    for detector in ("H1", "L1"):
        folder = tmp_path / "psds" / detector
        folder.mkdir(parents=True)
        for number in range(4):
            asd = 1e-23 * 2.0**number
            (folder / f"{number}.txt").write_text(f"5 {asd}\n600 {asd}\n")
    observation = replace(OBSERVATION, curves=str(tmp_path / "psds"))
    settings = replace(SETTINGS, seconds=8 * 64, observation=observation, longest_segment=64)
    settings = replace(settings, spacing=None)
    out = tmp_path / "out"
    simulate_strain(out, settings, workers=1)
    drawn = set()
    for segment in settings.segments():
        curves = json.loads((out / segment.record_file).read_text())["curves"]
        for values, curve in zip(read_strain(out, "background", segment), curves, strict=True):
            drawn.add(curve[-8:])
            asd = 1e-23 * 2.0 ** int(Path(curve).stem)
            # White above 15 Hz: the variance is the PSD times the band, to 1/sqrt(2 * 497 * 64).
            assert values.var() == pytest.approx(asd**2 * (RATE / 2 - 15), rel=0.04)
    assert len(drawn) > 4  # of 8 curves in 16 draws


def test_injections_have_the_same_noise_below_them(finished: Path, tmp_path: Path) -> None:
    """Without injections the background is the same, bit by bit."""
    simulate_strain(tmp_path / "out", replace(SETTINGS, spacing=None), workers=1)
    alone = content_digests(tmp_path / "out")
    assert not any(name.startswith("foreground") or "injections" in name for name in alone)
    beside = content_digests(finished)
    assert {n: d for n, d in beside.items() if n.startswith("background")}.items() <= alone.items()


# --- killed, repeated, at once ----------------------------------------------------------------


def test_two_processes_write_the_same_bytes_as_one(finished: Path, tmp_path: Path) -> None:
    simulate_strain(tmp_path / "out", SETTINGS, workers=2)
    assert content_digests(tmp_path / "out") == content_digests(finished)


def test_a_finished_run_is_left_alone(finished: Path, monkeypatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    monkeypatch.setattr(continuous_strain, "locked_folder", None)  # not even locked
    summary = simulate_strain(finished, SETTINGS)
    assert (summary["written"], summary["injections"]) == (0, 6)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def run_simulation(arguments: list[str]) -> None:
    simulate_strain(arguments[0], SETTINGS, workers=1)


MOMENTS = ("BACKGROUND-1238166018", "FOREGROUND-1238166090", "1238166162.json", "segments.csv")


@pytest.mark.parametrize("moment", [*MOMENTS, "strain.json"])
def test_a_killed_run_resumes_bit_by_bit(moment: str, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kill = functools.partial(kill_when, "os.rename", lambda path: moment in path)
    code, _ = start(run_simulation, [str(out)], tmp_path / "log", kill).wait()
    assert code == -signal.SIGKILL
    left = content_digests(out)
    assert "strain.json" not in left
    assert any(".tmp" in name for name in left) == (moment != "strain.json")
    times = {name: (out / name).stat().st_mtime_ns for name in left if name.endswith(".json")}
    simulate_strain(out, SETTINGS, workers=1)
    assert content_digests(out) == content_digests(finished)
    kept = [name for name in times if name.startswith("segments/") and ".tmp" not in name]
    for name in kept:  # a finished segment is not simulated again
        assert (out / name).stat().st_mtime_ns == times[name]


def test_files_that_were_removed_or_cut_are_written_again(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    simulate_strain(out, SETTINGS, workers=1)
    first, second, _ = SETTINGS.segments()
    (out / first.strain_file("background", "H1")).unlink()
    os.truncate(out / second.strain_file("foreground", "L1"), 1000)
    (out / "injections.csv").unlink()
    assert simulate_strain(out, SETTINGS, workers=1)["written"] == 2
    assert content_digests(out) == content_digests(finished)


def test_two_runs_at_once_leave_one_result(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ends = run_at_once(run_simulation, [[str(out)], [str(out)]], tmp_path / "logs")
    codes = sorted(code for code, _ in ends)
    assert codes in ([0, 0], [0, 2])
    for code, text in ends:
        assert code == 0 or "in use by another run" in text
    assert content_digests(out) == content_digests(finished)


def test_other_settings_are_refused_and_moved_aside_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    short = replace(SETTINGS, seconds=64)
    simulate_strain(out, short, workers=1)
    before = content_digests(out)
    other = replace(short, observation=replace(OBSERVATION, detectors=("H1", "V1")))
    for settings, words in (
        (replace(short, seed=8), "seed = 7 and 8 is asked for"),
        (replace(short, spacing=(20.0, 21.0)), r"injections = \[24.0, 30.0\]"),
        (other, r"'H1 L1 at 1024 Hz, 2 s' and 'H1 V1 at 1024 Hz, 2 s' is asked for"),
        (
            replace(short, observation=replace(OBSERVATION, curves="aLIGO_O4_high")),
            r"curves = \['aLIGOZeroDetHighPower', 'aLIGOZeroDetHighPower'\] and \['aLIGO_O4_high'",
        ),
    ):
        with pytest.raises(UserError, match=words):
            simulate_strain(out, settings)
    assert content_digests(out) == before
    simulate_strain(out, replace(short, seed=8), workers=1, overwrite=True)
    (aside,) = tmp_path.glob("out.*")
    assert content_digests(aside) == before
    assert content_digests(out) != before
    # with equal settings there is nothing to overwrite
    assert simulate_strain(out, replace(short, seed=8), overwrite=True)["written"] == 0


# --- bad input --------------------------------------------------------------------------------


def test_too_small_a_disk_is_noticed_before_anything_is_computed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(continuous_strain, "write_segments", None)  # not called
    forever = replace(SETTINGS, seconds=3600 * 24 * 365 * 10, longest_segment=3600 * 24 * 365)
    usage = shutil._ntuple_diskusage(10**12, 10**12, 5 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"the strain takes .* GiB and its disk has .* GiB free"):
        simulate_strain(tmp_path / "out", forever)
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_a_disk_that_fills_up_keeps_finished_segments(tmp_path, monkeypatch) -> None:
    out, write = tmp_path / "out", continuous_strain.write_segment

    def write_two(out, settings, segment):
        if segment.number == 2:
            raise UserError("full disk")
        return write(out, settings, segment)

    monkeypatch.setattr(continuous_strain, "write_segment", write_two)
    with pytest.raises(UserError, match="full disk"):
        simulate_strain(out, SETTINGS, workers=1)
    monkeypatch.undo()
    assert simulate_strain(out, SETTINGS, workers=1)["written"] == 1
