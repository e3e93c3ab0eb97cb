"""Tables that list samples, and their files: ids stay text, paths stay inside, faults are named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.sample_files import load_index, read_strain, read_table
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


# --- one sample ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_read_strain_equals_numpy(tmp_path: Path, rng, dtype: str, order: str) -> None:
    sample = np.asarray(rng.standard_normal((3, 4096)) * 1e-20, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", sample)
    strain = read_strain(tmp_path / "a.npy")
    assert strain.dtype == np.float32
    np.testing.assert_array_equal(strain, np.load(tmp_path / "a.npy").astype(np.float32))


def bad_array(kind: str) -> np.ndarray:
    sample = np.ones((3, 4096))
    if kind == "shape":
        return sample[:, :-1]
    if kind == "transposed":
        return sample.T
    if kind == "dtype":
        return sample.astype(np.int64)
    if kind == "half":
        return sample.astype(np.float16)
    if kind == "complex":
        return sample.astype(complex)
    sample[1, 7] = {"nan": np.nan, "inf": -np.inf, "beyond float32": 1e60}[kind]
    return sample


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", "wrong shape"),
        ("transposed", "wrong shape"),
        ("dtype", "wrong dtype"),
        ("half", "wrong dtype"),
        ("complex", "wrong dtype"),
        ("nan", "non-finite"),
        ("inf", "non-finite"),
        ("beyond float32", "non-finite"),
    ],
)
def test_bad_arrays_are_refused_by_name(tmp_path: Path, kind: str, message: str) -> None:
    np.save(tmp_path / "a.npy", bad_array(kind))
    with pytest.raises(UserError, match=rf"a\.npy.*{message}"):
        read_strain(tmp_path / "a.npy")


@pytest.mark.parametrize("keep", [0, 5, 9, 60, 128, 5000, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4096)))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:keep])
    with pytest.raises(UserError, match=r"a\.npy"):
        read_strain(tmp_path / "a.npy")


def test_missing_folder_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.npy").write_bytes(b"PK\x03\x04 no array")
    np.save(tmp_path / "c.npy", np.array([{"an": "object"}]), allow_pickle=True)
    for name in ("a.npy", "b.npy", "c.npy", "."):
        with pytest.raises(UserError, match="--check"):
            read_strain(tmp_path / name)


def test_a_damaged_header_never_gets_past(tmp_path: Path, rng) -> None:
    """Any change of a header's byte gives a refusal or an array, never another exception."""
    np.save(tmp_path / "a.npy", np.ones((3, 4096)))
    whole = (tmp_path / "a.npy").read_bytes()
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for place in rng.integers(0, 128, size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        (tmp_path / "a.npy").write_bytes(damaged)
        try:
            assert read_strain(tmp_path / "a.npy").shape == (3, 4096)
        except UserError:
            refused += 1
    assert refused > 200  # the rest hit the padding


@pytest.mark.parametrize(
    "path", ["a/b.npy", "./b.npy", "a//b.npy", "a/./b.npy", "a/.b.npy", ".b.npy", "a/b/", "a b.npy"]
)
def test_paths_are_those_of_normpath_whether_looked_at_or_not(tmp_path: Path, path: str) -> None:
    csv = write_csv(tmp_path / "train.csv", f"id,target,path\nabc,0,plain/x.npy\ndef,1,{path}\n")
    base = os.path.realpath(tmp_path)
    wanted = [os.path.normpath(os.path.join(base, each)) for each in ("plain/x.npy", path)]
    assert load_index(csv)["path"].tolist() == wanted
    assert load_index(csv, "/")["path"].tolist() == wanted


def test_an_id_with_a_line_end_is_not_two_plain_ones(tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "train.csv", 'id,target,path\nabc,0,x.npy\n"d\ne",1,y.npy\n')
    with pytest.raises(UserError, match=r"row 3: the id 'd\\ne' is not plain"):
        load_index(csv)


def test_targets_are_numbers_in_any_spelling(tmp_path: Path) -> None:
    words = ["0", "1.0", " 1 ", "TRUE", "False", "2e-1", "1"]
    rows = [f"s{number},{word},x.npy" for number, word in enumerate(words)]
    csv = write_csv(tmp_path / "train.csv", "\n".join(["id,target,path", *rows, ""]))
    assert load_index(csv)["target"].tolist() == [0, 1, 1, 1, 0, 0.2, 1]
