"""When a fit saves its state between epochs, and when it stops because it was asked to."""

from __future__ import annotations

import time

import torch

from runtime import interruption
from training import distributed

ASK_EVERY = 10  # optimiser steps after which several processes agree on whether to save or to stop


class SaveClock:
    """Says between two optimiser steps whether to save and whether to stop; all processes alike.

    Args:
        minutes: between two saves.
        accumulate: batches of an optimiser step.
        device: where the processes exchange their wishes.
    """

    def __init__(self, minutes: float, accumulate: int, device: torch.device) -> None:
        self.minutes, self.accumulate, self.device = minutes, accumulate, device
        self.saved = time.monotonic()

    def restart(self) -> None:
        """Count from now on: an epoch begins, or the state was saved."""
        self.saved = time.monotonic()

    def ask(self, step: int) -> tuple[bool, bool]:
        """Return whether a save is due and whether a signal asked to stop.

        Args:
            step: batches done of the current epoch.
        """
        due = time.monotonic() - self.saved > 60 * self.minutes
        due, stop = self.agree(step, due, interruption.requested())
        return due, stop

    def agree(self, step: int, *wishes: bool) -> list[bool]:
        """Return which wishes any process has; several processes ask one another now and then."""
        if distributed.world_size() == 1:
            return list(wishes)
        if step // self.accumulate % ASK_EVERY:
            return [False] * len(wishes)
        return distributed.any_of(wishes, self.device)
