"""Image augmentations against slices, `interpolate` and numpy written plainly."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from every_transform import CROPPED_SIZE, IMAGE_AUGMENTATIONS
from host_copies import refuse_host_waits
from hypothesis import given
from strange_batches import check_sound_and_wild_rows, few, seeds, sound_rows, wild_row

from runtime.errors import UserError
from signal_transforms import image_augmentations as I

each = pytest.mark.parametrize("name", IMAGE_AUGMENTATIONS)


def images(batch: int = 6) -> torch.Tensor:
    return torch.rand(batch, 3, 24, 40) + 0.1


@each
def test_is_pure_seeded_and_works_by_rows(name):
    x = images()
    before = x.clone()
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(IMAGE_AUGMENTATIONS[name](always_apply=True)(x))
    assert torch.equal(*results)
    assert torch.equal(x, before)
    y = results[0]
    assert y.shape == x.shape
    assert not torch.equal(y, x)
    broken = x.clone()
    broken[2] = torch.nan
    torch.manual_seed(3)
    others = [0, 1, 3, 4, 5]
    assert torch.equal(IMAGE_AUGMENTATIONS[name](always_apply=True)(broken)[others], y[others])
    for batch in (0, 1):
        assert IMAGE_AUGMENTATIONS[name](always_apply=True)(x[:batch]).shape == (batch, 3, 24, 40)


@each
def test_p_is_the_probability_of_a_row(name):
    x = images(400)
    changed = (IMAGE_AUGMENTATIONS[name](always_apply=False, p=0.3)(x) != x).flatten(1).any(1)
    # binomial: a standard deviation of 0.023; a roll by the whole length changes nothing
    assert abs(changed.float().mean() - 0.3) < 0.1
    assert torch.equal(IMAGE_AUGMENTATIONS[name](always_apply=False, p=0.0)(x), x)
    with pytest.raises(UserError, match="probability"):
        IMAGE_AUGMENTATIONS[name](p=-0.1)
    with pytest.raises(UserError, match="batch, channel, frequency, frame"):
        IMAGE_AUGMENTATIONS[name]()(x[0])


@each
def test_a_step_on_a_gpu_does_not_wait(name):
    transform = IMAGE_AUGMENTATIONS[name](always_apply=True)
    with refuse_host_waits():
        transform(images())


def runs(masked: torch.Tensor) -> list[tuple[int, int]]:
    """First and one past the last masked position of each row; asserts that they are one run."""
    found = []
    for row in masked:
        at = row.nonzero().flatten()
        assert len(at) == at[-1] - at[0] + 1
        found.append((int(at[0]), int(at[-1]) + 1))
    return found


def test_frequency_mask_covers_its_range():
    y = I.BatchFrequencyMask(5, (2, 20), always_apply=True)(images(500))
    found = runs((y == 0).all(dim=(1, 3)))
    assert {stop - start for start, stop in found} == {1, 2, 3, 4, 5}
    assert {start for start, _ in found} == set(range(2, 16))
    assert I.InBatchFrequencyMask is I.BatchFrequencyMask


def test_time_mask_is_never_empty_and_never_cut():
    y = I.BatchTimeMask(30, always_apply=True)(images(2000))
    found = runs((y == 0).all(dim=(1, 2)))
    assert {stop - start for start, stop in found} == set(range(1, 31))
    assert min(start for start, _ in found) == 0
    assert max(stop for _, stop in found) == 40


@pytest.mark.parametrize("make", [I.BatchFrequencyMask, I.BatchTimeMask])
def test_masks_are_filled_with_the_mean_of_their_row(make):
    x = images()
    y = make(3, fill="mean", always_apply=True)(F.pad(x, (0, 0, 0, 60)))
    for i in range(len(x)):
        changed = y[i][y[i] != F.pad(x, (0, 0, 0, 60))[i]]
        expected = F.pad(x, (0, 0, 0, 60))[i].mean()
        torch.testing.assert_close(changed, expected.expand_as(changed))
    with pytest.raises(UserError, match="choose 'zero' or 'mean'"):
        make(fill="noise")


def test_masks_refuse_what_does_not_fit():
    with pytest.raises(UserError, match="does not fit"):
        I.BatchFrequencyMask(12, (0, 10))
    with pytest.raises(UserError, match="do not fit into an image of 24"):
        I.BatchFrequencyMask(12, (20, 72), always_apply=True)(images())
    with pytest.raises(UserError, match="at least 1"):
        I.BatchTimeMask(0)


def test_time_shift_rolls_every_row():
    x = images(200)
    y = I.BatchTimeShift(always_apply=True)(x)
    shifts = set()
    for before, after in zip(x, y, strict=True):
        found = [s for s in range(1, 41) if torch.equal(before.roll(-s, dims=-1), after)]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 30


def test_crop_is_a_bicubic_resize():
    # the whole image: `interpolate` itself, borders included
    x = images()
    y = I.RandomResizedCrop((48, 60), (1.0, 1.0))(x)
    expected = F.interpolate(x, (48, 60), mode="bicubic", align_corners=False)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    # a box: `interpolate` of the slice, but for the two pixels near its edge
    top, left = torch.full((6, 1), 4.0), torch.full((6, 1), 10.0)
    y = I.resize_boxes(x, top, left, top * 0 + 12, left * 0 + 20, (24, 40))
    expected = F.interpolate(x[:, :, 4:16, 10:30], (24, 40), mode="bicubic", align_corners=False)
    inside = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(y[inside], expected[inside], rtol=1e-4, atol=1e-5)


def test_crops_by_products_are_those_of_grid_sample():
    """What a GPU computes where a gradient must be summed in one order; beyond the border too."""
    x = images().requires_grad_()
    top, left = torch.rand(6, 1) * 20 - 4, torch.rand(6, 1) * 30 - 4
    height, width = torch.rand(6, 1) * 20 + 2, torch.rand(6, 1) * 30 + 2
    size, found = (17, 33), []
    expected = I.resize_boxes(x, top, left, height, width, size)
    down, across = (torch.arange(number) + 0.5 for number in size)
    y = 2 * (top + down * height / size[0]) / 24 - 1
    t = 2 * (left + across * width / size[1]) / 40 - 1
    by_products = I.resize_by_products(x, y, t)
    torch.testing.assert_close(by_products, expected, rtol=1e-4, atol=1e-5)
    for image in (by_products, expected):
        found.append(torch.autograd.grad(image.square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_only_a_gpu_needs_crops_by_products():
    x = images().requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        assert not I.needs_repeatable_gradient(x)  # a CPU sums in one order by itself
    finally:
        torch.use_deterministic_algorithms(False)


def test_crop_takes_the_share_it_says():
    # a ramp along each axis: the slope of the result tells the side of the box
    rows = torch.arange(200.0)[:, None].expand(200, 300)
    columns = torch.arange(300.0).expand(200, 300)
    x = torch.stack([rows, columns])[None].repeat(200, 1, 1, 1)
    y = I.RandomResizedCrop((100, 100), (0.25, 0.64))(x)
    heights = (y[:, 0, 60, 50] - y[:, 0, 40, 50]) / 20 * 100
    widths = (y[:, 1, 50, 60] - y[:, 1, 50, 40]) / 20 * 100
    area = heights * widths / (200 * 300)
    assert area.min() > 0.24
    assert area.max() < 0.65
    torch.testing.assert_close(heights / 200, widths / 300, atol=0.01, rtol=0)
    starts = y[:, 0, 0, 0]
    assert starts.std() > 10  # at different places
    with pytest.raises(UserError, match="always_apply"):
        I.RandomResizedCrop((10, 10), always_apply=False)(x)
    with pytest.raises(UserError, match="scale"):
        I.RandomResizedCrop(scale=(0.5, 1.5))


def test_time_resize():
    x = images(1)
    y = I.TimeResize((2.0, 2.0), always_apply=True)(x)
    padded = F.pad(x, (0, 40))
    expected = F.interpolate(padded, (24, 40), mode="bicubic", align_corners=False)
    torch.testing.assert_close(y[..., :18], expected[..., :18], rtol=1e-4, atol=1e-5)
    assert torch.equal(y[..., 20:], torch.zeros(1, 3, 24, 20))
    ramp = torch.arange(40.0).expand(50, 3, 24, 40)
    y = I.TimeResize((0.5, 0.5), always_apply=True)(ramp)
    slope = y[..., 30] - y[..., 10]
    torch.testing.assert_close(slope, torch.full_like(slope, 10.0), atol=1e-3, rtol=0)
    assert y[:, 0, 0, 0].std() > 1


def test_flips_trim_and_normalise():
    x = images()
    assert torch.equal(I.HorizontalFlip(always_apply=True)(x), x[..., range(39, -1, -1)])
    assert torch.equal(I.VerticalFlip(always_apply=True)(x), x[:, :, range(23, -1, -1)])
    assert torch.equal(I.TimeTrim((0.25, 1.0))(x), x[..., 10:])
    masked = I.TimeTrim((0.25, 0.5), "mask")(x)
    assert torch.equal(masked[..., 10:20], x[..., 10:20])
    assert masked[..., :10].abs().sum() + masked[..., 20:].abs().sum() == 0
    expected = (x[:, 1] - 0.456) / 0.224
    torch.testing.assert_close(I.NormalizeImage()(x)[:, 1], expected)
    with pytest.raises(UserError, match="3 means for 1 channels"):
        I.NormalizeImage()(x[:, :1])
    with pytest.raises(UserError, match="trim_range"):
        I.TimeTrim((0.5, 0.5))
    with pytest.raises(UserError, match="always_apply"):
        I.TimeTrim(always_apply=False)
    with pytest.raises(UserError, match="'trim' or 'mask'"):
        I.TimeTrim(mode="cut")


@pytest.mark.parametrize("name", IMAGE_AUGMENTATIONS)
@few
@given(
    rows=sound_rows,
    wild=wild_row,
    at=st.integers(0, 3),
    height=st.integers(24, 60),
    width=st.integers(16, 90),
    seed=seeds,
)
def test_strange_batches(
    name: str, rows, wild: str, at: int, height: int, width: int, seed: int
) -> None:
    transform = IMAGE_AUGMENTATIONS[name](always_apply=True)
    y = check_sound_and_wild_rows(transform, rows, wild, at, (3, height, width), seed)
    assert y.shape == (len(rows), 3, *CROPPED_SIZE.get(name, (height, width)))


def test_every_image_augmentation_is_tried() -> None:
    known = {
        value
        for value in vars(I).values()
        if isinstance(value, type)
        and issubclass(value, I.ImageTransform)
        and value is not I.ImageTransform
    }
    tried = {type(make(always_apply=True)) for make in IMAGE_AUGMENTATIONS.values()}
    assert tried == known
