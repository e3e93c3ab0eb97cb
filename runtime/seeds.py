"""Seeds: every random draw has a seed that is computed from counters, never a running state."""

from __future__ import annotations

import hashlib
import random


def counted_seed(*counters: int | str) -> int:
    """Return a 63-bit seed that depends on every counter, e.g. (seed, fold, epoch, step, rank).

    No state of a generator is carried from step to step. A run that was killed and resumed
    therefore draws what an uninterrupted run draws, and a fold trained alone equals that fold of a
    full run. The seeds must never change: checkpoints of older versions depend on them.
    """
    digest = hashlib.blake2b(repr(counters).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_everything(*counters: int | str) -> int:
    """Seed Python, numpy and torch (all devices) from `counters`; return the seed."""
    import numpy as np
    import torch

    seed = counted_seed(*counters)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - timm and others draw from the global generator
    torch.manual_seed(seed)
    return seed
