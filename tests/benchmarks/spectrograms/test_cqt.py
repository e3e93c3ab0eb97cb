"""The constant-Q front-end computes what nnAudio's layer does."""

from __future__ import annotations

import torch

from benchmarks.harness.timing import check_agreement
from benchmarks.spectrograms import cqt
from configs import Baseline
from configuration.class_with_arguments import thaw
from spectrograms.constant_q import CQT


def test_cqt_is_that_of_nnaudio() -> None:
    params = thaw(Baseline.model_params["spec_params"])
    x = torch.randn(2, 3, 4096)
    check_agreement("CQT", CQT(**params)(x), cqt.NNAudioCQT(**params)(x), 1e-4)
