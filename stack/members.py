"""Which runs of a results folder are stacked, and the reading of their logits.

find_member_runs -> read_member_runs -> inputs.join_runs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configuration.rules import ConfigMeta, published_stack
from experiments.predictions import Predictions, has_predictions, read_predictions
from runtime.console import LOGGER
from runtime.errors import UserError, nearest
from runtime.files import read_json

DRY_RUN = "dry_run"  # the folder of train.py --dry_run: two batches of training, not a model


@dataclass(frozen=True)
class FinalExperiment:
    """One of the experiments that the published solution stacked.

    Attributes:
        name: its run directory in results/.
        config: its class in configs.py.
        column: its position in the published stack, from 0.
        tta: whether the published stack used its logits averaged over the test-time views (TTA).
    """

    name: str
    config: str
    column: int
    tta: bool


def final_experiments() -> list[FinalExperiment]:
    """Return the experiments of the published stack in its order of columns.

    They are registered by importing configs.py, which the caller must have done: this wing lies
    below it.
    """
    published = published_stack()
    if not published:
        raise RuntimeError("import configs before stacking: it registers the experiments")
    return [
        FinalExperiment(
            config.name, config.__name__, config.published["column"], config.published["tta"]
        )
        for config in published
    ]


def find_member_runs(
    results: Path, experiments: Sequence[str], finals: Sequence[FinalExperiment]
) -> list[Path]:
    """Return the run directories to stack, those of the published stack first and in its order.

    Without `experiments` they are the runs of the published stack that exist or, if none does, all
    runs except that of `train.py --dry_run`.

    Args:
        experiments: names of folders or of config classes.

    Raises:
        UserError: there is no such folder, or none with predictions.
    """
    if not results.is_dir():
        raise UserError(f"{results} is not a folder: train an experiment first, or name --results")
    there = sorted(
        folder.name
        for folder in results.iterdir()
        if folder.is_dir() and (has_predictions(folder) or has_predictions(folder, "_tta"))
    )
    columns = {final.name: final.column for final in finals}
    if experiments:
        names = list(dict.fromkeys(folder_name(name) for name in experiments))
        for name in names:
            if not (results / name).is_dir():
                raise UserError(
                    f"--experiments {name}: there is no folder {results / name}"
                    f"{nearest(name, there)}: train it first"
                )
    else:
        names = [name for name in there if name in columns]
        others = [name for name in there if name not in columns and name != DRY_RUN]
        if names and others:
            LOGGER.info(
                f"left out, as they are not of the published stack: {', '.join(others)} "
                f"(--experiments names any runs)"
            )
        names = names or others
        if not names:
            raise UserError(
                f"{results} holds no run with outoffolds.npy and predictions.npy: train an "
                f"experiment first, or name another folder with --results"
            )
    names.sort(key=lambda name: (columns.get(name, len(columns)), name))
    return [results / name for name in names]


def folder_name(experiment: str) -> str:
    """Return the folder of the run of a config class; any other name is a folder already."""
    config = ConfigMeta.registry.get(experiment)
    return experiment if config is None else config.name


def read_member_runs(folders: Sequence[Path], tta: bool = True) -> list[Predictions]:
    """Read the logits of the runs; of each those averaged over the test-time views, if it has them.

    Args:
        tta: False reads the logits without test-time views of all runs.

    Raises:
        UserError: an array is missing, does not fit or lacks a fold.
    """
    runs = []
    for folder in folders:
        suffix = "_tta" if tta and has_predictions(folder, "_tta") else ""
        run = read_predictions(folder, suffix)
        run.check_complete("its folds may still be training; or leave it out with --experiments")
        if suffix and have_different_sources(folder):
            raise UserError(
                f"{folder}: predictions_tta.npy was made from other weights or settings than "
                f"predictions.npy: predict again with --inference --tta, or stack with --no_tta"
            )
        runs.append(run)
    return runs


def have_different_sources(folder: Path) -> bool:
    """Whether the logits with and without test-time views are of different networks or samples."""
    stamps = [folder / f"predictions{suffix}.json" for suffix in ("", "_tta")]
    if not all(stamp.exists() for stamp in stamps):
        return False
    plain, tta = ({**read_json(stamp), "views": None} for stamp in stamps)
    return plain != tta
