"""What a training would refuse of a config before it reads any data: `train.py --show`."""

from __future__ import annotations

import torch
from torch import nn

from configuration.config_class import ConfigMeta
from configuration.types import accepted_arguments
from experiments.building import (
    build_model,
    build_optimizer,
    build_parts,
    build_preparation,
    build_scheduler,
    observation_of,
    population_of,
)
from experiments.folds import check_splitter
from experiments.objectives import build_objective, check_fits
from experiments.run_names import check_run_name
from experiments.targets import outputs_of
from runtime.errors import UserError
from tracking.trackers import read_tracker_names
from training.checks_before_training import check_score_names
from training.precision import choose_amp_dtype
from training.settings import Loading, Precision, Schedule, check_at_least_one

CPU = torch.device("cpu")
SOME_UPDATES = 10  # of an epoch, for the length of a schedule


def check_settings(config: ConfigMeta) -> None:
    """Refuse numbers and names that `Experiment` refuses before it reads a table.

    Raises:
        UserError: one makes no sense, or settings do not go together.
    """
    check_run_name(config.name)
    for key in ("batch_size", "accumulate", "num_epochs", "max_bad_losses"):
        check_at_least_one(key, getattr(config, key))
    if config.warmup_epochs < 0:
        raise UserError(f"warmup_epochs = {config.warmup_epochs:g}: expected 0 or more")
    read_tracker_names(config.tracker)  # a package may be missing
    check_fits(config, outputs_of(config))


def check_config(config: ConfigMeta) -> None:
    """Refuse what a training of this config would refuse, as far as can be told without its data.

    Everything that a config names is built but a bank of templates, which takes minutes, and what
    starts from files: pretrained weights, weights of other runs, and the data set itself.

    Raises:
        UserError: as in the training.
    """
    check_settings(config)
    observation_of(config)
    population_of(config)
    check_splitter(config)
    Loading(config.batch_size, config.accumulate)
    Precision(config.amp, config.clip_grad, config.max_grad_norm, config.max_bad_losses)
    if config.amp != "fp16":  # which a GPU elsewhere may have
        choose_amp_dtype(config.amp, CPU)
    if config.pseudo_labels is not None:
        config.pseudo_labels.build()
    monitors = build_parts(config, "monitor_metrics")
    build_objective(config, monitors)
    for stage in ("train", "test"):
        build_preparation(config, stage, CPU)
    average = None if config.checkpoint_average is None else config.checkpoint_average.build()
    followers = [*build_parts(config, "callbacks"), average]
    check_score_names(build_schedule(config), followers, monitors)
    if "bank_size" not in (accepted_arguments(config.model) or ()):
        build_model(config)


def build_schedule(config: ConfigMeta) -> Schedule:
    """Return the schedule of a config, for an optimiser of a single weight.

    Raises:
        UserError: optimiser or schedule refuse their arguments.
    """
    network = nn.Module()
    network.weight = nn.Parameter(torch.zeros(1, 1))  # some optimisers take matrices alone
    scheduler = None
    if config.parameter_groups is None:
        optimizer = build_optimizer(config, network, CPU)
        scheduler = build_scheduler(config, optimizer, SOME_UPDATES)
    else:  # they are formed of a real network
        config.parameter_groups.build()
    return Schedule(
        num_epochs=config.num_epochs,
        scheduler=scheduler,
        batch_scheduler=config.batch_scheduler,
        scheduler_target=config.scheduler_target,
        warmup_steps=round(config.warmup_epochs * SOME_UPDATES),
        freeze=None if config.freeze is None else config.freeze.build(),
    )
