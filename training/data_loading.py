"""Loaders: the rows of a data set in counted batches, from this process or from readers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from data.batch_order import CountedBatchSampler
from datasets import Batch, collate
from runtime.errors import UserError
from runtime.seeds import seed_everything
from training import distributed
from training.checkpoints import first_line
from training.fit_state import TrainerState
from training.settings import Loading


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
        ReturnsErrors(dataset) if workers else dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        # pinned memory is what an asynchronous copy to the GPU needs
        pin_memory=device.type == "cuda" and not on_device,
        # Readers may live on from epoch to epoch: the indices bring all that an epoch needs.
        persistent_workers=workers > 0,
    )


def read_single_batch(
    dataset: Dataset, loading: Loading, step: int, counters: tuple[int, int], device: torch.device
) -> Batch:
    """Return one batch of the first epoch, with the random numbers that it will have there."""
    loading = replace(loading, num_workers=0)  # one batch is not worth starting readers
    loader = make_loader(dataset, loading, shuffle=True, counters=counters, device=device)
    loader.batch_sampler.set_epoch(0, step)
    seed_everything(*counters, 0, step, distributed.rank())
    return next(iter(loader))


class ReturnsErrors(Dataset):
    """A data set whose mistakes are returned in place of a batch, for reader processes.

    torch raises an error of a reader anew, with its traceback as the message. Returned as a value
    it arrives as it is; `read_batches` raises it.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> Batch | Exception:
        try:
            return self.dataset.__getitems__(indices)
        # Anything else is a bug, whose traceback in the reader is worth having.
        except (UserError, OSError, MemoryError) as error:
            return error


def read_batches(batches: Iterable[Batch | Exception]) -> Iterator[Batch]:
    """Yield the batches of a loader, or raise what went wrong in a reader process.

    Raises:
        UserError: of the data set, e.g. a damaged file.
        OSError: likewise, e.g. a file that cannot be opened.
        MemoryError: likewise.
    """
    for batch in batches:
        if isinstance(batch, Exception):
            raise batch
        yield batch


@contextlib.contextmanager
def explains_lost_readers(num_workers: int) -> Iterator[None]:
    """Raise a `UserError` where torch reports that a reader process was killed.

    torch notices it in a signal handler, so that the error may be raised anywhere in the block.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        shared = "shared memory (/dev/shm)" if "Bus error" in str(error) else "memory"
        raise UserError(
            f"a reader process has ended ({first_line(error)}), most often because the {shared} "
            f"was full: start again with fewer readers, --num_workers {num_workers // 2}, and "
            f"--resume where it was training"
        ) from error


def weigh_batch(
    rows: int, sampler: CountedBatchSampler, step: int, accumulate: int, total: int
) -> float:
    """Return the factor on a batch's mean loss that gives a step the mean over all its rows.

    The gradients of the batches of an optimiser step are added up, and those of W processes
    averaged. With n_i rows in batch i, n in all, and L_i the mean loss of a batch,

        mean over rows = sum_i (n_i / n) L_i = (1 / W) sum_i (W n_i / n) L_i,

    whatever the number of batches and processes, and however short the last ones are.

    Args:
        rows: n_i, of this process's batch.
        sampler: of the epoch.
        step: the number of the batch in it.
        accumulate: batches of an optimiser step.
        total: batches of the epoch.
    """
    # the batches of this optimiser step; the last one of an epoch may have fewer
    first = step - step % accumulate
    steps = range(first, min(first + accumulate, total))
    rows_of_step = sum(sampler.rows_of_step(number) for number in steps)  # n
    return rows * distributed.world_size() / rows_of_step


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
        # in the old batches, to count the rows that they have covered
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
