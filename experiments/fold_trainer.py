"""The network and the trainer of one fold, from a config and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from configuration.config_class import ConfigMeta
from experiments.building import (
    build_model,
    build_optimizer,
    build_parts,
    build_preparation,
    build_scheduler,
    compile_network,
    weights_of_fold,
)
from experiments.objectives import build_objective
from experiments.own_code import changed_code
from experiments.run_options import RunOptions
from runtime.console import LOGGER
from runtime.errors import UserError
from training import distributed
from training.checkpoints import adopt_weights
from training.fit_state import TrainerState
from training.gradient_checkpointing import checkpoint_blocks
from training.settings import Checkpointing, Loading, Precision, Reporting, Schedule
from training.trainer import Trainer
from training_extras import KeepLast, WeightAverage

DRY_RUN_BATCHES = 2


def build_network(
    config: ConfigMeta,
    options: RunOptions,
    device: torch.device,
    fold: int,
    training: bool,
    pretrained: bool,
) -> torch.nn.Module:
    """Return the network of a fold.

    Args:
        training: whether it will be trained.
        pretrained: begin with the weights that config and command line name; without, as where a
            checkpoint follows, none are looked for.

    Raises:
        UserError: they are missing or of another network.
    """
    # Pretrained weights are not even read where a checkpoint replaces them a moment later.
    model = build_model(
        config, pretrained and options.pretrained, options.weights if pretrained else None
    ).to(device)
    # In place: the names of the parameters stay those of checkpoints without --compile.
    if options.compile:
        compile_network(model)
        if training and config.sync_batch_norm and distributed.world_size() > 1:
            LOGGER.warning(
                "--compile leaves out every batch norm where several processes share their "
                "statistics: --set sync_batch_norm=false compiles them too"
            )
    if training and config.gradient_checkpointing:
        if options.compile:
            raise UserError(
                "--compile decides itself what it keeps for the backward pass: leave it out, or "
                "--set gradient_checkpointing=false"
            )
        checkpoint_blocks(model)
    if training and pretrained and config.weight_path is not None:
        adopt_weights(model, weights_of_fold(config, Path(options.results), fold))
    return model


def build_fold_trainer(
    config: ConfigMeta,
    options: RunOptions,
    device: torch.device,
    folder: Path,
    fold: int,
    network: torch.nn.Module,
    updates_per_epoch: int | None,
    watch: Callable[[TrainerState], str | None] | None = None,
    validates: bool = True,
) -> Trainer:
    """Return the trainer of a fold.

    Args:
        folder: where its checkpoints go.
        network: of the fold, on the device.
        updates_per_epoch: optimiser steps of an epoch; None for a trainer that only predicts.
        watch: called after each epoch; a text that it returns ends the training, as the reason.
        validates: whether the fold has validation samples. Without any, the weights of the last
            epoch are kept, whatever callbacks the config has.

    Raises:
        UserError: a setting makes no sense.
    """
    target = config.scheduler_target
    if not validates and target is not None and target.startswith("valid_"):
        raise UserError(
            f"scheduler_target = {target!r}, and no sample is validated: choose a schedule that "
            f"takes no score, or hold some samples out with --set splitter=HoldOut cv=1"
        )
    average = config.checkpoint_average
    if not validates and average is not None and average.build().which == "best":
        raise UserError(
            "checkpoint_average takes the best epochs, and no sample is validated: take the last "
            "ones with --set checkpoint_average.which=last"
        )
    optimizer = scheduler = ema = None
    if updates_per_epoch is not None:
        optimizer = build_optimizer(config, network, device)
        scheduler = build_scheduler(config, optimizer, updates_per_epoch)
        ema = None if config.ema_decay is None else WeightAverage(network, config.ema_decay)
    # On a CPU reader processes would only compete with the training for the same cores.
    default_workers = 0 if device.type == "cpu" else 4
    return Trainer(
        network,
        optimizer=optimizer,
        objective=build_objective(config, build_parts(config, "monitor_metrics")),
        schedule=Schedule(
            num_epochs=config.num_epochs,
            scheduler=scheduler,
            batch_scheduler=config.batch_scheduler,
            scheduler_target=config.scheduler_target,
            warmup_steps=round(config.warmup_epochs * (updates_per_epoch or 0)),
            freeze=None if config.freeze is None else config.freeze.build(),
        ),
        loading=Loading(
            batch_size=config.batch_size,
            accumulate=config.accumulate,
            num_workers=default_workers if options.num_workers is None else options.num_workers,
            max_batches=DRY_RUN_BATCHES if options.dry_run else None,
        ),
        precision=Precision(
            amp=config.amp,
            clip_grad=config.clip_grad,
            max_grad_norm=config.max_grad_norm,
            max_bad_losses=config.max_bad_losses,
        ),
        checkpointing=Checkpointing(
            folder=folder,
            name=f"fold{fold}",
            checkpoint_every=options.checkpoint_every,
            average=(
                None if config.checkpoint_average is None else config.checkpoint_average.build()
            ),
        ),
        reporting=Reporting(
            show_progress=options.show_progress, log_steps=options.log_steps, watch=watch
        ),
        # No epoch is better than another where nothing is scored.
        callbacks=build_parts(config, "callbacks") if validates else [KeepLast()],
        transforms={stage: build_preparation(config, stage, device) for stage in ("train", "test")},
        ema=ema,
        device=device,
        counters=(config.seed, fold),
        sync_batch_norm=config.sync_batch_norm,
    )


def record_adjusted(state: TrainerState, fold: int, settings: dict[str, Any]) -> None:
    """Record the adjustable settings of this start with the epoch that they hold from.

    Args:
        state: of the fold, new or resumed.
        settings: as `identity.adjustable_settings` returns them.
    """
    # Only changes are listed, so that a run that is resumed a hundred times has one entry.
    before = {k: v for k, v in (state.adjusted or [{}])[-1].items() if k != "from_epoch"}
    if before == settings:
        return
    changed = [
        f"{key} {before[key]} -> {settings.get(key)}"
        for key in before
        if before[key] != settings.get(key) and key != "code"
    ]
    code = changed_code(before.get("code", {}), settings.get("code", {}))
    if code:
        changed.append(f"other code of {', '.join(code)}")
    if changed:
        LOGGER.info(f"fold {fold}: from epoch {state.epoch + 1} on {', '.join(changed)}")
    state.adjusted.append({"from_epoch": state.epoch + 1, **settings})
