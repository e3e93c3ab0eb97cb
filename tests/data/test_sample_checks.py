"""Faults of samples on disk: each kind is found, with the file it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.sample_checks import Fault, find_faults, format_check_report


@pytest.fixture
def sound(tmp_path: Path, rng) -> tuple[Path, dict[str, pd.DataFrame]]:
    """Five sound samples, three to train on and two to test, and their tables."""
    tables = {}
    for split, count in (("train", 3), ("test", 2)):
        paths = [f"{split}/{number}.npy" for number in range(count)]
        (tmp_path / split).mkdir()
        for path in paths:
            np.save(tmp_path / path, rng.normal(0, 1e-21, (3, 4096)))
        ids = [f"{split}{number}" for number in range(count)]
        tables[split] = pd.DataFrame({"id": ids, "target": 0, "path": paths})
    return tmp_path, tables


def test_sound_files_have_no_faults(sound) -> None:
    assert find_faults(*sound, processes=1) == ([], 5)


def test_every_fault_is_named_with_its_file(sound) -> None:
    root, tables = sound
    strain = np.load(root / "train" / "0.npy")
    np.save(root / "test" / "0.npy", strain)  # the strain of a training sample
    strain[1] = 0.5
    np.save(root / "train" / "1.npy", strain)
    (root / "train" / "2.npy").unlink()
    np.save(root / "test" / "1.npy", np.zeros((3, 8)))
    np.save(root / "test" / "2.npy", strain)  # in no table
    faults, count = find_faults(root, tables, processes=1)
    assert count == 4  # a file that no table lists is not read
    assert {(fault.path, fault.problem) for fault in faults} == {
        ("train/1.npy", "silent"),
        ("train/2.npy", "missing"),
        ("test/0.npy", "duplicate"),
        ("test/1.npy", "wrong shape"),
        ("test/2.npy", "unlisted"),
    }
    details = {fault.problem: fault.detail for fault in faults}
    assert details["silent"] == "L1"
    assert details["duplicate"] == "same strain as train/0.npy"


def test_the_report_has_a_line_for_each_fault() -> None:
    faults = [
        Fault("train", "train/b.npy", "missing", ""),
        Fault("test", "test/a.npy", "silent", "H1 V1"),
    ]
    assert format_check_report(faults).decode().splitlines() == [
        "split,id,path,problem,detail",
        "test,a,test/a.npy,silent,H1 V1",
        "train,b,train/b.npy,missing,",
    ]
