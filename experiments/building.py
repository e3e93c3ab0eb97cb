"""What a config names, made into objects: tables, folds, caches, networks, transforms."""

from __future__ import annotations

import inspect
import platform
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from configuration.class_with_arguments import Part, build_object, thaw
from configuration.config_class import ConfigMeta, config_named
from configuration.types import accepted_arguments
from data.batch_order import IndexBatch
from data.table_sampling import check_sampling, read_sampling
from experiments.sample_table import limit_rows
from experiments.seed_folders import seed_folder, seeds_in
from experiments.side_targets import read_side_values
from experiments.targets import (
    Outputs,
    TrainingTargets,
    check_columns_of_table,
    columns_of_tables,
    outputs_of,
)
from physics.observation import Observation
from physics.population import Population
from runtime.errors import UserError
from runtime.versions import git_revision, versions
from training import distributed
from training.schedules import fill_in_length, share_maximum
from training_extras import Preparation
from transforms import Compose

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import Dataset

    from training.trainer import Trainer


def read_data(config: ConfigMeta) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the train and test tables (id, path, and the columns of the targets).

    Raises:
        UserError: a file is missing; the message says how to make it. Or its samples are of
            another observation; or `limit_samples` does not fit the training table.
    """
    from datasets import load_index

    frames = []
    for path in (config.train_path, config.test_path):
        if not Path(path).is_file():
            raise UserError(
                f"{path} does not exist: make it with prep_data.py (--root_dir for the Kaggle "
                f"data, --simulate for simulated data), or name another with --set train_path=…"
            )
        frames.append(load_index(path, config.data_root, columns_of_tables(config)))
        check_sampling(
            path,
            read_sampling(Path(path).parent),
            observation_of(config).sampling,
            "name a table of its own samples with --set train_path=… test_path=…, or write one "
            "with `python prep_data.py --config NAME`",
        )
    if config.debug:
        frames = [frame.head(n) for frame, n in zip(frames, (10_000, 1_000), strict=True)]
    return limit_rows(config, frames[0]), frames[1]


def read_targets(config: ConfigMeta, train: pd.DataFrame) -> TrainingTargets:
    """Return the targets of the rows of the training table, with those of side targets.

    Raises:
        UserError: a column is missing, or holds what the config does not expect.
    """
    outputs, path = outputs_of(config), config.train_path
    check_columns_of_table(train, path, outputs.target.columns)
    sides = read_side_values(config, outputs.sides, train, path)
    parts = (outputs.target.read(train, path), outputs.target.read_learnt(train, path))
    return TrainingTargets(*(np.concatenate([part, sides], axis=1) for part in parts))


def open_cache(config: ConfigMeta, split: str, device: torch.device | None = None) -> Any:
    """Return the cache of a split, None where the config names none.

    Args:
        split: 'train' or 'test'.
        device: hold it there; None leaves it on disk.

    Raises:
        UserError: it is missing, damaged or of another observation, or there is none to hold on a
            device.
    """
    path = getattr(config, f"{split}_cache")
    if path is None:
        if device is not None:
            raise UserError(
                f"--cache_device needs caches: make them with `python prep_data.py --cache` and "
                f"name them with --set train_cache=… test_cache=…; {split}_cache is not set"
            )
        return None
    if device is not None:
        from data.device_cache import device_cache

        return device_cache(str(Path(path).absolute()), device, observation_of(config).sampling)
    from data.strain_cache import StrainCache

    return StrainCache(path, observation_of(config).sampling)


def check_caches(
    config: ConfigMeta, train: pd.DataFrame, test: pd.DataFrame, device: torch.device | None = None
) -> None:
    """See that the caches hold the samples; those of the test are needed only after the training.

    Raises:
        UserError: one is missing, damaged or of other data; or there is none to hold on a device.
    """
    for split, table in (("train", train), ("test", test)):
        if getattr(config, f"{split}_cache") is None:
            open_cache(config, split, device)
        else:
            open_cache(config, split).rows_of(table["id"].to_numpy(str))


def compile_network(model: torch.nn.Module) -> None:
    """Compile the backbone of an image model, or the whole of a network on waveforms.

    Front-ends are left out: torch's compiler does not take complex numbers. The names of the
    weights stay as they are.
    """
    # In place: torch.compile(model) would put "_orig_mod." before the names of all weights.
    part = model.network if hasattr(model, "network") else model
    part.compile()


def build_model(
    config: ConfigMeta, pretrained: bool = False, weights: str | None = None
) -> torch.nn.Module:
    """Return the network of a config.

    Args:
        pretrained: begin with the pretrained weights that the config asks for; without it, as
            where a checkpoint follows, none are looked for.
        weights: local file to begin with instead; its head is adapted.

    Raises:
        UserError: a file for a network without a backbone of timm.
    """
    params = thaw(config.model_params)
    known = accepted_arguments(config.model) or set()
    params |= count_outputs(config, params, known)
    if weights is not None and "weights" not in known:
        raise UserError(
            f"--weights {weights}: {config.model.__name__} of {config.__name__} has no backbone "
            f"of timm to load it into: begin with a checkpoint of a run by --set weight_path=FILE"
        )
    if "pretrained" in known:
        # the command line can forbid what the config asks for, and not the reverse
        params["pretrained"] = params.get("pretrained", False) and pretrained
    if "weights" in known:
        params["weights"] = weights or (params.get("weights") if pretrained else None)
    if "observation" in known:
        params["observation"] = observation_of(config)
    if "population" in known:
        params["population"] = population_of(config)
    return build_object(config.model, params)


def count_outputs(
    config: ConfigMeta, params: Mapping[str, Any], known: Collection[str]
) -> dict[str, int]:
    """Return the network's argument for its number of outputs, {} where its default is right.

    Args:
        params: of the network, as the config states them.
        known: the arguments that it takes; one without `num_classes` must know by itself.

    Raises:
        UserError: the config states another number.
    """
    width = outputs_of(config).width
    if "num_classes" not in known or params.get("num_classes", 1) == width:
        return {}
    stated = params.get("num_classes")
    if stated is not None and width > 1:
        raise UserError(
            f"model_params.num_classes = {stated}, and targets and side_targets need {width} "
            f"outputs: leave num_classes out"
        )
    # A config of one output may state another number for a purpose of its own, as 0 for features.
    return {} if stated is not None else {"num_classes": width}


def build_parts(config: ConfigMeta, key: str) -> list[Any]:
    """Return the objects of a setting that is a tuple of parts.

    Raises:
        UserError: something else is in it.
    """
    parts = getattr(config, key)
    wrong = [part for part in parts if not isinstance(part, Part)]
    if wrong:
        raise UserError(f"{key} holds {wrong[0]!r}: expected parts, which are named in configs.py")
    return [part.build_for(observation=observation_of(config)) for part in parts]


def observation_of(config: ConfigMeta) -> Observation:
    """Return what the config says is observed.

    Raises:
        UserError: a detector or a curve is not known, or numbers are out of their range.
    """
    return config.observation.build()


def population_of(config: ConfigMeta) -> Population:
    """Return the laws of the signals that the config says.

    Raises:
        UserError: a law is not known, or its numbers are out of their range.
    """
    return config.population.build()


def build_transforms(parts: tuple | None, observation: Observation) -> torch.nn.Module:
    """Return the chain of a tuple of parts; those that depend on the observation are given it."""
    return Compose([part.build_for(observation=observation) for part in parts or ()])


def build_preparation(config: ConfigMeta, stage: str, device: torch.device) -> Preparation:
    """Return what prepares the batches of a stage, 'train' or 'test', on the device."""
    for key in ("transforms", "transforms2"):
        stages = getattr(config, key)
        if stages is not None and stage not in stages:
            raise UserError(f"{key} has no {stage!r}: say what is done in 'train' and in 'test'")
    second, observation = None, observation_of(config)
    if config.transforms2 is not None:
        second = build_transforms(config.transforms2[stage], observation).to(device)
    first = build_transforms(config.transforms[stage], observation).to(device)
    return Preparation(first, second)


def try_one_sample(trainer: Trainer, samples: Any) -> None:
    """Give an image network one prepared sample of a data set before the first epoch.

    Only the data and the transforms together tell how many detectors and samples reach it.

    Raises:
        UserError: the network does not take strain of that shape.
    """
    if not hasattr(trainer.model, "try_input"):  # networks on waveforms
        return
    # The state of the generators must not depend on a trial.
    devices = [trainer.device] if trainer.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        batch = samples.__getitems__(IndexBatch([0], seed=0))
        trainer.model.try_input(trainer.prepare_batch(batch, "test")["waveform"])


def build_optimizer(
    config: ConfigMeta, model: torch.nn.Module, device: torch.device
) -> torch.optim.Optimizer:
    params = thaw(config.optimizer_params)
    optim = torch.optim
    can_fuse = device.type == "cuda" and config.optimizer in (optim.Adam, optim.AdamW, optim.SGD)
    # One kernel for all parameters, unless the config chooses how a step is computed. It also takes
    # the scaler's flag of bad gradients on the device; for any other, the host must wait for it.
    if can_fuse and not {"foreach", "fused", "differentiable"} & params.keys():
        params["fused"] = True
    parameters = model.parameters()
    if config.parameter_groups is not None:
        groups = config.parameter_groups.build()
        parameters = groups.split(model, config.optimizer, params)
    try:
        optimizer = config.optimizer(parameters, **params)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer_params of {config.optimizer.__name__}: {error}") from error
    return optimizer if config.lookahead is None else config.lookahead.build().around(optimizer)


def build_scheduler(
    config: ConfigMeta, optimizer: torch.optim.Optimizer, updates_per_epoch: int
) -> Any:
    """Return the schedule of a config, None for none; a length that it leaves out is filled in.

    Args:
        updates_per_epoch: optimiser steps in an epoch.

    Raises:
        UserError: the class refuses its arguments.
    """
    if config.scheduler is None:
        return None
    params = fill_in_length(
        config.scheduler,
        thaw(config.scheduler_params),
        config.num_epochs,
        updates_per_epoch,
        config.batch_scheduler,
    )
    return build_object(config.scheduler, share_maximum(params, optimizer), optimizer)


def build_dataset(
    config: ConfigMeta,
    outputs: Outputs,
    device: torch.device,
    samples: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
) -> Dataset:
    """Return the data set of a config.

    Args:
        outputs: what is predicted of the samples.
        device: where data sets that draw their samples do so.
        samples: its arguments `paths`, `targets`, `ids`, `cache` and `is_test`.
        more: further arguments, which come before those of the config.
    """
    offered = {
        "device": device,
        "observation": observation_of(config),
        "population": population_of(config),
        "side_targets": [side.quantity for side in outputs.sides],
    }
    # The data set takes those that it has arguments for.
    known = accepted_arguments(config.dataset) or ()
    given = {key: value for key, value in offered.items() if key in known}
    params = {**samples, **thaw(config.dataset_params), **(more or {}), **given}
    return build_object(config.dataset, params)


def draws_its_samples(config: ConfigMeta) -> bool:
    """Whether the data set draws its training samples, whatever the table has."""
    return "samples_per_epoch" in inspect.signature(config.dataset).parameters


def count_training_samples(config: ConfigMeta, rows: int, labelled: int) -> int:
    """Return how many samples an epoch has.

    Args:
        rows: of the fold's training rows in the table.
        labelled: test samples that join them with pseudo-labels.
    """
    if draws_its_samples(config):
        drawn = inspect.signature(config.dataset).parameters["samples_per_epoch"]
        return config.dataset_params.get("samples_per_epoch", drawn.default)
    return rows + labelled


def weights_of_fold(config: ConfigMeta, results: Path, fold: int) -> Path:
    """Return the file that `weight_path` means for a fold.

    One file is used for all folds. In a run directory, each fold has its own file, and in that of
    several seeds each seed has. The name of an experiment means its run directory in `results`.

    Raises:
        UserError: the run directory is one of several seeds, and has none of this config.
    """
    path = Path(config.weight_path)
    # A folder that has the name of an experiment by chance, as demo/ of this repository, is no run.
    is_run = path.is_file() or any(path.glob("fold*.pt")) or bool(seeds_in(path))
    if not is_run and config_named(config.weight_path) is not None:
        path = results / config.weight_path
    elif not path.is_dir():
        return path
    of_seed = seed_folder(path, config.seed)
    if of_seed.is_dir():
        return of_seed / f"fold{fold}.pt"
    seeds = seeds_in(path)
    if seeds:
        raise UserError(
            f"weight_path = {config.weight_path}: {path} is a run of the seeds "
            f"{', '.join(map(str, seeds))}, and this run has the seed {config.seed}: name one of "
            f"them with --set weight_path={seed_folder(path, seeds[0])}, or use the same seeds"
        )
    return path / f"fold{fold}.pt"


def provenance(config: ConfigMeta, device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "command": sys.argv,
        "seed": config.seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": f"{device} {name}".strip(),
        "processes": distributed.world_size(),
        "threads": torch.get_num_threads(),
        "git_revision": git_revision(),
        "versions": versions(),
    }
