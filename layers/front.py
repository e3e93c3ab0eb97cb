"""Places where a network can be cut in two, so that a search runs the first part by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class FrontStep(NamedTuple):
    """A step from strain towards logits, and what the network does after it.

    The first step takes strain (B, D, T), each next one what the step before it returned. A search
    runs some first steps, the front, over long strain where their output depends on nearby samples
    alone, and `rest` on what it cuts out of that for each window. How far they see it finds out by
    itself.

    Attributes:
        step: -> (B, ..., T'), the time last.
        rest: what `step` returned -> logits (B, num_classes).
    """

    step: Callable[[Tensor], Tensor]
    rest: Callable[[Tensor], Tensor]
