"""Joining runs: by id, in the published order, and refused by name when they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stack_runs import NAMES, make_stack, write_results, write_run, write_table

from experiments.npy_files import load_array, save_array
from runtime.errors import UserError
from stack.inputs import StackData, join_runs
from stack.members import final_experiments, find_member_runs, read_members
from stack.tables import read_training_targets


@pytest.fixture
def data() -> StackData:
    return make_stack(n=60, m=20)[0]


@pytest.fixture
def results(tmp_path: Path, data: StackData) -> Path:
    return write_results(tmp_path, data)


def read(results: Path, tta: bool = True) -> StackData:
    folders = find_member_runs(results, (), final_experiments())
    runs = read_members(folders, named=True, tta=tta).runs
    return join_runs(runs, read_training_targets(folders, runs[0].train_ids)[1])


def test_runs_are_joined_by_id(data: StackData, results: Path) -> None:
    joined = read(results)  # of which two are written in orders of their own
    assert joined.names == NAMES
    for key in ("train_ids", "test_ids", "targets", "folds", "out_of_fold", "test"):
        np.testing.assert_array_equal(getattr(joined, key), getattr(data, key), err_msg=key)


def change(folder: Path, name: str, edit) -> None:
    array = load_array(folder / f"{name}.npy")
    save_array(folder / f"{name}.npy", edit(array))


def put(at, value):
    def edit(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[at] = value
        return array

    return edit


BAD_RUNS = {
    "a fold is missing": ("predictions", put(1, np.nan), "no finite logits of fold 1.*leave it"),
    "a row is missing": ("outoffolds", put(4, np.inf), "no finite logits of fold"),
    "another training sample": ("ids_train", put(3, "other"), "lacks 1 of 60 samples.*other data"),
    "another test sample": ("ids_test", put(3, "other"), "lacks 1 of 20 samples.*--experiments"),
    "a sample twice": ("ids_train", lambda ids: put(3, ids[4])(ids), "holds 'train[0-9]*' twice"),
    "other folds": ("folds", lambda f: (f + 1) % 3, "validated train[0-9]* in fold.*60 samples"),
}


@pytest.mark.parametrize("what", BAD_RUNS)
def test_a_run_that_does_not_fit_is_named(results: Path, what: str) -> None:
    name, edit, message = BAD_RUNS[what]
    change(results / NAMES[2], name, edit)
    with pytest.raises(UserError, match=message) as error:
        read(results)
    assert NAMES[2] in str(error.value)


def test_the_first_run_may_be_the_odd_one(results: Path) -> None:
    change(results / NAMES[0], "ids_train", lambda ids: put(3, ids[4])(ids))
    with pytest.raises(UserError, match=rf"{NAMES[0]}/ids_train.npy holds 'train00004' twice"):
        read(results)


def test_runs_of_other_sizes(results: Path) -> None:
    write_run(results / NAMES[2], make_stack(n=54, m=20)[0], 2)
    with pytest.raises(UserError, match=r"has 54 train samples and .* has 60"):
        read(results)
    write_run(results / NAMES[2], make_stack(n=60, m=20, folds=2)[0], 2)
    with pytest.raises(UserError, match=r"has 2 folds and .* has 3"):
        read(results)


def test_a_fold_of_one_class(results: Path, data: StackData) -> None:
    targets = np.where(data.folds == 2, 1, data.targets)
    write_table(results.parent / "input/train.csv", data.train_ids, targets)
    with pytest.raises(UserError, match=r"fold 2 of .* samples of one class"):
        read(results)
