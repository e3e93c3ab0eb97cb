"""`make demo` in little: the whole way from nothing to the picture, and once more."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from paths import ROOT

import simulation.dataset_on_disk
from demo import __main__ as demo
from demo.event import MERGER
from experiments.predictions import read_predictions
from experiments.scores import auc_with_error, blend_folds
from runtime.errors import UserError
from runtime.files import read_json_object, write_json
from simulation.dataset_files import FINISHED

pytest.importorskip("lalsimulation")
pytest.importorskip("h5py")

# A few templates and binaries, and no sample more than is needed.
TINY = [
    "cv=2",
    "batch_size=32",
    "model_params.templates=6",
    "model_params.basis=8",
    "model_params.bank_size=64",
    "dataset_params.bank_size=64",
    "dataset_params.samples_per_epoch=64",
    "dataset_params.pool=32",
]


class Demo(NamedTuple):
    """Two demos in one folder, the second after the first had ended."""

    place: Path
    said: list[str]  # by each
    files: list[dict[Path, int]]  # what each left, and when it was written


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Demo:
    place = tmp_path_factory.mktemp("demo")
    line = ["--train", "24", "--test", "60", "--templates", "4", "--data", str(place / "data")]
    found = Demo(place, [], [])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        small = functools.partial(simulation.dataset_on_disk.simulate_dataset, bank_size=64)
        patch.setattr(simulation.dataset_on_disk, "simulate_dataset", small)
        for _ in range(2):
            with contextlib.redirect_stdout(io.StringIO()) as said:
                assert demo.main([*line, "--results", str(place), "--set", *TINY]) == 0
            found.said.append(said.getvalue())
            files = (path for path in place.rglob("*") if path.is_file())
            found.files.append({path: path.stat().st_mtime_ns for path in files})
    return found


def test_it_ends_with_five_sentences(runs: Demo) -> None:
    end = runs.said[0][runs.said[0].rindex("\nQuickDemo, a network") :].strip()
    good, beside, found, where, following, *commands = end.splitlines()
    logits = blend_folds(read_predictions(runs.place / "quick_demo").logits)
    table = np.genfromtxt(runs.place / "data/test_labels.csv", delimiter=",", skip_header=1)
    auc, error = auc_with_error(table[:, 1], logits)
    assert f"2 folds, tells mergers from noise with a test AUC of {auc:.3f} ± {error:.3f}" in good
    assert re.search(r"filters has 0\.\d+ ± 0\.\d+ on the same samples, and the near-", beside)
    assert "0.885 ± 0.005 on 4,000 other samples" in beside
    with open(runs.place / "quick_demo/detect/candidates.csv", newline="") as file:
        first, second, *_ = csv.DictReader(file)
    # even so few templates find it
    assert abs(float(first["gps"]) - MERGER) < 0.1
    assert f"found at GPS {float(first['gps']):.2f}" in found
    assert f"with a score of {float(first['score']):.1f}: the next candidate has " in found
    assert f"{float(second['score']):.1f}." in found
    assert f"The picture of all this is {runs.place / 'quick_demo/demo.png'}; " in where
    assert following.startswith("Try next")
    assert [line.split()[1] for line in commands] == ["report.py", "detect.py", "train.py"]


def test_the_picture_is_there(runs: Demo) -> None:
    picture = (runs.place / "quick_demo/demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000


def test_what_is_finished_is_not_done_again(runs: Demo) -> None:
    """The second run says the same, and no sample, weight or search is written anew."""
    first, second = (said[said.rindex("\nQuickDemo, a network") :] for said in runs.said)
    assert first == second
    before, after = runs.files
    lost = before.keys() - after.keys()
    assert not lost
    kept = [path for path in before if path.suffix in (".npy", ".f32", ".pt", ".hdf5", ".csv")]
    kept = [path for path in kept if "quick_demo" not in path.parts or path.suffix != ".csv"]
    written = [path.name for path in kept if before[path] != after[path]]
    assert not written
    assert "nothing to do" in runs.said[1]


def test_each_command_is_shown_as_one_types_it(runs: Demo) -> None:
    shown = re.findall(r"^\$ python (\S+) (.*)$", runs.said[0], re.MULTILINE)
    assert [name for name, _ in shown] == ["prep_data.py", "train.py", "detect.py"]
    assert shown[2][1].endswith(
        "--strain H1=examples/gw150914 L1=examples/gw150914 --slides 0 --resume"
    )
    start = read_json_object(runs.place / "quick_demo/run.json")["starts"][0]
    assert start["command"][0] == "train.py"


def test_samples_that_are_there_are_kept(tmp_path: Path) -> None:
    write_json(tmp_path / FINISHED, {"settings": {"n_train": 16000, "n_test": 4000}})
    parse = demo.build_parser().parse_args
    assert demo.sample_counts(parse(["--data", str(tmp_path)])) == (16000, 4000)
    # What is asked for is asked for: prep_data.py refuses it, or moves nothing without a flag.
    assert demo.sample_counts(parse(["--data", str(tmp_path), "--train", "9"])) == (9, 4000)
    assert demo.sample_counts(parse(["--data", str(tmp_path / "new")])) == (demo.TRAIN, demo.TEST)


def test_an_unknown_setting_is_refused_before_anything_is_simulated(tmp_path: Path) -> None:
    line = ["--data", str(tmp_path / "data"), "--set", "num_epoch=2"]
    with pytest.raises(UserError, match="num_epoch"):
        demo.main(line)
    assert not (tmp_path / "data").exists()
