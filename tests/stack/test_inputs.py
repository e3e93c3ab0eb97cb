"""Joining runs: by id, in the published order, and refused by name when they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stack_runs import NAMES, make_stack, write_results, write_run, write_table

from experiments.predictions import load_array, samples_digest, save_array
from runtime.errors import UserError
from stack.inputs import (
    StackData,
    final_experiments,
    find_runs,
    join,
    read_runs,
    read_targets,
    submission_order,
    train_table,
    write_submission,
)


@pytest.fixture
def data() -> StackData:
    return make_stack(n=60, m=20)[0]


@pytest.fixture
def results(tmp_path: Path, data: StackData) -> Path:
    return write_results(tmp_path, data)


def read(results: Path, tta: bool = True) -> StackData:
    folders = find_runs(results, (), final_experiments())
    runs = read_runs(folders, tta)
    return join(runs, read_targets(train_table(folders), runs[0].train_ids))


def test_the_published_stack_has_twenty_columns_in_order() -> None:
    finals = final_experiments()
    assert [final.column for final in finals] == list(range(20))
    assert (finals[0].name, finals[1].name, finals[-1].name) == (
        "pseudo_12",
        "pseudo_seq_04",
        "pseudo_06",
    )
    assert sum(final.tta for final in finals) == 13


def test_runs_are_joined_by_id(data: StackData, results: Path) -> None:
    joined = read(results)  # of which two are written in orders of their own
    assert joined.names == NAMES
    for key in ("train_ids", "test_ids", "targets", "folds", "out_of_fold", "test"):
        np.testing.assert_array_equal(getattr(joined, key), getattr(data, key), err_msg=key)


def test_which_runs_are_found(results: Path) -> None:
    finals = final_experiments()

    def found(*experiments: str) -> list[str]:
        return [folder.name for folder in find_runs(results, experiments, finals)]

    for name in ("nspec_16", "dry_run", "demo"):
        write_run(results / name, make_stack(n=60, m=20)[0], 0)
    (results / "notes").mkdir()
    assert found() == list(NAMES)  # by column, and no parents of theirs
    assert found("demo", "pseudo_07", "Pseudo14") == ["pseudo_14", "pseudo_07", "demo"]
    for name in NAMES:
        (results / name / "outoffolds.npy").unlink()
    assert found() == ["demo", "nspec_16"]


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        (["pseudo_15"], "there is no folder"),
        (["psuedo_14"], "did you mean 'pseudo_14'"),
        (["Pseudo15"], "pseudo_15"),
    ],
)
def test_a_run_that_is_not_there(results: Path, experiments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_runs(results, experiments, final_experiments())


def test_no_runs_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        find_runs(tmp_path / "absent", (), [])
    with pytest.raises(UserError, match="holds no run"):
        find_runs(tmp_path, (), [])


def test_views_are_preferred_where_they_are(results: Path, data: StackData) -> None:
    other = make_stack(n=60, m=20, seed=5)[0]
    write_run(results / NAMES[1], other, 1, "_tta", shuffle=1)
    joined = read(results)
    assert joined.suffixes == ("", "_tta", "")
    np.testing.assert_array_equal(joined.out_of_fold[:, 1], other.out_of_fold[:, 1])
    np.testing.assert_array_equal(joined.test[..., 1], other.test[..., 1])
    plain = read(results, tta=False)
    assert plain.suffixes == ("", "", "")
    np.testing.assert_array_equal(plain.out_of_fold, data.out_of_fold)


def test_views_of_other_weights_are_refused(results: Path, data: StackData) -> None:
    write_run(results / NAMES[1], data, 1, "_tta", shuffle=1)
    digest = samples_digest(
        *(
            load_array(results / NAMES[1] / f"{name}.npy")
            for name in ("ids_train", "ids_test", "folds")
        )
    )
    for suffix in ("", "_tta"):
        stamp = {"weights": {"0": ["a", 1, 2]}, "samples": digest, "views": [suffix]}
        (results / NAMES[1] / f"predictions{suffix}.json").write_text(json.dumps(stamp))
    read(results)
    stamp["weights"] = {"0": ["a", 1, 3]}
    (results / NAMES[1] / "predictions.json").write_text(json.dumps(stamp))
    with pytest.raises(UserError, match=r"predictions_tta\.npy was made from other weights"):
        read(results)


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


BAD_TABLES = {
    "absent": (None, "does not exist.*--train_csv"),
    "no target": ("id,label\na,1\n", "has no column 'target', only"),
    "a sample twice": ("id,target\na,1\nb,0\na,1\n", "has 'a' twice"),
    "a sample missing": ("id,target\na,1\n", "lacks 1 of 2 samples, the first 'b'"),
    "no number": ("id,target\na,1\nb,yes\n", "gives a a target other than 0 and 1"),
    "soft": ("id,target\na,1\nb,0.5\n", "gives b a target other than 0 and 1"),
    "empty target": ("id,target\na,1\nb,\n", "gives b a target other than 0 and 1"),
    "no table": ('id,target\n"a,1', "is not a CSV table"),
    "nothing": ("", "is not a CSV table"),
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_bad_targets(tmp_path: Path, what: str) -> None:
    content, message = BAD_TABLES[what]
    path = tmp_path / "train.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_targets(path, np.array(["a", "b"]))
    assert str(path) in str(error.value)


def test_ids_stay_text(tmp_path: Path) -> None:
    """Kaggle's ids are hexadecimal: '00000e74ad' and '1234567890' must not become numbers."""
    path = tmp_path / "train.csv"
    path.write_text("id,target\n1234567890,1\n0000000012,0\n")
    assert read_targets(path, np.array(["0000000012", "1234567890"])).tolist() == [0.0, 1.0]


def test_which_table_holds_the_targets(results: Path) -> None:
    folders = [results / name for name in NAMES]
    assert train_table(folders) == results.parent / "input/train.csv"
    (folders[1] / "config.json").write_text(json.dumps({"train_path": "elsewhere.csv"}))
    with pytest.raises(UserError, match=r"pseudo_16 on elsewhere.csv: say which .* --train_csv"):
        train_table(folders)
    for folder in folders:
        (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config.json below .*--train_csv"):
        train_table(folders)


def test_submission_order(tmp_path: Path) -> None:
    ids = np.array(["a", "b", "c"])
    beside, sample = tmp_path / "test.csv", tmp_path / "sample_submission.csv"
    assert submission_order(ids, None, None).tolist() == ["a", "b", "c"]
    assert submission_order(ids, None, beside).tolist() == ["a", "b", "c"]
    write_table(sample, ["c", "a", "b"], [0.5] * 3)
    assert submission_order(ids, None, beside).tolist() == ["c", "a", "b"]
    assert submission_order(ids, sample, None).tolist() == ["c", "a", "b"]
    write_table(sample, ["c", "a"], [0.5] * 2)
    with pytest.raises(UserError, match=r"has 2 samples and the runs have 3.*--sample_submission"):
        submission_order(ids, None, beside)
    write_table(sample, ["c", "a", "d"], [0.5] * 3)
    with pytest.raises(UserError, match=r"sample_submission.csv.* lacks 1 of 3 .* 'd'"):
        submission_order(ids, None, beside)
    with pytest.raises(UserError, match=r"absent.csv does not exist.*--sample_submission"):
        submission_order(ids, tmp_path / "absent.csv", beside)


def test_a_submission_that_is_not_finite_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    table = pd.DataFrame({"id": ["a", "b"], "target": [0.25, 0.75]})
    write_submission(path, table)
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
    with pytest.raises(UserError, match="gives b no finite target"):
        write_submission(path, table.assign(target=[0.25, np.nan]))
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
