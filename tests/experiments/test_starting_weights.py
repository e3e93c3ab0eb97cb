"""Weights that a fold may begin with, and those that would make its validation flatter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import configs
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.npy_files import save_array
from experiments.starting_weights import check_starting_weights
from runtime.errors import UserError
from training.checkpoints import content_digest, save_checkpoint


@pytest.fixture
def child(tmp_path: Path) -> ConfigMeta:
    """A config that begins with the weights of a finished run of four samples in two folds."""
    folder = tmp_path / "parent"
    folder.mkdir()
    weights = {"weight": torch.ones(2)}
    state = {"epoch": 1, "finished": True, "weights": content_digest(weights)}
    for fold in (0, 1):
        save_checkpoint(folder / f"fold{fold}.pt", {"model": weights, "state": state})
        (folder / f"fold{fold}.json").write_text(json.dumps(state))
    save_array(folder / "ids_train.npy", np.array(["a", "b", "c", "d"]))
    save_array(folder / "folds.npy", np.array([0, 0, 1, 1]))
    return override(configs.Demo, ["name=child", f"weight_path={folder}"])


def samples(*ids: str) -> pd.DataFrame:
    return pd.DataFrame({"id": list(ids), "target": 0, "path": [f"{name}.npy" for name in ids]})


def test_samples_that_the_weights_were_validated_on_are_unseen(child, tmp_path: Path) -> None:
    check_starting_weights(child, tmp_path, 0, samples("a", "b"), allow_unfinished=False)
    check_starting_weights(child, tmp_path, 0, samples("e", "f"), allow_unfinished=False)


def test_samples_that_the_weights_have_learnt_from_are_refused(child, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has learnt from 1 samples that fold 0 is validated on"):
        check_starting_weights(child, tmp_path, 0, samples("a", "c"), allow_unfinished=False)


def test_unfinished_weights_need_to_be_allowed(child, tmp_path: Path) -> None:
    record = tmp_path / "parent" / "fold0.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"finished": False}))
    with pytest.raises(UserError, match="train it to its end with --resume first"):
        check_starting_weights(child, tmp_path, 0, samples("a"), allow_unfinished=False)
    check_starting_weights(child, tmp_path, 0, samples("a"), allow_unfinished=True)


def test_weights_without_a_record_of_their_samples_are_used_with_a_warning(
    child, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (tmp_path / "parent").glob("*.npy"):
        path.unlink()
    check_starting_weights(child, tmp_path, 0, samples("c"), allow_unfinished=False)
    assert "no ids_train.npy lies beside" in caplog.text


def test_without_weights_there_is_nothing_to_check(tmp_path: Path) -> None:
    check_starting_weights(configs.Demo, tmp_path, 0, samples("a"), allow_unfinished=False)
