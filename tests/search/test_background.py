"""The background: rates and their limits, combinations, and the removal of signals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_scorer import PowerScorer, make_stretch
from trigger_tables import DETECTORS, make_table

from search.background import SECONDS_PER_YEAR, Background, format_rate, gaussian_sigma
from search.live_times import LiveTimes, concatenate_live_times
from search.search_stretch import search_stretch
from search.slides import list_time_slides
from search.trigger_table import TriggerTable, concatenate_tables


def slides_of(combination: str, slides: int, seconds: float, number: int = 0) -> LiveTimes:
    """Return live times of slides by 1 s, 2 s, ... of a stretch that begins at GPS 0."""
    names = [combination[first : first + 2] for first in range(0, len(combination), 2)]
    shifts = list_time_slides(seconds, names, slides, 1.0)
    live = LiveTimes.of_stretch(
        DETECTORS, number, (0.0, seconds), names, shifts, np.full(len(shifts), seconds)
    )
    return live.take(live.slide > 0)


def test_rates_count_slid_triggers_as_loud() -> None:
    slid = make_table([1.0, 2, 3], [2.0, 2.0, 5.0], slide=1)
    background = Background(slid, slides_of("H1L1", 3, 11.0), {"H1L1": 11.0})
    found = make_table([5.0, 6, 7], [6.0, 3.0, 2.0])
    rated = background.rate_triggers(found.score, found.combination)
    assert rated.as_loud.tolist() == [0, 1, 3]
    assert rated.rate == pytest.approx(np.array([1, 2, 4]) / 33)
    assert rated.is_limit.tolist() == [True, False, False]
    # n / 33 s in 11 s make n / 3 expected false alarms
    assert rated.p_value == pytest.approx(1 - np.exp(-np.array([1, 2, 4]) / 3))
    assert rated.ifar_years == pytest.approx(33 / np.array([1, 2, 4]) / SECONDS_PER_YEAR)


def test_combinations_have_backgrounds_of_their_own() -> None:
    slid = concatenate_tables(
        [make_table([1.0], [9.0], "H1L1V1", slide=1), make_table([2.0], [3.0], slide=1)]
    )
    live = concatenate_live_times([slides_of("H1L1", 10, 50.0), slides_of("H1L1V1", 5, 40.0, 1)])
    observed = {"H1L1": 50.0, "H1L1V1": 40.0, "H1": 1000.0}
    background = Background(slid, live, observed)
    assert background.combinations == ["H1L1", "H1L1V1"]
    score, names = np.full(3, 5.0), np.array(["H1L1", "H1L1V1", "H1"])
    rated = background.rate_triggers(score, names)
    assert rated.as_loud.tolist() == [0, 1, -1]
    assert rated.rate[:2] == pytest.approx([1 / 500, 2 / 200])
    assert np.isnan([rated.rate[2], rated.p_value[2], rated.sigma[2]]).all()
    # Both combinations could have given a false alarm; one detector alone has no rate.
    assert rated.p_value[0] == pytest.approx(1 - math.exp(-90 / 500))


def test_sigma_is_that_of_one_tail_of_a_gaussian() -> None:
    found = gaussian_sigma(np.array([0.158655, 2.866516e-7, 0.5, 0.9, 1e-300]))
    assert found[:4] == pytest.approx([1, 5, 0, 0], abs=1e-5)
    assert 37 < found[4] < 38
    assert np.isnan(gaussian_sigma(np.array([np.nan]))[0])


def search_ring(
    h1: np.ndarray, l1: np.ndarray, slides: int
) -> tuple[TriggerTable, Background, float]:
    """Search a stretch and return what was found, its background, and the seconds of it."""
    stretch = make_stretch({"H1": h1.astype(np.float32), "L1": l1.astype(np.float32)}, 1e9)
    seconds = len(h1) / 2048
    shifts = list_time_slides(seconds, ("H1", "L1"), slides, 1.0)
    table, seconds_of_slides = search_stretch(stretch, PowerScorer(), shifts, 1.0, -np.inf)
    live = LiveTimes.of_stretch(
        ("H1", "L1"), 0, (1e9, 1e9 + seconds), ("H1", "L1"), shifts, seconds_of_slides
    )
    total = live.take(live.slide == 0).total_by_combination()
    slid = Background(table.take(table.slide > 0), live.take(live.slide > 0), total)
    return table.take(table.slide == 0), slid, seconds


def burst(x: np.ndarray, at: float, size: float) -> None:
    x[round(at * 2048) : round(at * 2048) + 128] += size


def test_a_signal_is_removed_and_the_next_is_found_behind_it(rng: np.random.Generator) -> None:
    """The slid halves of the first are louder than the second, which a background hides so."""
    h1, l1 = rng.standard_normal((2, 100 * 2048))
    for x in (h1, l1):
        burst(x, 30.0, 10.0)
        burst(x, 70.0, 2.0)
    found, background, seconds = search_ring(h1, l1, slides=20)
    order = np.argsort(-found.score)
    assert abs(found.time[order[:2]] - 1e9 - [30.03, 70.03]).max() < 0.1
    before = background.rate_triggers(found.score, found.combination)
    assert before.as_loud[order[0]] == 0
    assert before.as_loud[order[1]] >= 38  # two halves in each slide
    rated = background.remove_signals(found, reach=2.5)
    assert [event.time for event in background.removed] == found.time[order[:2]].tolist()
    assert background.removed[0].triggers > 38
    # in each slide 5 s of either detector, unless the two overlap
    assert background.removed[0].seconds == pytest.approx(20 * 10, rel=0.2)
    assert rated.as_loud[order[:2]].tolist() == [0, 0]
    assert rated.rate[order[0]] == pytest.approx(1 / (20 * seconds))
    lost = background.removed[0].seconds
    assert rated.rate[order[1]] == pytest.approx(1 / (20 * seconds - lost))
    assert rated.as_loud[order[2]] > 0
    # All that was kept is noise.
    assert background.scores("H1L1").max() < found.score[order[1]]
    zones = np.array([[event.time - 2.5, event.time + 2.5] for event in background.removed])
    times = background.slid.detector_times[background.kept]
    for low, high in zones:
        assert not ((times > low) & (times < high)).any()


def test_a_glitch_is_not_removed(rng: np.random.Generator) -> None:
    h1, l1 = rng.standard_normal((2, 100 * 2048))
    burst(h1, 30.0, 10.0)
    found, background, _ = search_ring(h1, l1, slides=20)
    rated = background.remove_signals(found, reach=2.5)
    loudest = found.score.argmax()
    assert abs(found.time[loudest] - 1e9 - 30.03) < 0.1
    assert background.removed == []
    assert rated.as_loud[loudest] > 0
    assert rated.p_value[loudest] > 0.1


def test_noise_has_the_rate_that_it_should(rng: np.random.Generator) -> None:
    """The k-th loudest trigger of noise has a rate of about k in its live time."""
    h1, l1 = rng.standard_normal((2, 400 * 2048))
    found, background, seconds = search_ring(h1, l1, slides=50)
    rated = background.remove_signals(found, reach=2.5)
    order = np.argsort(-found.score)
    for place in (5, 20, 80):
        expected = rated.rate[order[place - 1]] * seconds
        assert abs(expected - place) < 4 * math.sqrt(place) + 1


def test_few_slides_take_no_trigger_for_a_signal() -> None:
    """With five slides, one trigger in six of noise is louder than all slid ones."""
    background = Background(
        make_table([1.0], [1.0], slide=1), slides_of("H1L1", 5, 100.0), {"H1L1": 100.0}
    )
    rated = background.remove_signals(make_table([50.0], [9.0]), reach=2.0)
    assert background.removed == []
    assert rated.is_limit.tolist() == [True]


def test_what_a_signal_leaves_beside_it_is_no_second_one() -> None:
    background = Background(
        make_table([1.0], [1.0], slide=1), slides_of("H1L1", 30, 100.0), {"H1L1": 100.0}
    )
    found = make_table([50.0, 51.5, 80.0], [9.0, 8.0, 7.0])
    background.remove_signals(found, reach=2.0)
    assert [event.time for event in background.removed] == [50.0, 80.0]


def test_events_of_another_combination_are_removed_as_well() -> None:
    """A signal in H1 L1 V1 may be seen in a stretch of H1 L1 that ends a second before it."""
    near = make_table([49.5, 20.0], [5.0, 4.0], slide=1, shifts={"L1": 7.0}, bounds=(0, 100.0))
    live = concatenate_live_times([slides_of("H1L1", 20, 100.0), slides_of("H1L1V1", 40, 90.0, 1)])
    background = Background(near, live, {"H1L1": 100.0, "H1L1V1": 90.0})
    background.remove_signals(make_table([50.5], [9.0], "H1L1V1"), reach=2.0)
    assert background.scores("H1L1").tolist() == [4.0]
    assert background.live_time("H1L1") < 2000


def test_without_slides_there_are_no_rates() -> None:
    live = slides_of("H1L1", 0, 100.0)
    background = Background(TriggerTable.empty(DETECTORS), live, {"H1L1": 100.0})
    rated = background.remove_signals(make_table([50.0], [9.0]), reach=2.0)
    assert rated.as_loud.tolist() == [-1]
    assert np.isnan(rated.rate).all()
    assert rated.is_limit.tolist() == [False]


def test_removing_the_same_time_twice_counts_once() -> None:
    background = Background(
        make_table([1.0], [1.0], slide=1), slides_of("H1L1", 1, 100.0), {"H1L1": 100.0}
    )
    assert background.remove_zone((40.0, 44.0))[1] == pytest.approx(5)  # 4 s, and 1 s later again
    assert background.remove_zone((41.0, 43.0))[1] == 0
    assert background.remove_zone((0.0, 3.0)) == (1, pytest.approx(4))


@pytest.mark.parametrize(
    ("rate", "limit", "text"),
    [
        (0.002, False, "7.2 an hour"),
        (1 / 3600 / 5, True, "< 4.8 a day"),
        (2 / SECONDS_PER_YEAR, False, "2 a year"),
        (1e-12, True, "< 3.16e-05 a year"),
        (1 / 86_400 / 10, False, "3.04 a month"),
        (math.nan, False, "not known"),
    ],
)
def test_rates_in_words(rate: float, limit: bool, text: str) -> None:
    assert format_rate(rate, limit) == text


def test_strain_full_of_signals(rng: np.random.Generator) -> None:
    """Strain full of injections, as the challenge's, must not take minutes."""
    count = 50_000
    slid = make_table(np.sort(rng.uniform(0, 1e5, count)), rng.uniform(0, 1, count), slide=1)
    background = Background(slid, slides_of("H1L1", 20, 1e5), {"H1L1": 1e5})
    found = make_table(np.arange(100) * 900.0 + 100, rng.uniform(2, 3, 100))
    background.remove_signals(found, reach=2.0)
    assert len(background.removed) == 100
