"""Networks that need windows: peaks of their scores, and what their windows share."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_bank import PAIR, noise_and_chirps, white_stretch
from torch import Tensor, nn

from models1d import BranchedResNet1d, CNN1d
from search import stretch_windows, windowed_scorer
from search.front_choice import LocalFront, choose_fronts
from search.peaks import applied_shifts
from search.stretch_windows import WholeWhitening
from search.windowed_scorer import WindowedScorer
from training_extras import Preparation
from transforms import Whiten

SIZE = PAIR.num_samples // 2  # of whitened windows


class LoudestProduct:
    """Scores windows by the largest product of two detectors; has what is read of WindowScorer."""

    side_names = ("merger_time", "score_again")

    def __init__(self) -> None:
        self.observation, self.device = PAIR, torch.device("cpu")
        self.whitenings: dict[str, WholeWhitening] | None
        self.whitenings, self.decimation = {"waveform": WholeWhitening(decimate=2)}, 2

    def choose_fronts(self, step: float) -> list[LocalFront]:
        return []

    def score_conditioned(self, batch: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        x = batch["waveform"]
        assert x.shape[1:] == (2, SIZE)
        # the second detector sees chirps 4 ms later, with the opposite sign
        product = -(x[:, 0, :-2] * x[:, 1, 2:])
        sums = product.unfold(1, 20, 1).sum(-1)
        score = sums.amax(1).double().numpy()
        place = (sums.argmax(1) + 11) * 2 / PAIR.sample_rate  # s after the window begins
        return score, np.stack([place.double().numpy(), score], axis=1)


class RecolouredProduct(LoudestProduct):
    """The same for windows that are whitened by matrices, which it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.whitenings, self.decimation, self.conditioned = None, 1, 0

    def adapt(self, whitening: dict[str, np.ndarray]) -> None:
        matrices = [whitening.get(name, np.eye(PAIR.num_samples)) for name in PAIR.detectors]
        whiten = Whiten(matrices=matrices, decimate=2, observation=PAIR)

        def counted(x: Tensor) -> Tensor:
            self.conditioned += len(x)
            return whiten(x)

        self.conditioning = Preparation(counted)

    def release(self) -> None:
        self.conditioning = None


@pytest.fixture(scope="module")
def stretch():
    return white_stretch(noise_and_chirps(20, [(6.0, 15.0, 60.0), (14.0, 20.0, 60.0)]))


@pytest.mark.parametrize("kind", [LoudestProduct, RecolouredProduct])
def test_loud_windows_are_peaks(stretch, kind) -> None:
    scorer = WindowedScorer(kind(), arrival=0.75)
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


def test_stretches_and_windows_are_whitened_alike(stretch) -> None:
    one, other = (WindowedScorer(kind(), 0.75) for kind in (LoudestProduct, RecolouredProduct))
    for scorer in (one, other):
        scorer.prepare(stretch)
    (found, _), (expected, _) = (scorer.window_scores({}) for scorer in (one, other))
    assert len(found) == len(expected)
    assert np.corrcoef(found, expected)[0, 1] > 0.995
    loud = expected > 40
    np.testing.assert_allclose(found[loud], expected[loud], rtol=0.1)


def test_windows_are_recoloured_once_for_all_slides(stretch, monkeypatch) -> None:
    slides = [{}, {"L1": 2.0}, {"L1": 4.0}]
    kept = WindowedScorer(RecolouredProduct(), arrival=0.75)
    kept.prepare(stretch)
    scores = [kept.window_scores(shifts)[0] for shifts in slides]
    windows = len(kept.starts)
    assert kept.scorer.conditioned == windows + 1  # one tells how large they are
    monkeypatch.setattr(stretch_windows, "KEPT_WINDOWS_BYTES", 1000)
    again = WindowedScorer(RecolouredProduct(), arrival=0.75)
    again.prepare(stretch)
    for shifts, expected in zip(slides, scores, strict=True):
        np.testing.assert_allclose(again.window_scores(shifts)[0], expected, rtol=1e-5)
    # In either slide nine windows of L1 are cut through where the ring is closed.
    assert again.scorer.conditioned == 3 * windows - 18 + 1


class Counted(nn.Module):
    """A module that counts the samples that it is shown."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner, self.samples = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.samples += x.numel()
        return self.inner(x)


class NetworkScores(LoudestProduct):
    """Scores windows by networks, which may run their fronts over stretches."""

    side_names = ()

    def __init__(self, *networks: nn.Module, with_fronts: bool = True) -> None:
        super().__init__()
        self.networks, self.with_fronts = [each.eval() for each in networks], with_fronts
        self.counted: list[Counted] = []

    def choose_fronts(self, step: float) -> list[LocalFront]:
        if not self.with_fronts:
            return []
        found = choose_fronts(self.networks, 2, SIZE, step * PAIR.sample_rate / 2)
        # count only after they are chosen
        self.counted = [Counted(front.steps[0]) for front in found]
        return [
            front._replace(steps=(first, *front.steps[1:]))
            for front, first in zip(found, self.counted, strict=True)
        ]

    @torch.inference_mode()
    def score_conditioned(self, batch: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        return self.average([network(batch["waveform"]) for network in self.networks])

    def score_features(self, fronts, features) -> tuple[np.ndarray, np.ndarray]:
        pairs = zip(fronts, features, strict=True)
        return self.average([front.rest(each) for front, each in pairs])

    def average(self, logits: list[Tensor]) -> tuple[np.ndarray, np.ndarray]:
        scores = torch.cat(logits, dim=1).double().mean(1).numpy()
        return scores, np.empty((len(scores), 0))


def branched(**options) -> BranchedResNet1d:
    torch.manual_seed(0)
    shape = {"widths": (4, 8), "depths": (1, 1), "kernel_sizes": (5, 5), "strides": (4, 2)}
    return BranchedResNet1d(
        **shape, first_kernel_size=9, first_stride=4, **options, observation=PAIR
    )


def plain() -> CNN1d:
    torch.manual_seed(0)
    return CNN1d(hidden_dims=(4, 8), kernel_size=7, observation=PAIR)


@pytest.fixture(scope="module")
def holed(stretch):
    usable = {name: mask.copy() for name, mask in stretch.usable.items()}
    usable["H1"][5 * 1024] = False
    usable["L1"][9 * 1024 : 9 * 1024 + 100] = False
    return dataclasses.replace(stretch, usable=usable)


@pytest.mark.parametrize("make", [branched, plain, lambda: branched(attention="cbam")])
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("batch_size", [256, 40])
def test_fronts_over_stretches_give_the_scores_of_windows(
    holed, monkeypatch, make, keeps: bool, batch_size: int
) -> None:
    if not keeps:
        monkeypatch.setattr(windowed_scorer, "KEPT_FEATURES_BYTES", 0)
    fronts = WindowedScorer(NetworkScores(make(), make()), 0.75, batch_size=batch_size)
    assert len(fronts.fronts) == 2
    fronts.prepare(holed)
    windows = WindowedScorer(NetworkScores(make(), make(), with_fronts=False), 0.75)
    windows.prepare(holed)
    # a step of whole columns
    windows.starts, windows.step, windows.ring = fronts.starts, fronts.step, fronts.ring
    windows.clean = fronts.clean
    windows.windows.starts = fronts.starts
    for shifts in ({}, {"L1": 3.0}, {"H1": 12.0, "L1": 1.5}):
        found, expected = (each.window_scores(shifts)[0] for each in (fronts, windows))
        assert np.isfinite(found).sum() > 100
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_is_of_one_detector_is_computed_once_for_all_slides(stretch) -> None:
    scorer = WindowedScorer(NetworkScores(branched()), 0.75)
    scorer.prepare(stretch)
    (counted,) = scorer.scorer.counted
    once = counted.samples
    assert once < 0.75 * len(scorer.starts) * 2 * SIZE
    for shift in (0.0, 2.0, 4.0):
        scorer.window_scores({"L1": shift})
    assert counted.samples == once


def test_a_joint_front_runs_over_each_slid_stretch(stretch) -> None:
    scorer = WindowedScorer(NetworkScores(plain()), 0.75, batch_size=64)
    scorer.prepare(stretch)
    (counted,) = scorer.scorer.counted
    assert counted.samples == 0
    scorer.window_scores({"L1": 2.0})
    assert 0 < counted.samples < 0.5 * len(scorer.starts) * 2 * SIZE


def test_windows_begin_with_the_columns_of_fronts(stretch) -> None:
    """Those of each detector alone may be uneven, those of all detectors may not."""
    scorer = WindowedScorer(NetworkScores(branched()), 0.75)
    scorer.prepare(stretch)
    stride = 2 * scorer.fronts[0].reach.stride
    assert scorer.fronts[0].reach.is_local
    assert scorer.step == pytest.approx(0.1)
    assert (scorer.starts % stride == 0).all()
    assert np.abs(scorer.starts - np.arange(191) * 102.4).max() <= stride / 2
    scorer = WindowedScorer(NetworkScores(plain()), 0.75)
    scorer.prepare(stretch)
    assert scorer.step * PAIR.sample_rate == 102
    assert (scorer.starts == np.arange(len(scorer.starts)) * 102).all()


def test_what_a_short_step_leaves_of_fronts() -> None:
    """Columns are too far apart for a step of three samples: branches are given windows."""
    scorer = WindowedScorer(NetworkScores(branched()), 0.75, step=6.1 / 1024)
    assert not scorer.fronts[0].reach.is_local
    assert scorer.step == pytest.approx(6.1 / 1024)
    scorer = WindowedScorer(NetworkScores(plain()), 0.75, step=1 / 1024)
    assert scorer.fronts == []
    assert scorer.step == 1 / 1024


def test_the_ring_is_that_of_the_stretch(stretch) -> None:
    """A shift of nearly the whole stretch is not one of none.

    19.1 s of windows begin in 20 s of strain: closed to a ring by themselves, a shift of 19.1 s
    would show what was recorded at the same time.
    """
    scorer = WindowedScorer(LoudestProduct(), 0.75)
    scorer.prepare(stretch)
    assert len(scorer.starts) == 191
    shown = scorer.shown_windows({"L1": 19.1})
    assert not (shown[0] == shown[1]).any()
    usable = scorer.usable_windows(shown)
    assert np.flatnonzero(usable).tolist() == list(range(9, 191))
    assert (shown[1, usable] == shown[0, usable] - 9).all()
    assert scorer.live_time({"L1": 19.1}) == pytest.approx(18.2)


@pytest.mark.parametrize("shifts", [{"L1": 0.03}, {"L1": 19.97}, {"H1": 5.0, "L1": 5.04}])
def test_shifts_of_less_than_a_step_are_no_background(stretch, shifts) -> None:
    scorer = WindowedScorer(LoudestProduct(), 0.75)
    scorer.prepare(stretch)
    assert scorer.live_time(shifts) == 0
    assert len(scorer.peaks(shifts, -1e9)) == 0
    assert scorer.live_time({"L1": 0.06}) > 15
    assert scorer.live_time({}) == scorer.live_time({"L1": 0.0}) > 19


def test_the_shifts_that_are_applied_are_said(stretch) -> None:
    scorer = WindowedScorer(NetworkScores(plain()), 0.75)
    scorer.prepare(stretch)
    step = scorer.step
    assert step != 0.1
    assert scorer.applied_shifts({"L1": 3.0}) == {"L1": round(3 / step) * step}
    assert applied_shifts(scorer, {}) == {}
    assert applied_shifts(object(), {"L1": 3.0}) == {"L1": 3.0}


def test_gaps_and_missing_detectors(stretch) -> None:
    usable = {name: mask.copy() for name, mask in stretch.usable.items()}
    usable["H1"][10 * 1024] = False
    scorer = WindowedScorer(LoudestProduct(), arrival=0.75)
    scorer.prepare(dataclasses.replace(stretch, usable=usable))
    scores, sides = scorer.window_scores({})
    assert np.isnan(sides).all(1).tolist() == (~np.isfinite(scores)).tolist()
    spoilt = ~np.isfinite(scores)
    assert np.flatnonzero(spoilt).tolist() == list(range(91, 101))
    # Nine windows fewer begin where the ring is closed.
    assert scorer.live_time({"L1": 3.0}) == pytest.approx(19.1 - 1.0 - 0.9)
    alone = white_stretch({"L1": stretch.strain["L1"]})
    for zeros, expected in ((True, 0.0), (False, 1.0)):
        scorer = WindowedScorer(LoudestProduct(), arrival=0.75, zeros=zeros)
        scorer.prepare(alone)
        # Noise of the design curve, white where there is any: 24 to 256 Hz.
        filler = scorer.windows.series["waveform"][0].std()
        assert filler == pytest.approx(expected * np.sqrt(1 - 24 / 256), abs=0.01)
        assert np.isfinite(scorer.window_scores({})[0]).all()


@pytest.mark.parametrize("make", [LoudestProduct, lambda: NetworkScores(branched())])
def test_a_stretch_shorter_than_a_window_has_no_peaks(make) -> None:
    scorer = WindowedScorer(make(), arrival=0.75)
    scorer.prepare(white_stretch({"H1": np.zeros(500), "L1": np.zeros(500)}))
    assert not len(scorer.peaks({}, -1e9))
    assert scorer.live_time({}) == 0
