"""The switches of torch that hold for the whole process, restored after a command has run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from runtime.float32_precision import precision_switches

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # read by cuBLAS; deterministic algorithms need it


@contextlib.contextmanager
def torch_settings_restored() -> Iterator[None]:
    """Restore torch's global switches after the block, for callers that go on to other work.

    A command sets deterministic algorithms, cuDNN's search for the fastest algorithm and TF32 for
    its own run. A notebook or a sweep that calls it in its own process must find them as before.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    switches = precision_switches()
    precisions = [switch.fp32_precision for switch in switches]
    try:
        tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # torch refuses the older switches once the newer ones contradict them
        tf32 = None
    workspace = os.environ.get(CUBLAS)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        # The older switches write to the newer ones, so the newer ones are restored last.
        if tf32 is not None:
            torch.set_float32_matmul_precision(tf32[0])
            torch.backends.cudnn.allow_tf32 = tf32[1]
        for switch, precision in zip(switches, precisions, strict=True):
            switch.fp32_precision = precision
        if workspace is None:
            os.environ.pop(CUBLAS, None)
        else:
            os.environ[CUBLAS] = workspace
