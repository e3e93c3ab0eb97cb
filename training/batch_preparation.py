"""Transforms of a whole batch: which fields hold waveforms, what the network takes of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from datasets import Batch

WAVEFORMS = ("waveform", "waveform2")


class OnWaveforms:
    """Applies one transform to every waveform of a batch: a batch -> batch of a tensor -> tensor.

    It must draw nothing at random, or two views of one strain would be changed differently.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self.transform = transform

    def __call__(self, batch: Batch) -> Batch:
        # a new dict: the batch may serve other views as well
        changed = {key: self.transform(batch[key]) for key in WAVEFORMS if key in batch}
        return {**batch, **changed}


class Preparation:
    """Turns the strain of a batch into the input of the network: one tensor, or two.

    Args:
        transform: strain (B, 3, T) to the field `waveform`.
        second: the same strain to the field `waveform2`, for networks of two inputs; None for
            none.
    """

    def __init__(
        self,
        transform: Callable[[Tensor], Tensor],
        second: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.transform, self.second = transform, second

    @property
    def is_odd(self) -> bool:
        """Whether the input of -strain is minus that of the strain, bit for bit."""
        chains = [self.transform] if self.second is None else [self.transform, self.second]
        return all(getattr(chain, "is_odd", False) for chain in chains)

    def __call__(self, batch: Batch) -> Batch:
        strain = batch["waveform"]
        batch = {**batch, "waveform": self.transform(strain)}
        if self.second is not None:
            # of the strain, not of what the first chain has made of it
            batch["waveform2"] = self.second(strain)
        return batch
