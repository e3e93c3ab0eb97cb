"""Wavelet transforms against convolutions written plainly and known signals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from host_copies import RefuseHostCopies

from runtime.errors import UserError
from spectrograms import ComplexMorletCWT, RickerCWT

FS = 2048


def morlet_kernels(
    width: float, lower: float, upper: float, n_scales: int, size_factor: float = 1.0
) -> np.ndarray:
    """The kernels, from their definition alone: complex128 (n_scales, 2 h + 1)."""
    scales = 1 / upper * (upper / lower) ** (np.arange(n_scales) / (n_scales - 1))
    half = int(np.floor(round(size_factor / lower * math.sqrt(4.5 * width) * FS, 6)))
    u = np.arange(-half, half + 1) / FS / scales[:, None]
    envelope = np.exp(-(u**2) / width) / (np.sqrt(np.pi * width) * scales[:, None] * FS / 2)
    return envelope * np.exp(2j * np.pi * u)


def convolve(x: torch.Tensor, kernels: np.ndarray, stride: int) -> torch.Tensor:
    """|cross-correlation| with zeros beyond the ends, in float64, by conv1d."""
    half = kernels.shape[1] // 2
    rows = x.double().reshape(-1, 1, x.shape[-1])
    parts = [
        F.conv1d(rows, torch.tensor(part)[:, None], padding=half, stride=stride)
        for part in (kernels.real, kernels.imag)
    ]
    image = (parts[0] ** 2 + parts[1] ** 2).sqrt()
    return image.reshape(*x.shape[:-1], *image.shape[1:])


def coloured(batch: int, length: int = 4096) -> torch.Tensor:
    """Noise that is far stronger at low frequencies, as strain is."""
    x = torch.randn(batch, 3, length, dtype=torch.float64).cumsum(-1)
    return (x - x.mean(-1, keepdim=True)).float()


@pytest.mark.parametrize(
    ("width", "upper", "n_scales", "stride", "shape"),
    [
        (8, 1024, 128, 4, (128, 1024)),  # Nspec16
        (8, 512, 128, 4, (128, 1024)),  # Nspec16spec13
        (3, 1024, 256, 8, (256, 512)),  # Nspec12
        (8, 1024, 9, 1, (9, 4096)),
    ],
)
def test_cwt_is_the_direct_convolution(width, upper, n_scales, stride, shape):
    x = coloured(1)
    expected = convolve(x, morlet_kernels(width, 16, upper, n_scales), stride)
    image = ComplexMorletCWT(width, FS, 16, upper, n_scales, stride=stride)(x)
    assert image.shape == (1, 3, *shape)
    # float32 against float64: the weak rows at high frequencies carry the rounding of the strong
    # low ones. 1e-4 of each row's peak, in every row, both edges of the band included.
    worst = ((image - expected).abs().amax(-1) / expected.amax(-1)).max()
    assert worst < 1e-4


@pytest.mark.parametrize(("length", "stride"), [(4096, 3), (1000, 4), (1001, 7), (4095, 20)])
def test_cwt_of_odd_lengths_and_strides(length, stride):
    x = torch.randn(2, 3, length)
    expected = convolve(x, morlet_kernels(5, 24, 900, 12, 1.3), stride)
    image = ComplexMorletCWT(5, FS, 24, 900, 12, size_factor=1.3, stride=stride)(x)
    assert image.shape == expected.shape
    torch.testing.assert_close(image.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_scales", [128, 256, 384])
def test_cwt_kernel_length_does_not_depend_on_the_number_of_scales(n_scales):
    assert 2 * ComplexMorletCWT(8, FS, 16, 1024, n_scales).half + 1 == 1537
    assert 2 * ComplexMorletCWT(3, FS, 16, 1024, n_scales).half + 1 == 941


@pytest.mark.parametrize("row", [20, 64, 100])
def test_cwt_of_a_unit_sine_is_one_in_its_row(row):
    front_end = ComplexMorletCWT(8, FS, 16, 1024, 128, stride=4)
    frequency = 1024 * (1 / 64) ** (row / 127)  # row 0 is the highest
    time = torch.arange(4096, dtype=torch.float64) / FS
    x = torch.sin(2 * torch.pi * frequency * time).float().expand(1, 3, -1)
    middle = front_end(x)[0, 0, :, 400:600]
    assert middle.mean(1).argmax() == row
    torch.testing.assert_close(middle[row], torch.ones(200), rtol=0.02, atol=0)


def test_cwt_crops_its_borders():
    x = torch.randn(1, 3, 4096)
    whole = ComplexMorletCWT(8, FS, 16, 1024, 16, stride=4)(x)
    cut = ComplexMorletCWT(8, FS, 16, 1024, 16, stride=4, border_crop=102)(x)
    assert torch.equal(cut, whole[..., 25:-25])  # floor(102 / 4)
    with pytest.raises(UserError, match="border_crop"):
        ComplexMorletCWT(8, FS, 16, 1024, 16, stride=4, border_crop=2048)(x)


@pytest.mark.parametrize(
    ("lower", "upper"), [(0, 512), (-1, 512), (512, 512), (600, 512), (16, 1025)]
)
def test_cwt_refuses_impossible_bands(lower, upper):
    with pytest.raises(UserError, match="Hz is not possible"):
        ComplexMorletCWT(8, FS, lower, upper, 128)


@pytest.mark.parametrize(
    "change",
    [
        {"n_scales": 1},
        {"stride": 0},
        {"wavelet_width": 0},
        {"border_crop": -1},
        {"trainable_width": True, "trainable_filter": True},
    ],
)
def test_cwt_refuses_impossible_arguments(change):
    arguments = {"wavelet_width": 8, "fs": FS, "lower_freq": 16, "upper_freq": 512, "n_scales": 8}
    with pytest.raises(UserError):
        ComplexMorletCWT(**(arguments | change))


def test_fixed_cwt_holds_nothing_that_a_checkpoint_would_carry():
    front_end = ComplexMorletCWT(8, FS, 16, 1024, 16, stride=4)
    front_end(torch.randn(1, 3, 4096))
    assert not front_end.state_dict()
    assert not list(front_end.parameters())


def test_trainable_width_equals_the_fixed_one_and_a_direct_convolution():
    x = coloured(2)
    fixed = ComplexMorletCWT(8, FS, 16, 1024, 32, stride=4)
    trainable = ComplexMorletCWT(8, FS, 16, 1024, 32, stride=4, trainable_width=True)
    assert sum(p.numel() for p in trainable.parameters()) == 1
    torch.testing.assert_close(trainable(x), fixed(x), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        trainable.wavelet_width.fill_(5.0)
    kernels = morlet_kernels(5, 16, 1024, 32, math.sqrt(8 / 5))  # the length stays that of 8
    expected = convolve(x, kernels, 4)
    worst = ((trainable(x) - expected).abs().amax(-1) / expected.amax(-1)).max()
    assert worst < 1e-4


def test_gradient_of_the_width_is_a_finite_difference():
    x = torch.randn(1, 3, 512, dtype=torch.float64)
    front_end = ComplexMorletCWT(8, FS, 40, 1024, 12, stride=4, trainable_width=True).double()
    weights = torch.randn(12, 128, dtype=torch.float64)

    def loss(width: float) -> torch.Tensor:
        with torch.no_grad():
            front_end.wavelet_width.fill_(width)
        return (front_end(x) * weights).sum()

    loss(8.0).backward()
    with torch.no_grad():
        difference = (loss(8.0 + 1e-4) - loss(8.0 - 1e-4)) / 2e-4
    # central difference: error of order 1e-8 of the value
    torch.testing.assert_close(front_end.wavelet_width.grad, difference, rtol=1e-6, atol=1e-9)


def test_gradient_of_a_float32_width_is_near_that_of_float64():
    x = torch.randn(2, 3, 4096)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        front_end = ComplexMorletCWT(8, FS, 16, 1024, 24, stride=4, trainable_width=True).to(dtype)
        front_end(x.to(dtype)).square().mean().backward()
        gradients.append(front_end.wavelet_width.grad.double())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=0)


def test_scales_are_copied_to_the_device_once():
    front_end = ComplexMorletCWT(8, FS, 32, 1024, 10, stride=8, trainable_width=True)
    width = front_end.wavelet_width.double()
    front_end.half_kernels(width)
    with RefuseHostCopies():
        front_end.half_kernels(width)


def test_trainable_filters_begin_as_the_fixed_ones_and_learn():
    x = torch.randn(2, 3, 4096)
    fixed = ComplexMorletCWT(8, FS, 32, 1024, 10, stride=8)
    trainable = ComplexMorletCWT(8, FS, 32, 1024, 10, stride=8, trainable_filter=True)
    assert trainable.filters.shape == (2, 10, 2 * fixed.half + 1)
    torch.testing.assert_close(trainable(x), fixed(x), rtol=1e-4, atol=1e-5)
    trainable(x).mean().backward()
    assert trainable.filters.grad.abs().sum() > 0


@pytest.mark.parametrize("option", ["trainable_width", "trainable_filter"])
def test_gradients_are_finite_for_silence(option):
    front_end = ComplexMorletCWT(8, FS, 32, 1024, 6, stride=8, **{option: True})
    x = torch.zeros(2, 3, 1024, requires_grad=True)
    image = front_end(x)
    image.sum().backward()
    assert torch.equal(image, torch.zeros_like(image))
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in front_end.parameters())


@pytest.mark.parametrize("stride", [4, 16])
def test_cwt_works_by_rows(stride):
    front_end = ComplexMorletCWT(8, FS, 32, 1024, 16, stride=stride)
    x = torch.randn(9, 3, 2048)
    whole = front_end(x)
    torch.testing.assert_close(front_end(x[4:5]), whole[4:5], rtol=1e-5, atol=1e-6)
    broken = x.clone()
    broken[3, 1, 100] = torch.nan
    image = front_end(broken)
    assert image[3, 1].isnan().all()
    image[3, 1] = whole[3, 1]
    torch.testing.assert_close(image, whole, rtol=0, atol=0)
    assert front_end(x[:0]).shape == (0, *whole.shape[1:])


@pytest.mark.parametrize("amplitude", [1e-20, 1e-24])
def test_cwt_of_raw_strain_does_not_underflow(amplitude):
    x = torch.randn(1, 3, 2048)
    front_end = ComplexMorletCWT(8, FS, 32, 1024, 16, stride=8)
    torch.testing.assert_close(
        front_end(x * amplitude) / amplitude, front_end(x), rtol=1e-4, atol=1e-5
    )


def test_a_bank_made_in_inference_mode_serves_training():
    front_end = ComplexMorletCWT(8, FS, 32, 1024, 16, stride=8)
    with torch.inference_mode():
        front_end(torch.randn(1, 3, 1024))
    x = torch.randn(1, 3, 1024, requires_grad=True)
    front_end(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_ricker_is_the_direct_convolution():
    lower, upper, n_scales, stride = 20, 700, 12, 3
    frequencies = upper * (lower / upper) ** (np.arange(n_scales) / (n_scales - 1))
    scales = np.sqrt(2) / (2 * np.pi * frequencies)[:, None]
    half = int(6 * scales[-1, 0] * FS)
    u = np.arange(-half, half + 1) / FS / scales
    shapes = (1 - u**2) * np.exp(-(u**2) / 2)
    # a unit sine at the nominal frequency is to give one
    tone = np.cos(2 * np.pi * frequencies[:, None] * np.arange(-half, half + 1) / FS)
    kernels = shapes / (shapes * tone).sum(1, keepdims=True)
    x = torch.randn(2, 3, 1001)
    expected = F.conv1d(
        x.double().reshape(6, 1, 1001), torch.tensor(kernels)[:, None], padding=half, stride=stride
    ).reshape(2, 3, n_scales, -1)
    image = RickerCWT(FS, lower, upper, n_scales, stride=stride)(x)
    assert image.shape == expected.shape
    torch.testing.assert_close(image.double(), expected, rtol=1e-4, atol=1e-4)
    cut = RickerCWT(FS, lower, upper, n_scales, stride=stride, border_crop=10)(x)
    assert torch.equal(cut, image[..., 3:-3])


@pytest.mark.parametrize("row", [6, 15, 24])
def test_ricker_peaks_at_its_nominal_frequency(row):
    front_end = RickerCWT(FS, 16, 512, 31)
    frequency = 512 * (1 / 32) ** (row / 30)
    time = torch.arange(4096, dtype=torch.float64) / FS
    x = torch.sin(2 * torch.pi * frequency * time).float().expand(1, 3, -1)
    amplitude = front_end(x)[0, 0, :, 1000:3000].abs().amax(1)
    assert amplitude.argmax() == row
    assert abs(amplitude[row] - 1) < 0.01


def test_ricker_options():
    x = torch.randn(1, 3, 256)
    fixed, trainable = (
        RickerCWT(FS, 100, 800, 5, trainable_filter=option) for option in (False, True)
    )
    assert not fixed.state_dict()
    torch.testing.assert_close(trainable(x), fixed(x))
    trainable(x).square().mean().backward()
    assert trainable.filters.grad.abs().sum() > 0
    for arguments in ({"lower_freq": 0}, {"stride": 0}, {"border_crop": -1}):
        with pytest.raises(UserError):
            RickerCWT(**({"fs": FS, "lower_freq": 9, "upper_freq": 99, "n_scales": 3} | arguments))
