"""Maps of the samples that a run was most wrong about, as pictures on the page."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from coloured_noise import RATE, make_coloured_noise
from PIL import Image
from report_runs import Samples, make, write_run

from experiments.strain_maps import COLUMNS, ROWS, SHOWN, mean_spectrum, q_map
from reporting.strain_maps import GAP, encode


@pytest.fixture(scope="module")
def coloured() -> np.ndarray:
    return make_coloured_noise()


def test_a_picture_has_a_band_for_each_detector_and_stays_small(coloured: np.ndarray) -> None:
    maps = q_map(coloured[0], mean_spectrum(coloured), RATE)
    maps[0, 0] = 99.0  # the lowest frequency of the first detector, in the brightest colour
    content = encode(maps)
    picture = np.array(Image.open(io.BytesIO(content)).convert("RGB"))
    assert picture.shape == (3 * ROWS + 2 * GAP, COLUMNS, 3)
    assert (picture[ROWS : ROWS + GAP] == 255).all()
    assert (picture[ROWS - 1] == picture[ROWS - 1, 0]).all()
    assert len(content) < 16_000


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
