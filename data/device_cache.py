"""A cache whose strain is held on a device: batches are gathered there, without reader processes.

The competition's training set takes 27 GB and its test set 11 GB, which a large GPU holds beside
any network.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data.strain_cache import StrainCache
from physics.observation import Sampling
from runtime.console import progress
from runtime.errors import UserError

BYTES_AT_A_TIME = 192 * 2**20
MEMORY_SHARE = 0.9  # of the free memory that a cache may take


class DeviceCache:
    """Has the interface of a `StrainCache` and returns tensors on a device.

    Args:
        cache: the file.
        device: that holds its rows.

    Attributes:
        path: the file's.
        sampling: what its rows are samples of.
        data: (rows, detector, time) float32 on the device.

    Raises:
        UserError: it does not fit into the free memory of the device.
    """

    def __init__(self, cache: StrainCache, device: torch.device) -> None:
        self.cache, self.path, self.device = cache, cache.path, device
        self.sampling = cache.sampling
        need = cache.data.nbytes
        free = None
        if device.type == "cuda":
            # Memory that torch keeps from the training counts as free after this.
            torch.cuda.empty_cache()
            free = torch.cuda.mem_get_info(device)[0]
        if free is not None and need > MEMORY_SHARE * free:
            raise UserError(
                f"--cache_device: {cache.path} takes {need / 2**30:.1f} GiB and {device} has "
                f"{free / 2**30:.1f} GiB free: leave it out, and the cache is read from disk"
            )
        self.data = torch.empty(cache.data.shape, device=device)
        at_a_time = max(1, BYTES_AT_A_TIME // cache.row_bytes)  # rows
        for start in progress(range(0, len(cache), at_a_time), desc=f"{cache.path.name}"):
            rows = np.arange(start, min(start + at_a_time, len(cache)))
            self.data[rows[0] : rows[-1] + 1] = torch.from_numpy(cache.read(rows))

    def __len__(self) -> int:
        return len(self.cache)

    def find(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Return the row of every id, -1 where it is not there."""
        return self.cache.find(ids)

    def read(self, rows: np.ndarray) -> Tensor:
        """Return the strain of some rows, (n, detector, time) float32 on the device."""
        return self.data[torch.from_numpy(rows).to(self.device, non_blocking=True)]


@functools.lru_cache(maxsize=4)
def device_cache(path: str, device: torch.device, expected: Sampling | None = None) -> DeviceCache:
    """Return a cache on a device; a process reads each once, and all folds share it.

    Args:
        path: the file.
        device: that holds its rows.
        expected: what its rows must be samples of; None takes any.

    Raises:
        UserError: it does not fit, or see `StrainCache`.
    """
    return DeviceCache(StrainCache(path, expected), device)
