"""Image models: shapes, parameter counts, options and their refusals."""

from __future__ import annotations

import pytest
import torch
from image_models import HEAD, IDX, LAM, SMALL, Frames, LearnedFrames, check_gradients, count
from torch import Tensor, nn

import spectrograms
from architectures import MultiInstanceSCNN, SpectroCNN
from physics.observation import Observation
from runtime.errors import UserError
from spectrograms import ComplexMorletCWT


@pytest.fixture
def strain() -> Tensor:
    return torch.randn(2, 3, 4096)


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        ({"custom_classifier": "avg"}, 0),
        ({"custom_classifier": "max"}, 0),
        ({"custom_classifier": "concat"}, 256 * 512),
        ({"custom_classifier": "gem"}, 1),
        ({"custom_classifier": "positional"}, 1),
        ({"custom_classifier": "mixup"}, 1),
        ({"custom_attention": "triplet"}, 300),
        ({"custom_attention": "mixup"}, 0),
        ({"custom_attention": "triplet", "custom_classifier": "gem"}, 301),
        ({"custom_attention": "triplet", "custom_classifier": "mixup"}, 301),
        ({"custom_classifier": "gem", "custom_preprocess": "positional-add"}, 1),
        ({"custom_classifier": "gem", "custom_preprocess": "positional-cat"}, 1),
        ({"custom_classifier": "gem", "norm_spec": True}, 1 + 6),
    ],
)
def test_options(options: dict, extra: int, strain: Tensor) -> None:
    import timm

    model = SpectroCNN(**SMALL, **options)
    body = timm.create_model("test_efficientnet", num_classes=0)
    if options.get("custom_preprocess") == "positional-cat":
        extra += body.conv_stem.out_channels * 9  # one more channel into a 3×3 stem
    assert count(model) == count(body) + HEAD + extra
    assert model(strain).shape == (2, 1)
    check_gradients(model, strain)


def test_plain_head_is_timms_own(strain: Tensor) -> None:
    import timm

    model = SpectroCNN(**SMALL, num_classes=3).eval()
    reference = timm.create_model("test_efficientnet", num_classes=3).eval()
    reference.load_state_dict(model.network.state_dict())
    image = nn.functional.interpolate(Frames()(strain), (64, 96))
    torch.testing.assert_close(model(strain), reference(image))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_resizing(mode: str, strain: Tensor) -> None:
    model = SpectroCNN(**{**SMALL, "resize_img": 96}, upsample=mode, return_spec=True)
    logits, image = model(strain)
    assert logits.shape == (2, 1)
    corners = {"align_corners": False} if mode in ("bilinear", "bicubic") else {}
    expected = nn.functional.interpolate(Frames()(strain), (96, 96), mode=mode, **corners)
    torch.testing.assert_close(image, expected)


def test_no_resizing_by_default(strain: Tensor) -> None:
    _, image = SpectroCNN("test_resnet", spectrogram=Frames, return_spec=True)(strain)
    assert torch.equal(image, Frames()(strain))


class Scale(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, image: Tensor) -> Tensor:
        return self.by * image


class Recipe:
    """What a configuration holds in place of a module."""

    @staticmethod
    def build() -> nn.Module:
        return Scale(2.0)


def test_augmentations_in_training_and_outside(strain: Tensor) -> None:
    model = SpectroCNN(
        "test_resnet",
        spectrogram=Frames,
        return_spec=True,
        augmentations=(Recipe(), Scale(5.0)),
        augmentations_test=Scale(3.0),
    )
    image = Frames()(strain)
    torch.testing.assert_close(model.train()(strain)[1], 10 * image)
    torch.testing.assert_close(model.eval()(strain)[1], 3 * image)


def test_norm_spec_standardises(strain: Tensor) -> None:
    model = SpectroCNN("test_resnet", spectrogram=Frames, norm_spec=True, return_spec=True)
    _, image = model.train()(7 + 3 * strain)
    assert image.mean((0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(image.std((0, 2, 3)), torch.ones(3), rtol=1e-3, atol=0)


def test_front_end_with_another_number_of_channels(strain: Tensor) -> None:
    one = {"spec_params": {"channels": 1}, "custom_classifier": "gem"}
    model = SpectroCNN(**SMALL, **one, timm_params={"in_chans": 1}, norm_spec=True)
    assert model(strain).shape == (2, 1)
    joined = SpectroCNN(
        **SMALL, **one, timm_params={"in_chans": 2}, custom_preprocess="positional-cat"
    )
    assert joined(strain).shape == (2, 1)
    with pytest.raises(UserError, match=r"gives images of 1 channels.*'in_chans': 1"):
        SpectroCNN(**SMALL, **one)(strain)


def test_gradient_reaches_a_learned_front_end(strain: Tensor) -> None:
    for model in (
        SpectroCNN("test_resnet", spectrogram=LearnedFrames, custom_classifier="gem"),
        MultiInstanceSCNN("test_resnet", spectrogram=LearnedFrames, resize_img=(64, 128)),
    ):
        check_gradients(model, strain)
        assert model.image.spectrogram.conv.weight.grad.abs().max() > 0


def test_mixup_of_images(strain: Tensor) -> None:
    model = SpectroCNN(**SMALL, return_spec=True).eval()
    logits, image, lam = model(strain, lam=LAM, idx=IDX)
    plain = model(strain)[1]
    torch.testing.assert_close(image[0], 0.2 * plain[0] + 0.8 * plain[1])
    torch.testing.assert_close(image[1], 0.7 * plain[1] + 0.3 * plain[0])
    torch.testing.assert_close(lam, LAM)
    torch.testing.assert_close(logits, model.network(image))
    with pytest.raises(UserError, match="both"):
        model(strain, lam=LAM)


def test_cutmix_of_images_returns_the_share_that_stayed(strain: Tensor) -> None:
    model = SpectroCNN("test_resnet", spectrogram=Frames, mixup="cutmix", return_spec=True).eval()
    _, image, lam = model(strain, lam=LAM, idx=IDX)
    own = (image == Frames()(strain))[:, 0].float().mean((1, 2))
    torch.testing.assert_close(lam, own)
    assert not torch.allclose(lam, LAM)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"custom_classifier": "concat"},
        {"custom_classifier": "gem", "custom_attention": "triplet"},
        {"custom_preprocess": "positional-cat"},
        {"n_patch": 1, "resize_img": (96, 64)},
        {"n_patch": 3, "model_name": "test_vit", "custom_classifier": "gem"},
    ],
)
def test_multi_instance(options: dict, strain: Tensor) -> None:
    model = MultiInstanceSCNN(**{**SMALL, **options})
    assert model(strain).shape == (2, 1)
    check_gradients(model, strain)


def test_multi_instance_mixes_images_too(strain: Tensor) -> None:
    model = MultiInstanceSCNN(**SMALL, return_spec=True).eval()
    _, image, lam = model(strain, lam=LAM, idx=IDX)
    torch.testing.assert_close(image[0], torch.lerp(*model(strain)[1].flip(0), 0.2))
    torch.testing.assert_close(lam, LAM)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"custom_classifier": "gemm"}, "did you mean 'gem'"),
        ({"custom_attention": "triple"}, "did you mean 'triplet'"),
        ({"custom_preprocess": "positional"}, "custom_preprocess"),
        ({"upsample": "cubic"}, "upsample"),
        ({"mixup": "mixcut"}, "mixup"),
        ({"custom_preprocess": "positional-add"}, "needs a custom head"),
        (
            {"custom_preprocess": "positional-add", "custom_classifier": "gem", "resize_img": None},
            "set resize_img",
        ),
        (
            {
                "custom_preprocess": "positional-cat",
                "custom_classifier": "gem",
                "timm_params": {"in_chans": 1},
            },
            "one more",
        ),
        ({"custom_classifier": "mixup", "custom_attention": "mixup"}, "mix twice"),
        ({"resize_img": (1, 2, 3)}, "resize_img"),
        ({"resize_img": 0}, "resize_img"),
        ({"timm_params": {"num_classes": 2}}, "not of timm_params"),
        ({"timm_params": {"drop_paths": 0.1}}, "drop_paths"),
        ({"spectrogram": None}, "spectrogram"),
        ({"spectrogram": Frames()}, "class"),
        ({"spec_params": {"columns": 3}}, "columns"),
        ({"augmentations": 3}, "augmentations"),
        ({"model_name": "test_vit", "custom_classifier": "concat"}, "feature map"),
        ({"model_name": "test_vit", "custom_classifier": "positional"}, "feature map"),
        ({"model_name": "test_vit", "custom_attention": "triplet"}, "feature map"),
        ({"model_name": "test_vit", "custom_classifier": "gem", "resize_img": None}, "one size"),
        ({"model_name": "test_vit", "resize_img": None}, "one size"),
        ({"model_name": "test_resnett"}, "did you mean 'test_resnet'"),
        ({"model_name": "resnet18.nothing"}, "a1_in1k"),
    ],
)
def test_refused_when_built(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SpectroCNN(**{**SMALL, **options})


def test_images_that_do_not_fit_are_refused_when_tried(strain: Tensor) -> None:
    options = {"spectrogram": spectrograms.ResNetSpectrogram, "timm_params": {"in_chans": 3}}
    one_channel = SpectroCNN("test_efficientnet", **options)
    with pytest.raises(UserError, match=r"set timm_params to \{'in_chans': 1\}"):
        one_channel.try_input(strain)
    squares = MultiInstanceSCNN("test_efficientnet", spectrogram=Frames, spec_params={"rows": 128})
    with pytest.raises(UserError, match="cannot be cut into squares"):
        squares.try_input(strain)


def test_the_trial_is_of_the_shape_that_the_data_have() -> None:
    """One detector is no mistake; decimated strain makes an image too narrow for squares."""
    one = SpectroCNN("test_efficientnet", spectrogram=Frames, timm_params={"in_chans": 1})
    one.try_input(torch.zeros(1, 1, 4096))
    assert one(torch.randn(2, 1, 4096)).shape == (2, 1)
    squares = MultiInstanceSCNN("test_efficientnet", spectrogram=Frames)
    squares.try_input(torch.zeros(1, 3, 4096))  # 64 rows, 64 columns
    with pytest.raises(UserError, match="cannot be cut into squares"):
        squares.try_input(torch.zeros(1, 3, 2048))  # 64 rows, 32 columns


@pytest.mark.parametrize(
    ("front_end", "params", "channels"),
    [
        (spectrograms.ComplexMorletCWT, {"wavelet_width": 3, "n_scales": 8}, 2),
        (spectrograms.CQT, {"fmin": 50, "fmax": 1000, "hop_length": 32}, 2),
        (spectrograms.CNNSpectrogram, {"base_filters": 16, "kernel_sizes": (9, 5, 3)}, 3),
        (spectrograms.ResNetSpectrogram, {"n_block": 2}, 1),
    ],
)
def test_an_image_has_the_channels_and_the_rate_of_the_observation(
    front_end: type, params: dict, channels: int
) -> None:
    """Without in_chans, in_channels and a rate, all follow the detectors and the sampling."""
    observation = Observation(("H1", "L1"), sample_rate=4096, window=0.5)
    if front_end is spectrograms.ComplexMorletCWT:
        params = {**params, "fs": None, "lower_freq": 50, "upper_freq": 1000, "stride": 8}
    model = SpectroCNN(
        "test_efficientnet", spectrogram=front_end, spec_params=params, observation=observation
    )
    model.try_input(torch.randn(1, *observation.shape))
    assert model.image.channels == channels
    assert model(torch.randn(2, *observation.shape)).shape == (2, 1)
    rate = getattr(model.image.spectrogram, "fs", None)
    if rate is not None:
        assert rate == observation.sample_rate
        with pytest.raises(UserError, match=r"4096 Hz.*1024 samples.*2048 Hz: set"):
            model.try_input(torch.randn(1, 2, 1024))


def test_a_trial_changes_nothing() -> None:
    class Normed(LearnedFrames):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(super().forward(x))

    model = SpectroCNN("test_efficientnet", spectrogram=Normed).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.try_input(torch.randn(1, 3, 4096))
    assert model.image.spectrogram.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_multi_instance_refuses() -> None:
    with pytest.raises(UserError, match="as many columns as rows"):
        MultiInstanceSCNN(**{**SMALL, "resize_img": (96, 64)})
    with pytest.raises(UserError, match="n_patch"):
        MultiInstanceSCNN(**SMALL, n_patch=0)


CWT = {"fs": 2048, "lower_freq": 16, "upper_freq": 1024, "wavelet_width": 8, "stride": 4}


def test_wavelets_to_logits_with_every_gradient(strain: Tensor) -> None:
    model = SpectroCNN(
        "test_efficientnet",
        spectrogram=spectrograms.ComplexMorletCWT,
        spec_params={**CWT, "n_scales": 64, "trainable_width": True},
        resize_img=(64, 256),
        upsample="bicubic",
        custom_classifier="gem",
    )
    check_gradients(model, strain)


def test_magnitudes_ignore_the_sign_of_the_strain(strain: Tensor) -> None:
    """A child with a forward pass of its own, and what augments images, may not."""
    arguments = {"wavelet_width": 8, "fs": 2048, "lower_freq": 32, "upper_freq": 512}
    given = {
        "spectrogram": ComplexMorletCWT,
        "spec_params": {**arguments, "n_scales": 16, "stride": 16},
    }
    model = SpectroCNN("test_resnet", **given).eval()
    assert model.ignores_sign
    with torch.no_grad():
        assert torch.equal(model(strain), model(-strain))
    assert not SpectroCNN("test_resnet", **given, augmentations_test=nn.Identity()).ignores_sign
    assert not SpectroCNN("test_resnet", spectrogram=Frames).ignores_sign

    class Signed(SpectroCNN):
        def forward(self, strain: Tensor) -> Tensor:
            return super().forward(strain) * strain.mean()

    assert not Signed("test_resnet", **given).ignores_sign


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_spec": True, "augmentations_test": nn.Hardtanh()},
        {"custom_classifier": "gem", "custom_attention": "triplet"},
    ],
)
def test_the_front_end_and_the_rest_are_the_network(options: dict, strain: Tensor) -> None:
    torch.manual_seed(0)
    model = SpectroCNN(**SMALL, **options).eval()
    ((step, rest),) = model.front_steps()
    with torch.inference_mode():
        torch.testing.assert_close(rest(step(strain)), model(strain))


def test_what_is_not_cut_in_two() -> None:
    class Twice(SpectroCNN):
        def forward(self, strain: Tensor, lam=None, idx=None) -> Tensor:
            return 2 * super().forward(strain, lam, idx)

    assert Twice(**SMALL).front_steps() == []
    assert SpectroCNN(**SMALL, return_spec=True).front_steps() == []
