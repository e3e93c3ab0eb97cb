"""The targets and the order of the submission, from whole and from damaged tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stack_runs import NAMES, make_stack, write_results, write_table

from data.sample_files import read_table
from experiments.npy_files import load_array
from runtime.errors import UserError
from stack.tables import read_targets, read_training_targets, submission_order, table_paths


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path, make_stack(n=60, m=20)[0])


BAD_TABLES = {
    "absent": (None, "does not exist.*--train_csv"),
    "no target": ("id,label\na,1\n", "has no column 'target', only"),
    "a sample twice": ("id,target\na,1\nb,0\na,1\n", "the id 'a' is there twice"),
    "a sample missing": ("id,target\na,1\n", "lacks 1 of 2 samples, the first 'b'"),
    "no number": ("id,target\na,1\nb,yes\n", "row 3: the target 'yes' is not a number"),
    "soft": ("id,target\na,1\nb,0.5\n", "gives b a target other than 0 and 1"),
    "empty target": ("id,target\na,1\nb,\n", "row 3: the target '' is not a number"),
    "no table": ('id,target\n"a,1', "cannot be read as a CSV"),
    "nothing": ("", "cannot be read as a CSV"),
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


@pytest.mark.parametrize("targets", [("1", "0", "1.0"), ("True", "False", "True")])
def test_ids_and_targets_are_read_as_training_reads_them(tmp_path: Path, targets) -> None:
    """'NA', 'nan' and 'null' are ids like any other."""
    path = tmp_path / "train.csv"
    write_table(path, ["NA", "nan", "null"], targets)
    assert read_targets(path, np.array(["null", "NA", "nan"])).tolist() == [1.0, 1.0, 0.0]
    assert read_table(path, ("id", "target"))["target"].tolist() == [1.0, 0.0, 1.0]


def name_table(folder: Path, path: str) -> None:
    (folder / "config.json").write_text(json.dumps({"train_path": path, "test_path": path}))


def test_which_table_holds_the_targets(results: Path) -> None:
    folders = [results / name for name in NAMES]
    table, ids = results.parent / "input/train.csv", load_array(folders[0] / "ids_train.npy")
    path, targets = read_training_targets(folders, ids)
    assert path == table
    np.testing.assert_array_equal(targets, read_targets(table, ids))

    # Another spelling is the same table; so is a copy, and one that has gone plays no part.
    name_table(folders[1], str(results.parent / "results" / ".." / "input/train.csv"))
    assert len(table_paths(folders, "train_path")) == 1
    copy = results.parent / "copy.csv"
    copy.write_text(table.read_text())
    name_table(folders[1], str(copy))
    name_table(folders[2], "elsewhere.csv")
    assert read_training_targets(folders, ids)[0] == table

    header, first, *rest = copy.read_text().splitlines()
    first = first[:-1] + str(1 - int(first[-1]))
    copy.write_text("\n".join([header, first, *rest]) + "\n")
    with pytest.raises(UserError, match=r"copy.csv give train00000 different .*--train_csv"):
        read_training_targets(folders, ids)
    for folder in folders:
        name_table(folder, "elsewhere.csv")
    with pytest.raises(UserError, match=r"elsewhere.csv does not exist.*--train_csv"):
        read_training_targets(folders, ids)
    for folder in folders:
        (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config.json in .*--train_csv"):
        read_training_targets(folders, ids)


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
