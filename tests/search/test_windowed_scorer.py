"""Networks that need windows: peaks of their scores, with whitened windows kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_bank import PAIR, noise_and_chirps, white_stretch
from torch import Tensor

from search import windowed_scorer
from search.windowed_scorer import WindowedScorer
from training_extras import Preparation
from transforms import Whiten


class LoudestProduct:
    """Scores windows by the largest product of two detectors; has what is read of WindowScorer."""

    detectors_meet_late = False

    def __init__(self) -> None:
        self.observation, self.device = PAIR, torch.device("cpu")
        self.side_names = ("merger_time", "score_again")
        self.conditioned = 0

    def adapt(self, whitening: dict[str, np.ndarray]) -> None:
        matrices = [whitening.get(name, np.eye(PAIR.num_samples)) for name in PAIR.detectors]
        whiten = Whiten(matrices=matrices, decimate=2, observation=PAIR)

        def counted(x: Tensor) -> Tensor:
            self.conditioned += len(x)
            return whiten(x)

        self.conditioning = Preparation(counted)

    def release(self) -> None:
        self.conditioning = None

    def score_conditioned(self, batch: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        x = batch["waveform"]
        assert x.shape[1:] == (2, PAIR.num_samples // 2)
        # the second detector sees chirps 4 ms later, with the opposite sign
        product = -(x[:, 0, :-2] * x[:, 1, 2:])
        sums = product.unfold(1, 20, 1).sum(-1)
        score = sums.amax(1).double().numpy()
        place = (sums.argmax(1) + 11) * 2 / PAIR.sample_rate  # s after the window begins
        return score, np.stack([place.double().numpy(), score], axis=1)


@pytest.fixture(scope="module")
def stretch():
    return white_stretch(noise_and_chirps(20, [(6.0, 15.0, 60.0), (14.0, 20.0, 60.0)]))


def test_loud_windows_are_peaks(stretch) -> None:
    scorer = WindowedScorer(LoudestProduct(), arrival=0.75)
    scorer.prepare(stretch)
    found = scorer.peaks({}, 40.0)
    assert (found.score >= 40).all()
    for time in (1006, 1014):
        assert np.abs(found.time - time).min() < 1
    assert (np.diff(found.time) > 0.5).all()
    assert np.isnan(found.detector_scores).all()
    assert (found.template == -1).all()
    assert scorer.live_time({}) == pytest.approx(19.1)
    # A predicted merger time is a GPS time: that at which the two detectors agree most.
    loud = found.sides[np.abs(found.time - 1006) < 1]
    np.testing.assert_allclose(loud[:, 0], 1006, atol=0.05)
    np.testing.assert_array_equal(found.sides[:, 1], found.score)
    # slid apart there is nothing
    assert scorer.peaks({"L1": 4.0}, 40.0).score.max(initial=0) < found.score.min()


def test_windows_are_whitened_once_for_all_slides(stretch, monkeypatch) -> None:
    slides = [{}, {"L1": 2.0}, {"L1": 4.0}]
    kept = WindowedScorer(LoudestProduct(), arrival=0.75)
    kept.prepare(stretch)
    scores = [kept.window_scores(shifts)[0] for shifts in slides]
    windows = len(kept.starts)
    assert kept.scorer.conditioned == windows + 1  # one tells how large they are
    monkeypatch.setattr(windowed_scorer, "KEPT_BYTES", 1000)
    again = WindowedScorer(LoudestProduct(), arrival=0.75)
    again.prepare(stretch)
    for shifts, expected in zip(slides, scores, strict=True):
        np.testing.assert_allclose(again.window_scores(shifts)[0], expected, rtol=1e-5)
    assert again.scorer.conditioned == 3 * windows + 1


class ProductOfParts(LoudestProduct):
    """The same by way of something that is computed of each detector alone, thrice as long."""

    detectors_meet_late = True

    def __init__(self, repeats: int = 3) -> None:
        super().__init__()
        self.computed, self.repeats = 0, repeats

    def apart(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.computed += len(batch["waveform"])
        # (B, D, T) -> (B, D, C, T)
        return {"0": batch["waveform"][:, :, None].repeat(1, 1, self.repeats, 1)}

    def score_apart(self, apart: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        return self.score_conditioned({"waveform": apart["0"].mean(2)})


def test_what_is_of_one_detector_is_computed_once_for_all_slides(stretch, monkeypatch) -> None:
    slides = [{}, {"L1": 2.0}, {"L1": 4.0}]
    plain, parts = (
        WindowedScorer(each, arrival=0.75) for each in (LoudestProduct(), ProductOfParts())
    )
    for scorer in (plain, parts):
        scorer.prepare(stretch)
    for shifts in slides:
        expected = plain.window_scores(shifts)
        for one, other in zip(parts.window_scores(shifts), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
    windows = len(parts.starts)
    assert parts.scorer.computed == windows + 1  # one tells how large they are
    # Where the parts are too large to keep, the whitened windows are kept.
    kept = sum(
        value.numel() * value.element_size() for each in plain.kept for value in each.values()
    )
    monkeypatch.setattr(windowed_scorer, "KEPT_BYTES", 2 * kept)
    large = WindowedScorer(ProductOfParts(), arrival=0.75)
    large.prepare(stretch)
    assert (large.scorer.computed, large.is_apart) == (1, False)
    np.testing.assert_allclose(
        large.window_scores(slides[1])[0], plain.window_scores(slides[1])[0], rtol=1e-5
    )
    assert large.scorer.conditioned == windows + 2


def test_gaps_and_missing_detectors(stretch) -> None:
    usable = {name: mask.copy() for name, mask in stretch.usable.items()}
    usable["H1"][10 * 1024] = False
    scorer = WindowedScorer(LoudestProduct(), arrival=0.75)
    scorer.prepare(dataclasses.replace(stretch, usable=usable))
    scores, sides = scorer.window_scores({})
    assert np.isnan(sides).all(1).tolist() == (~np.isfinite(scores)).tolist()
    spoilt = ~np.isfinite(scores)
    assert np.flatnonzero(spoilt).tolist() == list(range(91, 101))
    assert scorer.live_time({"L1": 3.0}) == pytest.approx(19.1 - 1.0)
    alone = white_stretch({"L1": stretch.strain["L1"]})
    for zeros, expected in ((True, 0.0), (False, 1.0)):
        scorer = WindowedScorer(LoudestProduct(), arrival=0.75, zeros=zeros)
        scorer.prepare(alone)
        assert (scorer.strain[0].std() > 0) == bool(expected)
        assert np.isfinite(scorer.window_scores({})[0]).all()


def test_a_stretch_shorter_than_a_window_has_no_peaks() -> None:
    scorer = WindowedScorer(LoudestProduct(), arrival=0.75)
    scorer.prepare(white_stretch({"H1": np.zeros(500), "L1": np.zeros(500)}))
    assert not len(scorer.peaks({}, -1e9))
    assert scorer.live_time({}) == 0
