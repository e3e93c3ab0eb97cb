"""What torch can compute on: cores, memory, CUDA, bf16."""

from __future__ import annotations

import os

import torch

from runtime.machine import num_cores


def describe_cpu() -> str:
    """Return cores and memory, e.g. '2 cores, 16 GiB of memory'."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{num_cores()} cores, {pages / 2**30:.0f} GiB of memory"


def describe_cuda() -> str:
    """Return whether CUDA works here, tried with a product, and otherwise why not."""
    if torch.version.cuda is None:
        return f"no: torch {torch.__version__} is built for the CPU alone"
    count = torch.cuda.device_count()
    if not count:
        return f"no: torch is built for CUDA {torch.version.cuda} and finds no GPU (nvidia-smi?)"
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    why = fault_of(torch.device("cuda"), torch.float32)
    return f"{names}, CUDA {torch.version.cuda}" if why is None else f"no: {names}: {why}"


def describe_bf16(device: torch.device) -> str:
    """Return whether bf16 works on a device, and whether it is fast there.

    On a GPU `amp = True` takes it where it is native; a CPU computes in float32 unless a config
    says amp = 'bf16'.
    """
    why = fault_of(device, torch.bfloat16)
    if why is not None:
        return f"no: {why}"
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "yes" if native else "emulated only: amp = True takes fp16"
    # Without instructions for it, bf16 is slower than float32 on a CPU.
    flags = cpu_flags()
    if flags & {"amx_bf16", "avx512_bf16"}:
        return "yes, in hardware: --set amp=bf16"
    return "yes, but without instructions for it: leave amp as it is"


def fault_of(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why a small product of that type is not right on a device, None where it is."""
    try:
        ones = torch.ones(8, 8, device=device, dtype=dtype)
        result = float((ones @ ones).float().sum())
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None if result == 512 else f"a product of {dtype} is wrong ({result} instead of 512)"


def cpu_flags() -> set[str]:
    """Return the flags of the processor as Linux lists them; empty elsewhere."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line for line in file if line.startswith("flags")]
    except OSError:
        return set()
    return set(lines[0].partition(":")[2].split()) if lines else set()


def find_device() -> torch.device:
    """Return the device that a training would take: the first GPU, or the CPU."""
    return torch.device("cuda") if torch.cuda.device_count() else torch.device("cpu")
