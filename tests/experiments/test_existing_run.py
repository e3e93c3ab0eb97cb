"""What a start finds in a run directory, and what of it another config may keep."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import configs
from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from configuration.overrides import override
from experiments.existing_run import ExistingRun
from experiments.npy_files import save_array
from experiments.run_identity import RunSamples, TrainedFrom, deciding_settings, settings_digest
from runtime.errors import UserError
from runtime.locks import hold


def existing_run(path: Path, config: ConfigMeta = configs.Demo) -> ExistingRun:
    ids = np.array([f"a{row}" for row in range(4)])
    return ExistingRun(path, config, RunSamples(ids, ids, np.arange(4) % 2, np.arange(4) // 2))


def test_folds_with_files_or_with_a_held_lock_are_found(tmp_path: Path) -> None:
    for name in ("fold0.pt", "fold2_last.pt", "fold3.json", "fold4.txt", ".fold5.lock"):
        (tmp_path / name).touch()
    run = existing_run(tmp_path)
    assert run.other_folds([2]) == [0, 3]
    with hold(tmp_path / ".fold7.lock"):
        assert run.other_folds([2]) == [0, 3, 7]


def test_finished_predictions_are_not_begun_anew_without_overwrite(tmp_path: Path) -> None:
    run = existing_run(tmp_path)
    for name in ("outoffolds.npy", "predictions.npy"):
        (tmp_path / name).touch()
    run.check_start_anew([0], overwrite=False)  # not whole: predictions.json is written last
    (tmp_path / "predictions.json").touch()
    with pytest.raises(UserError, match=r"holds finished work \(predictions\), and nothing was"):
        run.check_start_anew([0], overwrite=False)
    run.check_start_anew([0], overwrite=True)


def test_other_ids_or_folds_are_refused(tmp_path: Path) -> None:
    run = existing_run(tmp_path)
    save_array(tmp_path / "ids_train.npy", run.samples.train_ids)
    save_array(tmp_path / "folds.npy", run.samples.folds)
    run.check_ids()
    run.check_folds()
    save_array(tmp_path / "ids_train.npy", run.samples.train_ids[::-1])
    with pytest.raises(UserError, match="belongs to other training samples"):
        run.check_ids()
    save_array(tmp_path / "folds.npy", 1 - run.samples.folds)
    with pytest.raises(UserError, match=r"folds\.npy has other folds"):
        run.check_folds()


def test_a_missing_config_is_no_licence_to_go_on_with_other_settings(tmp_path: Path) -> None:
    settings = settings_digest(deciding_settings(to_plain(configs.Demo)))
    record = tmp_path / "fold1.json"
    start = {"from": "random weights", "name": None, "weights": None}
    trained_from = TrainedFrom("samples", {"train": {}}, settings, start, None, 64)
    record.write_text(json.dumps({"epoch": 1, "trained_from": asdict(trained_from)}))
    existing_run(tmp_path).check_kept_folds()
    elsewhere = override(configs.Demo, ["train_path=elsewhere.csv", "num_epochs=50"])
    existing_run(tmp_path, elsewhere).check_kept_folds()
    other_seed = override(configs.Demo, ["seed=5"])
    with pytest.raises(
        UserError, match=r"config\.json is missing, and fold 1 was trained with oth"
    ):
        existing_run(tmp_path, other_seed).check_kept_folds()
    record.write_text(json.dumps({"epoch": 1}))  # older than the digests
    with pytest.raises(UserError, match=r"config\.json is missing, so that it is not known"):
        existing_run(tmp_path, other_seed).check_kept_folds()
    record.unlink()
    existing_run(tmp_path, other_seed).check_kept_folds()
