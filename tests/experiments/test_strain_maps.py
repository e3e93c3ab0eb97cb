"""Maps of the samples that a run was most wrong about: which, and what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coloured_noise import RATE, N, make_coloured_noise

from experiments.strain_maps import (
    COLUMNS,
    LOWEST,
    OCTAVES_ABOVE,
    ROWS,
    SHOWN,
    SampleFiles,
    find_worst,
    map_strain,
    mean_spectrum,
    q_map,
)

FILES = SampleFiles(Path("train.csv"))


@pytest.fixture(scope="module")
def coloured() -> np.ndarray:
    return make_coloured_noise()


def test_the_worst_are_the_loudest_noise_and_the_quietest_signals() -> None:
    scores = np.arange(12.0)
    targets = np.arange(12) % 2
    ids = np.array([f"s{k}" for k in range(12)])
    snr = np.where(targets == 1, 7.5, np.nan)
    worst = find_worst("run", FILES, ids, targets, scores, np.arange(12) % 3, snr)
    assert [sample.name for sample in worst.noise] == ["s10", "s8", "s6", "s4"]
    assert [sample.name for sample in worst.signals] == ["s1", "s3", "s5", "s7"]
    assert (worst.noise[0].score, worst.noise[0].fold, worst.noise[0].snr) == (10.0, 1, None)
    assert worst.signals[0].snr == 7.5
    assert len(worst.noise) == SHOWN
    assert set(worst.background) == {f"s{k}" for k in range(0, 12, 2)}


def test_noise_is_even_and_a_tone_stands_where_it_is(coloured: np.ndarray) -> None:
    spectrum = mean_spectrum(coloured)
    quiet = np.stack([q_map(row, spectrum, RATE) for row in coloured])
    assert quiet.shape == (24, 3, ROWS, COLUMNS)
    # The edges are tapered. E of the amplitude of unit power is the square root of pi / 4.
    middle = quiet[..., 12:-12].mean((0, 1, 3))
    np.testing.assert_allclose(middle, np.sqrt(np.pi / 4), rtol=0.15)
    time = np.arange(N) / RATE
    burst = np.sin(2 * np.pi * 120 * time) * np.exp(-(((time - 1.4) / 0.05) ** 2))
    # Twelve times as loud as the noise has at 120 Hz, which are 240 steps of 0.5 Hz.
    burst *= 12 * np.sqrt(spectrum[1, 240]) / np.abs(np.fft.rfft(burst)[240])
    strain = coloured[0].copy()
    strain[1] += burst.astype(np.float32)
    loud = q_map(strain, spectrum, RATE)[1]
    row, column = np.unravel_index(loud.argmax(), loud.shape)
    frequencies = np.geomspace(LOWEST, LOWEST * 2**OCTAVES_ABOVE, ROWS)
    assert frequencies[row] == pytest.approx(120, rel=0.1)
    assert (column + 0.5) / COLUMNS * 2 == pytest.approx(1.4, abs=0.06)


def test_a_silent_detector_stays_dark(coloured: np.ndarray) -> None:
    strain = coloured.copy()
    strain[:, 2] = 0
    assert (q_map(strain[0], mean_spectrum(strain), RATE)[2] == 0).all()


def test_what_cannot_be_mapped_says_why(tmp_path: Path) -> None:
    ids, scores = np.array(["a", "b"]), np.array([0.0, 1.0])
    files = SampleFiles(tmp_path / "train.csv")
    signals = find_worst("run", files, ids, np.ones(2), scores, np.zeros(2, int))
    assert "it has no noise" in map_strain(signals).note
    noise = find_worst("run", files, ids, np.zeros(2), scores, np.zeros(2, int))
    assert map_strain(noise).note.startswith("the strain of its samples is not at hand: ")
