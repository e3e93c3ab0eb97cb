"""The search: peaks, slides, gaps, and that length costs no memory."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
from real_strain import START

from data.recording import Recording, StrainInMemory
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from search import segments
from search.folder import SegmentStore
from search.search import Search
from search.segments import COMPETITION_ARRIVAL
from search.settings import SearchSettings
from search.triggers import HISTOGRAM_EDGES

NUM_SAMPLES, SAMPLE_RATE = COMPETITION.num_samples, COMPETITION.sample_rate
QUICK = SearchSettings(slides=4, maps=1, stretch=64)


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

    def identity(x: np.ndarray, observation: Observation) -> np.ndarray | None:
        enough = np.isfinite(x).sum() >= 16 * SAMPLE_RATE
        return np.eye(NUM_SAMPLES, dtype=np.float32) if enough else None

    monkeypatch.setattr(segments, "make_whitening_matrix", identity)


def held(detector: str, seconds: int, *events: float, seed: int = 0, start: float = START):
    rng = np.random.default_rng([seed, len(detector), ord(detector[0])])
    x = rng.normal(0, 1e-21, seconds * SAMPLE_RATE)
    for event in events:
        at = round(event * SAMPLE_RATE)
        ramp = np.sin(2 * np.pi * 100 * np.arange(400) / SAMPLE_RATE) * np.hanning(400)
        x[at - 200 : at + 200] += 2e-20 * ramp
    return Recording(detector, [StrainInMemory(detector, x, SAMPLE_RATE, start)])


def run(recordings: dict, options: SearchSettings = QUICK):
    found = Search(recordings, Excess(), options)
    pieces = list(found.search_zero_lag())
    list(found.measure_background())
    times, scores = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    return found, times, scores


# --- the search ------------------------------------------------------------------------------


def test_finds_what_both_detectors_have():
    strain = {"H1": held("H1", 200, 77.3, 130.0), "L1": held("L1", 200, 77.3)}
    found, times, scores = run(strain)
    best, *others = found.result.triggers
    assert best.time == pytest.approx(START + 77.3, abs=0.15)
    assert best.score > others[0].score + 1
    assert best.slid_as_loud == 0
    assert best.rate == pytest.approx(1 / found.result.background.live_time)
    assert times[scores.argmax()] == pytest.approx(best.time)
    assert np.allclose(np.diff(times), 0.1, atol=1e-3)
    # both detectors stand out at times of their own, which the slides bring together
    assert set(best.whitened) == {"H1", "L1"}
    middle = best.whitened_start + 1
    assert middle == pytest.approx(best.time, abs=1e-3)


def test_triggers_are_apart_and_sorted():
    found, _, scores = run({"H1": held("H1", 100), "L1": held("L1", 100)})
    triggers = found.result.triggers
    times = np.sort([trigger.time for trigger in triggers])
    assert np.diff(times).min() > 2
    assert [c.score for c in triggers] == sorted((c.score for c in triggers), reverse=True)
    assert triggers[0].score == pytest.approx(scores.max())
    assert len(triggers) <= QUICK.top < found.result.num_triggers


def test_background_triggers_are_as_many_as_those_of_noise():
    options = dataclasses.replace(QUICK, slides=10)
    found, _, _ = run({"H1": held("H1", 300), "L1": held("L1", 300)}, options)
    out = found.result
    rate, slid = (
        out.num_triggers / out.live_time,
        out.background.triggers / out.background.live_time,
    )
    assert slid == pytest.approx(rate, rel=0.05)
    assert out.background.live_time == pytest.approx(10 * out.live_time, rel=0.1)
    (filled,) = np.nonzero(out.background.histogram)
    assert HISTOGRAM_EDGES[filled[-1]] <= out.background.loudest <= HISTOGRAM_EDGES[filled[-1] + 1]
    for trigger in out.triggers:
        assert trigger.rate == (1 + trigger.slid_as_loud) / out.background.live_time
    # the tenth loudest of noise is as loud as about ten of noise
    expected = out.triggers[9].rate * out.live_time
    assert 3 < expected < 30


def test_excluded_triggers_are_not_in_the_slides():
    # what is loud in both is loud in the slides too: half of it is
    strain = {"H1": held("H1", 100, 50.0), "L1": held("L1", 100, 50.0)}
    level = run(strain)[0].result.background.histogram
    without = run(strain, dataclasses.replace(QUICK, exclude=1))[0].result
    loud = HISTOGRAM_EDGES[:-1] > 2
    assert level[loud].sum() > without.background.histogram[loud].sum() == 0
    assert without.background.live_time > 0


def test_gaps_are_skipped():
    h1, l1 = held("H1", 120), held("L1", 120)
    l1.sources[0].values[60 * SAMPLE_RATE : 62 * SAMPLE_RATE] = np.nan
    found, times, _ = run({"H1": h1, "L1": l1})
    starts = times - COMPETITION_ARRIVAL - START
    touching = (starts + 2 > 59) & (starts < 63)
    assert not touching.any()
    assert found.result.gaps["L1"] > found.result.gaps["H1"] > 0
    assert found.result.scored == len(times) == round(found.result.live_time / 0.1)


def test_a_segment_without_strain_is_left_out_and_said(caplog):
    h1, l1 = held("H1", 192), held("L1", 192)
    l1.sources[0].values[62 * SAMPLE_RATE : 130 * SAMPLE_RATE] = np.nan
    with caplog.at_level("WARNING", logger="g2net"):
        segments.LOGGER.propagate = True
        found, times, _ = run({"H1": h1, "L1": l1})
    assert found.result.skipped_segments == 1
    assert "of L1 are without gaps" in caplog.text
    assert times.max() > START + 132


def test_strain_that_is_nothing_but_gaps():
    broken = held("H1", 60)
    broken.sources[0].values[::SAMPLE_RATE] = np.nan
    with pytest.raises(UserError, match="no window could be searched"):
        run({"H1": broken, "L1": held("L1", 60)})


@pytest.mark.parametrize("survives", [0, 1, 3, 4])
def test_a_search_that_was_killed_is_resumed_with_the_same_result(tmp_path, survives):
    """Two segments, two passes: killed after any of the four steps."""
    strain = {"H1": held("H1", 130, 77.3), "L1": held("L1", 130, 77.3)}
    expected, times, scores = run(strain)
    killed = Search(strain, Excess(), QUICK, SegmentStore(tmp_path))
    steps = itertools.chain(killed.search_zero_lag(), killed.measure_background())
    list(itertools.islice(steps, survives))
    steps = None  # killed
    scorer = Excess()
    resumed = Search(strain, scorer, QUICK, SegmentStore(tmp_path))
    pieces = list(resumed.search_zero_lag())
    list(resumed.measure_background())
    assert scorer.adapted == 4 - survives
    assert np.array_equal(np.concatenate([piece[0] for piece in pieces]), times)
    assert np.array_equal(np.concatenate([piece[1] for piece in pieces]), scores)
    one, other = resumed.result, expected.result
    assert one.gaps == other.gaps
    assert one.background.triggers == other.background.triggers
    assert np.array_equal(one.background.histogram, other.background.histogram)
    for a, b in zip(one.triggers, other.triggers, strict=True):
        assert (a.score, a.time, a.rate, a.slid_as_loud) == (
            b.score,
            b.time,
            b.rate,
            b.slid_as_loud,
        )
    assert np.array_equal(one.triggers[0].whitened["L1"], other.triggers[0].whitened["L1"])


def test_one_detector_has_no_false_alarm_rate():
    found, _, _ = run({"H1": held("H1", 60, 30.0)})
    assert found.result.background.windows == 0
    assert np.isnan(found.result.triggers[0].rate)
    assert found.result.triggers[0].time == pytest.approx(START + 30, abs=0.15)


def test_the_only_segment_is_not_made_twice():
    found, _, _ = run({"H1": held("H1", 60), "L1": held("L1", 60)})
    assert found.scorer.adapted == 1
    found, _, _ = run({"H1": held("H1", 130), "L1": held("L1", 130)})
    assert found.result.segments == 2
    assert found.scorer.adapted == 4


def test_a_search_checks_its_settings():
    with pytest.raises(UserError, match="less than one sample"):
        Search({"H1": held("H1", 60)}, Excess(), dataclasses.replace(QUICK, step=1e-4))


def test_strain_of_detectors_that_are_not_observed():
    strain = {"H1": held("H1", 60), "V1": held("V1", 60)}
    with pytest.raises(UserError, match="strain of V1 was given and the networks observe H1, L1:"):
        Search(strain, Excess(), QUICK, observation=Observation(detectors=("H1", "L1")))


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
        one = Search(strain, Excess(), SearchSettings(step=4, slides=2, stretch=128, maps=1))
        tracemalloc.start()
        for _ in one.search_zero_lag():
            pass
        for _ in one.measure_background():
            pass
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(256)  # what is made once
    short, long = peak(512), peak(3600)
    assert long - short < 2e6  # bytes; an hour of one detector is 59 MB
