"""Image models: shapes, parameter counts, options and their refusals."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from architectures import MultiInstanceSCNN, SpectroCNN
from models2d import backbones
from models2d.image_network import cut_patches
from runtime.errors import UserError
from spectrograms import wavelets as spectrograms


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class Frames(nn.Module):
    """A front-end without parameters: short stretches of strain as columns."""

    def __init__(self, rows: int = 64, channels: int = 3) -> None:
        super().__init__()
        self.rows, self.channels = rows, channels

    def forward(self, x: Tensor) -> Tensor:
        # (B, 3, T) -> (B, 3, rows, T / rows)
        image = x.unflatten(-1, (-1, self.rows)).transpose(-1, -2)
        return image[:, : self.channels]


class LearnedFrames(nn.Module):
    """A front-end with parameters."""

    def __init__(self, rows: int = 64) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, rows, 33, stride=64, padding=16)

    def forward(self, x: Tensor) -> Tensor:
        # (B, 3, T) -> (3B, 1, T) -> (3B, rows, T / 64) -> (B, 3, rows, T / 64)
        image = self.conv(x.reshape(-1, 1, x.shape[-1]))
        return image.unflatten(0, (-1, 3))


@pytest.fixture
def strain() -> Tensor:
    return torch.randn(2, 3, 4096)


SMALL = {"model_name": "test_efficientnet", "spectrogram": Frames, "resize_img": (64, 96)}
TOKENS = {"model_name": "test_vit", "spectrogram": Frames, "resize_img": (64, 96)}
HEAD = 256 * 512 + 512 + 513  # of test_efficientnet's 256 features


def check_gradients(model: nn.Module, *arguments: Tensor) -> None:
    """Every trainable parameter has a finite gradient."""
    model.train()
    output = model(*arguments)
    logits = output[0] if isinstance(output, tuple) else output
    nn.functional.softplus(logits).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


# --- options -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "name", ["test_efficientnet", "test_mambaout", "test_convnext", "mobilenetv3_small_050"]
)
@pytest.mark.parametrize("classifier", ["none", "gem"])
def test_map_backbones(name: str, classifier: str, strain: Tensor) -> None:
    """Channels first or last, convolutions after the pooling or not."""
    model = SpectroCNN(
        name,
        num_classes=2,
        spectrogram=Frames,
        custom_classifier=classifier,
        custom_attention="none" if classifier == "none" else "triplet",
    )
    assert model(strain).shape == (2, 2)
    if classifier == "gem":
        assert model.network.backbone.is_map
    check_gradients(model, strain)


@pytest.mark.parametrize("classifier", ["none", "avg", "max", "gem", "mixup"])
@pytest.mark.parametrize(("name", "width"), [("test_vit", 64), ("xcit_nano_12_p16_224", 128)])
def test_token_backbones_give_their_class_token(name, width, classifier, strain) -> None:
    model = SpectroCNN(**{**TOKENS, "model_name": name}, custom_classifier=classifier)
    if classifier != "none":
        assert not model.network.backbone.is_map
        assert model.network.num_features == width
        # images of 64 × 96 fit the backbone, whose own size is 160 or 224
        net = model.eval().network.backbone.net
        image = model.image(strain)[0]
        tokens = net.forward_features(image)
        assert tokens.shape[1:] == (1 + 4 * 6, width)
        torch.testing.assert_close(model.network.backbone(image), tokens[:, 0])
    assert model(strain).shape == (2, 1)
    check_gradients(model, strain)


def test_backbone_with_fixed_size_and_map(strain: Tensor) -> None:
    model = SpectroCNN(
        **{**TOKENS, "model_name": "maxvit_pico_rw_256", "resize_img": (64, 64)},
        custom_classifier="gem",
    )
    assert model.network.backbone.is_map
    assert model(strain).shape == (2, 1)


def test_pooling_is_what_it_says(strain: Tensor) -> None:
    model = SpectroCNN(**SMALL, custom_classifier="concat").eval()
    features = model.network.backbone(model.image(strain)[0])
    assert features.shape == (2, 256, 2, 3)
    expected = torch.cat([features.amax((2, 3)), features.mean((2, 3))], 1)
    torch.testing.assert_close(model.network.pool(features), expected)
    hidden = nn.functional.relu(model.network.hidden(expected))
    torch.testing.assert_close(model(strain), model.network.classifier(hidden))


def test_plain_head_is_timms_own(strain: Tensor) -> None:
    import timm

    model = SpectroCNN(**SMALL, num_classes=3).eval()
    reference = timm.create_model("test_efficientnet", num_classes=3).eval()
    reference.load_state_dict(model.network.state_dict())
    image = nn.functional.interpolate(Frames()(strain), (64, 96))
    torch.testing.assert_close(model(strain), reference(image))


@pytest.mark.parametrize("classifier", ["none", "gem"])
def test_feature_mode_and_classifier(classifier: str, strain: Tensor) -> None:
    width = 256 if classifier == "none" else 512
    model = SpectroCNN(**SMALL, custom_classifier=classifier, feature_mode=True)
    assert model(strain).shape == (2, width)
    model.reset_classifier(5)
    assert model.get_classifier().out_features == 5
    assert model(strain).shape == (2, 5)
    model.reset_classifier(0)
    assert model(strain).shape == (2, width)


def test_feature_mode_ends_before_the_activation(strain: Tensor) -> None:
    features = SpectroCNN(**SMALL, custom_classifier="gem", feature_mode=True)(strain)
    assert features.min() < 0


# --- the image ---------------------------------------------------------------------------------


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


# --- mixing ------------------------------------------------------------------------------------

LAM, IDX = torch.tensor([0.2, 0.7]), torch.tensor([1, 0])


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


@pytest.mark.parametrize("where", ["custom_attention", "custom_classifier"])
@pytest.mark.parametrize("backbone", [SMALL, TOKENS])
@pytest.mark.parametrize("training", [True, False])
def test_manifold_mixup(where: str, backbone: dict, training: bool, strain: Tensor) -> None:
    """Mixes features and not the image; without lam it does nothing, in training too."""
    model = SpectroCNN(**backbone, **{where: "mixup"}, return_spec=True).eval()
    model.network.train(training).backbone.eval()
    logits, image, lam = model(strain, lam=LAM, idx=IDX)
    plain, plain_image = model(strain)
    assert torch.equal(image, plain_image)
    torch.testing.assert_close(lam, LAM)
    features = model.network.backbone(image)
    by_rank = LAM.reshape(2, *[1] * (features.ndim - 1))
    if where == "custom_attention":
        pooled = model.network.pool(by_rank * features + (1 - by_rank) * features[IDX])
    else:
        pooled = model.network.pool(features)
        pooled = LAM[:, None] * pooled + (1 - LAM[:, None]) * pooled[IDX]
    torch.testing.assert_close(logits, model.network.classify(model.network.hidden(pooled)))
    assert not torch.allclose(logits, plain)
    check_gradients(model, strain)


# --- several instances -------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "n", "starts"), [(96, 2, [0, 32]), (101, 3, [0, 18, 36])])
def test_patches(width: int, n: int, starts: list[int]) -> None:
    image = torch.randn(2, 3, 64, width)
    patches = cut_patches(image, n)
    assert patches.shape == (2 * n, 3, 64, 64)
    for row in range(2):
        for i, start in enumerate(starts):
            assert torch.equal(patches[row * n + i], image[row, :, :, start : start + 64])


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


def test_multi_instance_joins_features_in_order(strain: Tensor) -> None:
    model = MultiInstanceSCNN(**SMALL).eval()  # 'none' pools by the average
    image = model.image(strain)[0]
    parts = [model.network.backbone(image[..., i : i + 64]).mean((2, 3)) for i in (0, 32)]
    hidden = nn.functional.relu(model.network.hidden(torch.cat(parts, 1)))
    torch.testing.assert_close(model(strain), model.network.classifier(hidden))


@pytest.mark.parametrize("where", ["custom_attention", "custom_classifier"])
def test_multi_instance_manifold_mixup_by_patch(where: str, strain: Tensor) -> None:
    model = MultiInstanceSCNN(**SMALL, **{where: "mixup"}, feature_mode=True).eval()
    lam, idx = torch.tensor([0.0, 1.0]), torch.tensor([1, 0])
    logits, _ = model(strain, lam=lam, idx=idx)
    plain = model(strain)
    torch.testing.assert_close(logits, plain[[1, 1]])  # row 0 is all of row 1


def test_multi_instance_mixes_images_too(strain: Tensor) -> None:
    model = MultiInstanceSCNN(**SMALL, return_spec=True).eval()
    _, image, lam = model(strain, lam=LAM, idx=IDX)
    torch.testing.assert_close(image[0], torch.lerp(*model(strain)[1].flip(0), 0.2))
    torch.testing.assert_close(lam, LAM)


# --- refusals ----------------------------------------------------------------------------------


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


def test_images_that_do_not_fit_are_refused_when_built() -> None:
    with pytest.raises(UserError, match=r"set timm_params to \{'in_chans': 1\}"):
        SpectroCNN("test_efficientnet", spectrogram=spectrograms.ResNetSpectrogram)
    with pytest.raises(UserError, match="cannot be cut into squares"):
        MultiInstanceSCNN("test_efficientnet", spectrogram=Frames, spec_params={"rows": 128})


def test_multi_instance_refuses() -> None:
    with pytest.raises(UserError, match="as many columns as rows"):
        MultiInstanceSCNN(**{**SMALL, "resize_img": (96, 64)})
    with pytest.raises(UserError, match="n_patch"):
        MultiInstanceSCNN(**SMALL, n_patch=0)


# --- weights -----------------------------------------------------------------------------------


def test_no_network_is_told_at_once_with_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://localhost:9")  # the discard port: nobody listens
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"resnet18.*--no_pretrained.*--weights FILE"):
        SpectroCNN("resnet18.a1_in1k", pretrained=True, spectrogram=Frames)
    assert time.perf_counter() - start < 5


def test_failed_download_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def fail(*_: object, **__: object) -> None:
        raise OSError("the hub is shut")

    monkeypatch.setattr(backbones, "check_reachable", lambda *_: None)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError, match=r"the hub is shut.*--weights FILE"):
        backbones.create_timm("resnet18.a1_in1k", 1, pretrained=True)


def test_model_without_pretrained_weights() -> None:
    with pytest.raises(UserError, match="no pretrained weights"):
        backbones.create_timm("efficientnet_b7", 1, pretrained=True)


def save(state: dict, path: Path) -> str:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    return str(path)


@pytest.mark.parametrize("name", ["test_efficientnet.r160_in1k", "test_vit.r160_in1k"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("classes", [1000, 0, 7])
def test_weights_of_a_local_file(name, suffix, classes, tmp_path, strain) -> None:
    """With the head of ImageNet, without one, and with another: the body is that of the file."""
    import timm

    source = timm.create_model(name, num_classes=classes).eval()
    file = save(source.state_dict(), tmp_path / f"body{suffix}")
    options = {"model_name": name, "spectrogram": Frames, "resize_img": 160, "weights": file}
    plain = SpectroCNN(**options, pretrained=True).eval()
    image = plain.image(strain)[0]
    torch.testing.assert_close(
        plain.network.forward_features(image), source.forward_features(image)
    )
    assert plain(strain).shape == (2, 1)
    assert "state_dict" not in plain.network.pretrained_cfg
    custom = SpectroCNN(**options, custom_classifier="gem").eval()
    assert custom.network.backbone.net.get_classifier().__class__ is nn.Identity
    assert custom(strain).shape == (2, 1)


def test_weights_for_another_number_of_channels(tmp_path: Path) -> None:
    import timm

    source = timm.create_model("test_efficientnet.r160_in1k")
    file = save(source.state_dict(), tmp_path / "body.pt")
    model = SpectroCNN(
        "test_efficientnet.r160_in1k",
        spectrogram=Frames,
        weights=file,
        resize_img=64,
        custom_preprocess="positional-cat",
        custom_classifier="gem",
    )
    stem = model.network.backbone.net.conv_stem.weight
    assert stem.shape[1] == 4
    torch.testing.assert_close(model.network.backbone.net.conv_head.weight, source.conv_head.weight)


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    import timm

    def load(file: str) -> None:
        SpectroCNN("test_resnet.r160_in1k", spectrogram=Frames, weights=file)

    other = save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt.*does not hold the weights of"):
        load(other)
    state = timm.create_model("test_resnet").state_dict()
    state.pop("layer1.0.conv1.weight")
    with pytest.raises(UserError, match=r"layer1\.0\.conv1\.weight"):
        load(save(state, tmp_path / "part.pt"))
    with pytest.raises(UserError, match="does not exist"):
        load(str(tmp_path / "none.pt"))
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(UserError, match=r"text\.pt.*cannot be read"):
        load(str(tmp_path / "text.pt"))
    torch.save({"weights": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match=r"trap\.pt.*cannot be read"):
        load(str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


# --- published counts of the large ones ----------------------------------------------------------

# With one logit, section by section of timm; the head of our own adds D·512 + 1026 + GeM's p less
# D + 1.
BACKBONES = {
    "tf_efficientnet_b2.aa_in1k": (1408, 7_702_403),
    "tf_efficientnet_b3.ns_jft_in1k": (1536, 10_697_769),
    "tf_efficientnet_b4.ns_jft_in1k": (1792, 17_550_409),
    "tf_efficientnet_b6.ns_jft_in1k": (2304, 40_738_009),
    "tf_efficientnet_b7.ra_in1k": (2560, 63_789_521),
    "tf_efficientnet_b7.ns_jft_in1k": (2560, 63_789_521),
    "tf_efficientnetv2_m.in1k": (1280, 52_859_637),
    "tf_efficientnetv2_l.in1k": (1280, 117_235_553),
    "densenet201.tv_in1k": (1920, 18_094_849),
    "resnet200d.ra2_in1k": (2048, 62_646_113),
    "xcit_tiny_12_p16_384.fb_dist_in1k": (192, 6_523_465),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_published_counts_of_backbones(name: str) -> None:
    width, published = BACKBONES[name]
    size = 384 if "xcit" in name else None
    plain = SpectroCNN(name, spectrogram=Frames, resize_img=size)
    assert count(plain) == published
    del plain
    model = SpectroCNN(name, spectrogram=Frames, resize_img=size, custom_classifier="gem")
    gem = 0 if "xcit" in name else 1
    assert model.network.num_features == width
    assert count(model) == published - (width + 1) + width * 512 + 512 + 513 + gem


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
