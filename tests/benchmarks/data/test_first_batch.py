"""The memory of a process is counted."""

from __future__ import annotations

from benchmarks.data.first_batch import memory_of_all


def test_memory_counts_this_process() -> None:
    memory = memory_of_all()
    if memory is not None:  # a system with /proc
        assert 50e6 < memory["proportional"] <= memory["resident"]
