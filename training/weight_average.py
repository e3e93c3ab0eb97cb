"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from runtime.errors import UserError


class WeightAverage:
    """An exponential moving average of a network's weights and buffers, scored in its place.

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that short fits are not
    dominated by their initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise UserError(f"ema_decay = {decay}: expected a number between 0 and 1, say 0.999")
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = model.state_dict()
        floats, targets = [], []
        for name, average in self.model.state_dict().items():
            # Counters, such as num_batches_tracked of batch norm, have no meaningful average.
            if average.is_floating_point():
                targets.append(average)
                floats.append(current[name].to(average.dtype))
            else:
                average.copy_(current[name])
        # average += weight (current - average), one kernel for all tensors
        torch._foreach_lerp_(targets, floats, weight)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
