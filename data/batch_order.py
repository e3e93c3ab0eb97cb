"""Which rows each step of an epoch has on each process, and the seed of what is drawn for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import Sampler

from runtime.errors import UserError
from runtime.seeds import counted_seed


class IndexBatch(list):
    """The indices of one batch, and the counted seed of what is drawn for it.

    Attributes:
        seed: the same on all ranks of a step.
        offset: how many rows of the step's global batch come before these; whatever is drawn
            with `seed` is drawn for the whole global batch, so that the ranks together draw what
            one process would have drawn.
        counters: what the seed is counted from, (seed, fold, epoch, step).
        progress: epochs before this batch, with a fraction.
        rank: the process it belongs to.
        batch_size: rows of a full batch on each rank; the last of an epoch may have fewer.
        epoch_steps: steps of the whole epoch.
    """

    def __init__(
        self,
        indices: Iterable[int],
        seed: int,
        offset: int = 0,
        counters: tuple[int | str, ...] = (),
        progress: float = 0.0,
        rank: int = 0,
        batch_size: int | None = None,
        epoch_steps: int = 1,
    ) -> None:
        super().__init__(indices)
        self.seed = seed
        self.offset = offset
        self.counters, self.progress = counters, progress
        self.rank, self.batch_size = rank, batch_size or len(self)
        self.epoch_steps = epoch_steps

    # A list subclass pickles its items only; reader processes need the other attributes as well.
    def __reduce__(self) -> tuple:
        return IndexBatch, (
            list(self),
            self.seed,
            self.offset,
            self.counters,
            self.progress,
            self.rank,
            self.batch_size,
            self.epoch_steps,
        )


class CountedBatchSampler(Sampler[IndexBatch]):
    """Batches of indices in an order that depends on (seed, fold), the epoch and nothing else.

    With `shuffle` (training), every rank takes its contiguous part of a global batch of
    `batch_size * world_size` rows, so that W ranks with batch size B see, step by step, the rows
    that one process with batch size W·B sees. The last, smaller global batch is kept and split
    as evenly as possible. If it would be a single row, it shares the rows of the batch before it:
    one row has no statistics, which batch norm on pooled features needs. Where the last batch has
    fewer rows than there are ranks, rank r takes row r mod rows: rows are then seen by more than
    one rank in that one step, but every rank has the same number of steps and none gets an empty
    batch, which would hang or break a collective. As the batches of an optimiser step may differ
    in size, from rank to rank and within an accumulation, a trainer weights the mean loss of each
    by `len(batch) * world_size / rows`, where `rows` is the sum of `rows_of_step` over the
    batches of the optimiser step; the average over ranks is then the mean over its rows.

    Without `shuffle` (evaluation), every rank takes one contiguous shard of the rows, none of
    them twice; ranks may have a different number of batches, even none.

    Args:
        n: number of samples.
        batch_size: rows a batch on each rank.
        shuffle: a new order for every epoch; without it, the order of the data.
        counters: what the order is counted from, (seed, fold).
        epoch, start_step: where to begin; see `set_epoch`.
        rank, world_size: which of how many processes this is.

    Raises:
        UserError: no samples, or a size or rank that makes no sense.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        shuffle: bool = False,
        *,
        counters: tuple[int | str, ...] = (0, 0),
        epoch: int = 0,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if n < 1:
            raise UserError("there are no samples to make batches of: check the index")
        if batch_size < 1:
            raise UserError(f"batch_size = {batch_size}: expected 1 or more")
        if not 0 <= rank < world_size:
            raise UserError(f"rank {rank} of {world_size}: expected 0 to world_size - 1")
        self.n, self.batch_size, self.shuffle = n, batch_size, shuffle
        self.counters = counters
        self.rank, self.world_size = rank, world_size
        self.set_epoch(epoch, start_step)

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """Choose the epoch; a resumed one begins at `start_step`, with its remaining batches."""
        if not 0 <= start_step <= self.num_batches:
            raise UserError(f"start_step = {start_step}: the epoch has {self.num_batches} steps")
        self.epoch, self.start_step = epoch, start_step

    @property
    def num_batches(self) -> int:
        """Steps of a whole epoch on this rank, whatever `start_step` is."""
        if self.shuffle:
            return -(-self.n // (self.batch_size * self.world_size))  # ceiling division
        first, last = self.bounds(0, self.n)
        return -(-(last - first) // self.batch_size)

    def __len__(self) -> int:
        """Batches that remain in this epoch."""
        return self.num_batches - self.start_step

    def rows_of_step(self, step: int) -> int:
        """Rows that all ranks together see in a step of a shuffled epoch."""
        start, stop = self.step_bounds(step)
        return max(stop - start, self.world_size)

    def step_bounds(self, step: int) -> tuple[int, int]:
        """Return the rows of a step of a shuffled epoch, as positions in its order."""
        whole = self.batch_size * self.world_size
        start, stop = step * whole, min((step + 1) * whole, self.n)
        # A single row is left over: the last two batches share their whole + 1 rows evenly. With
        # whole = 2 that would again leave a batch of one.
        if self.n % whole == 1 and whole > 2 and self.num_batches > 1:
            middle = (self.num_batches - 2) * whole + (whole + 2) // 2
            if step == self.num_batches - 2:
                return start, middle
            if step == self.num_batches - 1:
                return middle, self.n
        return start, stop

    def find_step(self, rows: int) -> int | None:
        """Return the step of a shuffled epoch that begins after `rows` rows; None if none does."""
        for step in range(self.num_batches):
            if self.step_bounds(step)[0] == rows:
                return step
        return self.num_batches if rows == self.n else None

    def bounds(self, start: int, stop: int) -> tuple[int, int]:
        """Return this rank's part of rows `start` to `stop`, parts as even as possible."""
        rows = stop - start
        # Fewer rows than ranks: some are used twice, so that no rank has an empty batch.
        if self.shuffle and rows < self.world_size:
            first = start + self.rank % rows
            return first, first + 1
        # The first `more` ranks get one row more than the others.
        each, more = divmod(rows, self.world_size)
        first = start + self.rank * each + min(self.rank, more)
        return first, first + each + (self.rank < more)

    def __iter__(self) -> Iterator[IndexBatch]:
        if self.shuffle:
            # All ranks draw the same order, each from a generator of its own.
            generator = torch.Generator()
            generator.manual_seed(counted_seed(*self.counters, self.epoch, "order"))
            order = torch.randperm(self.n, generator=generator)
        else:
            order = torch.arange(self.n)
            shard, end = self.bounds(0, self.n)
        for step in range(self.start_step, self.num_batches):
            if self.shuffle:
                start, stop = self.step_bounds(step)
                first, last = self.bounds(start, stop)
            else:
                # Evaluation: ranks read on in their own shard, independent of one another.
                start = first = shard + step * self.batch_size
                last = min(first + self.batch_size, end)
            counters = (*self.counters, self.epoch, step)
            yield IndexBatch(
                order[first:last].tolist(),
                counted_seed(*counters, "batch"),
                first - start,
                counters,
                self.epoch + step / self.num_batches,
                self.rank,
                self.batch_size,
                self.num_batches,
            )
