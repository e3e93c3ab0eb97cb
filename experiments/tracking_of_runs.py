"""What a run sends to its trackers: the curves of its folds, and the result of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configuration.config_class import ConfigMeta
from experiments.fold_record import read_fold
from experiments.observation_record import plain_config
from experiments.seed_folders import SEED_FOLDER
from tracking.tracked_part import ALL_FOLDS, TrackedPart
from tracking.trackers import Trackers, read_tracker_names
from training.fit_state import TrainerState


def track_fold(config: ConfigMeta, run_folder: Path, fold: int, epochs: int) -> Trackers:
    """Return the trackers of a fold, which continue the runs that they began.

    Args:
        run_folder: results/<name>.
        epochs: done before this start.
    """
    name = tracked_name(config, run_folder)
    part = TrackedPart(name, f"fold{fold}", run_folder, plain_config(config), epochs)
    return Trackers(read_tracker_names(config.tracker), part)


def tracked_name(config: ConfigMeta, run_folder: Path) -> str:
    """Return the name of a run for trackers: the seeds of a run with several are told apart."""
    is_seed = SEED_FOLDER.fullmatch(run_folder.name) is not None
    return f"{config.name}/{run_folder.name}" if is_seed else config.name


def fold_figures(state: TrainerState) -> dict[str, Any]:
    """Return what is tracked of a fold when its training ends."""
    figures = {
        "best_epoch": state.best_epoch,
        "best_score": state.best_score,
        "epochs": state.epoch,
        "weights": state.weights,  # the content digest of fold<k>.pt
    }
    if state.average is not None:
        figures["average"] = state.average
    return {key: value for key, value in figures.items() if value is not None}


def track_result(
    config: ConfigMeta, run_folder: Path, suffix: str, result: Mapping[str, Any]
) -> None:
    """Send the scores over all folds, summary.png and the digests of all weights.

    Args:
        suffix: '' or '_tta'; files and figures of both may be tracked side by side.
        result: the content of summary.json.
    """
    names = [name for name in read_tracker_names(config.tracker) if name != "tensorboard"]
    if not names:
        return
    digests = {
        f"fold{fold}": read_fold(run_folder / f"fold{fold}.pt").digest for fold in range(config.cv)
    }
    figures = {f"{key}{suffix}": value for key, value in result.items()}
    figures["weights"] = {fold: digest for fold, digest in digests.items() if digest is not None}
    name = tracked_name(config, run_folder)
    part = TrackedPart(name, ALL_FOLDS, run_folder, plain_config(config))
    trackers = Trackers(names, part)
    trackers.log_result(figures, [run_folder / f"summary{suffix}.png"])
    trackers.close(finished=True)
