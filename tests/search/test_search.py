"""The search: peaks, slides, gaps, and that length costs no memory."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
from real_strain import START

from physics.constants import MERGER_TIME, NUM_SAMPLES, SAMPLE_RATE
from runtime.errors import UserError
from search import search
from search.search import HISTOGRAM, Options, PeakFinder, Search, local_peaks
from search.strain_files import HeldStrain, Recording

QUICK = Options(slides=4, maps=1, stretch=64)


class Excess:
    """Scores the power of H1 times that of L1 where mergers lie."""

    def __init__(self) -> None:
        self.adapted = 0

    def adapt(self, whitening: dict) -> None:
        self.adapted += 1

    def release(self) -> None:
        pass

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        assert np.isfinite(windows).all()
        merger = windows[..., 3000:3800].astype(np.float64)
        power = merger.var(axis=-1)  # (batch, detector)
        return np.log(power[:, 0] * power[:, 1])


@pytest.fixture(autouse=True)
def _no_whitening(monkeypatch):
    """Eigenvectors are tested elsewhere; here they would only take time."""

    def identity(x: np.ndarray) -> np.ndarray | None:
        enough = np.isfinite(x).sum() >= 16 * SAMPLE_RATE
        return np.eye(NUM_SAMPLES, dtype=np.float32) if enough else None

    monkeypatch.setattr(search, "whitening_of", identity)


def held(detector: str, seconds: int, *events: float, seed: int = 0, start: float = START):
    rng = np.random.default_rng([seed, len(detector), ord(detector[0])])
    x = rng.normal(0, 1e-21, seconds * SAMPLE_RATE)
    for event in events:
        at = round(event * SAMPLE_RATE)
        ramp = np.sin(2 * np.pi * 100 * np.arange(400) / SAMPLE_RATE) * np.hanning(400)
        x[at - 200 : at + 200] += 2e-20 * ramp
    return Recording(detector, [HeldStrain(detector, x, SAMPLE_RATE, start)])


def run(recordings: dict, options: Options = QUICK):
    found = Search(recordings, Excess(), options)
    pieces = list(found.run())
    list(found.count_false_alarms())
    times, scores = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    return found, times, scores


# --- peaks -----------------------------------------------------------------------------------


def test_peaks():
    scores = np.array([0, 3, 1, 2, np.nan, 5, 5, 0, 1, -9])
    assert local_peaks(scores, 1).tolist() == [1, 3, 5, 8]
    assert local_peaks(scores, 2).tolist() == [1, 5]
    assert local_peaks(np.full(4, np.nan), 2).tolist() == []


@pytest.mark.parametrize("reach", [1, 3, 7])
def test_peaks_in_pieces_are_those_of_the_whole(rng, reach):
    scores = rng.standard_normal(500).round(1)  # rounded: some are equal
    scores[rng.random(500) < 0.1] = np.nan
    expected = local_peaks(scores, reach)
    for sizes in ([500], [100] * 5, [3] * 166 + [2], [1] * 500, [250, 1, 249]):
        edges = np.cumsum([0, *sizes])
        finder, found = PeakFinder(reach), []
        for low, high in itertools.pairwise(edges):
            found += finder.push(scores[low:high], end=high == 500)
        assert [number for number, _ in found] == expected.tolist()
        assert all(score == scores[number] for number, score in found)


# --- the search ------------------------------------------------------------------------------


def test_finds_what_both_detectors_have():
    strain = {"H1": held("H1", 200, 77.3, 130.0), "L1": held("L1", 200, 77.3)}
    found, times, scores = run(strain)
    best, *others = found.outcome.candidates
    assert best.time == pytest.approx(START + 77.3, abs=0.15)
    assert best.score > others[0].score + 1
    assert best.slid_as_loud == 0
    assert best.rate == pytest.approx(1 / found.outcome.slid_live)
    assert times[scores.argmax()] == pytest.approx(best.time)
    assert np.allclose(np.diff(times), 0.1, atol=1e-3)
    # both detectors stand out at times of their own, which the slides bring together
    assert set(best.whitened) == {"H1", "L1"}
    middle = best.whitened_start + 1
    assert middle == pytest.approx(best.time, abs=1e-3)


def test_candidates_are_apart_and_sorted():
    found, _, scores = run({"H1": held("H1", 100), "L1": held("L1", 100)})
    candidates = found.outcome.candidates
    times = np.sort([candidate.time for candidate in candidates])
    assert np.diff(times).min() > 2
    assert [c.score for c in candidates] == sorted((c.score for c in candidates), reverse=True)
    assert candidates[0].score == pytest.approx(scores.max())
    assert len(candidates) <= QUICK.top < found.outcome.clusters


def test_slid_candidates_are_as_many_as_those_of_noise():
    options = dataclasses.replace(QUICK, slides=10)
    found, _, _ = run({"H1": held("H1", 300), "L1": held("L1", 300)}, options)
    out = found.outcome
    rate, slid = out.clusters / out.live, out.slid_clusters / out.slid_live
    assert slid == pytest.approx(rate, rel=0.05)
    assert out.slid_live == pytest.approx(10 * out.live, rel=0.1)
    (filled,) = np.nonzero(out.slid_histogram)
    assert HISTOGRAM[filled[-1]] <= out.slid_loudest <= HISTOGRAM[filled[-1] + 1]
    for candidate in out.candidates:
        assert candidate.rate == (1 + candidate.slid_as_loud) / out.slid_live
    # the tenth loudest of noise is as loud as about ten of noise
    expected = out.candidates[9].rate * out.live
    assert 3 < expected < 30


def test_slides_never_leave_two_detectors_in_place():
    three = {name: held(name, 100) for name in ("H1", "L1", "V1")}
    one = Search(three, Excess(), dataclasses.replace(QUICK, slides=1000))
    windows = 640
    slides = one.slides_of(windows)
    assert slides
    for shifts in slides:
        for a, b in itertools.combinations(shifts, 2):
            apart = (a - b) % windows * 0.1
            assert min(apart, windows * 0.1 - apart) >= 1 - 1e-9
    assert len({tuple(np.mod(shifts, windows)) for shifts in slides}) == len(slides)


def test_excluded_candidates_are_not_in_the_slides():
    # what is loud in both is loud in the slides too: half of it is
    strain = {"H1": held("H1", 100, 50.0), "L1": held("L1", 100, 50.0)}
    level = run(strain)[0].outcome.slid_histogram
    without = run(strain, dataclasses.replace(QUICK, exclude=1))[0].outcome
    loud = search.HISTOGRAM[:-1] > 2
    assert level[loud].sum() > without.slid_histogram[loud].sum() == 0
    assert without.slid_live > 0


def test_gaps_are_skipped():
    h1, l1 = held("H1", 120), held("L1", 120)
    l1.sources[0].values[60 * SAMPLE_RATE : 62 * SAMPLE_RATE] = np.nan
    found, times, _ = run({"H1": h1, "L1": l1})
    starts = times - MERGER_TIME - START
    touching = (starts + 2 > 59) & (starts < 63)
    assert not touching.any()
    assert found.outcome.gaps["L1"] > found.outcome.gaps["H1"] > 0
    assert found.outcome.scored == len(times) == round(found.outcome.live / 0.1)


def test_a_stretch_without_strain_is_left_out_and_said(caplog):
    h1, l1 = held("H1", 192), held("L1", 192)
    l1.sources[0].values[62 * SAMPLE_RATE : 130 * SAMPLE_RATE] = np.nan
    with caplog.at_level("WARNING", logger="g2net"):
        search.LOGGER.propagate = True
        found, times, _ = run({"H1": h1, "L1": l1})
    assert found.outcome.skipped_stretches == 1
    assert "of L1 are without gaps" in caplog.text
    assert times.max() > START + 132


def test_strain_that_is_nothing_but_gaps():
    broken = held("H1", 60)
    broken.sources[0].values[::SAMPLE_RATE] = np.nan
    with pytest.raises(UserError, match="no window could be searched"):
        run({"H1": broken, "L1": held("L1", 60)})


def test_one_detector_has_no_false_alarm_rate():
    found, _, _ = run({"H1": held("H1", 60, 30.0)})
    assert found.outcome.slid == 0
    assert np.isnan(found.outcome.candidates[0].rate)
    assert found.outcome.candidates[0].time == pytest.approx(START + 30, abs=0.15)


def test_missing_detectors_are_noise_or_silence():
    one = {"H1": held("H1", 60)}
    strain = Search(one, Excess(), QUICK).load(0).strain
    assert (strain[1:].std(axis=1) > 0).all()
    again = Search(one, Excess(), QUICK).load(0).strain
    assert np.array_equal(strain, again, equal_nan=True)
    silent = Search(one, Excess(), dataclasses.replace(QUICK, zeros=True)).load(0).strain
    assert (silent[1:] == 0).all()


def test_the_only_stretch_is_not_made_twice():
    found, _, _ = run({"H1": held("H1", 60), "L1": held("L1", 60)})
    assert found.scorer.adapted == 1
    found, _, _ = run({"H1": held("H1", 130), "L1": held("L1", 130)})
    assert found.outcome.stretches == 2
    assert found.scorer.adapted == 4


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"step": 0}, "--step"),
        ({"step": 1e-4}, "less than one sample"),
        ({"step": float("nan")}, "--step"),
        ({"stretch": 10}, "too short for a PSD"),
        ({"shift": 0.01}, "the time light needs"),
        ({"slides": -1}, "--slides"),
        ({"exclude": -1}, "--exclude"),
        ({"batch_size": 0}, "--batch_size"),
        ({"top": 0}, "--top"),
    ],
)
def test_options_out_of_range(change, match):
    with pytest.raises(UserError, match=match):
        Search({"H1": held("H1", 60)}, Excess(), dataclasses.replace(QUICK, **change))


def test_recordings_that_do_not_overlap():
    strain = {"H1": held("H1", 60), "L1": held("L1", 60, start=START + 50)}
    with pytest.raises(UserError, match=r"overlaps for 10 s .*H1 1200000000 to 1200000060"):
        Search(strain, Excess(), QUICK)


def test_memory_does_not_grow_with_the_length():
    class Long:
        """An hour and more of noise that is made when it is read."""

        name, rate, start = "long", SAMPLE_RATE, START

        def __init__(self, seconds: int) -> None:
            self.size = seconds * SAMPLE_RATE

        def read(self, first: int, last: int) -> np.ndarray:
            return np.random.default_rng(first).normal(0, 1e-21, last - first)

    def peak(seconds: int) -> int:
        strain = {"H1": Recording("H1", [Long(seconds)]), "L1": Recording("L1", [Long(seconds)])}
        # few windows: an hour of strain and not of scores
        one = Search(strain, Excess(), Options(step=4, slides=2, stretch=128, maps=1))
        tracemalloc.start()
        for _ in one.run():
            pass
        for _ in one.count_false_alarms():
            pass
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(256)  # what is made once
    short, long = peak(512), peak(3600)
    assert long - short < 2e6  # bytes; an hour of one detector is 59 MB
