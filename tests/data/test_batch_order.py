"""The order of batches: counted, shared among processes, and resumed within an epoch."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from data.batch_order import CountedBatchSampler, IndexBatch
from runtime.errors import UserError


@pytest.mark.parametrize("n", [1, 3, 4, 31, 32, 33, 35, 63, 64])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_together_equal_one_process(n: int, world: int) -> None:
    one = CountedBatchSampler(n, 4 * world, shuffle=True, counters=(1, 2), epoch=3)
    ranks = [
        CountedBatchSampler(
            n, 4, shuffle=True, counters=(1, 2), epoch=3, rank=rank, world_size=world
        )
        for rank in range(world)
    ]
    batches = [list(rank) for rank in ranks]
    assert {len(rank) for rank in ranks} == {len(one)} == {len(part) for part in batches}
    for step, whole in enumerate(one):
        parts = [part[step] for part in batches]
        sizes = [len(part) for part in parts]
        rows = [row for part in parts for row in part]
        assert min(sizes) >= 1
        assert max(sizes) <= 4
        assert max(sizes) - min(sizes) <= 1
        assert {part.seed for part in parts} == {whole.seed}
        assert len(rows) == ranks[0].rows_of_step(step)
        if len(whole) >= world:
            assert rows == whole
            assert [part.offset for part in parts] == np.cumsum([0, *sizes[:-1]]).tolist()
        else:  # fewer rows than ranks: some are seen twice, none is lost
            assert set(rows) == set(whole)


def test_an_epoch_has_every_row_once_in_an_order_of_its_own() -> None:
    order = CountedBatchSampler(100, 8, shuffle=True, counters=(0, 1))
    epochs = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        epochs.append([row for batch in order for row in batch])
        assert sorted(epochs[-1]) == list(range(100))
    assert epochs[0] == epochs[2] != epochs[1]
    other_fold = CountedBatchSampler(100, 8, shuffle=True, counters=(0, 2))
    assert [row for batch in other_fold for row in batch] != epochs[0]
    seeds = {batch.seed for batch in order} | {batch.seed for batch in other_fold}
    assert len(seeds) == 2 * len(order)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("start", [0, 1, 12, 13])
def test_an_epoch_goes_on_where_it_stopped(shuffle: bool, start: int) -> None:
    order = CountedBatchSampler(100, 8, shuffle=shuffle)
    whole = [(list(batch), batch.seed, batch.offset) for batch in order]
    assert len(whole) == len(order) == order.num_batches == 13
    order.set_epoch(0, start_step=start)
    assert [(list(batch), batch.seed, batch.offset) for batch in order] == whole[start:]
    assert len(order) == 13 - start
    assert order.num_batches == 13
    order.set_epoch(1)
    assert len(order) == 13
    with pytest.raises(UserError, match="13 steps"):
        order.set_epoch(0, start_step=14)


@pytest.mark.parametrize("n", [1, 2, 10, 64, 65])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_every_row_once_and_in_order(n: int, world: int) -> None:
    rows = []
    for rank in range(world):
        order = CountedBatchSampler(n, 4, rank=rank, world_size=world)
        batches = list(order)
        assert len(batches) == len(order)
        assert all(1 <= len(batch) <= 4 for batch in batches)
        rows += [row for batch in batches for row in batch]
    assert rows == list(range(n))


def test_an_index_batch_survives_pickling() -> None:
    batch = pickle.loads(pickle.dumps(IndexBatch([3, 1], seed=2**62, offset=5)))
    assert (list(batch), batch.seed, batch.offset) == ([3, 1], 2**62, 5)
    assert isinstance(batch, IndexBatch)


def test_sizes_that_make_no_sense_are_refused() -> None:
    for arguments, message in (
        ({"n": 0, "batch_size": 1}, "no samples"),
        ({"n": 1, "batch_size": 0}, "batch_size"),
        ({"n": 1, "batch_size": 1, "rank": 2, "world_size": 2}, "rank 2 of 2"),
    ):
        with pytest.raises(UserError, match=message):
            CountedBatchSampler(**arguments)
