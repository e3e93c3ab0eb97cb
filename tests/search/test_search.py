"""The search: what it finds, gaps, combinations, resuming, and that length costs no memory."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fake_scorer import TWO, PowerScorer
from real_strain import START
from small_bank import PAIR, chirp_network

from data.gates import Gate
from data.recording import Recording, StrainInMemory
from physics.observation import Observation
from runtime.errors import UserError
from search.bank_statistics import LikelihoodRatio
from search.clustering import find_loudest_within
from search.conditioned_stretch import MissingStrain
from search.filter_bank_scorer import FilterBankScorer
from search.folder import StretchStore
from search.live_times import LiveTimes
from search.result import SearchResult
from search.run_search import say_where_slides_are_fewer
from search.search import LEAST_KEPT, Search
from search.search_file import read_search_file
from search.settings import SearchSettings
from search.stretch_results import StretchResult, pack_stretch_result, unpack_stretch_result
from search.trigger_table import COLUMNS, TriggerTable

RATE = 2048
QUICK = SearchSettings(slides=12, maps=1, stretch=64.0, least=-1e9)


def held(detector: str, seconds: int, *events: float, seed: int = 0, start: float = START):
    """Return white noise with a short wave of 100 Hz at each event, the same in all detectors."""
    rng = np.random.default_rng([seed, len(detector), ord(detector[0])])
    x = rng.normal(0, 1e-21, seconds * RATE)
    for event in events:
        at = round(event * RATE)
        ramp = np.sin(2 * np.pi * 100 * np.arange(400) / RATE) * np.hanning(400)
        x[at - 200 : at + 200] += 6e-21 * ramp
    return Recording(detector, [StrainInMemory(detector, x, RATE, start)])


def run(
    recordings: dict, folder: Path, settings: SearchSettings = QUICK, scorer=None, **options
) -> tuple[Search, SearchResult]:
    """Search and return the search and what it found."""
    options = {"observation": TWO} | options
    search = Search(recordings, scorer or PowerScorer(), settings, **options)
    search.search_stretches(show_bar=False)
    folder.mkdir(exist_ok=True)
    search.write_triggers(folder / "triggers.hdf5", {"networks": ["a"]})
    return search, search.rate(read_search_file(folder / "triggers.hdf5"))


def test_finds_what_both_detectors_have(tmp_path: Path) -> None:
    strain = {"H1": held("H1", 200, 77.3, 130.0), "L1": held("L1", 200, 77.3)}
    _, found = run(strain, tmp_path)
    triggers, rated = found.triggers, found.significance
    assert triggers.time[0] == pytest.approx(START + 77.3, abs=0.15)
    assert triggers.score[0] > 1.3 * triggers.score[1]
    # What only Hanford has is the next, and its slid copies are as loud.
    assert triggers.time[1] == pytest.approx(START + 130, abs=0.15)
    assert (rated.as_loud[0], rated.is_limit[0]) == (0, True)
    assert rated.as_loud[1] > 0
    (removed,) = found.background.removed
    assert removed.time == triggers.time[0]
    # The first of all was rated before anything was removed.
    whole = found.background.live.seconds.sum()
    assert rated.rate[0] == pytest.approx(1 / whole)
    assert rated.rate[1] > 2 / whole
    assert set(found.whitened) == {0}
    assert set(found.whitened[0].strain) == {"H1", "L1"}
    middle = found.whitened[0].start + 1
    assert middle == pytest.approx(triggers.time[0], abs=1e-3)
    white = found.whitened[0].strain["H1"]
    assert np.std(white[:1000]) == pytest.approx(1, rel=0.1)
    assert np.abs(white[1900:2200]).max() > 4


def test_triggers_are_apart_and_sorted(tmp_path: Path) -> None:
    _, found = run({"H1": held("H1", 100), "L1": held("L1", 100)}, tmp_path)
    times = np.sort(found.triggers.time)
    assert np.diff(times).min() > QUICK.cluster
    assert np.all(np.diff(found.triggers.score) <= 0)
    assert found.live_seconds.keys() == {"H1L1"}
    assert 90 < found.live_time < 102  # two stretches share a window's length


def test_background_triggers_are_as_many_as_those_of_noise(tmp_path: Path) -> None:
    _, found = run({"H1": held("H1", 300), "L1": held("L1", 300)}, tmp_path)
    background = found.background
    rate = len(found.triggers) / found.live_time
    assert len(background.slid) / found.slid_seconds == pytest.approx(rate, rel=0.1)
    assert background.live.seconds.sum() == pytest.approx(12 * found.live_time, rel=0.01)
    # the tenth loudest of noise is as loud as about ten of noise
    assert 3 < found.significance.rate[9] * found.live_time < 30


def test_gaps_are_not_searched(tmp_path: Path) -> None:
    h1, l1 = held("H1", 120), held("L1", 120)
    l1.sources[0].values[60 * RATE : 62 * RATE] = np.nan
    _, found = run({"H1": h1, "L1": l1}, tmp_path, dataclasses.replace(QUICK, cluster=0.1))
    _, whole = run({"H1": h1, "L1": held("L1", 120)}, tmp_path, QUICK)
    both = found.triggers.combination == "H1L1"
    times = found.triggers.time[both] - START
    assert not ((times > 60) & (times < 62)).any()
    assert both.any()
    assert found.live_seconds["H1L1"] < whole.live_seconds["H1L1"] - 2


def test_every_second_is_searched_with_the_detectors_that_have_data(tmp_path: Path) -> None:
    three = Observation()
    strain = {"H1": held("H1", 300), "L1": held("L1", 300), "V1": held("V1", 100)}
    settings = dataclasses.replace(QUICK, stretch=128.0)
    _, found = run(strain, tmp_path, settings, observation=three)
    assert set(found.live_seconds) == {"H1L1", "H1L1V1"}
    assert found.live_seconds["H1L1V1"] == pytest.approx(100, abs=8)
    assert found.live_seconds["H1L1"] == pytest.approx(200, abs=8)
    assert found.background.combinations == ["H1L1", "H1L1V1"]
    assert np.isfinite(found.significance.rate).all()
    late = found.triggers.time > START + 105
    assert set(found.triggers.combination[late]) == {"H1L1"}
    assert np.isnan(found.triggers.detector_scores[late, 2]).all()


def test_a_part_without_room_for_all_slides_has_fewer_and_it_is_said(tmp_path, caplog) -> None:
    """Where Virgo has a gap of 1 s, the others are left for the windows that it spoils."""
    strain = {name: held(name, 64) for name in ("H1", "L1", "V1")}
    strain["V1"].sources[0].values[30 * RATE : 31 * RATE] = np.nan
    settings = dataclasses.replace(QUICK, slides=100, shift=0.1)
    run(strain, tmp_path, settings, observation=Observation())
    live = read_search_file(tmp_path / "triggers.hdf5").live
    assert set(live.combination) == {"H1L1V1", "H1L1"}
    assert live.count_short_of_slides(100) == (1, 2)
    with caplog.at_level("INFO"):
        say_where_slides_are_fewer(live, 100)
    assert "1 of 2 pieces of strain" in caplog.text
    assert "too short for --slides 100 and have fewer" in caplog.text


def test_strain_that_is_nothing_but_gaps(tmp_path: Path) -> None:
    broken = held("H1", 60)
    broken.sources[0].values[::RATE] = np.nan
    with pytest.raises(UserError, match=r"nothing could be searched|no stretch of strain"):
        run({"H1": broken}, tmp_path)


@pytest.mark.parametrize("survives", [0, 1, 2, 3])
def test_a_search_that_was_killed_is_resumed_with_the_same_result(
    tmp_path: Path, survives: int
) -> None:
    """Killed after any of its stretches; the file of triggers is the same to the byte."""
    strain = {"H1": held("H1", 180, 77.3), "L1": held("L1", 180, 77.3)}
    _, expected = run(strain, tmp_path / "whole")

    class Killed(PowerScorer):
        def prepare(self, stretch) -> None:
            if self.prepared == survives:
                raise KeyboardInterrupt
            super().prepare(stretch)

    (tmp_path / "store").mkdir()
    options = {"store": StretchStore(tmp_path / "store"), "observation": TWO}
    search = Search(strain, Killed(), QUICK, **options)
    if survives < len(search.stretches):
        with pytest.raises(KeyboardInterrupt):
            search.search_stretches(show_bar=False)
    else:
        search.search_stretches(show_bar=False)
    scorer = PowerScorer()
    _, resumed = run(strain, tmp_path / "resumed", scorer=scorer, **options)
    assert scorer.prepared == len(search.stretches) - survives == 3 - survives
    one, other = (tmp_path / name / "triggers.hdf5" for name in ("whole", "resumed"))
    assert one.read_bytes() == other.read_bytes()
    for name in COLUMNS:
        np.testing.assert_array_equal(
            getattr(resumed.triggers, name), getattr(expected.triggers, name)
        )
    np.testing.assert_array_equal(resumed.significance.rate, expected.significance.rate)
    assert resumed.background.removed == expected.background.removed
    assert resumed.live_seconds == expected.live_seconds
    strain_of = [found.whitened[0].strain["L1"] for found in (resumed, expected)]
    np.testing.assert_array_equal(*strain_of)


def test_one_detector_has_no_false_alarm_rate(tmp_path: Path) -> None:
    _, found = run({"H1": held("H1", 60, 30.0)}, tmp_path)
    assert found.background.combinations == []
    assert np.isnan(found.significance.rate).all()
    assert found.triggers.time[0] == pytest.approx(START + 30, abs=0.15)


def test_a_background_is_applied_to_other_strain(tmp_path: Path) -> None:
    """Ten minutes of time slides rate the triggers of one minute that has none of its own."""
    first, _ = run({"H1": held("H1", 300, 200.0), "L1": held("L1", 300, 200.0)}, tmp_path / "one")
    short = {name: held(name, 60, 30.0, seed=7, start=START + 1000) for name in ("H1", "L1")}
    own, _ = run(short, tmp_path / "two", dataclasses.replace(QUICK, slides=0))
    file = read_search_file(tmp_path / "one" / "triggers.hdf5")
    found = own.rate(read_search_file(tmp_path / "two" / "triggers.hdf5"), [file])
    assert found.triggers.time[0] == pytest.approx(START + 1030, abs=0.15)
    assert found.significance.is_limit[0]
    assert found.significance.as_loud[5] > 0
    # the signal of the other strain is no background of this one
    assert [round(event.time - START) for event in found.background.removed] == [200, 1030]
    assert found.significance.rate[1] * found.slid_seconds > 1
    # the trial is the short search's alone
    expected = 1 - np.exp(-found.significance.rate[0] * found.live_time)
    assert found.significance.p_value[0] == pytest.approx(expected)
    assert len(first.stretches) == 5


def test_triggers_quieter_than_another_background_holds_have_no_rate(tmp_path: Path) -> None:
    strain = {name: held(name, 100) for name in ("H1", "L1")}
    other = {name: held(name, 100, seed=3, start=START + 500) for name in ("H1", "L1")}
    search, found = run(strain, tmp_path / "one")
    level = float(np.median(found.triggers.score))
    run(other, tmp_path / "two", dataclasses.replace(QUICK, least=level))
    files = [read_search_file(tmp_path / name / "triggers.hdf5") for name in ("one", "two")]
    assert files[1].slid.score.min() >= level
    pooled = search.rate(files[0], files[1:])
    known = np.isfinite(pooled.significance.rate)
    assert (known == (pooled.triggers.score >= level)).all()
    assert known.any()
    assert not known.all()


def test_a_long_search_keeps_the_loudest_triggers_alone(tmp_path: Path) -> None:
    strain = {name: held(name, 300, 200.0) for name in ("H1", "L1")}
    (tmp_path / "store").mkdir()
    settings = dataclasses.replace(QUICK, least=None)
    store = {"store": StretchStore(tmp_path / "store")}
    search, found = run(strain, tmp_path, settings, **store)
    _, every = run(strain, tmp_path)
    assert search.least > every.triggers.score.min()
    assert len(found.triggers) == (every.triggers.score >= search.least).sum()
    # 50 an hour of a minute would be 1; at least 5 are kept of it
    assert 5 <= len(found.triggers) < len(every.triggers) / 2
    # what was chosen is what is resumed with, and no stretch is searched for it again
    scorer = PowerScorer()
    again, _ = run(strain, tmp_path, settings, scorer=scorer, **store)
    assert again.least == search.least
    assert scorer.prepared == 0


def test_a_search_checks_its_settings() -> None:
    strain = {"H1": held("H1", 60), "L1": held("L1", 60)}
    with pytest.raises(UserError, match="less than one sample"):
        Search(strain, PowerScorer(), dataclasses.replace(QUICK, step=1e-4), observation=TWO)
    many = dataclasses.replace(QUICK, slides=100, shift=1.0)
    with pytest.raises(UserError, match=r"--slides 100: a stretch of .* s has room for 5\d time"):
        Search(strain, PowerScorer(), many, observation=TWO)
    short = dataclasses.replace(QUICK, shortest=100.0)
    with pytest.raises(UserError, match="no stretch of strain is long enough"):
        Search(strain, PowerScorer(), short, observation=TWO)


def test_strain_of_detectors_that_are_not_observed() -> None:
    strain = {"H1": held("H1", 60), "V1": held("V1", 60)}
    with pytest.raises(UserError, match="strain of V1 was given and the networks observe H1, L1:"):
        Search(strain, PowerScorer(), QUICK, observation=TWO)


def test_what_is_stored_of_a_stretch_is_checked() -> None:
    live = LiveTimes.of_stretch(("H1", "L1"), 0, (0, 10), ("H1", "L1"), [{}], np.ones(1))
    gates = [Gate("H1", 1.0, 2.0, 60.0, 80.0)]
    missing = [MissingStrain("L1", 3.0, 4.5)]
    found = StretchResult(TriggerTable.empty(("H1", "L1")), live, gates, False, missing)
    arrays = pack_stretch_result(found)
    again = unpack_stretch_result(arrays, ("H1", "L1"), "x.npz")
    assert (again.gates, again.skipped, again.live.seconds.tolist()) == (gates, False, [1.0])
    assert again.missing == missing
    for name in ("trigger_score", "live_seconds", "gate_snr", "missing_end"):
        broken = {key: value for key, value in arrays.items() if key != name}
        with pytest.raises(UserError, match=r"x\.npz is damaged"):
            unpack_stretch_result(broken, ("H1", "L1"), "x.npz")


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    class Long:
        """An hour and more of noise that is made when it is read."""

        name, rate, start, calibration = "long", RATE, START, ""

        def __init__(self, seconds: int) -> None:
            self.size = seconds * RATE

        def data_segments(self) -> list[tuple[float, float]]:
            return [(START, START + self.size / RATE)]

        def excluded_segments(self) -> dict[str, list[tuple[float, float]]]:
            return {}

        def read(self, first: int, last: int) -> np.ndarray:
            return np.random.default_rng(first).normal(0, 1e-21, last - first)

    def peak(seconds: int) -> int:
        strain = {name: Recording(name, [Long(seconds)]) for name in ("H1", "L1")}
        # few triggers: an hour of strain and not of triggers
        settings = SearchSettings(slides=2, stretch=128.0, maps=1, cluster=60.0, least=-1e9)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))  # a new one each time
        folder.mkdir()
        search = Search(strain, PowerScorer(), settings, StretchStore(folder), observation=TWO)
        tracemalloc.start()
        search.search_stretches(show_bar=False)
        search.write_triggers(folder / "triggers.hdf5", {})
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(379)  # what is made once
    short, long = peak(379), peak(1387)  # in stretches of the same length
    assert long - short < 2e6  # bytes; 1,008 s of one detector are 17 MB


def test_a_filter_bank_keeps_the_loudest_of_its_first_stretches(tmp_path: Path) -> None:
    """Whatever is left out on the way; a loud stretch does not raise what is kept."""
    scorer = FilterBankScorer([LikelihoodRatio(chirp_network(), (0, 1))], PAIR, 2)
    waves = [10.0 + 2 * n for n in range(20)]  # in the first of five stretches
    strain = {name: held(name, 256, *waves) for name in PAIR.detectors}
    settings = dataclasses.replace(QUICK, least=None, slides=1)
    (tmp_path / "store").mkdir()
    search = Search(strain, scorer, settings, StretchStore(tmp_path / "store"), observation=PAIR)
    assert len(search.stretches) == 5
    levels = []
    for stretch in search.stretches[:3]:
        scorer.prepare(search.load(stretch))
        peaks = scorer.peaks({}, -np.inf)
        kept = find_loudest_within(peaks.time, peaks.score, settings.cluster)
        levels.append(np.sort(peaks.score[kept])[-LEAST_KEPT])
    assert search.least == min(levels[1:]) < levels[0] - 1
