"""When predictions that lie there are kept, replaced, or refused to be replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import configs
from configuration.overrides import override
from experiments.current_predictions import are_current, check_replaced, has_other_arrays
from experiments.existing_run import ExistingRun
from experiments.npy_files import save_array
from experiments.prediction_stamp import samples_digest
from experiments.run_identity import RunSamples
from runtime.errors import UserError
from runtime.files import write_json

STAMP = {
    "views": ["identity"],
    "folds": {"0": {"weights": "a"}, "1": {"weights": "b"}},
    "labelled": "targets",
    "strain": {"train": {}, "test": {"test0": "strain"}},
    "settings": "settings",
}


@pytest.fixture
def existing(tmp_path: Path) -> ExistingRun:
    """A run directory with predictions of 4 training and 3 test samples by two folds."""
    train_ids = np.array([f"train{row}" for row in range(4)])
    test_ids = np.array([f"test{row}" for row in range(3)])
    made = ExistingRun(
        tmp_path,
        override(configs.Demo, ["cv=2"]),
        RunSamples(train_ids, test_ids, np.arange(4) % 2, np.arange(4) // 2),
    )
    save_array(tmp_path / "ids_test.npy", test_ids)
    save_array(tmp_path / "outoffolds.npy", np.zeros((4, 1), np.float32))
    save_array(tmp_path / "predictions.npy", np.zeros((2, 3, 1), np.float32))
    write_json(tmp_path / "predictions.json", stamp_of(made))
    return made


def stamp_of(existing: ExistingRun, **changed) -> dict:
    samples = samples_digest(
        existing.samples.train_ids, existing.samples.test_ids, existing.samples.folds
    )
    return STAMP | {"samples": samples} | changed


def test_predictions_of_the_same_networks_and_samples_are_current(existing: ExistingRun) -> None:
    assert are_current(existing, stamp_of(existing), "")
    check_replaced(existing, stamp_of(existing), "")
    assert not are_current(existing, stamp_of(existing), "_tta")  # there are none


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"views": ["identity", "flip"]}, "the views identity"),
        ({"folds": {"0": {"weights": "other"}}}, "other weights, settings or samples"),
        ({"settings": "other"}, "other weights, settings or samples"),
        ({"labelled": "other"}, "other ids, targets or folds"),
        ({"strain": {"train": {}, "test": {"test0": "x"}}}, "other test samples of the same ids"),
    ],
)
def test_whole_predictions_of_something_else_are_not_replaced(
    existing: ExistingRun, changed: dict, what: str
) -> None:
    stamp = stamp_of(existing, **changed)
    assert not are_current(existing, stamp, "")
    with pytest.raises(UserError, match=rf"predictions\.npy is there, made of {what}: --inference"):
        check_replaced(existing, stamp, "")


@pytest.mark.parametrize("array", [np.zeros((4, 1), np.int64), np.zeros(4, np.float32)])
def test_arrays_that_do_not_fit_are_not_current(existing: ExistingRun, array) -> None:
    save_array(existing.path / "outoffolds.npy", array)
    assert not are_current(existing, stamp_of(existing), "")


def test_arrays_are_compared_by_their_values(tmp_path: Path) -> None:
    logits = np.array([1, np.nan], np.float32)  # NaN: a fold that is not trained yet
    assert not has_other_arrays(tmp_path, {"a.npy": logits})
    save_array(tmp_path / "a.npy", logits)
    assert not has_other_arrays(tmp_path, {"a.npy": logits})
    assert has_other_arrays(tmp_path, {"a.npy": logits + 1})
    (tmp_path / "a.npy").write_bytes(b"damaged")
    assert has_other_arrays(tmp_path, {"a.npy": logits})
