"""Folds as a training leaves them, without training one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

import configs
from experiments.pipeline import Plan
from runtime.files import write_json
from training.checkpoints import content_digest, save_checkpoint
from training.fit_state import TrainerState


def plan_of(tmp_path: Path, *names: str) -> Plan:
    runs = {config.name: config for config in (getattr(configs, name) for name in names)}
    return Plan(runs, tuple(runs), str(tmp_path))


def save_fold(
    folder: Path, seed: int, fold: int = 0, finished: bool = True, start: str | None = None
) -> str:
    """Write a fold's weights and record; return the digest of the weights.

    Args:
        seed: what the weights are filled with.
        start: digest of the weights that the fold began with.
    """
    weights = {"a": torch.full((3,), float(seed))}
    origin = "random weights" if start is None else "weight_path"
    state = {
        "finished": finished,
        "epoch": 2,
        "weights": content_digest(weights),
        "trained_from": {
            "samples": "s",
            "strain": {},
            "settings": "s",
            "start": {"from": origin, "name": None, "weights": start},
            "pseudo_labels": None,
        },
    }
    folder.mkdir(exist_ok=True)
    save_checkpoint(folder / f"fold{fold}.pt", {"model": weights, "state": state})
    write_json(folder / f"fold{fold}.json", state)
    return state["weights"]


def write_trained_fold(
    folder: Path, epochs: int = 3, finished: bool = True, best_epoch: int | None = None
) -> Path:
    """Write the three files of a fold, with its best weights of an earlier epoch."""
    best_epoch = epochs if best_epoch is None else best_epoch
    weights = {"a": torch.arange(3.0), "b": torch.tensor(best_epoch)}
    adjusted = [{"from_epoch": 1, "num_epochs": epochs if finished else 2 * epochs}]
    state = TrainerState(
        epoch=epochs, finished=finished, weights=content_digest(weights), adjusted=adjusted
    )
    inside = TrainerState(
        epoch=best_epoch, finished=finished and best_epoch == epochs, weights=state.weights
    )
    path = folder / "fold0.pt"
    save_checkpoint(path, {"model": weights, "state": asdict(inside)})
    save_checkpoint(folder / "fold0_last.pt", {"model": weights, "state": asdict(state)})
    (folder / "fold0.json").write_text(json.dumps(asdict(state)))
    return path


def write_run_config(folder: Path, num_epochs: int, **early_stopping: int) -> None:
    callbacks = [{"class": "EarlyStopping", **early_stopping}] if early_stopping else []
    content = {"name": "demo", "num_epochs": num_epochs, "callbacks": callbacks}
    (folder / "config.json").write_text(json.dumps(content))
