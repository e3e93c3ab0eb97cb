"""Maps of the samples that a run was most wrong about: which, and what they show."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_runs import Samples, make, write_run

from reporting.strain_maps import (
    COLUMNS,
    GAP,
    LOWEST,
    OCTAVES_ABOVE,
    ROWS,
    SHOWN,
    encode,
    find_worst,
    mean_spectrum,
    q_map,
)

RATE, N = 2048, 4096


@pytest.fixture(scope="module")
def coloured() -> np.ndarray:
    """Noise (24, 3, samples), much louder at low frequencies, in the size of strain."""
    generator = np.random.default_rng(1)
    spectra = np.fft.rfft(generator.normal(size=(24, 3, N)))
    slope = 1 / np.maximum(np.fft.rfftfreq(N, 1 / RATE), 5.0)
    return (1e-21 * np.fft.irfft(spectra * slope)).astype(np.float32)


def test_the_worst_are_the_loudest_noise_and_the_quietest_signals() -> None:
    scores = np.arange(12.0)
    targets = np.arange(12) % 2
    ids = np.array([f"s{k}" for k in range(12)])
    snr = np.where(targets == 1, 7.5, np.nan)
    worst = find_worst("run", {}, ids, targets, scores, np.arange(12) % 3, snr)
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


def test_a_picture_has_a_band_for_each_detector_and_stays_small(coloured: np.ndarray) -> None:
    maps = q_map(coloured[0], mean_spectrum(coloured), RATE)
    maps[0, 0] = 99.0  # the lowest frequency of the first detector, in the brightest colour
    content = encode(maps)
    picture = np.array(Image.open(io.BytesIO(content)).convert("RGB"))
    assert picture.shape == (3 * ROWS + 2 * GAP, COLUMNS, 3)
    assert (picture[ROWS : ROWS + GAP] == 255).all()
    assert (picture[ROWS - 1] == picture[ROWS - 1, 0]).all()
    assert len(content) < 16_000


def test_a_silent_detector_stays_dark(coloured: np.ndarray) -> None:
    strain = coloured.copy()
    strain[:, 2] = 0
    assert (q_map(strain[0], mean_spectrum(strain), RATE)[2] == 0).all()


def test_the_page_shows_them_where_the_files_are_at_hand(
    results: Path, samples: Samples, tmp_path: Path, coloured: np.ndarray
) -> None:
    words = make(results).words()
    assert "the strain of its samples is not at hand" in words
    ids = samples["train"][0]
    table = tmp_path / "input" / "train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(f"{line}.npy" for line in lines[1:])]) + "\n")
    for number, name in enumerate(ids):
        np.save(tmp_path / "input" / f"{name}.npy", coloured[number % 24])
    page = make(results)
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', page.text)
    assert len(sources) == 2 * SHOWN
    assert base64.b64decode(sources[0]).startswith(b"\x89PNG")
    assert "Noise that scores highest" in page.words()
    size = sum(map(len, sources))
    said = int(re.search(r"The pictures take (\d+) kB", page.words())[1])
    assert said == pytest.approx(size / 1000, rel=0.02)
    scores, targets = np.load(results / "whole" / "outoffolds.npy")[:, 0], samples["train"][1]
    loudest = ids[targets == 0][scores[targets == 0].argmax()]
    assert page.words().index(loudest) < page.words().index("Signals that score lowest")


def test_a_run_of_borrowed_weights_is_neither_looked_at_nor_the_best(
    results: Path, samples: Samples, tmp_path: Path
) -> None:
    folder = write_run(results, "lent", samples, tmp_path / "input", seed=3, strength=4.0)
    stamp = '{"views": ["identity"], "folds": {"0": {"own": false}, "1": {"own": false}}}'
    (folder / "predictions.json").write_text(stamp)
    page = make(results)
    rows = {
        name: re.search(rf'aria-label="Show {name} in.*?</tr>', page.text)[0]
        for name in ("lent", "whole")
    }
    assert ' best"' not in rows["lent"]
    assert "its weights are those of another run" in page.words()
    best = re.search(r'<div class="card"><dt>Best out of fold</dt>.*?</div>', page.text)[0]
    assert "whole" in best
    assert "lent" not in best
