"""Windows of a stretch beside what a config's transforms make of each window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_bank import PAIR

from configuration.class_with_arguments import Part
from data.tracked_psds import TrackedPSD
from search.conditioned_stretch import ConditionedStretch
from search.conditioning import make_design_noise
from search.spectral_whitening import Band
from search.stretch_windows import RecolouredWindows, WhitenedWindows, WholeWhitening
from search.stretches import Stretch
from transforms import Normalize, Whiten

SECONDS, N, RATE = 30, PAIR.num_samples, PAIR.sample_rate


def design_psd(channel: int, loud: float = 1.0) -> np.ndarray:
    return loud * PAIR.noise(channel).psd_on_grid(2 * N, floor=1.0)


@pytest.fixture(scope="module")
def stretch() -> ConditionedStretch:
    """Noise of the detectors' curves, known exactly."""
    samples, names = SECONDS * RATE, PAIR.detectors
    strain = {
        name: make_design_noise(name, samples, np.random.default_rng(number), PAIR)
        for number, name in enumerate(names)
    }
    psds = {
        name: [TrackedPSD(0.0, float(SECONDS), design_psd(number))]
        for number, name in enumerate(names)
    }
    usable = {name: np.ones(samples, bool) for name in names}
    return ConditionedStretch(Stretch(0, 0.0, float(SECONDS), names), PAIR, strain, usable, psds)


def rows_of(stretch: ConditionedStretch) -> np.ndarray:
    return np.stack([stretch.strain[name] for name in PAIR.detectors])


@pytest.mark.parametrize(
    ("params", "whitening"),
    [
        ({}, WholeWhitening()),
        ({"decimate": 2}, WholeWhitening(2)),
        ({"decimate": 2, "band": (40, 200), "order": 4}, WholeWhitening(2, Band(40.0, 200.0, 4))),
        ({"band": (40, 200)}, WholeWhitening(1, Band(40.0, 200.0))),
    ],
)
def test_windows_are_those_of_the_transform(stretch, params, whitening) -> None:
    assert WholeWhitening.of_part(Part(Whiten, **params), PAIR) == whitening
    starts = np.arange(2, 50) * N // 2
    windows = WhitenedWindows(
        {"waveform": whitening}, stretch, rows_of(stretch), starts, torch.device("cpu")
    )
    shown = np.stack([np.arange(48), np.arange(48)[::-1]])
    found = windows.cut(shown)["waveform"]
    whiten = Whiten(**params, observation=PAIR)
    cut = [[rows_of(stretch)[d, s : s + N] for d, s in enumerate(starts[pair])] for pair in shown.T]
    expected = whiten(torch.from_numpy(np.array(cut)) * 1e-21)
    assert found.shape == expected.shape
    # Unit power in what is kept, and the same samples. At the edges the transform knows nothing of
    # what lies beyond; a window of 1 s is short for noise from 20 Hz on.
    unit = float(expected.std())
    assert float(found.std()) == pytest.approx(unit, rel=0.015)
    error = (found - expected).square().unflatten(-1, (32, -1)).mean((0, 1, 3)).sqrt()
    assert error[8:24].max() < 0.12 * unit, error
    assert error[2:-2].max() < 0.2 * unit, error


def test_each_psd_is_tracked(stretch) -> None:
    """A detector twice as loud from 15 s on looks the same after the whitening."""
    strain = rows_of(stretch).copy()
    strain[:, SECONDS * RATE // 2 :] *= 2
    psds = {
        name: [
            TrackedPSD(0.0, SECONDS / 2, design_psd(number)),
            TrackedPSD(SECONDS / 2, float(SECONDS), design_psd(number, 4.0)),
        ]
        for number, name in enumerate(PAIR.detectors)
    }
    louder = ConditionedStretch(
        stretch.stretch, PAIR, dict(zip(PAIR.detectors, strain, strict=True)), stretch.usable, psds
    )
    arguments = (np.array([0, 20 * RATE]), torch.device("cpu"))
    one, other = (
        WhitenedWindows({"waveform": WholeWhitening(2)}, each, rows, *arguments)
        for each, rows in ((stretch, rows_of(stretch)), (louder, strain))
    )
    for number in (0, 1):
        shown = np.full((2, 1), number)
        torch.testing.assert_close(
            one.cut(shown)["waveform"], other.cut(shown)["waveform"], atol=0.05, rtol=0.05
        )


@pytest.mark.parametrize(
    "part",
    [
        Part(Normalize, factors=(1.0, 1.0)),
        Part(Whiten, sr=512),
        Part(Whiten, unit=1e-20),
        Part(Whiten, always_apply=False, p=0.5),
        Part(Whiten, decimate=3),  # no divisor of the window
    ],
)
def test_what_is_not_whitened_as_a_whole(part: Part) -> None:
    assert WholeWhitening.of_part(part, PAIR) is None


def test_the_scale_of_recoloured_windows_is_that_of_the_noise(stretch) -> None:
    """A PSD that is wrong by a factor changes nothing, and loud samples hardly anything."""
    strain = rows_of(stretch).copy()
    strain[0, 10 * RATE : 10 * RATE + 20] += 1e4

    class Conditions:
        """What is read of a WindowScorer."""

        def __init__(self) -> None:
            self.device = torch.device("cpu")
            self.matrices: dict[str, np.ndarray] = {}

        def release(self) -> None:
            self.matrices = {}

        def adapt(self, matrices: dict[str, np.ndarray]) -> None:
            self.matrices = matrices

        def conditioning(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return batch

    found = []
    for factor in (1.0, 9.0):
        psds = {name: [TrackedPSD(0.0, 30.0, design_psd(0, factor))] for name in PAIR.detectors}
        one = ConditionedStretch(stretch.stretch, PAIR, stretch.strain, stretch.usable, psds)
        starts = np.arange(58) * N // 2
        clean = {name: np.ones(58, bool) for name in PAIR.detectors}
        scorer = Conditions()
        windows = RecolouredWindows(scorer, one, strain, starts, clean, 16)
        found.append(scorer.matrices["H1"])
        assert windows.cut(np.zeros((2, 3), int))["waveform"].shape == (3, 2, N)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6 * np.abs(found[0]).max())
    white = np.stack([strain[0, s : s + N] for s in starts[30:]]) @ found[0]
    # Nothing below 20 Hz, and unit power above.
    assert white.std() == pytest.approx(np.sqrt(1 - 20 / 512), abs=0.015)
