"""A run over simulated strain: found injections, resumed and longer runs, other runs refused."""

from __future__ import annotations

import functools
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from child_processes import kill_when, start
from mdc_runs import POPULATION, SETTINGS, content_digests, make_search, run

from benchmarks.mdc.figures_of_merit import figures_of_run
from benchmarks.mdc.search_run import condition_segment, search_stretches
from benchmarks.mdc.strain_sources import SimulatedStrain
from data.recording import Recording, StrainInMemory
from runtime.errors import UserError
from search.conditioned_stretch import ConditioningSettings
from search.sensitivity import match_events
from simulation.continuous_strain_files import Segment

pytest.importorskip("lalsimulation")


def test_loud_injections_are_found_at_their_times(finished: Path) -> None:
    found = run(finished)
    assert len(found.injections) >= 12
    loudest, _ = match_events(found.injections, found.foreground)
    loud = found.injections.snr > 12
    assert 3 < loud.sum() < len(loud)
    # The template's SNR is no more than the optimal one, but for noise, and close to it.
    expected = found.injections.snr[loud] ** 2
    assert (loudest[loud] > 0.7 * expected).all()
    assert (np.sqrt(loudest[loud]) < np.sqrt(expected) + 4).all()
    assert found.seconds == 384
    assert 360 < found.live[0] == found.live[1] < 384


def test_figures_agree_with_a_count_by_hand(finished: Path) -> None:
    found = run(finished)
    figures = figures_of_run(found, POPULATION, 30.0, (2e4, 1000.0, 1.0))
    by_rate = {row["rate"]: row for row in figures["rows"]}
    assert by_rate[1.0]["unresolved"] == "needs 30 d of background"
    row = by_rate[2e4]
    month, allowed = 30 * 86_400, int(2e4 * 384 / (30 * 86_400))
    threshold = np.sort(found.background.score)[-1 - allowed]
    assert (row["background_louder"], row["threshold"]) == (allowed, threshold)
    near = [
        found.foreground.score[np.abs(found.foreground.time - time) <= 0.3].max(initial=0)
        for time in found.injections.time
    ]
    is_found = np.array(near) > threshold
    assert row["found"] == is_found.sum() > 3
    weights = (found.injections.chirp_mass / (1.4 / 2**0.2)) ** 2.5
    volume = 4 / 3 * np.pi * 220**3 * np.mean(weights * is_found)
    assert row["population"]["volume"] == pytest.approx(volume)
    assert sum(share["found"] for share in row["by_snr"]) == row["found"]
    assert sum(share["found"] for share in row["by_chirp_distance"]) == row["found"]
    # the lowest rate that six minutes resolve stands there as well
    assert month / 384 in by_rate


def run_to(arguments: list[str]) -> None:
    run(Path(arguments[0]))


# renamed from a temporary name when they are whole: a search's findings, and a segment's record
@pytest.mark.parametrize("moment", ["one_template/000001.npz", "strain/000001.json"])
def test_a_killed_run_resumes_and_leaves_finished_segments_alone(
    moment: str, finished: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    kill = functools.partial(kill_when, "os.rename", lambda name: name.endswith(moment))
    code, _ = start(run_to, [str(path)], tmp_path / "log", kill).wait()
    assert code == -signal.SIGKILL
    left = [each for each in path.rglob("*") if each.is_file()]
    assert any(".tmp" in each.name for each in left)
    times = {each: each.stat().st_mtime_ns for each in left if each.name.startswith("00000")}
    assert len(times) == (2 if moment.endswith("npz") else 3)
    run(path)
    assert not list(path.rglob("*.tmp*"))
    assert {each: each.stat().st_mtime_ns for each in times} == times
    assert content_digests(path) == content_digests(finished)


def test_a_longer_run_continues_a_shorter_one(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(path, replace(SETTINGS, seconds=128))
    assert len(list(path.glob("one_template/*.npz"))) == 1
    run(path)
    assert content_digests(path) == content_digests(finished)


def test_another_search_joins_without_disturbing_the_first(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    settings = replace(SETTINGS, seconds=128)
    run(path, settings)
    before = content_digests(path)
    run(path, settings, replace(make_search(), key="other", scoring={"other": 1}))
    after = content_digests(path)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"other"}


def test_slides_lengthen_the_background_alone(tmp_path: Path) -> None:
    settings = replace(SETTINGS, seconds=128)
    plain = run(tmp_path / "plain", settings)
    slid = run(tmp_path / "slid", settings, make_search(slides=4))
    assert slid.live[1] == pytest.approx(5 * plain.live[1])
    assert slid.is_unslid.sum() == len(plain.background)
    assert len(slid.background) > 2 * len(plain.background)
    assert np.array_equal(slid.foreground.score, plain.foreground.score)


def test_segments_without_room_for_the_slides_are_refused_before_any_work(tmp_path: Path) -> None:
    """Segments of 128 s have room for 41 shifts by multiples of 3 s."""
    settings = replace(SETTINGS, seconds=128)
    words = "--slides 50: a segment of 128 s has room for 41 time slides by multiples of 3 s: ask"
    with pytest.raises(UserError, match=words):
        run(tmp_path / "run", settings, make_search(slides=50))
    assert not list(tmp_path.glob("run/**/*.npz"))


def test_short_stretches_have_fewer_slides_and_it_is_said(caplog) -> None:
    search, observation = make_search(slides=30), make_search().observation
    recordings = {}
    for number, name in enumerate(observation.detectors):
        x = np.random.default_rng(number).normal(0, 1e-21, 64 * 2048)
        recordings[name] = Recording(name, [StrainInMemory(name, x, 2048, 1e9)])
    segment = Segment(0, 1_000_000_000, 64)
    stretches = condition_segment(recordings, segment, observation, ConditioningSettings())
    with caplog.at_level("WARNING"):
        found = search_stretches(search, stretches, 30, 0.0)
    assert "have fewer than 30 time slides: live time counts what was slid" in caplog.text
    assert found.live[1] == pytest.approx(19 * found.live[0])  # of 62 s that are conditioned


def test_other_strain_and_other_searches_are_refused(finished: Path) -> None:
    before = content_digests(finished)
    with pytest.raises(UserError, match=r"holds another strain \(other simulated.seed\)"):
        run(finished, replace(SETTINGS, seed=6))
    with pytest.raises(UserError, match=r"holds another strain \(other simulated.segment\)"):
        run(finished, replace(SETTINGS, longest_segment=64))
    with pytest.raises(UserError, match=r"holds another search \(other events.least\)"):
        run(finished, search=make_search(least=31.0))
    assert content_digests(finished) == before


def test_folders_of_something_else_and_damaged_files_are_refused(
    finished: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"is not empty and holds no run"):
        run(other)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file: name a folder"):
        run(tmp_path / "file")
    path = tmp_path / "run"
    run(path, replace(SETTINGS, seconds=128))
    (path / "one_template" / "000000.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"000000.npz is damaged .*: remove it and start again"):
        run(path, replace(SETTINGS, seconds=128))
    (path / "one_template" / "000000.npz").unlink()
    assert len(run(path, replace(SETTINGS, seconds=128)).foreground)


def test_durations_that_are_no_whole_segments_are_refused() -> None:
    with pytest.raises(UserError, match=r"no whole number of segments of 128 s: give one, e.g."):
        SimulatedStrain(replace(SETTINGS, seconds=200))
    with pytest.raises(UserError, match="no sensitive distance"):
        SimulatedStrain(replace(SETTINGS, spacing=None))
