"""The arrays a run leaves: read back whole, aligned by id, refused when they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prediction_files import write_prediction_files

from experiments.npy_files import load_array, save_array
from experiments.prediction_stamp import has_predictions, samples_digest
from experiments.predictions import align, align_table, read_predictions
from runtime.errors import UserError
from runtime.files import write_json


def test_read_back(tmp_path: Path) -> None:
    run = read_predictions(write_prediction_files(tmp_path / "demo"))
    assert run.name == "demo"
    assert run.out_of_fold.shape == (10,)
    assert run.logits.shape == (2, 6)
    assert run.missing_folds == []
    run.check_complete("nothing")
    assert has_predictions(tmp_path / "demo")
    assert not has_predictions(tmp_path / "demo", "_tta")
    tta = read_predictions(write_prediction_files(tmp_path / "demo", suffix="_tta"), "_tta")
    assert tta.suffix == "_tta"


@pytest.mark.parametrize("where", ["outoffolds", "predictions"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_fold_that_is_missing_is_named(tmp_path: Path, where: str, value: float) -> None:
    folder = write_prediction_files(tmp_path / "demo")
    array = load_array(folder / f"{where}.npy")
    array[1] = value  # row 1 of the training rows lies in fold 1
    save_array(folder / f"{where}.npy", array)
    run = read_predictions(folder)
    assert run.missing_folds == [1]
    with pytest.raises(UserError, match=r"no finite logits of fold 1.*python train\.py"):
        run.check_complete("python train.py --config Demo")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("outoffolds.npy", np.zeros((9, 1), np.float32), "does not fit the 10 training"),
        ("outoffolds.npy", np.zeros((10, 1), np.int64), "expected logits"),
        ("predictions.npy", np.zeros((2, 6), np.float32), "does not fit"),
        ("folds.npy", np.zeros(10), "does not fit"),
        ("folds.npy", np.arange(10), "counts to 9 and predictions.npy has 2 folds"),
        ("folds.npy", None, "does not exist"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, name: str, array, message: str) -> None:
    folder = write_prediction_files(tmp_path / "demo")
    if array is None:
        (folder / name).unlink()
    else:
        save_array(folder / name, array)
    with pytest.raises(UserError) as error:
        read_predictions(folder)
    assert message in str(error.value)


def test_align() -> None:
    ids = np.array(["b", "d", "a"])
    assert align(ids, np.array(["a", "b", "a"]), "it").tolist() == [2, 0, 2]
    for absent in ("c", "z", "0"):
        with pytest.raises(UserError, match=f"it lacks 1 of 2 samples, the first '{absent}'"):
            align(ids, np.array(["a", absent]), "it")
    with pytest.raises(UserError, match="it lacks 1 of 1 samples, the first 'a'"):
        align(ids[:0], ids[2:], "it")
    assert len(align(ids[:0], ids[:0], "it")) == 0
    table = pd.DataFrame({"id": ids, "target": [1.0, 0.0, 0.5]})
    assert align_table(table, np.array(["a", "d"]), "it")["target"].tolist() == [0.5, 0.0]


def test_arrays_of_other_samples_than_those_beside_them(tmp_path: Path) -> None:
    folder = write_prediction_files(tmp_path / "demo")
    ids = [load_array(folder / f"ids_{split}.npy") for split in ("train", "test")]
    folds = load_array(folder / "folds.npy")
    stamp = {"samples": samples_digest(*ids, folds), "views": ["identity"], "folds": {}}
    write_json(folder / "predictions.json", stamp)
    read_predictions(folder)
    save_array(folder / "ids_test.npy", ids[1][::-1])
    with pytest.raises(UserError, match="made from other samples or folds"):
        read_predictions(folder)
    save_array(folder / "ids_test.npy", np.arange(6))
    with pytest.raises(UserError, match="expected a list of ids"):
        read_predictions(folder)
