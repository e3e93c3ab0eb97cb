"""Some samples of an experiment: read from its tables, or drawn as its training draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configuration.config_class import ConfigMeta
from configuration.types import accepted_arguments
from data.batch_order import IndexBatch
from experiments.building import build_dataset, draws_its_samples
from experiments.experiment import Experiment
from experiments.run_options import RunOptions
from experiments.targets import Outputs, outputs_of
from runtime.errors import UserError, nearest
from runtime.seeds import counted_seed

CPU = torch.device("cpu")
# Enough binaries to draw a few samples from; those of a training take minutes to compute.
FEW_BINARIES = 64


@dataclass(frozen=True)
class Samples:
    """Some samples, as the files hold them and as the data set hands them on.

    Attributes:
        ids: of the samples.
        labels: what is known of each, e.g. 'signal'.
        strain: (n, detector, time) float32, as the files hold it.
        tested: (n, detector, time), what the transforms of 'test' are given.
        trained: (n, detector, time), what the transforms of 'train' are given: the same, or what
            the data set makes of it, as a whitening or a mixup of its own.
        source: where they come from, in a few words.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    strain: Tensor
    tested: Tensor
    trained: Tensor
    source: str

    def __len__(self) -> int:
        return len(self.ids)


def read_samples(
    config: ConfigMeta, count: int = 8, ids: Sequence[str] = (), seed: int = 0
) -> Samples:
    """Return samples of an experiment.

    Args:
        config: of the experiment. One whose data set draws its training samples gives drawn ones,
            unless ids are named; it then needs no tables.
        count: how many, where no ids are named; each class of the targets in turn.
        ids: of samples of the training table or, where it has no such id, of the test table.
        seed: of the choice, and of samples that are drawn.

    Raises:
        UserError: an id that no table has, fewer samples than that, or a table, a cache or a file
            that is missing or damaged.
    """
    if count < 1:
        raise UserError(f"--samples {count}: expected 1 or more")
    if draws_its_samples(config) and not ids:
        return draw_samples(config, count, seed)
    # As a prediction reads them: labels of test samples are not looked for.
    experiment = Experiment(config, RunOptions(inference=True), CPU)
    if not ids:
        return read_rows(experiment, choose_rows(experiment, count, seed), seed)
    places = [find_id(experiment, name) for name in ids]
    parts = [
        read_rows(experiment, np.array([row]), seed)
        if split == "train"
        else read_test_rows(experiment, np.array([row]))
        for split, row in places
    ]
    return join(parts)


def choose_rows(experiment: Experiment, count: int, seed: int) -> np.ndarray:
    """Return rows (count,) of the training table, of each class or stratum in turn.

    Raises:
        UserError: the table has fewer.
    """
    outputs, n = experiment.outputs, len(experiment.train)
    if count > n:
        raise UserError(
            f"--samples {count}: {experiment.config.train_path} has {n} samples: ask for fewer"
        )
    rng = np.random.default_rng(counted_seed(seed, "look"))
    strata = outputs.target.strata(outputs.main(experiment.targets.true), 2)
    order = rng.permutation(n)
    # The first of each stratum, then the second of each, and so on; signals before noise.
    place = np.empty(n, np.int64)
    for stratum in np.unique(strata):
        rows = order[strata[order] == stratum]
        place[rows] = np.arange(len(rows))
    chosen = np.lexsort((rng.permutation(n), -strata, place))[:count]
    return chosen[np.lexsort((chosen, -strata[chosen]))]


def find_id(experiment: Experiment, name: str) -> tuple[str, int]:
    """Return the table, 'train' or 'test', and the row of an id.

    Raises:
        UserError: neither table has it.
    """
    known = {}
    for split, table in (("train", experiment.train), ("test", experiment.test)):
        known[split] = table["id"].to_numpy(str)
        found = np.flatnonzero(known[split] == name)
        if len(found):
            return split, int(found[0])
    config = experiment.config
    # numpy's strings would be shown as such
    hint = nearest(name, [*known["train"][:10_000].tolist(), *known["test"][:10_000].tolist()])
    raise UserError(
        f"--ids {name}: neither {config.train_path} nor {config.test_path} has this id{hint}: name "
        f"one out of their column 'id'"
    )


def read_rows(experiment: Experiment, rows: np.ndarray, seed: int) -> Samples:
    """Return rows of the training table, prepared for both stages."""
    config = experiment.config
    every = np.arange(len(experiment.train))
    tested = experiment.dataset(experiment.train, every, "train", is_test=True)
    strain = read_batch(tested, rows, seed)
    if draws_its_samples(config):  # its training knows no rows
        trained = whiten_as_drawn(tested, strain)
    else:
        # Of all rows: a data set that mixes takes partners from anywhere.
        trained = read_batch(experiment.dataset(experiment.train, every, "train"), rows, seed)
    return Samples(
        tuple(experiment.train["id"].iloc[rows]),
        tuple(label(experiment.outputs, row) for row in experiment.targets.true[rows]),
        as_stored(config, strain),
        strain,
        trained,
        config.train_path,
    )


def read_test_rows(experiment: Experiment, rows: np.ndarray) -> Samples:
    """Return rows of the test table, whose targets are not known."""
    data = experiment.dataset(experiment.test, rows, "test", is_test=True)
    strain = read_batch(data, np.arange(len(rows)), seed=0)
    ids, path = tuple(experiment.test["id"].iloc[rows]), experiment.config.test_path
    # No labels: what a test table holds in the place of targets is a number without a meaning.
    return Samples(
        ids,
        ("not labelled",) * len(ids),
        as_stored(experiment.config, strain),
        strain,
        whiten_as_drawn(data, strain),
        path,
    )


def draw_samples(config: ConfigMeta, count: int, seed: int) -> Samples:
    """Return samples that the data set draws as in a first step of training.

    What it would draw whitened is drawn as strain and whitened afterwards, which is the same by its
    law. Only a few binaries are computed.
    """
    outputs, known = outputs_of(config), accepted_arguments(config.dataset) or ()
    few = {"bank_size": FEW_BINARIES, "pool": max(count, 8), "fresh": 0, "whiten": None}
    few = {key: value for key, value in few.items() if key in known}
    samples: dict[str, Any] = {"paths": [], "targets": [], "ids": [], "cache": None}
    if Path(config.train_path).is_file():  # the noise of some data sets is that of the samples
        experiment = Experiment(config, RunOptions(inference=True), CPU)
        every = np.arange(len(experiment.train))
        data = experiment.dataset(experiment.train, every, "train", **few)
    else:
        data = build_dataset(config, outputs, CPU, samples | {"is_test": False}, few)
    batch = data.__getitems__(step_of(range(count), seed))
    names = tuple(f"drawn_{number}" for number in range(count))
    labels = tuple(label(outputs, row) for row in batch["target"].numpy())
    whole = build_dataset(config, outputs, CPU, samples | {"is_test": True})
    strain = batch["waveform"]
    return Samples(names, labels, strain, strain, whiten_as_drawn(whole, strain), "drawn")


def step_of(rows: Sequence[int], seed: int) -> IndexBatch:
    """Return rows as the first step of the first epoch of fold 0 has them."""
    counters = (seed, 0, 0, 0)
    return IndexBatch(rows, seed=counted_seed(*counters), counters=counters)


def read_batch(data: Any, rows: np.ndarray, seed: int) -> Tensor:
    return data.__getitems__(step_of(rows.tolist(), seed))["waveform"]


def whiten_as_drawn(data: Any, strain: Tensor) -> Tensor:
    """Return strain as a data set that draws whitened samples would have drawn it."""
    whiten = getattr(data, "whiten", None)
    return strain if whiten is None else whiten(strain)


def as_stored(config: ConfigMeta, strain: Tensor) -> Tensor:
    """Return strain (n, detector, time) without the factors that the data set divides it by."""
    factors = config.dataset_params.get("norm_factor")
    return strain if factors is None else strain * torch.tensor(factors)[:, None]


def label(outputs: Outputs, target: np.ndarray) -> str:
    """Return a row of targets (outputs,) in words: 'signal', a class, or names with values."""
    kind, main = outputs.target.kind, outputs.main(target)
    if kind == "binary":
        words = {0.0: "noise", 1.0: "signal"}.get(float(main[0]), f"target {main[0]:g}")
    elif kind == "classes":
        words = outputs.target.names[int(main.argmax())]
    elif kind == "labels":
        names = [name for name, there in zip(outputs.target.names, main, strict=True) if there]
        words = ", ".join(names) or "none of the labels"
    else:
        values = zip(outputs.target.names, outputs.target.to_values(main), strict=True)
        words = ", ".join(f"{name} {value:.4g}" for name, value in values)
    sides = [
        f"{side.name} {float(value):.4g}"
        for number, side in enumerate(outputs.sides)
        if np.isfinite(value := side.quantity.decode(outputs.side(target, number)))
    ]
    return ", ".join([words, *sides])


def join(parts: Sequence[Samples]) -> Samples:
    """Return samples of several tables as one."""
    return Samples(
        tuple(name for part in parts for name in part.ids),
        tuple(words for part in parts for words in part.labels),
        torch.cat([part.strain for part in parts]),
        torch.cat([part.tested for part in parts]),
        torch.cat([part.trained for part in parts]),
        " and ".join(dict.fromkeys(part.source for part in parts)),
    )
