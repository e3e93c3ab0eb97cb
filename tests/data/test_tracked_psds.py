"""PSDs that follow the noise: of noise that does not change, and of noise that does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data.tracked_psds import (
    MIN_LEVEL_PIECES,
    Periodograms,
    divide_evenly,
    find_jumps,
    list_bands,
    measure_periodograms,
    measure_tracked_psds,
    shrink_to_mean,
    split_at_jumps,
    whiten_by_psds,
)
from physics.observation import COMPETITION, Observation
from search.conditioning import make_design_noise, noise_of

RATE, N = COMPETITION.sample_rate, COMPETITION.num_samples
BAND = slice(12 * 4, 1000 * 4)  # bins of a quarter of a Hz


def make_noise(seconds: int, seed: int = 0) -> np.ndarray:
    return make_design_noise("H1", seconds * RATE, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def steady_noise() -> np.ndarray:
    return make_noise(512)


def measure_psds(x: np.ndarray, psd_every: float = 32.0, usable: np.ndarray | None = None):
    usable = np.ones(len(x), bool) if usable is None else usable
    return measure_tracked_psds(x, usable, 1e9, COMPETITION, psd_every)


def whitened_deviations(x: np.ndarray, psds, seconds: int) -> np.ndarray:
    """Return the standard deviation of whitened strain in successive pieces of some seconds."""
    white = whiten_by_psds(x, 1e9, psds, RATE)
    return white.reshape(-1, seconds * RATE).astype(np.float64).std(axis=1)


def test_psds_cover_the_strain_without_a_break(steady_noise) -> None:
    psds = measure_psds(steady_noise)
    assert len(psds) == 16
    assert (psds[0].start, psds[-1].end) == (1e9, 1e9 + 512)
    assert all(before.end == after.start for before, after in itertools.pairwise(psds))
    assert all(psd.power.shape == (N + 1,) and (psd.power > 0).all() for psd in psds)
    assert len(measure_psds(steady_noise, 512)) == 1
    # the strain of a stretch is whole samples, and so are the parts of it
    odd = measure_psds(steady_noise[: 100 * RATE + 77])
    assert odd[-1].end == pytest.approx(1e9 + 100 + 77 / RATE, abs=1e-6)
    assert len(whiten_by_psds(steady_noise[: 100 * RATE + 77], 1e9, odd, RATE)) == 100 * RATE + 77


def test_noise_that_does_not_change_is_not_followed(steady_noise) -> None:
    psds = measure_psds(steady_noise)
    powers = np.stack([psd.power[BAND] for psd in psds])
    truth = noise_of("H1").psd_on_grid(2 * N)[BAND]
    # 255 pieces: the median of a bin scatters by 9 %
    assert np.median(powers[0] / truth) == pytest.approx(1, abs=0.03)
    assert (powers[0] / truth).std() < 0.13
    # Without the shrinking it is 3 %.
    assert np.log(powers / powers[0]).std() < 0.012
    assert whitened_deviations(steady_noise, psds, 16)[1:-1] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_the_whole_strain_sets_the_scale_and_its_level_is_followed(steady_noise, factor) -> None:
    """64 s three times as loud, or as quiet, as the rest: at the start, or astride two PSDs."""
    for first in (0, 203):
        x = steady_noise.copy()
        x[first * RATE : (first + 64) * RATE] *= factor
        psds = measure_psds(x)
        white = whiten_by_psds(x, 1e9, psds, RATE)
        deviations = white.reshape(-1, RATE).std(axis=1)  # of each second
        middle = np.arange(512) + 0.5
        settled = np.abs(middle - first) > 3
        settled &= np.abs(middle - first - 64) > 3
        settled[[0, -1]] = False  # see the zeros beyond the ends
        assert deviations[settled] == pytest.approx(1, abs=0.12)
        means = deviations[settled & (middle > first) & (middle < first + 64)]
        assert means.mean() == pytest.approx(1, abs=0.06)


def test_a_band_alone_is_followed(steady_noise) -> None:
    """A quiet minute in which only 20 to 60 Hz are twice as loud, as when microseism scatters."""
    x = steady_noise.copy()
    part = slice(128 * RATE, 192 * RATE)
    spectrum = np.fft.rfft(x[part])
    frequencies = np.fft.rfftfreq(64 * RATE, 1 / RATE)
    spectrum[(frequencies > 20) & (frequencies < 60)] *= 2
    x[part] = np.fft.irfft(spectrum, 64 * RATE)
    psds = measure_psds(x)
    quotient = psds[5].power / psds[1].power
    assert np.median(quotient[25 * 4 : 50 * 4]) == pytest.approx(4, rel=0.2)
    assert np.median(quotient[100 * 4 : 900 * 4]) == pytest.approx(1, rel=0.05)


def test_loud_seconds_do_not_raise_the_psd(steady_noise) -> None:
    x = steady_noise.copy()
    x[100 * RATE : 100 * RATE + 400] *= 300
    quotient = [
        np.median(loud.power / quiet.power)
        for loud, quiet in zip(measure_psds(x), measure_psds(steady_noise), strict=True)
    ]
    # Two of the 16 pieces of one part are loud.
    assert np.sort(quotient)[:-1] == pytest.approx(1, abs=0.03)
    assert max(quotient) == pytest.approx(1, abs=0.1)


def test_gaps_are_left_out_and_too_little_strain_has_no_psd(steady_noise) -> None:
    x, usable = steady_noise[: 64 * RATE].copy(), np.ones(64 * RATE, bool)
    usable[20 * RATE : 52 * RATE] = False
    x[20 * RATE : 52 * RATE] = 0
    psds = measure_psds(x, 16.0, usable)
    truth = noise_of("H1").psd_on_grid(2 * N)[BAND]
    for psd in psds:
        assert np.median(psd.power[BAND] / truth) == pytest.approx(1, abs=0.1)
    assert measure_psds(x[: 16 * RATE]) is not None
    assert measure_psds(x[: 16 * RATE - 1]) is None
    usable[:] = False
    assert measure_psds(x, 16.0, usable) is None


def test_any_observation_is_measured() -> None:
    observation = Observation(detectors=("H1",), sample_rate=1024, window=4.0, min_frequency=20.0)
    x = make_design_noise("H1", 128 * 1024, np.random.default_rng(0), observation)
    psds = measure_tracked_psds(x, np.ones(len(x), bool), 1e9, observation, 64.0)
    assert len(psds) == 2
    assert psds[0].power.shape == (4 * 1024 + 1,)
    assert whiten_by_psds(x, 1e9, psds, 1024)[4096:-4096].std() == pytest.approx(1, abs=0.02)


def test_bands_reach_from_the_lowest_frequency_to_half_the_rate() -> None:
    for observation in (
        COMPETITION,
        Observation(detectors=("H1",), sample_rate=256, window=1.0, min_frequency=20.0),
        Observation(detectors=("H1",), sample_rate=64, window=0.5, min_frequency=20.0),
    ):
        bands = list_bands(observation)
        bins = 2 * observation.window  # of a Hz
        assert bands[0].start == observation.min_frequency * bins
        assert bands[-1].stop == observation.num_samples
        assert all(low.stop == high.start for low, high in itertools.pairwise(bands))


def test_pieces_lie_within_usable_runs() -> None:
    usable = np.ones(40 * RATE, bool)
    usable[11 * RATE : 12 * RATE] = False
    pieces = measure_periodograms(make_noise(40), usable, COMPETITION)
    # 4 s each, every 2 s, from the start of each run
    assert pieces.middle.tolist() == [2, 4, 6, 8, *range(14, 39, 2)]
    assert pieces.nearest(5, 9, 1).tolist() == [2, 3]
    assert pieces.nearest(9, 13, 3).tolist() == [2, 3, 4]
    assert len(Periodograms(pieces.middle, pieces.power).nearest(0, 1, MIN_LEVEL_PIECES)) == 5


def test_values_are_drawn_to_their_mean_as_far_as_errors_explain_them(rng) -> None:
    errors = rng.standard_normal((40, 2)) * 0.1
    truth = np.zeros((40, 2))
    truth[20:, 1] = 3.0  # the second band changes by much more than its errors
    shrunk = shrink_to_mean(truth + errors, np.full((40, 2), 0.01))
    assert shrunk[:, 0].std() < 0.05
    assert np.allclose(shrunk[:, 1], (truth + errors)[:, 1], atol=0.02)


def test_jumps_are_found_and_glitches_are_none(rng) -> None:
    level = 0.05 * rng.standard_normal((200, 3))
    assert split_at_jumps(level, 0, 200) == []
    level[50:90, 1] += 1
    level[150:, :] -= 0.5
    cuts = split_at_jumps(level, 0, 200)
    assert cuts == pytest.approx([50, 90, 150], abs=1)
    x = make_noise(128)
    x[60 * RATE : 60 * RATE + 400] *= 300
    pieces = measure_periodograms(x, np.ones(len(x), bool), COMPETITION)
    shape = noise_of("H1").psd_on_grid(2 * N, floor=1.0)
    assert find_jumps(pieces, (0, 128), shape, COMPETITION) == []
    x[80 * RATE :] *= 2
    pieces = measure_periodograms(x, np.ones(len(x), bool), COMPETITION)
    assert find_jumps(pieces, (0, 128), shape, COMPETITION) == pytest.approx([80], abs=2)


def test_a_time_is_divided_into_parts_of_one_length() -> None:
    assert divide_evenly(100, 33) == [(0, 100 / 3), (100 / 3, 200 / 3), (200 / 3, 100)]
    assert divide_evenly(10, 30) == [(0, 10)]
