"""The Morlet front-end computes what the convolution does that it is compared with."""

from __future__ import annotations

import pytest
import torch

from benchmarks.harness.timing import check_agreement
from benchmarks.spectrograms import cwt
from benchmarks.spectrograms.direct_cwt import DirectMorletCWT
from configs import MultiInstance04, Nspec16


@pytest.mark.parametrize("config", [Nspec16, MultiInstance04])
def test_cwt_is_the_convolution_it_is_compared_with(config) -> None:
    front_end = cwt.front_end_of(config, quick=False, trainable_width=False)
    x = torch.randn(1, 3, 4096)
    image = front_end(x)
    assert image.shape == (1, 3, config.model_params["spec_params"]["n_scales"], 1024)
    assert check_agreement("CWT", image, DirectMorletCWT(front_end)(x), 1e-4) < 1e-4
