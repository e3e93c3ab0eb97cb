"""The simulated data set: its files, its truth, and what happens when it is interrupted."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT

import prep_data
from physics.bank_settings import DISTANCE, BankSettings
from physics.constants import EARTH_ROTATION, GPS_START, SIDEREAL_TIME
from physics.observation import COMPETITION
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError
from simulation import dataset_files
from simulation import dataset_on_disk as simulation
from simulation.dataset_files import find_dataset


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def all_bytes(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def arguments(physics_cache: Path) -> dict:
    pytest.importorskip("lalsimulation")
    return {
        "n_train": 81,
        "n_test": 20,
        "seed": 7,
        "bank_size": 40,
        "cache_dir": physics_cache,
        "workers": 2,
    }


@pytest.fixture(scope="module")
def dataset(arguments: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "set"
    summary = simulation.simulate_dataset(out, **arguments)
    assert (summary["train"], summary["test"], summary["signals"]) == (81, 20, 50)
    assert not summary["done_before"]
    return out


def test_the_layout_is_the_competitions(dataset: Path) -> None:
    assert {path.name for path in dataset.iterdir()} == {
        "train",
        "test",
        "training_labels.csv",
        "sample_submission.csv",
        "test_labels.csv",
        "parameters.csv",
        "simulation.json",
    }
    seen: set[str] = set()
    for split, table, count in (("train", "training_labels", 81), ("test", "test_labels", 20)):
        rows = read_rows(dataset / f"{table}.csv")
        ids = [row["id"] for row in rows]
        assert len(set(ids)) == count
        assert sum(int(row["target"]) for row in rows) == count // 2
        files = {path.stem: path for path in (dataset / split).rglob("*") if path.is_file()}
        assert set(files) == set(ids)
        for name, path in files.items():
            assert len(name) == 10
            assert set(name) <= set("0123456789abcdef")
            assert path.relative_to(dataset / split).parts[:3] == tuple(name[:3])
        sample = np.load(files[ids[0]], allow_pickle=False)
        assert sample.shape == (3, 4096)
        assert sample.dtype == np.float64
        assert 1e-21 < sample.std() < 1e-19
        assert not seen & set(ids)
        seen |= set(ids)
    submission = read_rows(dataset / "sample_submission.csv")
    assert [row["id"] for row in submission] == [
        row["id"] for row in read_rows(dataset / "test_labels.csv")
    ]
    assert {row["target"] for row in submission} == {"0.5"}


def test_parameters_tell_the_signal_that_is_in_the_file(
    dataset: Path, whitening: dict[str, np.ndarray], physics_cache: Path
) -> None:
    rows = read_rows(dataset / "parameters.csv")
    positives = {
        row["id"]
        for table in ("training_labels", "test_labels")
        for row in read_rows(dataset / f"{table}.csv")
        if row["target"] == "1"
    }
    assert {row["id"] for row in rows} == positives
    trained = {row["waveform"] for row in rows if row["split"] == "train"}
    tested = {row["waveform"] for row in rows if row["split"] == "test"}
    assert not trained & tested
    # The signal, made again from its row, is found in the file with the SNR of its row: the
    # matched filter has unit variance about it.
    signals = SignalGenerator(WaveformBank.build(BankSettings(size=40), physics_cache))
    names = ("waveform", "dec", "psi", "phase", "merger_time", "ra", "luminosity_distance")
    table = {name: torch.tensor([float(row[name]) for row in rows]) for name in names}
    waveform = table.pop("waveform").long()
    scale = DISTANCE / table.pop("luminosity_distance")
    longitude = table.pop("ra") - SIDEREAL_TIME - EARTH_ROTATION * table["merger_time"]
    template = signals.project(waveform, longitude, **table) * scale[:, None, None]
    paths = [simulation.sample_path(dataset, row["split"], row["id"]) for row in rows]
    data = np.stack([np.load(path) for path in paths]) / 1e-21
    expected = np.array([float(row["network_snr"]) for row in rows])
    inner = sum(
        ((data[:, d] @ whitening[name]) * (template[:, d].numpy() @ whitening[name])).sum(1)
        for d, name in enumerate(COMPETITION.detectors)
    )
    found = inner / expected
    for row in rows:
        assert float(row["geocent_time"]) - GPS_START == pytest.approx(
            float(row["merger_time"]), abs=2e-6
        )
        snr = math.hypot(*(float(row[f"snr_{name}"]) for name in COMPETITION.detectors))
        assert snr == pytest.approx(float(row["network_snr"]), rel=1e-4)
    residual = found - expected
    # 50 numbers of unit variance: mean 0 +- 0.14, s.d. 1 +- 0.1.
    assert abs(residual.mean()) < 0.6
    assert 0.6 < residual.std() < 1.4


def test_the_same_seed_gives_the_same_bytes(dataset: Path, arguments: dict, tmp_path: Path) -> None:
    simulation.simulate_dataset(tmp_path / "again", **(arguments | {"workers": 1}))
    assert all_bytes(tmp_path / "again") == all_bytes(dataset)
    simulation.simulate_dataset(tmp_path / "other", **(arguments | {"seed": 8}))
    ids = {row["id"] for row in read_rows(dataset / "training_labels.csv")}
    assert not ids & {row["id"] for row in read_rows(tmp_path / "other" / "training_labels.csv")}


def test_an_interrupted_simulation_goes_on(
    dataset: Path, arguments: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "broken"
    writes = []

    def failing(root: Path, block: simulation.SampleBlock, *rest: object) -> None:
        if writes:
            raise OSError("no space left")
        writes.append(block)
        original(root, block, *rest)

    original = simulation.write_samples
    monkeypatch.setattr(simulation, "write_samples", failing)
    with pytest.raises(OSError, match="no space"):
        simulation.simulate_dataset(out, **(arguments | {"workers": 1}))
    assert not (out / "simulation.json").exists()
    monkeypatch.undo()
    (some,) = out.rglob(f"{writes[0].ids[0]}.npy")
    before = some.stat().st_mtime_ns
    simulation.simulate_dataset(out, **arguments)
    assert some.stat().st_mtime_ns == before  # what was there was left alone
    assert all_bytes(out) == all_bytes(dataset)


def test_removed_files_are_written_again(dataset: Path, arguments: dict, tmp_path: Path) -> None:
    """A mark that says finished is not believed where files are missing."""
    expected = all_bytes(dataset)
    out = tmp_path / "set"
    shutil.copytree(dataset, out)
    sample = next((out / "train").rglob("*.npy"))
    for removed in (sample, out / "test_labels.csv"):
        removed.unlink()
        assert not simulation.simulate_dataset(out, **arguments)["done_before"]
        assert all_bytes(out) == expected


def test_files_that_were_cut_short_are_written_again(
    dataset: Path, arguments: dict, tmp_path: Path
) -> None:
    expected = all_bytes(dataset)
    out = tmp_path / "set"
    shutil.copytree(dataset, out)
    cut = [
        next((out / "train").rglob("*.npy")),
        out / "training_labels.csv",
        out / "parameters.csv",
    ]
    for path, size in zip(cut, (0, 50, 500), strict=True):
        os.truncate(path, size)
        assert not simulation.simulate_dataset(out, **arguments)["done_before"], path
        assert all_bytes(out) == expected
    assert simulation.simulate_dataset(out, **arguments)["done_before"]


def test_the_working_directory_is_not_moved_aside(
    dataset: Path, arguments: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = all_bytes(dataset)
    shutil.copytree(dataset, tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set")
    with pytest.raises(UserError, match="cannot be moved aside while it is the working directory"):
        simulation.simulate_dataset(".", **(arguments | {"seed": 8}), overwrite=True)
    assert all_bytes(tmp_path / "set") == expected


def test_half_written_tables_of_a_killed_run_are_removed(
    dataset: Path, arguments: dict, tmp_path: Path
) -> None:
    expected = all_bytes(dataset)
    out = tmp_path / "set"
    shutil.copytree(dataset, out)
    (out / "simulation.json").rename(out / "simulation.started.json")
    for name in ("training_labels", "parameters"):
        (out / f".{name}.{'a1' * 6}.tmp.csv").write_text("id,tar")
    (out / ".lock").write_text("process 1 on elsewhere")  # a killed run leaves its file, unlocked
    simulation.simulate_dataset(out, **arguments)
    assert all_bytes(out) == expected


def test_another_simulation_is_refused_or_moved_aside(
    dataset: Path, arguments: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = all_bytes(dataset)
    out = tmp_path / "set"
    shutil.copytree(dataset, out)
    other = arguments | {"seed": 8}
    with pytest.raises(UserError, match=r"seed = 7 and 8 .* --out, or add --overwrite"):
        simulation.simulate_dataset(out, **other)
    assert all_bytes(out) == expected
    monkeypatch.setattr(time, "strftime", lambda *_: "now")
    assert not simulation.simulate_dataset(out, **other, overwrite=True)["done_before"]
    assert all_bytes(tmp_path / "set.now") == expected  # the lock did not stay in it either
    assert json.loads((out / "simulation.json").read_text())["settings"]["seed"] == 8
    seen = all_bytes(out)
    # The data set that is asked for is not moved; another one is, also in the same second.
    assert simulation.simulate_dataset(out, **other, overwrite=True)["done_before"]
    assert all_bytes(out) == seen
    simulation.simulate_dataset(out, **arguments, overwrite=True)
    assert all_bytes(tmp_path / "set.now-2") == seen
    assert all_bytes(out) == expected
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds no simulation"):
        simulation.simulate_dataset(tmp_path / "mine", **other, overwrite=True)
    assert list(all_bytes(tmp_path / "mine")) == ["thesis.txt"]


def test_a_damaged_mark_is_named(dataset: Path, arguments: dict, tmp_path: Path) -> None:
    for damaged in ("{}", "[1]", '{"settings": 3}', "{"):
        (tmp_path / "simulation.json").write_text(damaged)
        with pytest.raises(UserError, match=r"simulation\.json is"):
            simulation.simulate_dataset(tmp_path, **arguments)


# `prep_data.py` with a small waveform bank, which stops before its samples until a file appears.
HALTING = """
import sys, time
from pathlib import Path
import prep_data
from runtime.command_line import run_command
from simulation import dataset_on_disk

def halting(*arguments, original=dataset_on_disk.write_blocks):
    print("writing", flush=True)
    while not Path(sys.argv[1]).exists():
        time.sleep(0.02)
    return original(*arguments)

def small(*arguments, original=dataset_on_disk.simulate_dataset, **options):
    return original(*arguments, **options, bank_size=12)

dataset_on_disk.write_blocks, dataset_on_disk.simulate_dataset = halting, small
run_command(lambda: prep_data.main(sys.argv[2:]))
"""


def test_two_simulations_at_once_do_not_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Another process is in the middle of its samples while this one tries the same folder."""
    pytest.importorskip("lalsimulation")
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path / "cache"))
    go_on, out = tmp_path / "go_on", tmp_path / "set"
    arguments = ["--simulate", "70", "--num_workers", "1", "--out", str(out)]
    first = subprocess.Popen(
        [sys.executable, "-c", HALTING, str(go_on), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stdout.readline() == "writing\n"
    before = all_bytes(out)
    original = simulation.simulate_dataset
    monkeypatch.setattr(
        simulation,
        "simulate_dataset",
        lambda *arguments, **options: original(*arguments, **options, bank_size=12),
    )
    # The same data set, another one, and the same by force.
    for options, words in (
        ([], f"in use by another run .process {first.pid} .* with --out"),
        (["--seed", "8"], "seed = 2021 and 8"),
        (["--overwrite"], "in use by another run"),
    ):
        with pytest.raises(UserError, match=words):
            prep_data.main([*arguments, *options])
    assert all_bytes(out) == before
    go_on.touch()
    assert first.communicate(timeout=300)[1] == ""
    assert first.returncode == 0
    finished = all_bytes(out)
    assert ".lock" not in finished
    assert prep_data.main(arguments) == 0
    assert "set: up to date, 70 training" in capsys.readouterr().out
    assert all_bytes(out) == finished
    # A finished one is refused to other settings; the advice of the message moves it aside.
    with pytest.raises(UserError, match="add --overwrite"):
        prep_data.main([*arguments, "--seed", "8"])
    assert all_bytes(out) == finished
    assert prep_data.main([*arguments, "--seed", "8", "--overwrite"]) == 0
    (aside,) = tmp_path.glob("set.2*")
    assert all_bytes(aside) == finished
    assert all_bytes(out) != finished


def test_a_start_that_was_killed_before_its_mark_is_started_again(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / f".simulation.started.{'a1' * 6}.tmp.json").write_text("{")
    assert find_dataset(tmp_path) == ("absent", {})
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(UserError, match="not empty"):
        find_dataset(tmp_path)


def test_a_data_set_that_is_finished_meanwhile_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process renames the mark between two looks."""
    started, finished = (tmp_path / name for name in ("simulation.started.json", "simulation.json"))
    started.write_text('{"settings": {"seed": 1}}')
    read = dataset_files.read_json

    def read_late(path: Path):
        if path == started:
            started.rename(finished)
        return read(path)

    monkeypatch.setattr(dataset_files, "read_json", read_late)
    assert find_dataset(tmp_path) == ("finished", {"seed": 1})


def test_a_finished_simulation_is_left_alone(
    dataset: Path, arguments: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "write_blocks", lambda *_: pytest.fail("done twice"))
    assert simulation.simulate_dataset(dataset, **arguments)["done_before"]


def test_wrong_requests_are_refused(dataset: Path, arguments: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="n_train = 81 and 82"):
        simulation.simulate_dataset(dataset, **(arguments | {"n_train": 82}))
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        simulation.simulate_dataset(tmp_path, **arguments)
    with pytest.raises(UserError, match="is a file"):
        simulation.simulate_dataset(tmp_path / "mine.txt", **arguments)
    for change, word in (
        ({"n_test": -1}, "n_test"),
        ({"n_train": 0, "n_test": 0}, "at least one"),
        ({"bank_size": 1}, "bank_size"),
        ({"bank_size": 0}, "bank_size"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(UserError, match=word):
            simulation.simulate_dataset(tmp_path / "new", **(arguments | change))
    assert not (tmp_path / "new").exists()
