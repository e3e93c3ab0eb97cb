"""The smallest real run: two batches, one epoch, two folds, on the data or on invented noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configuration.config_class import ConfigMeta, config_named
from configuration.types import accepted_arguments
from data.table_sampling import sampling_path, write_sampling
from experiments.building import observation_of
from experiments.folds import reads_column
from experiments.run_names import DRY_RUN
from experiments.targets import Outputs, outputs_of
from physics.constants import TYPICAL_STRAIN
from physics.observation import Sampling
from runtime.files import atomic_path
from runtime.seeds import counted_seed

if TYPE_CHECKING:
    from experiments.run_options import RunOptions

BATCH_SIZE = 2  # a batch of 64 large images does not fit a laptop
FEW_SIGNALS = {"bank_size": 32, "pool": 8}  # not 8,000 waveforms for two batches
NUM_TRAIN, NUM_TEST = 20, 4  # two batches of training and of validation in each of five folds


def shrink_to_dry_run(config: ConfigMeta, options: RunOptions) -> tuple[ConfigMeta, RunOptions]:
    """Return a config and options for a dry run; its results go to results/dry_run."""
    results = options.results / DRY_RUN
    changed = {"num_epochs": 1, "batch_size": BATCH_SIZE, "debug": False}
    changed["tracker"] = "tensorboard"  # nothing to compare with other runs
    changed["seeds"] = config.seeds[:2]  # the mean of two is one
    if not (Path(config.train_path).is_file() and Path(config.test_path).is_file()):
        folder = results / "invented_noise"
        invent_noise(folder, config.seed, observation_of(config).sampling, outputs_of(config))
        print(f"{config.train_path} does not exist: the dry run reads invented noise in {folder}/")
        changed |= {
            "train_path": str(folder / "train.csv"),
            "test_path": str(folder / "test.csv"),
            "train_cache": None,
            "test_cache": None,
            # it has 20 samples and no further columns
            "limit_samples": None,
            "weight_column": None,
            "covariates": (),
        }
        if reads_column(config):
            changed["splitter"] = "HoldOut" if config.cv == 1 else "StratifiedKFold"
            changed["splitter_params"] = {"random_state": config.seed}
            changed["splitter_params"] |= {} if config.cv == 1 else {"shuffle": True}
    if "bank_size" in (accepted_arguments(config.dataset) or ()):
        changed["dataset_params"] = {**config.dataset_params, **FEW_SIGNALS}
    # Pretrained filters of a bank are computed from thousands of waveforms.
    if "bank_size" in (accepted_arguments(config.model) or ()):
        changed["model_params"] = {**config.model_params, "pretrained": False}
    if config.weight_path is not None and config_named(config.weight_path) is not None:
        before = options.results / config.weight_path
        changed["weight_path"] = str(before) if before.is_dir() else None
        if not before.is_dir():
            print(f"{before} does not exist: the dry run starts from random weights")
    small = ConfigMeta(config.__name__, (config,), changed, register=False)
    return small, dataclasses.replace(options, results=results)


def invent_noise(folder: Path, seed: int, sampling: Sampling, outputs: Outputs) -> None:
    """Write white noise of the strain's size with random labels, and its tables.

    Args:
        folder: where to write; a dry run of another observation may have written there before.
        seed: of the noise and the labels.
        sampling: what the samples are of.
        outputs: what is predicted of them; the training table has its columns.
    """
    sampling_path(folder).unlink(missing_ok=True)
    rng = np.random.default_rng(counted_seed(seed, "dry run"))
    # Enough of each of several classes for five folds.
    targets = rng.permutation(np.arange(NUM_TRAIN * outputs.count) % 2)
    columns = invent_columns(outputs, targets)
    for split, labels in (("train", columns.pop("target", targets)), ("test", [0.5] * NUM_TEST)):
        others = columns if split == "train" else {}
        lines = [",".join(("id", "target", "path", *others))]
        for number, target in enumerate(labels):
            path = folder / f"{split}_{number}.npy"
            with atomic_path(path) as temporary:
                noise = rng.normal(0, TYPICAL_STRAIN, sampling.shape)
                np.save(temporary, noise, allow_pickle=False)
            values = (str(column[number]) for column in others.values())
            lines.append(",".join((f"{split}{number}", str(target), path.name, *values)))
        with atomic_path(folder / f"{split}.csv") as temporary:
            temporary.write_text("\n".join(lines) + "\n")
    write_sampling(folder, sampling)


def invent_columns(outputs: Outputs, targets: np.ndarray) -> dict[str, Sequence[Any]]:
    """Return columns of a training table with something in them that every target takes.

    Args:
        outputs: what is predicted.
        targets: (n,) of 0 and 1.
    """
    target, count = outputs.target, len(targets)
    if target.kind == "classes":
        number = np.arange(count) % len(target.names)
        columns = {name: (number == k).astype(int) for k, name in enumerate(target.names)}
        if not target.soft:
            columns = {target.column: [target.names[k] for k in number]}
    elif target.kind == "numbers":
        columns = {name: np.linspace(1, 2, count) for name in target.names}  # have logarithms too
    else:
        columns = dict.fromkeys(target.columns, targets)
    return columns | {side.name: np.linspace(1, 2, count) for side in outputs.sides}
