"""Folds as a training leaves them, without training one."""

from __future__ import annotations

from pathlib import Path

import torch

import configs
from experiments.pipeline import Plan
from runtime.files import write_json
from training.checkpoints import content_digest, save_checkpoint


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
