"""When tests that write ONNX files can run."""

from __future__ import annotations

import importlib.util

import pytest
import torch

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES) or torch.__version__ < "2.7",
    reason="needs pip install -e '.[export]', and torch 2.7 or later for constants in a graph",
)
