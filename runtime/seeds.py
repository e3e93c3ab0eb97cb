"""Randomness that is counted and not carried."""

from __future__ import annotations

import hashlib
import random


def counted_seed(*counters: int | str) -> int:
    """Return a 63-bit seed that depends on every counter, e.g. (seed, fold, epoch, step, rank).

    Randomness is counted, not carried: a run that was killed and resumed draws what the
    unbroken run would have drawn, and a fold trained alone equals that fold of a full run.
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
