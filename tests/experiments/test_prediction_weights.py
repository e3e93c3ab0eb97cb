"""Which folds may predict: trained to their end, or let through by --allow_unfinished."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import configs
from configuration.overrides import override
from experiments.existing_run import ExistingRun
from experiments.fold_record import FoldRecord, read_fold
from experiments.prediction_weights import (
    are_own,
    check_own_settings,
    check_weights,
    find_records,
    has_traces,
)
from experiments.run_identity import RunSamples
from runtime.errors import UserError
from training.checkpoints import content_digest, save_checkpoint


def write_fold(path: Path, **state) -> FoldRecord:
    """Write a fold of one weight and its record, as a trainer does, and read it back."""
    weights = {"weight": torch.ones(2)}
    state = {"epoch": 2, "finished": True, "weights": content_digest(weights)} | state
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, {"model": weights, "state": state})
    path.with_suffix(".json").write_text(json.dumps(state))
    return read_fold(path)


def existing_run(path: Path, config=configs.Demo) -> ExistingRun:
    ids = np.array([f"a{row}" for row in range(4)])
    return ExistingRun(path, config, RunSamples(ids, ids, np.arange(4) % 2, np.arange(4) // 2))


def test_finished_folds_may_predict(tmp_path: Path) -> None:
    record = write_fold(tmp_path / "fold0.pt")
    assert has_traces(record)
    check_weights(configs.Demo, {0: record}, own=True, allowed=False)


def test_an_unfinished_fold_needs_to_be_allowed(tmp_path: Path) -> None:
    records = {0: write_fold(tmp_path / "fold0.pt", finished=False)}
    with pytest.raises(UserError, match="--resume trains it to its end"):
        check_weights(configs.Demo, records, own=True, allowed=False)
    check_weights(configs.Demo, records, own=True, allowed=True)


def test_a_fold_without_weights_needs_to_be_allowed(tmp_path: Path) -> None:
    records = {0: write_fold(tmp_path / "fold0.pt"), 1: read_fold(tmp_path / "fold1.pt")}
    assert not has_traces(records[1])
    with pytest.raises(UserError, match=r"fold 1 has no weights .*: train it with --resume"):
        check_weights(configs.Demo, records, own=True, allowed=False)
    check_weights(configs.Demo, records, own=True, allowed=True)


def test_lost_weights_of_a_finished_fold_are_never_allowed(tmp_path: Path) -> None:
    write_fold(tmp_path / "fold0.pt")
    (tmp_path / "fold0.pt").unlink()
    records = {0: read_fold(tmp_path / "fold0.pt")}
    assert has_traces(records[0])
    with pytest.raises(UserError, match="is missing, and its record says that the fold is finish"):
        check_weights(configs.Demo, records, own=True, allowed=True)


def test_weights_of_its_own_come_before_those_of_another_run(tmp_path: Path) -> None:
    for fold in (0, 1):
        write_fold(tmp_path / "parent" / f"fold{fold}.pt")
    config = override(configs.Demo, ["name=child", f"weight_path={tmp_path / 'parent'}"])
    child = existing_run(tmp_path / "child", config)
    records = find_records(child, tmp_path, (0, 1))
    assert {record.path.parent for record in records.values()} == {tmp_path / "parent"}
    assert not are_own(child, records)
    write_fold(tmp_path / "child" / "fold0.pt")
    assert are_own(child, find_records(child, tmp_path, (0, 1)))


def test_own_networks_of_other_settings_are_refused(tmp_path: Path) -> None:
    existing = existing_run(tmp_path)
    plain = configs.Demo.to_plain()
    (tmp_path / "config.json").write_text(json.dumps(plain | {"test_path": "other.csv"}))
    check_own_settings(existing)  # where the samples lie decides no logit
    (tmp_path / "config.json").write_text(json.dumps(plain | {"cv": 7}))
    with pytest.raises(UserError, match="were trained with another cv, so that this score"):
        check_own_settings(existing)
