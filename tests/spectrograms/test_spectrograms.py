"""Front-ends against convolutions written plainly, nnAudio's own layer and known signals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from runtime.errors import UserError
from spectrograms import (
    CQT,
    CNNSpectrogram,
    ComplexMorletCWT,
    MultiSpectrogram,
    ResNetSpectrogram,
    RickerCWT,
    WaveNetSpectrogram,
    filterbank,
)

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


@pytest.mark.parametrize("plan", ["banded", "whole"])
@pytest.mark.parametrize("stride", [4, 16])  # folded by sums and by matrix products
@pytest.mark.parametrize("complex_bank", [True, False])
def test_gradients_of_the_magnitude(stride, complex_bank, plan):
    x = torch.randn(3, 40, dtype=torch.float64, requires_grad=True)
    bank = torch.randn(
        5, 64, dtype=torch.complex128 if complex_bank else torch.float64, requires_grad=True
    )
    bands = (
        filterbank.whole_plan(5, 64, stride)
        if plan == "whole"
        else filterbank.banded_plan(bank.detach(), stride)
    )
    frames = 64 // stride - 1
    assert torch.autograd.gradcheck(
        lambda a, b: filterbank.magnitude(a, b, bands, stride, frames), (x, bank)
    )


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


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"sr": 2048, "fmin": 20, "fmax": 1024, "hop_length": 64}, (69, 65)),  # Baseline
        ({"sr": 2048, "fmin": 16, "fmax": 1024, "hop_length": 8}, (72, 513)),  # Resized08aug4
        ({"sr": 2048, "fmin": 32, "n_bins": 40, "hop_length": 33}, (40, 125)),
    ],
)
@pytest.mark.filterwarnings("ignore:If fmax is given")
def test_cqt_is_that_of_nnaudio(arguments, shape):
    from nnAudio.features.cqt import CQT1992v2

    x = torch.randn(2, 3, 4096)
    image = CQT(**arguments)(x)
    expected = CQT1992v2(**arguments, verbose=False)(x.reshape(6, 4096)).reshape(2, 3, *shape)
    assert image.shape == (2, 3, *shape)
    # two float32 sums of 4,096 products
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-5 * expected.max().item())


@pytest.mark.parametrize("hop", [8, 64], ids=["by frequency", "by time"])
def test_cqt_has_the_gradient_of_nnaudio_and_of_silence(hop):
    from nnAudio.features.cqt import CQT1992v2

    arguments = {"sr": FS, "fmin": 64, "n_bins": 12, "hop_length": hop}
    reference = CQT1992v2(**arguments, trainable=False, verbose=False).double()
    x = torch.randn(2, 3, 1024, dtype=torch.float64, requires_grad=True)
    image = CQT(**arguments)(x)
    direction = torch.randn_like(image)
    (gradient,) = torch.autograd.grad((image * direction).sum(), x)
    expected = reference(x.reshape(6, 1024)).reshape(image.shape)  # (batch * detector, ...)
    (by_reference,) = torch.autograd.grad((expected * direction).sum(), x)
    # nnAudio's own kernels are of float32
    torch.testing.assert_close(gradient, by_reference, rtol=1e-5, atol=1e-5)
    silence = torch.zeros(1, 3, 1024, requires_grad=True)
    CQT(**arguments)(silence).sum().backward()
    assert torch.equal(silence.grad, torch.zeros_like(silence))


@pytest.mark.parametrize("amplitude", [1e-20, 1e-24])
@pytest.mark.parametrize("hop", [8, 64])
def test_cqt_of_raw_strain_does_not_underflow(amplitude, hop):
    x = torch.randn(1, 3, 2048)
    front_end = CQT(FS, hop, 32, 1024)
    torch.testing.assert_close(
        front_end(x * amplitude) / amplitude, front_end(x), rtol=1e-4, atol=1e-5
    )


def test_cqt_says_nothing_and_carries_nothing(capsys, recwarn):
    front_end = CQT(FS, 64, 20, 1024)
    assert not front_end.state_dict()
    assert capsys.readouterr().out == ""
    assert not recwarn.list


def test_cqt_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match="half the sampling rate"):
        CQT(FS, 64, 20, 1100)
    with pytest.raises(UserError, match="reflected"):
        CQT(FS, 64, 16, 1024)(torch.randn(1, 3, 2048))
    with pytest.raises(UserError, match="batch, detector, time"):
        CQT(FS, 64, 20, 1024)(torch.randn(3, 4096))


# --- Ricker --------------------------------------------------------------------------------------


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


# --- learned front-ends --------------------------------------------------------------------------

WAVE = {"base_filters": 128, "kernel_size": 3, "wave_layers": (10, 6, 2)}
SEPARATE = {"in_channels": 1, "separate_channel": True, "wave_block": "none"}


@pytest.mark.parametrize(
    ("make", "parameters", "shape"),
    [
        (lambda: WaveNetSpectrogram(**WAVE), 1_199_616, (3, 128, 1024)),  # Nspec22
        (lambda: WaveNetSpectrogram(**WAVE, wave_block="none"), 2_077_440, (3, 128, 1024)),
        (lambda: CNNSpectrogram(3, 128, (32, 16, 4)), 20_352, (3, 128, 1024)),  # Nspec23
        (lambda: CNNSpectrogram(3, 128, (64, 16, 4)), 32_640, (3, 128, 1024)),
        (
            lambda: WaveNetSpectrogram(base_filters=256, wave_block="gated"),  # Nspec25
            8_283_648,
            (3, 256, 1024),
        ),
        (
            lambda: WaveNetSpectrogram(wave_layers=(10, 10, 10), **SEPARATE),  # Nspec30
            3_454_464,
            (3, 128, 1024),
        ),
        (lambda: WaveNetSpectrogram(wave_layers=(8, 8, 8), **SEPARATE), 2_764_032, (3, 128, 1024)),
        # published 23,808 with a batch norm of 64 that saw no data
        (ResNetSpectrogram, 23_808 - 64, (1, 128, 1024)),
        (lambda: ResNetSpectrogram(transpose=True), 23_808 - 64, (1, 1024, 128)),
    ],
)
def test_learned_front_ends_have_the_published_counts_and_shapes(make, parameters, shape):
    front_end = make()
    assert sum(p.numel() for p in front_end.parameters() if p.requires_grad) == parameters
    with torch.no_grad():
        assert front_end(torch.randn(2, 3, 4096)).shape == (2, *shape)


SMALL = {
    "wavenet": lambda **k: WaveNetSpectrogram(base_filters=8, wave_layers=(3, 2), **k),
    "chain": lambda **k: WaveNetSpectrogram(base_filters=(4, 8), wave_layers=(3, 2), **k),
    "cnn": lambda **k: CNNSpectrogram(base_filters=8, kernel_sizes=(9, 4), **k),
    "cnn chain": lambda **k: CNNSpectrogram(base_filters=(4, 6, 8), kernel_sizes=(9, 4), **k),
}


@pytest.mark.parametrize("name", SMALL)
def test_learned_front_ends_learn_everywhere(name):
    x = torch.randn(2, 3, 256)
    front_end = SMALL[name]()
    image = front_end(x)
    assert image.shape == (2, 2, 8, 16 if name == "chain" else 64)  # 4 * 4 in the chain
    (image * torch.randn_like(image)).sum().backward()
    assert all(p.grad.isfinite().all() for p in front_end.parameters())
    # the bias before a batch norm is the one that the norm takes away
    assert all(p.grad.abs().sum() > 0 for n, p in front_end.named_parameters() if "weight" in n)
    squashed = SMALL[name](sigmoid=True, output_size=10)(x)
    assert squashed.shape == (2, 2, 8, 10)
    assert ((squashed > 0) & (squashed < 1)).all()


def test_cnn_front_end_is_a_convolution():
    x = torch.randn(2, 3, 256)
    front_end = CNNSpectrogram(3, 8, (9, 4))
    image = front_end(x)
    for i, (size, padding) in enumerate(((9, 4), (4, 1))):
        first = front_end.branches[i][0]
        assert first.weight.shape == (8, 3, size)
        expected = F.conv1d(x, first.weight, first.bias, stride=4, padding=padding)
        torch.testing.assert_close(image[:, i], expected)


def test_separate_channels_see_one_detector_each():
    front_end = WaveNetSpectrogram(1, 8, (2, 2, 2), separate_channel=True).eval()
    x = torch.randn(2, 3, 128)
    other = x.clone()
    other[:, 1] += 1
    changed = (front_end(x) != front_end(other)).flatten(2).any(-1)
    assert changed.tolist() == [[False, True, False]] * 2
    with pytest.raises(UserError, match="2 channels for 3 branches"):
        front_end(x[:, :2])
    with pytest.raises(UserError, match="in_channels = 1"):
        WaveNetSpectrogram(3, separate_channel=True)
    with pytest.raises(UserError, match="wave_block"):
        WaveNetSpectrogram(wave_block="gatted")


def test_reinit_draws_kaiming_normal():
    weight = CNNSpectrogram(3, 512, (32,), reinit=True).branches[0][0].weight
    assert abs(weight.std() / math.sqrt(2 / (3 * 32)) - 1) < 0.02  # 49,152 draws
    plain = CNNSpectrogram(3, 512, (32,), reinit=False).branches[0][0].weight
    assert plain.abs().max() <= 1 / math.sqrt(3 * 32)  # torch's uniform one


def test_disable_amp_keeps_float32():
    x = torch.randn(1, 3, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert CNNSpectrogram(3, 4, (4,))(x).dtype == torch.bfloat16
        assert CNNSpectrogram(3, 4, (4,), disable_amp=True)(x).dtype == torch.float32


def test_several_front_ends_at_once():
    x = torch.randn(2, 3, 512)
    members = [
        (
            ComplexMorletCWT,
            {
                "wavelet_width": 8,
                "fs": FS,
                "lower_freq": 64,
                "upper_freq": 900,
                "n_scales": 8,
                "stride": 4,
            },
        ),
        (CNNSpectrogram, {"base_filters": 8, "kernel_sizes": (9, 4)}),
    ]
    front_end = MultiSpectrogram(members)
    image = front_end(x)
    assert image.shape == (2, 5, 8, 128)
    torch.testing.assert_close(image[:, :3], ComplexMorletCWT(**members[0][1])(x))
    torch.testing.assert_close(image[:, 3:], front_end.members[1](x))
    image.sum().backward()  # learned members learn
    assert all(p.grad.abs().sum() > 0 for p in front_end.parameters())
    assert not any(p.requires_grad for p in MultiSpectrogram(members, frozen=True).parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert front_end(x).dtype == torch.float32
    members[1][1]["stride"] = 2
    with pytest.raises(UserError, match="different sizes"):
        MultiSpectrogram(members)(x)
    with pytest.raises(UserError, match="at least one"):
        MultiSpectrogram([])
