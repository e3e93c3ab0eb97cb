"""What all front-ends share: float32 under autocast, sound images, rows kept apart."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from every_transform import FRONT_ENDS
from hypothesis import given
from strange_batches import (
    batch_of,
    check_sound_and_wild_rows,
    few,
    output_for_seed,
    seeds,
    sound_rows,
    wild_row,
)

import spectrograms
from spectrograms import CQT, ComplexMorletCWT

FS = 2048


@pytest.mark.parametrize(
    "front_end",
    [
        ComplexMorletCWT(8, FS, 32, 1024, 16, stride=8),
        ComplexMorletCWT(8, FS, 32, 1024, 16, stride=8, trainable_width=True),
        CQT(FS, 64, 32, 1024),
    ],
    ids=["cwt", "width", "cqt"],
)
def test_fixed_front_ends_keep_float32_under_autocast_and_their_input(front_end):
    x = torch.randn(2, 3, 4096)
    before = x.clone()
    expected = front_end(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = front_end(x)
        low = front_end(x.bfloat16())
    assert image.dtype == low.dtype == torch.float32
    assert torch.equal(image, expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", FRONT_ENDS)
@few
@given(rows=sound_rows, wild=wild_row, at=st.integers(0, 3), n=st.integers(260, 700), seed=seeds)
def test_strange_batches(name: str, rows, wild: str, at: int, n: int, seed: int) -> None:
    torch.manual_seed(0)
    front_end = FRONT_ENDS[name]().eval()  # batch norms in training do join rows, as they must
    image = check_sound_and_wild_rows(front_end, rows, wild, at, (3, n), seed)
    assert image.ndim == 4
    alone = output_for_seed(front_end, batch_of(rows, (3, n), seed)[:1], seed)
    scale = image[0].abs().max().clamp_min(1e-30)
    torch.testing.assert_close(alone[0] / scale, image[0] / scale, rtol=1e-4, atol=1e-5)


def test_every_front_end_is_tried() -> None:
    known = {getattr(spectrograms, name) for name in spectrograms.__all__}
    assert {type(make()) for make in FRONT_ENDS.values()} == known


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_what_ignores_the_sign_gives_the_same_image_bit_for_bit(name: str) -> None:
    torch.manual_seed(0)
    front_end, x = FRONT_ENDS[name]().eval(), torch.randn(2, 3, 700)
    if getattr(front_end, "ignores_sign", False):
        assert torch.equal(front_end(x), front_end(-x))
    else:
        assert not isinstance(front_end, (ComplexMorletCWT, CQT))


def test_a_child_of_a_front_end_does_not_ignore_the_sign_by_itself() -> None:
    class Signed(ComplexMorletCWT):
        pass

    assert not Signed(8, FS, 32, 1024, 16).ignores_sign
