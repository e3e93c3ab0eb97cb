"""The machine: memory that is kept."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from paths import ROOT


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept() -> None:
    code = """
import resource
import sys
from runtime.machine import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    keep_freed_memory()
b"x" * 2**26
before = faults()
for _ in range(4):
    b"x" * 2**26
print(faults() - before)
"""
    keep, give_back = (
        int(
            subprocess.run(
                [sys.executable, "-c", code, how],
                check=True,
                capture_output=True,
                text=True,
                cwd=ROOT,
            ).stdout
        )
        for how in ("keep", "give back")
    )
    # pages mapped anew: 65,536, or 128 where they are large
    assert keep < 40 < give_back


def test_tests_and_the_commands_that_they_start_have_the_same_threads() -> None:
    """Sums of other numbers of threads differ in their last digits, and with them digests."""
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
