"""What a network has learnt from, with what the weights that it began with had learnt from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.fold_record import read_fold
from experiments.npy_files import save_array
from experiments.samples_learnt_from import learnt_samples
from runtime.errors import UserError
from runtime.files import write_json
from training.checkpoints import content_digest, save_checkpoint

RANDOM = {"from": "random weights", "name": None, "weights": None}


def write_run(
    folder: Path,
    letter: str,
    start: dict | None = None,
    pseudo: tuple[str, ...] = (),
    records: bool = True,
    **config,
) -> dict:
    """Write a run of two folds on ten samples, a0, a1, ...; return what names it as a start.

    Args:
        start: what its weights began as.
        pseudo: ids of pseudo-labelled test samples.
        records: False leaves out what early runs did not record.
    """
    folder.mkdir(parents=True)
    weights = {"a": torch.full((3,), float(ord(letter)))}
    trained_from = {
        "samples": letter,
        "strain": {},
        "settings": "s",
        "start": start or RANDOM,
        "pseudo_labels": "digest" if pseudo else None,
    }
    state = {"finished": True, "epoch": 1, "weights": content_digest(weights)}
    if records:
        state["trained_from"] = trained_from
    save_checkpoint(folder / "fold0.pt", {"model": weights, "state": state})
    write_json(folder / "fold0.json", state)
    write_json(folder / "config.json", {"name": folder.name, "dataset": "G2NetDataset"} | config)
    save_array(folder / "ids_train.npy", np.array([f"{letter}{i}" for i in range(10)]))
    save_array(folder / "folds.npy", np.arange(10) % 2)
    if pseudo:
        save_array(folder / "ids_pseudo_labelled.npy", np.array(pseudo))
    digest = state["weights"] if records else None
    return {"from": "weight_path", "name": folder.name, "weights": digest}


def seen(folder: Path, letter: str) -> int:
    """Return how many of a data set's ten samples fold 0 of a run has seen."""
    table = pd.DataFrame({"id": [f"{letter}{i}" for i in range(10)]})
    return learnt_samples(read_fold(folder / "fold0.pt")).count_seen(table, None)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Three runs: a, b that begins with a, and c that begins with b, each on its own samples."""
    first = write_run(tmp_path / "a", "a", pseudo=("t0", "t1"))
    second = write_run(tmp_path / "b", "b", first, weight_path="a")
    write_run(tmp_path / "c", "c", second, weight_path=str(tmp_path / "b"))
    return tmp_path


def test_what_all_the_starts_had_learnt_counts(chain: Path) -> None:
    assert [seen(chain / "a", letter) for letter in "abc"] == [5, 0, 0]
    assert [seen(chain / "c", letter) for letter in "abcd"] == [5, 5, 5, 0]
    learnt = learnt_samples(read_fold(chain / "c" / "fold0.pt"))
    assert learnt.unknown is None
    assert learnt.all_pseudo_ids.tolist() == ["t0", "t1"]
    test = pd.DataFrame({"id": ["t0", "t1", "t2"]})
    assert learnt.count_seen(test, None) == 2
    assert learnt.without_pseudo_labels().count_seen(test, None) == 0


def test_a_start_is_followed_in_runs_of_before_these_records(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "a", records=False)
    write_run(tmp_path / "b", "b", records=False, weight_path="a")
    write_run(
        tmp_path / "c",
        "c",
        records=False,
        weight_path=str(tmp_path / "b"),
        dataset="SimulatedDataset",
    )
    # Injections into simulated noise alone, but the weights had learnt before.
    assert [seen(tmp_path / "c", letter) for letter in "abc"] == [5, 5, 0]


def test_a_start_that_was_moved_aside_is_found_by_its_content(chain: Path) -> None:
    (chain / "a").rename(chain / "a.20260102-030405")
    write_run(chain / "a", "x")  # trained again, on others
    assert [seen(chain / "c", letter) for letter in "ax"] == [5, 0]


def test_a_start_that_is_gone_is_unknown(chain: Path) -> None:
    shutil.rmtree(chain / "a")
    for run in "bc":
        learnt = learnt_samples(read_fold(chain / run / "fold0.pt"))
        assert "b/fold0.pt began with a, whose weights are no longer there" in learnt.unknown
    write_run(chain / "a", "x")
    assert learnt_samples(read_fold(chain / "c" / "fold0.pt")).unknown


def test_damage_in_a_start_is_a_reason(chain: Path) -> None:
    (chain / "a" / "ids_train.npy").write_bytes(b"")
    assert "ids_train.npy" in learnt_samples(read_fold(chain / "c" / "fold0.pt")).unknown
    (chain / "a" / "ids_train.npy").unlink()
    assert "no ids_train.npy" in learnt_samples(read_fold(chain / "c" / "fold0.pt")).unknown


def test_a_circle_ends(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "a", records=False, weight_path="b")
    write_run(tmp_path / "b", "b", records=False, weight_path="a")
    assert [seen(tmp_path / "a", letter) for letter in "ab"] == [5, 5]


@pytest.mark.parametrize("records", [True, False])
def test_missing_ids_of_pseudo_labels_are_no_history(tmp_path: Path, records: bool) -> None:
    labels = {"source": "nspec_16"}
    write_run(tmp_path / "a", "a", pseudo=("t0",), records=records, pseudo_labels=labels)
    assert learnt_samples(read_fold(tmp_path / "a" / "fold0.pt")).pseudo_ids.tolist() == ["t0"]
    (tmp_path / "a" / "ids_pseudo_labelled.npy").unlink()
    with pytest.raises(UserError, match=r"ids_pseudo_labelled\.npy is missing.*--resume"):
        learnt_samples(read_fold(tmp_path / "a" / "fold0.pt"))
