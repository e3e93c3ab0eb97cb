"""The context in which float32 products are computed in full."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from paths import ROOT

from runtime.float32_precision import full_precision, precision_switches


def test_full_precision_takes_tf32_away_and_gives_it_back(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision("cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


# Each is a way to set the precision of float32 products, by the older or the newer switches.
SETTINGS = {
    "nothing": "",
    "older, matmul": "torch.set_float32_matmul_precision('medium')",
    "older, cuBLAS": "torch.backends.cuda.matmul.allow_tf32 = True",
    "older, cuDNN": "torch.backends.cudnn.allow_tf32 = False",
    "newer, everywhere": "torch.backends.fp32_precision = 'tf32'",
    "newer, CPU products": "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "newer, CPU convolutions": "torch.backends.mkldnn.conv.fp32_precision = 'bf16'",
    "newer, cuDNN": "torch.backends.cudnn.conv.fp32_precision = 'tf32'",
}
PROGRAM = """
import os, sys, torch
from runtime.float32_precision import full_precision, precision_switches

for setting in sys.argv[1:]:
    if os.fork():  # a process for each: none sees what another has set
        assert os.wait()[1] == 0, setting
        continue
    exec(setting)
    found = [switch.fp32_precision for switch in precision_switches()]
    with full_precision("cpu"):
        inside = [switch.fp32_precision for switch in precision_switches()]
    after = [switch.fp32_precision for switch in precision_switches()]
    os._exit(0 if after == found and set(inside) == {"ieee"} else 1)
"""


@pytest.mark.skipif(not precision_switches(), reason="this torch has the older switches only")
def test_every_switch_is_as_it_was_found() -> None:
    command = [sys.executable, "-c", PROGRAM, *SETTINGS.values()]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
