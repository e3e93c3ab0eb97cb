"""What is said of cores, CUDA and bf16 is tried, not looked up."""

from __future__ import annotations

import re

import pytest
import torch

from doctor import devices
from doctor.devices import describe_bf16, describe_cpu, describe_cuda, fault_of, find_device
from runtime.machine import num_cores

CPU = torch.device("cpu")


def test_cores_and_memory_are_counted() -> None:
    found = re.fullmatch(r"(\d+) cores?, (\d+) GiB of memory", describe_cpu())
    assert int(found[1]) == num_cores()
    assert int(found[2]) >= 1


def test_a_product_is_tried_in_each_type() -> None:
    assert fault_of(CPU, torch.float32) is None
    assert fault_of(CPU, torch.bfloat16) is None


def test_a_product_that_is_wrong_or_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, **options: 2 * ones(*shape, **options))
    assert "is wrong (2048.0 instead of 512)" in fault_of(CPU, torch.float32)

    def fail(*shape: int, **options: object) -> None:
        raise RuntimeError("no kernel image\nmore of it")

    monkeypatch.setattr(torch, "ones", fail)
    assert fault_of(CPU, torch.float32) == "no kernel image"
    assert describe_bf16(CPU) == "no: no kernel image"


def test_bf16_of_a_cpu_depends_on_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cpu_flags", lambda: {"avx2", "amx_bf16"})
    assert describe_bf16(CPU) == "yes, in hardware: --set amp=bf16"
    monkeypatch.setattr(devices, "cpu_flags", lambda: {"avx2"})
    assert describe_bf16(CPU).startswith("yes, but without instructions")


def test_why_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built for the CPU alone" in describe_cuda()
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert describe_cuda().startswith("no: torch is built for CUDA 12.8 and finds no GPU")
    assert find_device() == CPU


@pytest.mark.gpu
def test_cuda_works() -> None:
    if not torch.cuda.device_count():
        pytest.skip("needs a CUDA device")
    assert not describe_cuda().startswith("no:")
    assert torch.cuda.get_device_name(0) in describe_cuda()
