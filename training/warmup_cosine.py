"""The learning rate over a fit: a linear warm-up, then half a cosine."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import LRScheduler

from runtime.errors import UserError


class WarmupCosine(LRScheduler):
    """A linear warm-up of the learning rate, then half a cosine down to `eta_min`.

    With n of N steps done, W = warmup N of them the warm-up, and λ the optimiser's learning rate,

        λ (n + 1) / (W + 1)                                            for n < W,
        eta_min + (λ - eta_min) (1 + cos(π (n - W) / (N - W))) / 2     after that.

    Made for `batch_scheduler = True`, where a step is an optimiser step; otherwise it is an epoch.

    Args:
        total_steps: N; in a config it is filled in from `num_epochs` and the batch size.
        warmup: share of the steps that the warm-up takes.
        eta_min: learning rate at the end.
        optimizer: given by the run.
        last_epoch: steps that have been done already, less one; leave it.

    Raises:
        UserError: a share outside [0, 1).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        warmup: float = 0.05,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warmup < 1:
            raise UserError(f"WarmupCosine: warmup = {warmup}: expected a share from 0 to below 1")
        self.total_steps, self.warmup_steps = total_steps, round(warmup * total_steps)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the learning rate of each group of parameters; torch calls it."""
        done = self.last_epoch
        if done < self.warmup_steps:
            return [rate * (done + 1) / (self.warmup_steps + 1) for rate in self.base_lrs]
        length = max(self.total_steps - self.warmup_steps, 1)
        phase = math.pi * min((done - self.warmup_steps) / length, 1)
        return [
            self.eta_min + (rate - self.eta_min) * (1 + math.cos(phase)) / 2
            for rate in self.base_lrs
        ]
