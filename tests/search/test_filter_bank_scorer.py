"""Peaks of a filter bank in whole stretches beside the network's windows.

Tolerance: the score of a window that the engine computes differs from the network's, whose window
is whitened by C^(-1/2), by less than 0.35 where the strain is noise and by less than 2 % of it
beside a signal. (For Mdc1's bank and windows of 2 s: 0.14 and 1.3 %.)
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_bank import PAIR, chirp_network, noise_and_chirps, white_stretch

from data.strain_conditioning import measure_psd
from data.tracked_psds import TrackedPSD
from models1d import MatchedFilter1d
from physics.observation import Observation
from search.bank_statistics import LikelihoodRatio
from search.conditioned_stretch import ConditionedStretch
from search.conditioning import make_design_noise
from search.filter_bank_scorer import FilterBankScorer
from search.spectral_whitening import whiten_piece, whiten_stretch
from transforms import Whiten

CHIRPS = [(4.2, 7.0, 60.0), (9.7, 10.0, 120.0), (15.3, 25.0, 90.0)]


def scorer_of(
    *networks: MatchedFilter1d, observation: Observation = PAIR, channels: tuple[int, ...] = (0, 1)
) -> FilterBankScorer:
    return FilterBankScorer([LikelihoodRatio(n, channels) for n in networks], observation, 2)


@pytest.fixture(scope="module")
def stretch() -> ConditionedStretch:
    return white_stretch(noise_and_chirps(20, CHIRPS))


@pytest.fixture(scope="module")
def scorer(stretch: ConditionedStretch) -> FilterBankScorer:
    found = scorer_of(chirp_network())
    found.prepare(stretch)
    return found


def test_windows_have_the_scores_of_the_network() -> None:
    """In noise of the design curve, whitened by the matrix of the same measured PSD."""
    rate, n = PAIR.sample_rate, PAIR.num_samples
    strain, psds, exact = {}, {}, {}
    for d, name in enumerate(PAIR.detectors):
        x = make_design_noise(name, 40 * rate, np.random.default_rng(d), PAIR)
        spectrum = np.fft.rfft(noise_and_chirps(40, [(21.3, 12, 90.0)], noise=0.0)[name])
        power = np.interp(
            np.fft.rfftfreq(40 * rate, 1 / rate),
            np.fft.rfftfreq(2 * n, 1 / rate),
            measure_psd(x, PAIR),
        )
        # a chirp that whitening makes that of the bank
        strain[name] = x + np.fft.irfft(spectrum * np.sqrt(power * rate / 2), 40 * rate)
        psds[name] = [TrackedPSD(1000.0, 1040.0, measure_psd(strain[name], PAIR))]
    stretch = dataclasses.replace(white_stretch(strain), psds=psds)
    network = chirp_network()
    found = scorer_of(network)
    found.prepare(stretch)
    ticks = np.concatenate([np.arange(500, 9000, 100), [21.3 * 256 + k for k in range(-2, 3)]])
    ticks = ticks.astype(int)
    ours = found.window_scores(ticks, {})
    starts = (ticks - network.grid.first - network.grid.num_times // 2) * 4
    white = whiten_stretch(stretch, 2)
    for name in PAIR.detectors:
        x, psd = stretch.strain[name], psds[name][0].power
        raw = whiten_piece(x, stretch.usable[name], psd, (0, len(x) // 2), PAIR, 2)
        scale = np.median(raw / white[name].values)
        whiten = Whiten(psds=[psd], unit=1.0, decimate=2, observation=PAIR)
        windows = torch.from_numpy(np.stack([x[s : s + n] for s in starts]))
        exact[name] = whiten(windows[:, None])[:, 0] / scale
    with torch.inference_mode():
        expected = network(torch.stack([exact[name] for name in PAIR.detectors], 1))[:, 0].numpy()
    assert expected[-5:].max() > 50
    assert (np.abs(ours - expected) < 0.35 + 0.02 * np.maximum(expected, 0)).all()


def test_peaks_have_time_snr_and_template_of_the_signals(scorer: FilterBankScorer) -> None:
    peaks = scorer.peaks({}, least=8.0)
    for time, snr, frequency in CHIRPS:
        near = np.abs(peaks.time - 1000 - time) < 0.1
        best = np.flatnonzero(near)[peaks.score[near].argmax()]
        assert abs(peaks.time[best] - 1000 - time) < 0.003
        assert peaks.snr[best] == pytest.approx([snr, snr], abs=2.5)
        # A mean over some 400 pairs of template and time, in one of which the signal is: e^-6.
        expected = peaks.snr[best].astype(float) ** 2 * 0.76 / 2 - 6
        np.testing.assert_allclose(peaks.detector_scores[best], expected, atol=2.5)
        if snr > 8:
            assert peaks.template[best] == (60.0, 90.0, 120.0, 150.0).index(frequency)
            assert peaks.mass1[best] == scorer.masses[peaks.template[best], 0] > 5
    assert (np.diff(peaks.time) >= 0).all()
    assert (peaks.score >= 8).all()


@pytest.fixture(scope="module")
def scorer_of_components(stretch: ConditionedStretch) -> FilterBankScorer:
    found = scorer_of(chirp_network(components=2))
    found.prepare(stretch)
    return found


@pytest.mark.parametrize("shifts", [{}, {"H1": 1.123, "L1": 7.7}])
def test_components_lose_no_peak_and_have_the_scores_of_the_network(
    scorer_of_components: FilterBankScorer,
    shifts: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    stretch: ConditionedStretch,
) -> None:
    scorer = scorer_of_components
    test_leaving_blocks_out_loses_no_peak(scorer, shifts, monkeypatch)
    network = scorer.statistics[0].network
    ticks = np.array([int(4.2 * 256), int(9.7 * 256), 3000])
    starts = (ticks - network.grid.first - network.grid.num_times // 2) * 2
    white = whiten_stretch(stretch, 2)
    n = network.samples
    windows = np.stack([[white[d].values[s : s + n] for d in PAIR.detectors] for s in starts])
    with torch.inference_mode():
        expected = network(torch.from_numpy(windows))[:, 0].numpy()
    np.testing.assert_allclose(scorer.window_scores(ticks, {}), expected, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("shifts", [{}, {"L1": 3.0}, {"H1": 1.123, "L1": 7.7}])
def test_leaving_blocks_out_loses_no_peak(
    scorer: FilterBankScorer, shifts: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = scorer.peaks(shifts, 0.5)
    everywhere = np.arange(-(-scorer.ticks // scorer.block))
    with monkeypatch.context() as patch:
        patch.setattr(scorer, "find_blocks", lambda *_: everywhere)
        expected = scorer.peaks(shifts, 0.5)
    assert len(expected) > 3
    # Peaks as weak as what is asked for may be missed, no others, and no score changes.
    lost = ~np.isin(expected.time, found.time)
    assert (expected.score[lost] < 1.5).all()
    kept = np.isin(found.time, expected.time)
    np.testing.assert_allclose(found.score[kept], expected.score[~lost], atol=1e-4)


def test_a_slide_is_the_search_of_strain_that_was_shifted(
    scorer: FilterBankScorer, stretch: ConditionedStretch
) -> None:
    shift, rate = 5.0, PAIR.sample_rate
    rolled = dict(stretch.strain)
    rolled["L1"] = np.roll(rolled["L1"], -round(shift * rate))
    other = scorer_of(chirp_network())
    other.prepare(dataclasses.replace(stretch, strain=rolled))
    expected, found = other.peaks({}, 2.0), scorer.peaks({"L1": shift}, 2.0)
    # Where the ring is closed the filters see other strain: there the slide has no score.
    joint = 1000 + 20 - shift
    away = [np.abs(peaks.time - joint) > 1.0 for peaks in (expected, found)]
    np.testing.assert_allclose(found.time[away[1]], expected.time[away[0]], atol=1e-6)
    np.testing.assert_allclose(found.score[away[1]], expected.score[away[0]], rtol=1e-3, atol=0.02)
    # In seconds, what the filters' length and the edges take at either end, twice with a shift.
    lost = 20 - scorer.live_time({})
    assert 0.15 < lost < 0.35
    assert 20 - scorer.live_time({"L1": shift}) == pytest.approx(2 * lost, abs=0.01)


def test_parts_of_a_sample_move_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks lie 4 samples apart: the score at ticks alone moves, that of the peak does not.

    The scale of so short a stretch depends on which samples of the chirp are the loudest ones.
    """
    monkeypatch.setattr("search.spectral_whitening.robust_scale", lambda _: 1.0)
    scores, at_ticks, late = [], [], []
    scorer = scorer_of(chirp_network())
    strain = noise_and_chirps(8, [(4.0, 15.0, 150.0)])
    spectra = {name: np.fft.rfft(x) for name, x in strain.items()}
    for quarter in range(9):
        delay = np.exp(-2j * np.pi * np.arange(len(spectra["H1"])) * (quarter / 4) / (8 * 1024))
        moved = {name: np.fft.irfft(spectrum * delay) for name, spectrum in spectra.items()}
        scorer.prepare(white_stretch(moved))
        found = scorer.peaks({}, 5.0)
        best = found.score.argmax()
        scores.append(found.score[best])
        late.append(found.time[best] - quarter / 4 / 1024)
        tick = round((found.time[best] - 1000) / scorer.tick_seconds)
        at_ticks.append(scorer.window_scores(np.array([tick]), {})[0])
    assert np.ptp(at_ticks) > 1.4
    assert np.ptp(scores) < 0.02, scores
    assert abs(np.mean(at_ticks) - np.mean(scores)) < 4  # this delay is nearly that of a tick
    assert np.ptp(late) < 5e-4


def test_finer_times_do_not_change_the_scale(scorer: FilterBankScorer) -> None:
    """Over noise, where ratios are smooth from tick to tick, both ways agree in the mean."""
    from search.peak_refinement import Fineness

    ticks = np.arange(1500, 2300, 7)
    usable, offsets = scorer.usable_together({}), scorer.offsets({})
    fine = scorer.evaluate(ticks, Fineness(4, 8), offsets, usable).score
    coarse = scorer.evaluate(ticks, None, offsets, usable).score
    assert np.abs(fine - coarse).max() < 0.5
    assert abs((fine - coarse).mean()) < 0.05


def test_a_missing_detector_is_left_out() -> None:
    three = Observation(("H1", "L1", "V1"), sample_rate=1024, window=1.0, min_frequency=20.0)
    strain = noise_and_chirps(10, [(5.0, 15.0, 90.0)], three)
    network = chirp_network(three)
    both = {name: strain[name] for name in ("H1", "L1")}
    scorer = scorer_of(network, observation=three, channels=(0, 1, 2))
    scorer.prepare(white_stretch(both, three))
    found = scorer.peaks({}, 5.0)
    assert np.isnan(found.detector_scores[:, 2]).all()
    assert np.isnan(found.snr[:, 2]).all()
    pair = chirp_network()
    with torch.no_grad():
        pair.amplitude.copy_(network.amplitude[:2])
        pair.delay[0].copy_(network.delay[0])
    expected = scorer_of(pair)
    expected.prepare(white_stretch(both))
    np.testing.assert_allclose(found.score, expected.peaks({}, 5.0).score, rtol=1e-4)
    # without the reference, and alone
    for names in (("L1", "V1"), ("V1",)):
        scorer.prepare(white_stretch({name: strain[name] for name in names}, three))
        found = scorer.peaks({}, 5.0)
        assert np.abs(found.time[found.score.argmax()] - 1005).min() < 0.03


def test_the_score_of_several_networks_is_their_mean(stretch: ConditionedStretch) -> None:
    one, two = chirp_network(), chirp_network()
    with torch.no_grad():
        two.amplitude.fill_(0.5)
        two.classifier.bias.fill_(0.7)
    ticks = np.arange(600, 4000, 150)
    scores = []
    for networks in ((one,), (two,), (one, two)):
        scorer = scorer_of(*networks)
        scorer.prepare(stretch)
        scores.append(scorer.window_scores(ticks, {}))
    np.testing.assert_allclose(scores[2], (scores[0] + scores[1]) / 2, rtol=1e-5)
    # Both have the same filters, which are applied once.
    assert scorer.outputs[0][0] is scorer.outputs[1][0]


def test_exchanged_detectors_are_shown_to_the_other_channels(stretch: ConditionedStretch) -> None:
    network = chirp_network()
    exchanged = scorer_of(network, channels=(1, 0))
    exchanged.prepare(stretch)
    other = scorer_of(network)
    strain = {"H1": stretch.strain["L1"], "L1": stretch.strain["H1"]}
    other.prepare(dataclasses.replace(stretch, strain=strain))
    ticks = np.arange(600, 4000, 150)
    np.testing.assert_allclose(
        exchanged.window_scores(ticks, {}), other.window_scores(ticks, {}), rtol=1e-5
    )


def test_gaps_have_no_peaks_and_no_live_time(stretch: ConditionedStretch) -> None:
    usable = {name: mask.copy() for name, mask in stretch.usable.items()}
    usable["L1"][round(15.0 * 1024) : round(15.6 * 1024)] = False
    scorer = scorer_of(chirp_network())
    scorer.prepare(stretch)
    live = scorer.live_time({})
    scorer.prepare(dataclasses.replace(stretch, usable=usable))
    assert live - scorer.live_time({}) == pytest.approx(0.6 + 0.156 + 0.0625, abs=0.02)
    found = scorer.peaks({}, 3.0)
    assert not (np.abs(found.time - 1015.3) < 0.2).any()
    assert (np.abs(found.time - 1009.7) < 0.1).any()


def test_a_stretch_that_is_too_short_or_unusable_has_no_peaks(stretch: ConditionedStretch) -> None:
    scorer = scorer_of(chirp_network())
    nothing = {name: np.zeros_like(mask) for name, mask in stretch.usable.items()}
    scorer.prepare(dataclasses.replace(stretch, usable=nothing))
    assert scorer.live_time({}) == 0
    assert not len(scorer.peaks({}, -10.0))


def test_glitches_are_weighed_as_by_the_network() -> None:
    """A loud sine-Gaussian in H1, a later one in L1, and a signal elsewhere."""
    network = chirp_network(glitches=True)
    strain = noise_and_chirps(20, [(15.0, 12.0, 90.0)])
    times = np.arange(20 * 1024) / 1024 - 8.0
    strain["H1"] += 60 * np.exp(-((times / 0.01) ** 2)) * np.cos(2 * np.pi * 100 * times)
    late = times - 0.2
    strain["L1"] += 40 * np.exp(-((late / 0.01) ** 2)) * np.cos(2 * np.pi * 130 * late)
    scorer = scorer_of(network)
    scorer.prepare(white_stretch(strain))
    ticks = np.concatenate([np.arange(1900, 2200, 30), np.arange(3800, 3880, 20)])
    ours = scorer.window_scores(ticks, {})
    starts = (ticks - network.grid.first - network.grid.num_times // 2) * 2
    white = whiten_stretch(scorer.stretch, 2)
    windows = np.stack([[white[d].values[s : s + 512] for d in PAIR.detectors] for s in starts])
    with torch.inference_mode():
        expected = network(torch.from_numpy(windows))[:, 0].numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_loudest_peaks_are_found_at_the_first_level_that_has_enough(
    scorer: FilterBankScorer, count: int
) -> None:
    levels = list(scorer.falling_levels(count))
    assert len(levels) > 2
    assert (np.diff(levels) <= 0).all()
    assert levels[-1] == -np.inf
    found = next(f for f in (scorer.peaks({}, level) for level in levels) if len(f) >= count)
    every = scorer.peaks({}, -np.inf)
    assert len(found) < len(every) / 2
    loudest = [np.sort(peaks.score)[-count:] for peaks in (found, every)]
    np.testing.assert_array_equal(*loudest)
