"""Loaders: the rows of a data set in counted batches, from this process or from readers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from data.batch_order import CountedBatchSampler
from datasets import collate
from runtime.errors import UserError
from training import distributed
from training.settings import Loading
from training.state import TrainerState


def make_loader(
    dataset: Dataset,
    loading: Loading,
    *,
    shuffle: bool,
    counters: tuple[int, int],
    device: torch.device,
) -> DataLoader:
    """Return a loader of this process's share of a data set.

    Args:
        shuffle: for training: a new order each epoch; without it, the order of the data set.
        counters: what the order is counted from, (seed, fold).
        device: where the batches will go.
    """
    sampler = CountedBatchSampler(
        len(dataset),
        loading.batch_size,
        shuffle,
        counters=counters,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    # A data set that lives on the GPU cannot be read from other processes.
    on_device = getattr(dataset, "on_device", False)
    workers = 0 if on_device else loading.num_workers
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=device.type == "cuda" and not on_device,
        # Readers may live on from epoch to epoch: the indices bring all that an epoch needs.
        persistent_workers=workers > 0,
    )


def count_in_new_batches(
    state: TrainerState, sampler: CountedBatchSampler, loading: Loading, checkpoint: Path
) -> None:
    """Count the steps of a resumed epoch in batches of the size that they have now.

    A checkpoint lies between two optimiser steps. Where these have as many rows as before, a new
    batch begins there too.

    Args:
        state: `step` and `rows_per_batch` are set.
        sampler: of the training rows, with the new batch size.
        loading: the new batch size and accumulation.
        checkpoint: named in the message.

    Raises:
        UserError: no new optimiser step begins where the checkpoint lies.
    """
    processes = distributed.world_size()
    now = loading.batch_size * processes
    before = state.rows_per_batch or now
    if before != now and state.step:
        earlier = CountedBatchSampler(sampler.n, before, shuffle=True)
        is_whole = state.step >= earlier.num_batches
        rows = sampler.n if is_whole else earlier.step_bounds(state.step)[0]
        step = sampler.find_step(rows)
        if step is None or (step % loading.accumulate and step < sampler.num_batches):
            raise UserError(
                f"{checkpoint} was saved after {rows} rows of an epoch, where no optimiser step of "
                f"batch_size = {loading.batch_size} and accumulate = {loading.accumulate} begins: "
                f"resume with --set batch_size={before // processes} as before"
            )
        state.step = step
    state.rows_per_batch = now
