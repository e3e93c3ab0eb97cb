"""Batches that nobody would think of, and what every transform and front-end must do with them.

Whatever the rows hold (silence, a constant, one spike, tiny or huge numbers), however many they are
and however long: the shape is right, the input stays as it is, sound rows stay finite, and a row
with NaN or infinity changes no other row.
"""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from hypothesis import settings
from torch import Tensor, nn

# Few examples of each, and the same in every run: there are fifty things to try.
few = settings(max_examples=12, deadline=None, derandomize=True, database=None)

ROWS = {
    "noise": lambda x: x,
    "strain": lambda x: x * 1e-21,
    "silence": lambda x: x * 0,
    "constant": lambda x: x * 0 - 3.5,
    "spike": lambda x: torch.zeros_like(x).index_fill(-1, torch.tensor([x.shape[-1] // 2]), 1.0),
    "alternating": lambda x: x * 0 + (-1.0) ** torch.arange(x.shape[-1]),
    "one channel": lambda x: x * torch.eye(len(x))[0].view(-1, *[1] * (x.ndim - 1)),
    "subnormal": lambda x: x.sign() * 1e-41,
    "large": lambda x: x * 1e12,
}
# Squares of these are beyond float32, so that not every one of them can stay finite.
WILD = {
    "huge": lambda x: x * 1e30,
    "largest": lambda x: x.sign() * torch.finfo(torch.float32).max,
    "NaN": lambda x: x.masked_fill(torch.arange(x.shape[-1]) == 3, torch.nan),
    "infinite": lambda x: x.masked_fill(torch.arange(x.shape[-1]) == 3, torch.inf),
}
sound_rows = st.lists(st.sampled_from(sorted(ROWS)), min_size=1, max_size=4)
wild_row = st.sampled_from(sorted(WILD))
seeds = st.integers(0, 2**31)


def batch_of(rows: list[str], shape: tuple[int, ...], seed: int) -> Tensor:
    """Rows of these kinds, (len(rows), *shape)."""
    noise = torch.randn(len(rows), *shape, generator=torch.Generator().manual_seed(seed))
    kinds = ROWS | WILD
    return torch.stack([kinds[kind](row) for kind, row in zip(rows, noise, strict=True)])


def output_for_seed(module: nn.Module, x: Tensor, seed: int) -> Tensor:
    """What a module makes of a batch, with the draws of a seed; the batch must stay as it is."""
    before = x.clone()
    torch.manual_seed(seed)
    with torch.no_grad():
        y = module(x)
    assert torch.equal(x.nan_to_num(0.5), before.nan_to_num(0.5))
    assert y.dtype == torch.float32
    return y


def check_sound_and_wild_rows(
    module: nn.Module, rows: list[str], wild: str, at: int, shape: tuple[int, ...], seed: int
):
    """Try a module on sound rows, then with one of them made wild; return its output."""
    x = batch_of(rows, shape, seed)
    y = output_for_seed(module, x, seed)
    assert len(y) == len(x)
    for row, kind in zip(y, rows, strict=True):
        assert row.isfinite().all(), kind
    at %= len(rows)
    x[at] = batch_of([wild], shape, seed)[0]
    z = output_for_seed(module, x, seed)
    assert z.shape == y.shape
    others = [row for row in range(len(rows)) if row != at]
    assert torch.equal(z[others], y[others]), f"{wild} got into other rows"
    return y
