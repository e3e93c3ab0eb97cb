"""What every waveform transform does alike, and the list of them in transforms.py."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from every_transform import ONLY_512_SAMPLES, WAVEFORM_TRANSFORMS
from host_copies import refuse_host_waits
from hypothesis import given
from strange_batches import check_sound_and_wild_rows, few, seeds, sound_rows, wild_row

import transforms as T
from runtime.errors import UserError

ALWAYS = {"always_apply": True}
each = pytest.mark.parametrize("name", WAVEFORM_TRANSFORMS)


@each
def test_keeps_shape_and_input(name):
    x = torch.randn(4, 3, 512)
    before = x.clone()
    y = WAVEFORM_TRANSFORMS[name](**ALWAYS)(x)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert torch.equal(x, before)
    assert not torch.equal(y, x)


@each
def test_takes_one_sample_silence_and_none(name):
    transform = WAVEFORM_TRANSFORMS[name](**ALWAYS)
    for x in (torch.randn(1, 3, 512), torch.zeros(2, 3, 512), torch.zeros(0, 3, 512)):
        y = transform(x)
        assert y.shape == x.shape
        assert y.isfinite().all()


@each
def test_a_broken_row_stays_alone(name):
    x = torch.randn(4, 3, 512)
    x[2, 1, 77] = torch.nan
    y = WAVEFORM_TRANSFORMS[name](**ALWAYS)(x)
    assert y[[0, 1, 3]].isfinite().all()
    assert y[2].isnan().any()


@each
def test_the_seed_decides(name):
    x = torch.randn(8, 3, 512)
    results = []
    for seed in (1, 1):
        torch.manual_seed(seed)
        results.append(WAVEFORM_TRANSFORMS[name](always_apply=False, p=0.5)(x))
    assert torch.equal(*results)


@each
def test_p_is_the_probability_of_a_row(name):
    transform = WAVEFORM_TRANSFORMS[name](always_apply=False, p=0.3)
    x = torch.randn(600, 3, 512)
    changed = (transform(x) != x).any(-1)  # (row, detector)
    if transform.per_channel:
        mixed = changed.any(1) & ~changed.all(1)
        assert mixed.any()  # detectors draw on their own
    else:
        changed = changed.any(1)  # some transforms leave a detector as it is
    share = changed.float().mean()
    # binomial: 600 draws at 0.3 have a standard deviation of 0.019; and one shift in five of
    # PitchShift is by nothing
    assert abs(share - (0.24 if name == "PitchShift" else 0.3)) < 0.08
    assert torch.equal(WAVEFORM_TRANSFORMS[name](always_apply=False, p=0.0)(x), x)


@each
def test_refuses_what_is_no_batch_of_waveforms(name):
    with pytest.raises(UserError, match="batch, detector, time"):
        WAVEFORM_TRANSFORMS[name]()(torch.randn(3, 512))
    with pytest.raises(UserError, match="probability"):
        WAVEFORM_TRANSFORMS[name](p=1.5)


@each
def test_a_step_on_a_gpu_does_not_wait(name):
    transform = WAVEFORM_TRANSFORMS[name](**ALWAYS)
    x = torch.randn(4, 3, 512)
    transform(x)  # matrices and windows are made at the first batch
    with refuse_host_waits():
        transform(x)


def test_every_transform_is_listed():
    listed = {name for name in T.__all__ if isinstance(getattr(T, name), type)}
    others = {"Compose", "OneOf", "ToTensor", "WaveTransform", "GaussianNoiseSNRTorch"}
    assert listed == set(WAVEFORM_TRANSFORMS) | others


@pytest.mark.parametrize("name", WAVEFORM_TRANSFORMS)
@few
@given(rows=sound_rows, wild=wild_row, at=st.integers(0, 3), n=st.integers(260, 700), seed=seeds)
def test_strange_batches(name: str, rows, wild: str, at: int, n: int, seed: int) -> None:
    n = 512 if name in ONLY_512_SAMPLES else n
    transform = WAVEFORM_TRANSFORMS[name](always_apply=True)
    assert check_sound_and_wild_rows(transform, rows, wild, at, (3, n), seed).shape == (
        len(rows),
        3,
        n,
    )
