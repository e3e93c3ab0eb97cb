"""The targets and the order of the submission, from whole and from damaged tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stack_runs import NAMES, make_stack, write_results, write_table

from runtime.errors import UserError
from stack.tables import read_targets, submission_order, training_table_path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path, make_stack(n=60, m=20)[0])


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
    assert training_table_path(folders) == results.parent / "input/train.csv"
    (folders[1] / "config.json").write_text(json.dumps({"train_path": "elsewhere.csv"}))
    with pytest.raises(UserError, match=r"pseudo_16 on elsewhere.csv: say which .* --train_csv"):
        training_table_path(folders)
    for folder in folders:
        (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config.json below .*--train_csv"):
        training_table_path(folders)


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
