"""The predictions of a run: out-of-fold and test logits of every fold that has a checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configuration.json_types import to_plain
from experiments.building import weights_of_fold
from experiments.predictions import load_array, samples_digest, save_array
from experiments.run_directory import changed_settings, learnt_from
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import read_json, write_json
from training import distributed
from training.checkpoints import load_checkpoint, load_model
from training_extras import find_views

if TYPE_CHECKING:
    from experiments.experiment import Experiment

# What decides a network's predictions and who may be scored by it. Other settings, such as where
# the test samples lie, may differ from those it was trained with.
DECISIVE = (
    "cv",
    "splitter",
    "splitter_params",
    "debug",
    "dataset",
    "dataset_params",
    "model",
    "model_params",
    "transforms",
    "transforms2",
)


def predict(experiment: Experiment) -> None:
    """Write out-of-fold and test logits, averaged over the views; NaN for folds without weights.

    Raises:
        UserError: no fold has weights, or they are not for these samples, folds or settings.
    """
    folder, options = experiment.folder, experiment.options
    started = time.monotonic()
    folder.check_ids()
    suffix = "_tta" if options.tta else ""
    sources = find_sources(experiment)
    stamp = make_stamp(experiment, sources)
    if options.resume and are_current(folder.path, stamp, suffix):
        LOGGER.info(f"predictions{suffix}.npy in {folder.path} is up to date, nothing to do")
        return
    unseen = check_sources(experiment, sources)
    warn_of_unfinished(sources, len(experiment.folds), options.dry_run)
    out_of_fold, predictions = forward(experiment, sources, unseen)
    if not distributed.is_main():
        return
    folder.remove_temporaries()
    if not (folder.path / "config.json").exists():  # the weights are another experiment's
        write_json(folder.path / "config.json", to_plain(experiment.config))
        folder.add_start(kept=False, device=experiment.device)
    folder.write_samples()
    folder.write_history()
    save_array(folder.path / f"outoffolds{suffix}.npy", out_of_fold)
    save_array(folder.path / f"predictions{suffix}.npy", predictions)
    write_json(folder.path / f"predictions{suffix}.json", stamp)
    bad = [f"fold {k}" for k in sources if not np.isfinite(predictions[k]).all()]
    if bad and not options.dry_run:
        LOGGER.warning(f"{', '.join(bad)}: some logits are not finite; check the samples")
    n = int(np.isfinite(out_of_fold).sum() + np.isfinite(predictions).sum())
    LOGGER.info(f"predicted {n} samples in {time.monotonic() - started:.0f} s")


def forward(
    experiment: Experiment, sources: dict[int, Path], unseen: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return out-of-fold logits (n, 1) and test logits (folds, m, 1), float32."""
    train, test, folds = experiment.train, experiment.test, experiment.folds
    norm_factor = experiment.config.dataset_params.get("norm_factor")
    views = find_views(experiment.view_names, norm_factor)
    out_of_fold = np.full((len(train), 1), np.nan, np.float32)
    predictions = np.full((len(folds), len(test), 1), np.nan, np.float32)
    by_fold = np.full((len(folds), len(train), 1), np.nan, np.float32)
    for fold, weights in sources.items():
        trainer = experiment.build_trainer(fold, training=False)
        load_model(trainer.model, weights)
        rows = np.arange(len(train)) if unseen else folds[fold][1]
        valid = experiment.dataset(train, rows, "train", is_test=True)
        logits = trainer.predict(valid, views, "out of fold")
        by_fold[fold, rows[: len(logits)]] = logits
        every = experiment.dataset(test, np.arange(len(test)), "test", is_test=True)
        logits = trainer.predict(every, views, "test")
        predictions[fold, : len(logits)] = logits
    # No fold has seen the row: their mean. Otherwise: the one fold that has not.
    counted = np.isfinite(by_fold).sum(0)
    np.divide(np.nansum(by_fold, 0), counted, out=out_of_fold, where=counted > 0)
    return out_of_fold, predictions


# --- whose weights ---------------------------------------------------------------------------


def find_sources(experiment: Experiment) -> dict[int, Path]:
    """Return the weights of every fold that has some: the run's own, else those of `weight_path`.

    Raises:
        UserError: none has.
    """
    config, results = experiment.config, Path(experiment.options.results)
    paths = {fold: experiment.folder.path / f"fold{fold}.pt" for fold in experiment.fold_numbers}
    if config.weight_path is not None and not any(path.exists() for path in paths.values()):
        paths = {fold: weights_of_fold(config, results, fold) for fold in paths}
    there = {fold: path for fold, path in paths.items() if path.is_file()}
    if not there:
        load_checkpoint(next(iter(paths.values())))  # says what is missing and what to do
    return there


def warn_of_unfinished(sources: dict[int, Path], folds: int, dry_run: bool) -> None:
    missing = [str(fold) for fold in range(folds) if fold not in sources]
    if missing and not dry_run:
        LOGGER.warning(
            f"no weights of fold {', '.join(missing)}: its logits are NaN, and stacking and "
            f"pseudo-labels will refuse them until it is trained"
        )
    for fold, path in sources.items():
        state = path.with_suffix(".json")
        if state.exists() and not read_json(state)["finished"]:
            LOGGER.warning(
                f"fold {fold} is not finished: these are its best weights so far; --resume "
                f"trains it to its end"
            )


def check_sources(experiment: Experiment, sources: dict[int, Path]) -> bool:
    """Return whether no network has seen any of these samples; refuse what would flatter.

    Raises:
        UserError: the run's own networks were trained with other decisive settings; or another
            experiment's learnt from some of the samples that they would be scored on, or it is not
            known from which.
    """
    config, own = experiment.config, experiment.folder.path
    folders = {path.parent for path in sources.values()}
    if folders == {own}:
        path = own / "config.json"
        changed = changed_settings(config, read_json(path)) if path.exists() else []
        changed = [key for key in changed if key in DECISIVE]
        if changed:
            raise UserError(
                f"the networks in {own} were trained with another {', '.join(changed)}, so that "
                f"this score would not be theirs: predict as they were trained, or give this a "
                f"folder of its own with --set name=… weight_path={own}"
            )
        experiment.folder.check_folds()
        return False
    (folder,) = folders
    learnt = {fold: learnt_from(path) for fold, path in sources.items()}
    if any(ids is None for ids in learnt.values()):
        raise UserError(
            f"{folder / 'ids_train.npy'} does not exist, so it is not known which samples the "
            f"weights in {folder} were trained on: restore it beside them"
        )
    train, test = (table["id"].to_numpy(str) for table in (experiment.train, experiment.test))
    if not any(np.isin(ids, np.concatenate([train, test])).any() for ids in learnt.values()):
        return True
    for fold, ids in learnt.items():
        scored = np.concatenate([train[experiment.folds[fold][1]], test])
        if np.isin(scored, ids).any():
            raise UserError(
                f"the networks in {folder} were trained on some of the samples of "
                f"{config.train_path} or {config.test_path} that they would be scored on, so that "
                f"the score would flatter: use the same samples, cv and splitter with "
                f"weight_path={folder}, or other samples"
            )
    return False


# --- whether they are up to date -------------------------------------------------------------


def make_stamp(experiment: Experiment, sources: dict[int, Path]) -> dict[str, Any]:
    """What the predictions depend on; they are made anew when any of it changes."""
    folder, config = experiment.folder, experiment.config
    weights = {}
    for fold, path in sources.items():
        stat = path.stat()
        weights[str(fold)] = [str(path), stat.st_size, stat.st_mtime_ns]
    return {
        "views": list(experiment.view_names),
        "weights": weights,
        "config": to_plain(config),
        "samples": samples_digest(folder.train_ids, folder.test_ids, folder.folds),
    }


def are_current(folder: Path, stamp: dict[str, Any], suffix: str) -> bool:
    names = [f"outoffolds{suffix}", f"predictions{suffix}", "ids_train", "ids_test", "folds"]
    path = folder / f"predictions{suffix}.json"
    if not path.exists() or not all((folder / f"{name}.npy").exists() for name in names):
        return False
    there = [load_array(folder / f"{name}.npy") for name in names[2:]]
    return read_json(path) == stamp and samples_digest(*there) == stamp["samples"]
