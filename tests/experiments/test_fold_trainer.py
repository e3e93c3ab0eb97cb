"""The trainer of a fold: settings reach it as config and command line give them."""

from __future__ import annotations

from pathlib import Path

import torch

import configs
from configuration.overrides import override
from experiments.fold_trainer import (
    DRY_RUN_BATCHES,
    build_fold_trainer,
    build_network,
    record_adjusted,
)
from experiments.run_options import RunOptions
from runtime.console import LOGGER
from training.checkpoints import save_checkpoint
from training.fit_state import TrainerState
from training.trainer import Trainer

CPU = torch.device("cpu")
TINY = ["model_params.widths=(4,8)", "model_params.depths=(1,1)", "train_cache=none"]
TINY += ["model_params.kernel_sizes=(7,5)", "model_params.strides=(4,4)", "test_cache=none"]


def trainer_of_fold(folder: Path, updates: int | None, *settings: str, **options) -> Trainer:
    config = override(configs.Demo, [*TINY, *settings])
    run_options = RunOptions(results=folder, **options)
    network = build_network(config, run_options, CPU, 1, training=True, pretrained=False)
    return build_fold_trainer(config, run_options, CPU, folder, 1, network, updates)


def test_settings_and_options_reach_the_trainer(tmp_path: Path) -> None:
    trainer = trainer_of_fold(
        tmp_path, 10, "batch_size=5", "seed=77", "ema_decay=0.5", checkpoint_every=3.0
    )
    assert trainer.loading.batch_size == 5
    assert trainer.loading.max_batches is None
    assert trainer.loading.num_workers == 0  # on a CPU readers would only take cores
    assert trainer.counters == (77, 1)
    assert trainer.checkpointing.checkpoint_every == 3.0
    assert trainer.checkpointing.best_path == tmp_path / "fold1.pt"
    assert trainer.ema is not None
    options = {"dry_run": True, "num_workers": 2}
    loading = trainer_of_fold(tmp_path, 10, **options).loading
    assert (loading.max_batches, loading.num_workers) == (DRY_RUN_BATCHES, 2)


def test_a_trainer_that_only_predicts_has_no_optimiser(tmp_path: Path) -> None:
    trainer = trainer_of_fold(tmp_path, None, "ema_decay=0.5")
    assert trainer.optimizer is None
    assert trainer.ema is None


def test_a_warm_start_takes_the_weights_of_the_same_fold(tmp_path: Path) -> None:
    config = override(configs.Demo, [*TINY, f"weight_path={tmp_path / 'source'}"])
    options = RunOptions(results=tmp_path)
    (tmp_path / "source").mkdir()
    sources = []
    for fold in range(2):
        source = build_network(config, options, CPU, fold, training=True, pretrained=False)
        save_checkpoint(tmp_path / "source" / f"fold{fold}.pt", {"model": source.state_dict()})
        sources.append(next(source.parameters()))
    for fold in range(2):
        network = build_network(config, options, CPU, fold, training=True, pretrained=True)
        assert torch.equal(next(network.parameters()), sources[fold])
    # Where a checkpoint follows, no weights are looked for.
    (tmp_path / "source" / "fold0.pt").unlink()
    build_network(config, options, CPU, 0, training=True, pretrained=False)


def test_only_changed_settings_are_recorded(monkeypatch, caplog) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    state = TrainerState()
    with caplog.at_level("INFO", logger=LOGGER.name):
        record_adjusted(state, 0, {"num_epochs": 3})
        state.epoch = 2
        record_adjusted(state, 0, {"num_epochs": 3})
        assert state.adjusted == [{"from_epoch": 1, "num_epochs": 3}]
        assert not caplog.records
        record_adjusted(state, 0, {"num_epochs": 5})
    assert state.adjusted[1:] == [{"from_epoch": 3, "num_epochs": 5}]
    assert "fold 0: from epoch 3 on num_epochs 3 -> 5" in caplog.text


def test_other_code_is_named_and_not_its_digests(caplog) -> None:
    state = TrainerState()
    with caplog.at_level("INFO", logger=LOGGER.name):
        record_adjusted(state, 0, {"num_epochs": 3, "code": {"mine.Loss": "1", "mine.Net": "2"}})
        record_adjusted(state, 0, {"num_epochs": 3, "code": {"mine.Loss": "3", "mine.Net": "2"}})
    assert [entry["code"]["mine.Loss"] for entry in state.adjusted] == ["1", "3"]
    assert caplog.messages == ["fold 0: from epoch 1 on other code of mine.Loss"]
