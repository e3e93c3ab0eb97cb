"""The gradients of the width are those of the convolution."""

from __future__ import annotations

import torch

from benchmarks.spectrograms import cwt, cwt_width
from benchmarks.spectrograms.direct_cwt import DirectMorletCWT
from configs import Nspec16


def test_gradients_of_the_width_are_the_same() -> None:
    front_end = cwt.front_end_of(Nspec16, quick=False, trainable_width=True)
    direct = DirectMorletCWT(front_end)
    x, direction = torch.randn(1, 3, 4096), torch.randn(1, 3, 128, 1024)
    ours, theirs = (
        cwt_width.forward_backward(side, x, direction)() for side in (front_end, direct)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0)
