"""Groups of gloo are kept until the process ends."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from training.process_groups import keep_for_good


def test_a_group_of_gloo_outlives_its_last_exchange(tmp_path: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    group = dist.group.WORLD
    references = sys.getrefcount(group)
    assert keep_for_good(group) is group
    assert sys.getrefcount(group) == references + 1
    values = [None]
    dist.all_gather_object(values, torch.arange(3))
    dist.destroy_process_group()
    assert values[0].tolist() == [0, 1, 2]
    assert group.size() == 1  # it is there, and so are its threads
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(group))  # this process goes on
