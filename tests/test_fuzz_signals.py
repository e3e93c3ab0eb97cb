"""Every transform and every front-end on batches that nobody would think of.

Whatever the rows hold (silence, a constant, one spike, tiny or huge numbers), however many they are
and however long: the shape is right, the input stays as it is, sound rows stay finite, and a row
with NaN or infinity changes no other row.
"""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import test_image_transforms as on_images
import test_transforms as on_waveforms
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from signal_transforms import images as image_transforms
from spectrograms import learned as learned_spectrograms
from spectrograms import wavelets as spectrograms
from spectrograms.constant_q import CQT
from spectrograms.learned import (
    CNNSpectrogram,
    MultiSpectrogram,
    ResNetSpectrogram,
    WaveNetSpectrogram,
)
from spectrograms.wavelets import ComplexMorletCWT, RickerCWT

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


def applied(module: nn.Module, x: Tensor, seed: int) -> Tensor:
    """What a module makes of a batch, with the draws of a seed; the batch must stay as it is."""
    before = x.clone()
    torch.manual_seed(seed)
    with torch.no_grad():
        y = module(x)
    assert torch.equal(x.nan_to_num(0.5), before.nan_to_num(0.5))
    assert y.dtype == torch.float32
    return y


def check(
    module: nn.Module, rows: list[str], wild: str, at: int, shape: tuple[int, ...], seed: int
):
    """Try a module on sound rows, then with one of them made wild; return its output."""
    x = batch_of(rows, shape, seed)
    y = applied(module, x, seed)
    assert len(y) == len(x)
    for row, kind in zip(y, rows, strict=True):
        assert row.isfinite().all(), kind
    at %= len(rows)
    x[at] = batch_of([wild], shape, seed)[0]
    z = applied(module, x, seed)
    assert z.shape == y.shape
    others = [row for row in range(len(rows)) if row != at]
    assert torch.equal(z[others], y[others]), f"{wild} got into other rows"
    return y


# --- waveform transforms ---------------------------------------------------------------------

# The matrices of the one are of 512 samples, the other halves its waveforms again and again.
FIXED_LENGTH = {"Whiten", "DWTDenoise"}


@pytest.mark.parametrize("name", on_waveforms.EVERY)
@few
@given(rows=sound_rows, wild=wild_row, at=st.integers(0, 3), n=st.integers(260, 700), seed=seeds)
def test_waveform_transforms(name: str, rows, wild: str, at: int, n: int, seed: int) -> None:
    n = 512 if name in FIXED_LENGTH else n
    transform = on_waveforms.EVERY[name](always_apply=True)
    assert check(transform, rows, wild, at, (3, n), seed).shape == (len(rows), 3, n)


# --- front-ends ------------------------------------------------------------------------------

BAND = {"fs": 2048, "lower_freq": 60, "upper_freq": 900, "n_scales": 8, "stride": 4}
FRONT_ENDS = {
    "CWT": lambda: ComplexMorletCWT(8, **BAND),
    "CWT of one width": lambda: ComplexMorletCWT(8, **BAND, trainable_width=True),
    "CWT of free filters": lambda: ComplexMorletCWT(8, **BAND, trainable_filter=True),
    "Ricker": lambda: RickerCWT(**BAND),
    "Ricker of free filters": lambda: RickerCWT(**BAND, trainable_filter=True),
    "CQT by frequency": lambda: CQT(2048, hop_length=8, fmin=120, fmax=900),
    "CQT by time": lambda: CQT(2048, hop_length=64, fmin=120, fmax=900),
    "WaveNet": lambda: WaveNetSpectrogram(base_filters=8, wave_layers=(3, 2)),
    "WaveNet chain": lambda: WaveNetSpectrogram(base_filters=(4, 8), wave_layers=(3, 2)),
    "WaveNet of detectors": lambda: WaveNetSpectrogram(
        1, 8, (2, 2, 2), wave_block="none", separate_channel=True
    ),
    "WaveNet gated": lambda: WaveNetSpectrogram(
        base_filters=8, wave_layers=(3, 2), wave_block="gated", sigmoid=True, output_size=20
    ),
    "CNN": lambda: CNNSpectrogram(base_filters=8, kernel_sizes=(9, 4)),
    "ResNet": lambda: ResNetSpectrogram(base_filters=8, groups=4, n_block=3),
    "several": lambda: MultiSpectrogram(
        [(ComplexMorletCWT, {"wavelet_width": 8, **BAND}), (RickerCWT, BAND)]
    ),
}


@pytest.mark.parametrize("name", FRONT_ENDS)
@few
@given(rows=sound_rows, wild=wild_row, at=st.integers(0, 3), n=st.integers(260, 700), seed=seeds)
def test_front_ends(name: str, rows, wild: str, at: int, n: int, seed: int) -> None:
    torch.manual_seed(0)
    front_end = FRONT_ENDS[name]().eval()  # batch norms in training do join rows, as they must
    image = check(front_end, rows, wild, at, (3, n), seed)
    assert image.ndim == 4
    alone = applied(front_end, batch_of(rows, (3, n), seed)[:1], seed)
    scale = image[0].abs().max().clamp_min(1e-30)
    torch.testing.assert_close(alone[0] / scale, image[0] / scale, rtol=1e-4, atol=1e-5)


def test_every_front_end_is_tried() -> None:
    known = {
        value
        for module in (spectrograms, learned_spectrograms)
        for name, value in vars(module).items()
        if isinstance(value, type) and name.endswith(("CWT", "CQT", "Spectrogram"))
    }
    assert {type(make()) for make in FRONT_ENDS.values()} == known


# --- image transforms ------------------------------------------------------------------------

CROPPED = {"crop": (24, 40)}


@pytest.mark.parametrize("name", on_images.EVERY)
@few
@given(
    rows=sound_rows,
    wild=wild_row,
    at=st.integers(0, 3),
    height=st.integers(24, 60),
    width=st.integers(16, 90),
    seed=seeds,
)
def test_images(name: str, rows, wild: str, at: int, height: int, width: int, seed: int) -> None:
    transform = on_images.EVERY[name](always_apply=True)
    y = check(transform, rows, wild, at, (3, height, width), seed)
    assert y.shape == (len(rows), 3, *CROPPED.get(name, (height, width)))


def test_every_image_transform_is_tried() -> None:
    known = {
        value
        for value in vars(image_transforms).values()
        if isinstance(value, type)
        and issubclass(value, image_transforms.ImageTransform)
        and value is not image_transforms.ImageTransform
    }
    tried = {type(make(always_apply=True)) for make in on_images.EVERY.values()}
    assert tried == known
