"""Segments: the grid of windows, missing detectors, scores of shifted windows, cut strain."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from real_strain import START

from data.recording import Recording, StrainInMemory
from physics.observation import COMPETITION
from search import segments
from search.segments import (
    COMPETITION_ARRIVAL,
    Segment,
    WindowGrid,
    cut_whitened_strain,
    load_segment,
    score_windows,
    split_into_batches,
)
from search.settings import SearchSettings

NUM_SAMPLES, SAMPLE_RATE = COMPETITION.num_samples, COMPETITION.sample_rate


def test_windows_begin_at_the_nearest_sample_without_drifting() -> None:
    grid = WindowGrid(start=1e9, step=0.1, count=100_000)
    # A tenth of a second is 204.8 samples: rounded for each window, the error never adds up.
    assert grid.first_sample(np.arange(4)).tolist() == [0, 205, 410, 614]
    assert grid.first_sample(100_000) == 20_480_000
    assert grid.start_time(100_000) == 1e9 + 10_000
    assert grid.merger_time(0) == 1e9 + COMPETITION_ARRIVAL


@pytest.mark.parametrize(
    ("count", "total", "segments_expected"), [(1000, 100.0, 2), (1000, 10.0, 1), (3, 1000.0, 3)]
)
def test_segments_share_the_windows_out_evenly(
    count: int, total: float, segments_expected: int
) -> None:
    bounds = WindowGrid(0.0, 0.1, count).segment_bounds(50.0, total)
    assert len(bounds) == segments_expected
    assert (bounds[0][0], bounds[-1][1]) == (0, count)
    assert all(first[1] == second[0] for first, second in itertools.pairwise(bounds))
    lengths = [high - low for low, high in bounds]
    assert max(lengths) - min(lengths) <= 1


def load_first_segment(zeros: bool = False) -> Segment:
    """Load 20 s of which H1 alone has strain, with one sample missing in the middle."""
    strain = np.random.default_rng(0).normal(0, 1e-21, 40 * SAMPLE_RATE)
    strain[10 * SAMPLE_RATE] = np.nan
    recordings = {"H1": Recording("H1", [StrainInMemory("H1", strain, SAMPLE_RATE, START)])}
    grid = WindowGrid(START, 1.0, 39)
    return load_segment(recordings, grid, (0, 19), 0, SearchSettings(zeros=zeros))


@pytest.fixture
def no_whitening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the eigenvectors out, which have a test of their own and take seconds."""
    identity = np.eye(NUM_SAMPLES, dtype=np.float32)
    monkeypatch.setattr(segments, "make_whitening_matrix", lambda x, observation: identity)


@pytest.mark.usefixtures("no_whitening")
def test_missing_detectors_are_noise_or_silence() -> None:
    strain = load_first_segment().strain
    assert (strain[1:].std(axis=1) > 0).all()
    again = load_first_segment().strain
    assert np.array_equal(strain, again, equal_nan=True)
    silent = load_first_segment(zeros=True).strain
    assert (silent[1:] == 0).all()


@pytest.mark.usefixtures("no_whitening")
def test_windows_that_a_gap_touches_are_not_clean() -> None:
    segment = load_first_segment(zeros=True)
    missing = ~np.isfinite(segment.strain[0])
    assert missing.any()  # the filters widen the gap of one sample
    touched = [missing[start : start + NUM_SAMPLES].any() for start in segment.starts]
    assert 0 < sum(touched) < len(touched)
    assert (segment.clean[0] == ~np.array(touched)).all()


def hand_made_segment(seconds: int = 8) -> Segment:
    """Strain of H1 and L1 whose sample k is k and -k; a window begins every second."""
    strain = np.zeros((3, seconds * SAMPLE_RATE), np.float32)
    strain[0] = np.arange(strain.shape[1])
    strain[1] = -strain[0]
    starts = np.arange(seconds - 1) * SAMPLE_RATE
    clean = np.ones((2, len(starts)), bool)
    matrix = 2 * np.eye(NUM_SAMPLES)
    return Segment(0, starts, strain, clean, {"H1": matrix, "L1": matrix})


def test_each_detector_is_scored_at_a_time_of_its_own() -> None:
    segment = hand_made_segment()
    segment.clean[1, 3] = False
    allowed = np.ones((2, 7), bool)
    allowed[0, 5] = False
    shown = np.stack([np.arange(7), (np.arange(7) + 2) % 7])
    scores = score_windows(
        segment, lambda windows: windows[:, :2, 0].sum(axis=1), shown, allowed, batch_size=2
    )
    # L1's window begins 2 s after H1's, or 5 s before where the ring is closed.
    expected = np.array([-2.0] * 5 + [5.0] * 2) * SAMPLE_RATE
    expected[1] = np.nan  # there L1 shows window 3, which is not clean
    expected[5] = np.nan  # H1's own window 5 is not allowed
    np.testing.assert_array_equal(scores, expected)


def test_batches_hold_every_number_once() -> None:
    batches = list(split_into_batches(np.arange(7), 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert np.concatenate(batches).tolist() == list(range(7))


def test_strain_is_cut_with_the_merger_in_the_middle_where_there_is_room() -> None:
    segment, grid = hand_made_segment(), WindowGrid(START, 1.0, 7)
    cut = cut_whitened_strain(segment, grid, 2)
    begin = 2 * SAMPLE_RATE + int(COMPETITION_ARRIVAL * SAMPLE_RATE) - NUM_SAMPLES // 2
    assert cut["whitened_2_start"] == START + begin / SAMPLE_RATE
    assert cut["whitened_2_H1"].tolist() == (2.0 * np.arange(begin, begin + NUM_SAMPLES)).tolist()
    assert (cut["whitened_2_L1"] == -cut["whitened_2_H1"]).all()
    # The last window has no 2 s around its merger within the segment: the window itself is cut.
    assert cut_whitened_strain(segment, grid, 6)["whitened_6_start"] == START + 6
