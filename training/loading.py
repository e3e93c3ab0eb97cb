"""Loaders: the rows of a data set in counted batches, from this process or from readers."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset

from data.batch_order import CountedBatchSampler
from datasets import collate
from training import distributed
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
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=device.type == "cuda" and not on_device,
        # Readers may live on from epoch to epoch: the indices bring all that an epoch needs.
        persistent_workers=workers > 0,
    )
