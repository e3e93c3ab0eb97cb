"""The command line of prep_data.py, run for real on small data sets."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_here import run_main
from kaggle_data import TEST, TRAIN, files_of, make_data, write_samples
from paths import ROOT

import prep_data
from configuration.overrides import override
from data.strain_cache import StrainCache
from datasets import load_index
from experiments.settings import Config
from experiments.targets import columns_of_tables
from physics.observation import COMPETITION
from runtime.errors import UserError
from runtime.machine import num_cores


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "raw")


def prep(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_main(prep_data.main, arguments)


def prep_by_command_line(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "prep_data.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


# --- index and cache -------------------------------------------------------------------------


def test_index_and_cache_for_real(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = prep_by_command_line("--root_dir", data, "--export_dir", out, "--cache", "--check")
    assert result.returncode == 0, result.stderr
    assert "13 files read, all sound" in result.stdout
    assert f"train with --set data_root={data}" in result.stdout
    for split, n in (("train", TRAIN), ("test", TEST)):
        index = load_index(out / f"{split}.csv", data)
        raw = pd.read_csv(data / prep_data.SPLITS[split], dtype={"id": str})
        assert index["id"].tolist() == raw["id"].tolist()
        assert index["target"].tolist() == raw["target"].tolist()
        cache = StrainCache(out / f"{split}_cache.f32")
        assert cache.ids.tolist() == index["id"].tolist()
        for row in range(n):
            np.testing.assert_array_equal(
                cache.read([row])[0], np.load(index["path"][row]).astype(np.float32)
            )
        assert f"{split}.csv: written, {n} samples" in result.stdout
        assert f"{split}_cache.f32: written, {n} samples" in result.stdout
    assert "/" + str(tmp_path).strip("/") not in (out / "train.csv").read_text()  # relocatable

    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = prep("--root_dir", data, "--export_dir", out, "--cache")
    assert again.returncode == 0
    assert again.stdout.count("up to date") == 4
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before

    # Index and data move together.
    (tmp_path / "elsewhere").mkdir()
    for folder in (data, out):
        folder.rename(tmp_path / "elsewhere" / folder.name)
    elsewhere = tmp_path / "elsewhere"
    index = load_index(elsewhere / "out" / "train.csv", elsewhere)
    assert all(Path(path).is_file() for path in index["path"])


def test_defaults_are_the_input_folder(tmp_path: Path) -> None:
    make_data(tmp_path / "input")
    assert prep_by_command_line(cwd=tmp_path).returncode == 0
    first = (tmp_path / "input" / "train.csv").read_text().splitlines()[1]
    assert first == "000e000000,0,train/0/0/0/000e000000.npy"


def test_an_export_folder_behind_a_link(data: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "deep")
    assert prep_data.main(["--root_dir", str(data), "--export_dir", str(tmp_path / "link")]) == 0
    index = load_index(tmp_path / "link" / "train.csv", data)
    assert all(Path(path).is_file() for path in index["path"])


def test_half_written_tables_of_killed_processes_are_removed(tmp_path: Path) -> None:
    half = [tmp_path / f".{name}.{'a1' * 6}.tmp.csv" for name in ("train", "test", "check_report")]
    for path in half:
        path.write_text("id,tar")
    index = prep_data.Index(tmp_path / "train.csv", b"id,target,path\n", 0, 0.0)
    prep_data.write_indexes(tmp_path, [index], False, COMPETITION.sampling)
    assert not any(path.exists() for path in half)
    assert (tmp_path / "train.csv").is_file()


def test_a_folder_whose_name_begins_alike_is_another_one(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for root, outside in (("input2", True), ("input/raw", False)):
        data = make_data(tmp_path / root)
        arguments = ["--root_dir", str(data), "--export_dir", str(tmp_path / "input")]
        assert prep_data.main([*arguments, "--overwrite"]) == 0
        assert (f"--set data_root={data}" in capsys.readouterr().out) == outside


def test_real_samples(real_samples: Path, tmp_path: Path) -> None:
    arguments = ["--root_dir", str(real_samples), "--export_dir", str(tmp_path)]
    assert prep_data.main([*arguments, "--check", "--cache", "--num_workers", "1"]) == 0
    assert not (tmp_path / "check_report.csv").exists()
    index = load_index(tmp_path / "train.csv", real_samples)
    assert len(index) == 24
    assert set(index["target"]) == {0, 1}
    peak = np.abs(StrainCache(tmp_path / "train_cache.f32").read(range(24))).max()
    assert 1e-21 < peak < 1e-19
    assert len(StrainCache(tmp_path / "test_cache.f32")) == 40


def test_a_killed_run_goes_on_and_leaves_no_processes(tmp_path: Path) -> None:
    """4000 names of ten files, killed with all its processes at work."""
    root = make_data(tmp_path / "raw")
    ids, files = [], files_of(root, "train")
    for i in range(4000):
        name = f"{i:04x}link"
        folder = root / "train" / name[0] / name[1] / name[2]
        folder.mkdir(parents=True, exist_ok=True)
        os.link(files[i % len(files)], folder / f"{name}.npy")
        ids.append(name)
    (root / "training_labels.csv").write_text("id,target\n" + "".join(f"{i},0\n" for i in ids))
    arguments = ["--root_dir", root, "--export_dir", root, "--cache", "--num_workers", "2"]
    command = [sys.executable, str(ROOT / "prep_data.py"), *map(str, arguments)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    part = root / "train_cache.f32.part"
    deadline = time.monotonic() + 30
    # Until rows have been written: the blocks of a sparse file are those that were.
    while not (part.exists() and part.stat().st_blocks > 4096) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert part.exists()
    assert not (root / "train_cache.f32").exists()
    while time.monotonic() < deadline:  # workers end when their parent is gone
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("a worker outlived the command")

    result = prep(*arguments)
    assert result.returncode == 0, result.stderr
    cache, expected = StrainCache(root / "train_cache.f32"), [np.load(path) for path in files]
    assert cache.ids.tolist() == ids
    for row in (0, 1, 63, 64, 1999, 3999):
        np.testing.assert_array_equal(
            cache.read([row])[0], expected[row % len(files)].astype(np.float32)
        )
    assert (np.abs(cache.data).max(axis=(1, 2)) > 0).all()


def test_a_changed_file_renews_the_cache_when_told_to(data: Path) -> None:
    arguments = ["--root_dir", str(data), "--export_dir", str(data), "--cache"]
    assert prep_data.main(arguments) == 0
    before = (data / "test_cache.f32").read_bytes()
    path = files_of(data, "test")[0]
    np.save(path, np.full((3, 4096), 3e-20))
    os.utime(path, ns=(0, 0))
    with pytest.raises(UserError, match=r"test_cache\.f32 is a finished cache of other samples"):
        prep_data.main(arguments)
    assert (data / "test_cache.f32").read_bytes() == before
    assert prep_data.main([*arguments, "--overwrite"]) == 0
    assert [file.read_bytes() for file in data.glob("test_cache.2*.f32")] == [before]
    cache = StrainCache(data / "test_cache.f32")
    assert cache.read(cache.rows_of([path.stem])).max() == np.float32(3e-20)


def test_a_finished_table_is_only_moved_aside_when_told_to(data: Path, tmp_path: Path) -> None:
    """Another data set prepared into the same folder: refused, and nothing has changed."""
    out, other = tmp_path / "out", make_data(tmp_path / "other")
    write_samples(other, "test", ["zzz"], [0.5], seed=2)
    assert prep_data.main(["--root_dir", str(data), "--export_dir", str(out)]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = ["--root_dir", str(other), "--export_dir", str(out)]
    with pytest.raises(UserError, match=r"train\.csv is there with other samples.*--overwrite"):
        prep_data.main(again)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert prep_data.main([*again, "--overwrite"]) == 0
    for split in ("train", "test"):
        assert [path.read_bytes() for path in out.glob(f"{split}.2*.csv")] == [
            before[f"{split}.csv"]
        ]
    assert load_index(out / "test.csv", other)["id"].tolist() == ["zzz"]
    assert prep_data.main(again) == 0  # the same again: nothing to do


def test_two_at_once_end_with_the_same_files(data: Path, tmp_path: Path) -> None:
    """Both finish, or one says that the other is at work; every file is whole."""
    out = tmp_path / "out"
    arguments = ["--root_dir", data, "--export_dir", out, "--cache", "--num_workers", "1"]
    command = [sys.executable, str(ROOT / "prep_data.py"), *map(str, arguments)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0 or "is being written by another process" in error, error
    assert 0 in [process.returncode for process in both]
    for split, n in (("train", TRAIN), ("test", TEST)):
        index, cache = (
            load_index(out / f"{split}.csv", data),
            StrainCache(out / f"{split}_cache.f32"),
        )
        assert len(index) == len(cache) == n
        for row, path in enumerate(index["path"]):
            np.testing.assert_array_equal(cache.read([row])[0], np.load(path).astype(np.float32))


def test_folders_behind_symbolic_links_are_found(data: Path, tmp_path: Path) -> None:
    """Data spread over disks; a link back to a folder above does not lead round in circles."""
    folder = next(path for path in (data / "train").iterdir() if path.is_dir())
    folder.rename(tmp_path / "other_disk")
    folder.symlink_to(tmp_path / "other_disk")
    (data / "train" / "loop").symlink_to(data / "train")
    assert prep_data.main(["--root_dir", str(data), "--export_dir", str(data)]) == 0
    assert len(load_index(data / "train.csv", tmp_path)) == TRAIN


# --- other targets ---------------------------------------------------------------------------

CLASSES = ("targets=ClassTarget", "targets.column=kind", "targets.names=[noise,bbh,glitch]")


def with_columns(data: Path, **columns: list) -> None:
    """Write other columns in the place of the target; test samples have none."""
    for split, name in prep_data.SPLITS.items():
        table = pd.read_csv(data / name, dtype=str)[["id"]]
        table.assign(**(columns if split == "train" else {})).to_csv(data / name, index=False)


@pytest.mark.parametrize(
    ("targets", "columns", "first"),
    [
        (CLASSES, {"kind": ["noise", "bbh", "glitch"] * 3, "group": list("abc") * 3}, "kind"),
        (
            ("targets=LabelTarget", "targets.names=[signal,glitch]"),
            {"glitch": ["1"] * 9, "signal": ["0", "1", "0"] * 3},
            "signal,glitch",
        ),
        (
            ("targets=RegressionTarget", "targets.names=[mass]", "targets.log=true"),
            {"mass": ["30.125", "7", "1e1"] * 3},
            "mass",
        ),
        (("targets.soft=true",), {"target": ["0.25", "1", "0"] * 3}, "target"),
    ],
)
def test_other_targets_are_indexed_cached_and_read_again(
    data: Path, targets: tuple[str, ...], columns: dict, first: str
) -> None:
    with_columns(data, **columns)
    if first == "target":  # as in the competition, but for the soft labels
        table = pd.read_csv(data / "sample_submission.csv", dtype=str)
        table.assign(target="0.5").to_csv(data / "sample_submission.csv", index=False)
    line = ["--root_dir", data, "--export_dir", data, "--cache", "--check", "--set", *targets]
    done = prep(*line)
    assert done.returncode == 0, done.stderr
    config = override(Config, [*targets, f"train_path={data / 'train.csv'}"])
    header = (data / "train.csv").read_text().splitlines()[0]
    assert header.startswith(f"id,{first},path")
    table = load_index(data / "train.csv", None, columns_of_tables(config))
    found = config.targets.build().read(table, "train.csv")
    raw = pd.read_csv(data / "training_labels.csv", dtype=str)
    np.testing.assert_array_equal(found, config.targets.build().read(raw, "raw"))
    assert set(columns) <= set(table.columns)
    assert StrainCache(data / "train_cache.f32").ids.tolist() == table["id"].tolist()
    again = prep(*line)
    assert again.stdout.count("up to date") == 4


@pytest.mark.parametrize(
    ("targets", "columns", "message"),
    [
        (CLASSES, {"kind": ["noise", "bhb"] + ["bbh"] * 7}, "row 3: the kind of .*'bbh'"),
        (CLASSES, {"sort": ["noise"] * 9}, "has no column 'kind'"),
        (
            ("targets=RegressionTarget", "targets.names=[mass]", "targets.log=true"),
            {"mass": ["3", "0"] + ["1"] * 7},
            "row 3: the mass is 0, which has no logarithm",
        ),
        (
            ("targets=LabelTarget", "targets.names=[a,b]"),
            {"a": ["1"] * 9, "b": ["0"] * 8 + ["2"]},
            "row 10: the b of .* expected 0 or 1",
        ),
        (
            ("targets.learn_from=teacher",),
            {"target": ["1"] * 9, "teacher": ["0.5"] * 8 + ["1.5"]},
            "row 10: the teacher of .* is 1.5, expected 0 to 1",
        ),
        ((), {"mass": ["3"] * 9}, "has no column 'target'"),
    ],
)
def test_other_targets_that_are_not_as_expected(
    data: Path, targets: tuple[str, ...], columns: dict, message: str
) -> None:
    with_columns(data, **columns)
    line = ["--root_dir", str(data), "--export_dir", str(data)]
    with pytest.raises(UserError, match=message):
        prep_data.main([*line, *(("--set", *targets) if targets else ())])
    assert not (data / "train.csv").exists()


# --- bad data --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "text", "message"),
    [
        ("training_labels.csv", "id,target\nabc,0\nabc,1\n", "row 3.*'abc' is there twice"),
        ("training_labels.csv", "id,target\nabc,0.5\n", "row 2.*'abc' is 0.5, expected 0 or 1"),
        ("training_labels.csv", "id,target\nabc,2\n", "expected 0 or 1"),
        ("training_labels.csv", "id,target\nabc,\n", "row 2.*not a number"),
        ("training_labels.csv", "id,target\n../abc,1\n", "row 2.*not plain"),
        ("training_labels.csv", "id,target\na/b,1\n", "row 2.*not plain"),
        ("training_labels.csv", 'id,target\n"abc\n",1\n', "row 2.*not plain"),
        ("training_labels.csv", "id,target\nab,1\n", "row 2.*fewer than 3 characters"),
        ("training_labels.csv", "name,target\nabc,1\n", "no column 'id'"),
        ("training_labels.csv", "id\nabc\n", "no column 'target'"),
        ("training_labels.csv", "id,target\nabcdef,1\n", "1 of 1 train files are missing"),
        ("sample_submission.csv", "id,target\nabc,1.5\n", "expected 0 to 1"),
        ("sample_submission.csv", None, "sample_submission.csv does not exist"),
        ("training_labels.csv", None, "kaggle competitions download"),
    ],
)
def test_bad_tables_are_refused(data: Path, table: str, text: str | None, message: str) -> None:
    if text is None:
        (data / table).unlink()
    else:
        (data / table).write_text(text)
    with pytest.raises(UserError, match=message):
        prep_data.main(["--root_dir", str(data), "--export_dir", str(data)])


def test_an_error_is_one_line_and_exit_code_2(data: Path) -> None:
    gone = files_of(data, "train")[4]
    gone.unlink()
    files_of(data, "train")[6].unlink()
    result = prep_by_command_line("--root_dir", data, "--export_dir", data)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert "2 of 9 train files are missing" in result.stderr
    assert not (data / "train.csv").exists()
    # The first in the order of the table is the one that is named.
    missing = [
        i
        for i in pd.read_csv(data / "training_labels.csv", dtype=str)["id"]
        if not list((data / "train").rglob(f"{i}.npy"))
    ]
    assert f"{missing[0]}.npy" in result.stderr


def test_a_bad_file_stops_the_cache(data: Path) -> None:
    bad = files_of(data, "test")[1]
    bad.write_bytes(bad.read_bytes()[:1000])
    result = prep("--root_dir", data, "--export_dir", data, "--cache")
    assert result.returncode == 2
    assert bad.name in result.stderr
    assert "cut short" in result.stderr
    assert (data / "train_cache.f32").exists()
    assert not (data / "test_cache.f32").exists()


def test_check_lists_every_kind_of_fault(data: Path) -> None:
    train, test = files_of(data, "train"), files_of(data, "test")
    sample = np.load(train[0])
    train[1].write_bytes(train[1].read_bytes()[:-1])
    train[2].write_bytes(b"")
    np.save(train[3], sample[:2])
    np.save(train[4], (sample * 1e22).astype(np.int32))
    sample[2, 9] = np.nan
    np.save(train[5], sample)
    silent = np.load(train[6])
    silent[1] = 0
    silent[2] = 4e-21
    np.save(train[6], silent)
    shutil.copy(train[7], test[0])
    train[8].unlink()
    np.save(test[0].parent / "stray.npy", silent * 2)
    (data / "train" / "notes.txt").write_text("no sample")

    out = data / "report"
    result = prep("--root_dir", data, "--export_dir", out, "--check", "--num_workers", "2")
    assert result.returncode == 2
    with open(out / "check_report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["split"], row["id"]): (row["problem"], row["detail"]) for row in rows}
    assert len(found) == len(rows) == 9
    assert found["train", train[1].stem] == ("unreadable", "is cut short")
    assert found["train", train[2].stem][0] == "unreadable"
    assert found["train", train[3].stem][0] == "wrong shape"
    assert "(2, 4096)" in found["train", train[3].stem][1]
    assert found["train", train[4].stem][0] == "wrong dtype"
    assert found["train", train[5].stem][0] == "non-finite"
    assert found["train", train[6].stem] == ("silent", "L1 V1")
    assert found["train", train[8].stem][0] == "missing"
    original = train[7].relative_to(data).as_posix()
    assert found["test", test[0].stem] == ("duplicate", f"same strain as {original}")
    assert found["test", "stray"][0] == "unlisted"
    assert "1 duplicate, 1 missing, 1 non-finite, 1 silent, 1 unlisted" in result.stdout
    assert "check_report.csv" in result.stdout
    assert not (out / "train.csv").exists()  # bad data are not indexed


def test_check_in_several_processes(data: Path, capsys: pytest.CaptureFixture) -> None:
    ids = [f"{i:03d}many" for i in range(200)]
    write_samples(data, "train", ids, [0] * 200, seed=3)
    for old in files_of(data, "train"):
        if not old.stem.endswith("many"):
            old.unlink()
    np.save(data / "train/1/9/9/199many.npy", np.zeros((3, 4096)))
    arguments = ["--root_dir", str(data), "--export_dir", str(data), "--check"]
    assert prep_data.main([*arguments, "--num_workers", "2"]) == 2
    rows = pd.read_csv(data / "check_report.csv")
    assert rows["id"].tolist() == ["199many"]
    assert rows["problem"].tolist() == ["silent"]
    write_samples(data, "train", ids, [0] * 200, seed=3)
    assert prep_data.main([*arguments, "--num_workers", "2"]) == 0
    assert not (data / "check_report.csv").exists()  # an old report does not stay in its place
    assert len(list(data.glob("check_report.2*.csv"))) == 1
    assert "204 files read, all sound" in capsys.readouterr().out


def test_check_compares_targets_with_the_injections(data: Path, capsys) -> None:
    table = pd.read_csv(data / "training_labels.csv", dtype=str)
    signals = table[table["target"].astype(float) == 1]
    signals[["id"]].assign(network_snr=9.5).to_csv(data / "parameters.csv", index=False)
    arguments = ["--root_dir", str(data), "--export_dir", str(data), "--check"]
    assert prep_data.main([*arguments, "--num_workers", "1"]) == 0
    (data / "train.csv").unlink()
    table["target"] = np.roll(table["target"], 1)
    table.to_csv(data / "training_labels.csv", index=False)
    wrong = set(signals["id"]) ^ set(table["id"][table["target"].astype(float) == 1])
    assert wrong
    assert prep_data.main([*arguments, "--num_workers", "1"]) == 2
    report = pd.read_csv(data / "check_report.csv", dtype=str)
    assert set(report["id"]) == wrong
    assert set(report["problem"]) == {"contradicted"}
    assert f"faults: {len(wrong)} contradicted" in capsys.readouterr().out
    assert not (data / "train.csv").exists()


# --- simulation and the command line ---------------------------------------------------------


def test_simulated_data_are_indexed_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    calls = []

    def simulate_dataset(out, n_train, n_test, seed, device="cpu", workers=None, overwrite=False):
        done_before = any(call[0] == out for call in calls)
        calls.append((out, n_train, n_test, seed, device, workers))
        make_data(out)
        return {"done_before": done_before}

    module = types.ModuleType("simulation")
    module.simulate_dataset = simulate_dataset
    monkeypatch.setitem(sys.modules, "simulation.dataset_on_disk", module)
    monkeypatch.chdir(tmp_path)
    assert prep_data.main(["--simulate", "9", "--cache", "--out", "made", "--seed", "3"]) == 0
    assert len(load_index("made/train.csv")) == TRAIN
    assert len(StrainCache("made/test_cache.f32")) == TEST
    again = ["--simulate", "10", "--test", "4", "--num_workers", "2"]
    for words in ("simulated, 10 training and 4 test", "up to date, 10 training and 4 test"):
        capsys.readouterr()
        assert prep_data.main(again) == 0
        assert words in capsys.readouterr().out
    assert (tmp_path / "input/simulated/train.csv").exists()
    assert calls[:2] == [
        (Path("made"), 9, 3, 3, "cpu", num_cores()),
        (Path("input/simulated"), 10, 4, 2021, "cpu", 2),
    ]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UserError, match="0 CUDA devices"):
        prep_data.main(["--simulate", "9", "--device", "cuda"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--simulate", "0"],
        ["--simulate", "x"],
        ["--num_workers", "0"],
        ["--hardware", "A100"],
        ["--seed", "1"],
        ["--test", "5"],
        ["--out", "x"],
        ["--device", "cpu"],
        ["--device", "tpu", "--simulate", "5"],
        ["--root_dir", "input", "--simulate", "5"],
    ],
)
def test_arguments_that_make_no_sense(arguments: list[str], capsys) -> None:
    with pytest.raises(UserError) as error:
        prep_data.main(arguments)
    assert arguments[0] in str(error.value)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, prep_data\n"
        "try: prep_data.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "--simulate N" in result.stdout


# --- continuous strain -----------------------------------------------------------------------

SMALL_STRAIN = (
    *("--simulate_strain", 0.02, "--segment", 40, "--gap", 8, "--gps_start", 1_238_166_018),
    *("--num_workers", 1, "--set", "observation.sample_rate=512"),
)


def test_continuous_strain_for_real_and_again(tmp_path: Path) -> None:
    pytest.importorskip("lalsimulation")
    out = tmp_path / "strain"
    result = prep(*SMALL_STRAIN, "--out", out)
    assert result.returncode == 0, result.stderr
    assert (
        "H1 L1 V1 at 512 Hz, 2 s, 72 s, 2 injections; 2 of 2 segments were still" in result.stdout
    )
    assert len(list(out.glob("*ground/*.hdf"))) == 2 * 2 * 3
    table = pd.read_csv(out / "injections.csv")
    assert len(table) == 2
    assert np.allclose(
        np.linalg.norm(table[["snr_H1", "snr_L1", "snr_V1"]], axis=1), table.network_snr
    )
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = prep(*SMALL_STRAIN, "--out", out)
    assert again.returncode == 0
    assert "up to date, 2 segments" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    other = prep(*SMALL_STRAIN, "--out", out, "--seed", 1)
    assert other.returncode == 2
    assert "seed = 2021 and 1 is asked for" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_what_is_simulated_is_the_configs(tmp_path: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        "simulation.continuous_strain.simulate_strain",
        lambda out, settings, *_: (
            seen.append(settings) or {"segments": 1, "written": 1, "injections": 0}
        ),
    )
    line = ["--simulate_strain", "1", "--out", str(tmp_path), "--gap", "0", "--injections"]
    prep_data.main([*line, "25", "--set", "population.approximant=IMRPhenomXPHM"])
    prep_data.main([*line, "none", "--config", "Wave06", "--seed", "0"])
    first, second = seen
    assert (first.seconds, first.spacing, first.gap) == (3600, (25.0, 25.0), 0)
    assert first.population.approximant == "IMRPhenomXPHM"
    assert (second.spacing, second.seed, second.longest_segment) == (None, 0, 4096)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--simulate_strain 0", "0 is not a number of hours above 0"),
        ("--simulate_strain -1", "is not a number of hours above 0"),
        ("--simulate_strain nan", "nan is not a number of hours above 0"),
        ("--simulate_strain day", "invalid parse_hours value"),
        ("--simulate_strain 1e9", "ten years"),
        ("--simulate_strain 0.001", "segments of 4 s, and one of 31 s is the shortest"),
        ("--simulate_strain 1 --segment 10", "one of 31 s is the shortest"),
        ("--simulate_strain 1 --injections often", "'often' is not a time in seconds"),
        ("--simulate_strain 1 --injections 30-24", "expected two rising numbers"),
        ("--simulate_strain 1 --injections 0", "expected two rising numbers"),
        ("--simulate_strain 1 --gap -1", "gap of simulated strain is -1"),
        ("--simulate_strain 1 --gps_start -1", "start of simulated strain is -1"),
        ("--simulate_strain 1 --cache", "--cache does not go with --simulate_strain"),
        ("--simulate_strain 1 --simulate 4", "--simulate does not go with"),
        ("--simulate_strain 1 --root_dir input", "--root_dir does not go with"),
        ("--simulate_strain 1 --config Wave6", "Wave06"),
        ("--simulate_strain 1 --set population.approximant=IMRPhenomZ", "IMRPhenomZ"),
        ("--simulate_strain 1 --set observation.curves=nowhere/psds", "nowhere/psds"),
        ("--gap 0", "--gap only goes with --simulate_strain"),
        ("--injections none", "--injections only goes with --simulate_strain"),
    ],
)
def test_bad_requests_for_strain_are_refused(line: str, words: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(words)):
        prep_data.main(line.split())
    assert not list(tmp_path.iterdir())
