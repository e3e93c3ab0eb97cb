"""The tables that list samples: ids stay text, paths stay inside, bad rows are named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from data.sample_files import load_index, read_table
from runtime.errors import UserError


def write_csv(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_index_keeps_ids_as_text(tmp_path: Path) -> None:
    csv = write_csv(
        tmp_path / "a" / "train.csv",
        "id,target,path\n0000661522,0,train/0/0/0/0000661522.npy\n00001e4945,1,../x.npy\nNA,1,/z.npy\n",
    )
    table = load_index(csv, "/")
    assert isinstance(table, pd.DataFrame)
    assert table["id"].tolist() == ["0000661522", "00001e4945", "NA"]
    assert table["target"].tolist() == [0, 1, 1]
    base = tmp_path.resolve()
    assert table["path"].tolist() == [
        str(base / "a/train/0/0/0/0000661522.npy"),
        str(base / "x.npy"),
        "/z.npy",
    ]


def test_an_index_through_a_link(tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "deep" / "down" / "train.csv", "id,target,path\nabc,0,../x.npy\n")
    (tmp_path / "link").symlink_to(csv.parent)
    path = load_index(tmp_path / "link" / "train.csv", tmp_path)["path"][0]
    assert path == str(tmp_path.resolve() / "deep" / "x.npy")


def test_paths_that_leave_the_root_are_refused(tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "in" / "train.csv", "id,target,path\nabc,0,a/b\ndef,0,a/../../b\n")
    with pytest.raises(UserError, match=rf"row 3.*leaves {tmp_path}/in.*data_root={tmp_path},"):
        load_index(csv)
    assert load_index(csv, tmp_path)["path"].tolist()[1] == str(tmp_path / "b")
    write_csv(csv, "id,target,path\nabc,0,/etc/passwd\n")
    with pytest.raises(UserError, match=r"row 2.*leaves"):
        load_index(csv)
    write_csv(csv, "id,target,path\nabc,0,a/../b.npy\n")
    assert load_index(csv)["path"].tolist() == [str(tmp_path / "in" / "b.npy")]
    with pytest.raises(UserError, match="leaves"):
        load_index(csv, tmp_path / "data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a CSV"),
        ("id,target,path\n", "lists no samples"),
        ("id,target\nabc,0\n", "no column 'path'"),
        ("id,target,path\nabc,0,x\nabc,1,y\n", "row 3.*'abc' is there twice"),
        ("id,target,path\n../abc,0,x\n", "row 2.*not plain"),
        ("id,target,path\nabc,0,x\n,0,x\n", "row 3.*not plain"),
        ("id,target,path\nabc,high,x\n", "row 2.*'high' is not a number"),
        ("id,target,path\nabc,inf,x\n", "row 2.*not a number"),
        ("id,target,path\nabc,,x\n", "row 2.*not a number"),
        ("id,target,path\nabc,0,\n", "row 2.*path is empty"),
        ('id,target,path\n"abc,0,x\n', "cannot be read as a CSV"),
        ("id,target,path\nabc,0,x,\n", "row 2 has more fields"),
    ],
)
def test_bad_tables_are_refused_by_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"train\.csv.*{message}"):
        load_index(write_csv(tmp_path / "train.csv", text))


def test_a_missing_index_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv does not exist.*prep_data\.py"):
        load_index(tmp_path / "none.csv")


def test_ids_and_targets_mean_the_same_to_every_reader(tmp_path: Path) -> None:
    """Ids that pandas takes for missing values or numbers, and targets written as words."""
    ids = ["NA", "nan", "null", "None", "007", "1e5", "True"]
    targets = ["True", "False", "1", "0.0", " 1", "true", "FALSE"]
    rows = "".join(f"{name},{target}\n" for name, target in zip(ids, targets, strict=True))
    table = read_table(write_csv(tmp_path / "a.csv", "id,target\n" + rows), ("id", "target"))
    assert table["id"].tolist() == ids
    assert table["target"].tolist() == [1, 0, 1, 0, 1, 1, 0]
    with pytest.raises(UserError, match=r"row 2: the target 'yes' is not a number"):
        read_table(write_csv(tmp_path / "b.csv", "id,target\nabc,yes\n"), ("id", "target"))


def test_the_advice_ends_every_message(tmp_path: Path) -> None:
    advice = "name the right table with --train_csv"
    for text in (None, "", "id\n", "name\nabc\n", "id,target\nabc,1,2\n"):
        path = tmp_path / "t.csv"
        if text is not None:
            write_csv(path, text)
        with pytest.raises(UserError, match=f"{advice}$"):
            read_table(path, ("id", "target"), advice)
