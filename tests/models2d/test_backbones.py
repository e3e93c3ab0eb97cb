"""Backbones of timm: kinds of output, weights from files and from the hub, published sizes."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest
import torch
from image_models import TOKENS, Frames, check_gradients, count
from torch import Tensor, nn

from architectures import SpectroCNN
from models2d import backbones
from runtime.errors import UserError


@pytest.fixture
def strain() -> Tensor:
    return torch.randn(2, 3, 4096)


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


def test_a_prefix_of_every_key_is_named_and_the_advice_works(tmp_path: Path) -> None:
    """A checkpoint of a whole network, such as Lightning's, has 'model.' before every key."""
    import timm

    state = timm.create_model("test_resnet").state_dict()
    whole = save({f"model.{key}": value for key, value in state.items()}, tmp_path / "whole.pt")
    message = r"whole\.pt.*every key begins with 'model\.'.*'model\.(\S+)' is '\1'"
    with pytest.raises(UserError, match=message):
        SpectroCNN("test_resnet.r160_in1k", spectrogram=Frames, weights=whole)
    saved = torch.load(whole, weights_only=True)["state_dict"]
    advised = {key.removeprefix("module."): value for key, value in saved.items()}
    advised = {key.removeprefix("model."): value for key, value in advised.items()}
    file = save(advised, tmp_path / "backbone.pt")
    SpectroCNN("test_resnet.r160_in1k", spectrogram=Frames, weights=file)


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
    with (
        zipfile.ZipFile(tmp_path / "part.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(UserError, match=r"bomb\.pt is compressed: .* would unpack to"):
        load(str(tmp_path / "bomb.pt"))


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
