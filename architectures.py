"""Front-end, timm backbone and head as one network: strain in, logits out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from layers.mixing import cutmix, mix_rows
from layers.resampling import resize
from models2d.backbones import create_timm, size_params
from models2d.image_network import ImageNetwork, check_patches
from physics.constants import SAMPLE_SHAPE
from runtime.errors import UserError, check_choice

Size = int | Sequence[int] | None
FrontEnd = Callable[..., nn.Module]

UPSAMPLE = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
PREPROCESS = ("none", "positional-add", "positional-cat")
CLASSIFIERS = ("none", "avg", "max", "concat", "gem", "positional", "mixup")
ATTENTIONS = ("none", "triplet", "mixup")


def as_size(resize_img: Size) -> tuple[int, int] | None:
    """Return (frequency rows, time columns); one number means a square."""
    if resize_img is None:
        return None
    size = (resize_img, resize_img) if isinstance(resize_img, int) else tuple(resize_img)
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise UserError(
            f"resize_img = {resize_img!r}: expected None, a whole number, or two: rows and columns"
        )
    return size


def as_module(augmentations: Any, key: str) -> nn.Module | None:
    """Return one module for None, a module, a recipe with `build()`, or a sequence of these."""
    if augmentations is None or isinstance(augmentations, nn.Module):
        return augmentations
    if isinstance(augmentations, Sequence) and not isinstance(augmentations, str):
        return nn.Sequential(*(as_module(item, key) for item in augmentations if item is not None))
    if hasattr(augmentations, "build"):
        return augmentations.build()
    raise UserError(f"{key} = {augmentations!r}: expected modules that take an image")


def build_front_end(spectrogram: FrontEnd | None, spec_params: Mapping[str, Any]) -> nn.Module:
    """Return spectrogram(**spec_params).

    Raises:
        UserError: it is no class or function, or takes no such argument.
    """
    if not callable(spectrogram) or isinstance(spectrogram, nn.Module):
        raise UserError(
            f"spectrogram = {spectrogram!r}: expected a front-end class such as ComplexMorletCWT, "
            "with its arguments in spec_params"
        )
    try:
        return spectrogram(**spec_params)
    except TypeError as error:
        raise UserError(f"spec_params = {dict(spec_params)}: {error}") from error


class SpectrogramImage(nn.Module):
    """Makes images of strain: front-end, mixing, augmentation, resizing, normalising.

    Args:
        spectrogram, spec_params, augmentations, augmentations_test, resize_img, upsample,
            norm_spec: as in `SpectroCNN`.
        channels: of the image, for `norm_spec` and for a check.
        mixup: 'mixup', 'cutmix', or None where mixing happens elsewhere.
    """

    def __init__(
        self,
        spectrogram: FrontEnd | None,
        spec_params: Mapping[str, Any],
        channels: int,
        augmentations: Any = None,
        augmentations_test: Any = None,
        resize_img: Size = None,
        upsample: str = "nearest",
        norm_spec: bool = False,
        mixup: str | None = "mixup",
    ) -> None:
        super().__init__()
        check_choice("image model", "upsample", upsample, UPSAMPLE)
        self.spectrogram = build_front_end(spectrogram, spec_params)
        self.augmentations = as_module(augmentations, "augmentations")
        self.augmentations_test = as_module(augmentations_test, "augmentations_test")
        self.size, self.upsample, self.channels = as_size(resize_img), upsample, channels
        self.norm = nn.BatchNorm2d(channels) if norm_spec else None
        self.mixup = mixup
        self.made = self.try_out()

    @torch.no_grad()
    def try_out(self) -> tuple[int, int]:
        """Make one image of silence and return its size, rows and columns, before resizing.

        Raises:
            UserError: it has other channels than the backbone takes.
        """
        training = self.spectrogram.training
        image = self.spectrogram.eval()(torch.zeros(1, *SAMPLE_SHAPE))
        self.spectrogram.train(training)
        self.check_channels(image)
        return tuple(image.shape[-2:])

    def check_channels(self, image: Tensor) -> None:
        if image.shape[1] != self.channels:
            raise UserError(
                f"{type(self.spectrogram).__name__} gives images of {image.shape[1]} channels and "
                f"the backbone takes {self.channels}: set timm_params "
                f"to {{'in_chans': {image.shape[1]}}}"
            )

    def forward(
        self, strain: Tensor, lam: Tensor | None = None, idx: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return images (B, C, F, T) for strain (B, 3, T), and the λ that was used."""
        image = self.spectrogram(strain)
        self.check_channels(image)
        if lam is not None and idx is not None:
            if self.mixup == "cutmix":
                image, lam = cutmix(image, lam, idx)
            elif self.mixup == "mixup":
                image = mix_rows(image, lam, idx)
        augmentations = self.augmentations if self.training else self.augmentations_test
        if augmentations is not None:
            image = augmentations(image)
        if self.size is not None and tuple(image.shape[-2:]) != self.size:
            image = resize(image, self.size, self.upsample)
        if self.norm is not None:
            image = self.norm(image)
        # The channel of a pixel side by side: convolutions are faster so, on a CPU by a sixth.
        return image.contiguous(memory_format=torch.channels_last), lam


# --- the models ------------------------------------------------------------------------------


def check_options(
    owner: str,
    custom_preprocess: str,
    custom_classifier: str,
    custom_attention: str,
    mixup: str,
    timm_params: Mapping[str, Any],
) -> tuple[str | None, int]:
    """Check the options by themselves and in pairs.

    Returns:
        How images are mixed (None: the features are instead), and the channels of an image.
    """
    check_choice(owner, "custom_preprocess", custom_preprocess, PREPROCESS)
    check_choice(owner, "custom_classifier", custom_classifier, CLASSIFIERS)
    check_choice(owner, "custom_attention", custom_attention, ATTENTIONS)
    check_choice(owner, "mixup", mixup, ("mixup", "cutmix"))
    for key in ("num_classes", "pretrained", "global_pool"):
        if key in timm_params:
            raise UserError(f"{owner}: {key!r} is an argument of the model, not of timm_params")
    if custom_classifier == custom_attention == "mixup":
        raise UserError(
            f"{owner}: custom_classifier and custom_attention are both 'mixup', which would mix "
            "twice: choose one"
        )
    in_chans = timm_params.get("in_chans")
    if custom_preprocess == "positional-cat" and in_chans is not None:
        if in_chans < 2:
            raise UserError(
                f"{owner}: in_chans = {in_chans} with custom_preprocess = 'positional-cat': "
                "expected the image's channels and one more"
            )
        in_chans -= 1
    manifold = "mixup" in (custom_classifier, custom_attention)
    return None if manifold else mixup, in_chans or 3


class SpectroCNN(nn.Module):
    """Spectrogram front-end, timm backbone, and its own head or a custom one.

    With custom_classifier and custom_attention both 'none' the timm network keeps its own
    pooling and linear head. Otherwise these are replaced: preprocess → backbone → attention →
    pooling → Linear(D, 512) → ReLU → Linear(512, num_classes).

    Args:
        model_name: timm's name, best with the tag of its weights.
        pretrained: take timm's pretrained weights.
        num_classes: logits.
        timm_params: further arguments of the timm network; `in_chans` where the front-end does
            not give three channels (with 'positional-cat', one more than it gives).
        custom_preprocess: 'none', or 'positional-add' / 'positional-cat': a sinusoidal table of
            the rows of `resize_img`, added or as a further channel.
        custom_classifier: pooling 'avg', 'max', 'concat' (maximum and average), 'gem',
            'positional' (generalised mean over frequency, table, average), or 'mixup'
            (generalised mean, then manifold mixup). A transformer pools by itself.
        custom_attention: 'none', 'triplet', or 'mixup' (manifold mixup of the feature map).
        spectrogram: front-end class; (B, 3, T) -> (B, C, F, T').
        spec_params: its arguments.
        augmentations: modules on images (B, C, F, T') in training.
        augmentations_test: the same outside training.
        resize_img: size the image is interpolated to; one number means a square.
        upsample: mode of the interpolation.
        mixup: 'mixup' or 'cutmix' of images, where the features are not mixed instead.
        norm_spec: batch norm of the image.
        return_spec: return the image as well.
        feature_mode: return the 512 features of the custom head (or timm's pooled ones).
        weights: local file of backbone weights, instead of timm's.

    Raises:
        UserError: an option that does not exist, or options that do not go together.
    """

    def __init__(
        self,
        model_name: str = "efficientnet_b7",
        pretrained: bool = False,
        num_classes: int = 1,
        timm_params: Mapping[str, Any] | None = None,
        custom_preprocess: str = "none",
        custom_classifier: str = "none",
        custom_attention: str = "none",
        spectrogram: FrontEnd | None = None,
        spec_params: Mapping[str, Any] | None = None,
        augmentations: Any = None,
        augmentations_test: Any = None,
        resize_img: Size = None,
        upsample: str = "nearest",
        mixup: str = "mixup",
        norm_spec: bool = False,
        return_spec: bool = False,
        feature_mode: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        timm_params = dict(timm_params or {})
        image_mixup, in_chans = check_options(
            "SpectroCNN", custom_preprocess, custom_classifier, custom_attention, mixup, timm_params
        )
        self.image = SpectrogramImage(
            spectrogram,
            spec_params or {},
            in_chans,
            augmentations,
            augmentations_test,
            resize_img,
            upsample,
            norm_spec,
            image_mixup,
        )
        self.return_spec = return_spec
        self.custom_head = (custom_classifier, custom_attention) != ("none", "none")
        if not self.custom_head:
            if custom_preprocess != "none":
                raise UserError(
                    f"SpectroCNN: custom_preprocess = {custom_preprocess!r} needs a custom head: "
                    "set custom_classifier, e.g. to 'gem'"
                )
            self.network = build_plain(
                model_name,
                pretrained,
                weights,
                0 if feature_mode else num_classes,
                self.image.size,
                {**timm_params, "in_chans": in_chans},
            )
        else:
            self.network = ImageNetwork(
                model_name,
                pretrained,
                weights,
                num_classes,
                timm_params,
                custom_preprocess,
                custom_classifier,
                custom_attention,
                self.image.size,
                in_chans,
                feature_mode=feature_mode,
            )
        self.network.to(memory_format=torch.channels_last)

    def forward(
        self, strain: Tensor, lam: Tensor | None = None, idx: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Return logits (B, num_classes) of strain (B, 3, T).

        With `return_spec` the image follows, and with `lam` and `idx` (each (B,)) the rows are
        mixed and the λ that was used comes last.
        """
        check_mixing(lam, idx)
        image, lam = self.image(strain, lam, idx)
        if self.custom_head and self.image.mixup is None:
            logits = self.network(image, lam, idx)
        else:
            logits = self.network(image)
        return collect(logits, image if self.return_spec else None, lam)

    def get_classifier(self) -> nn.Module:
        return self.network.get_classifier()

    def reset_classifier(self, num_classes: int) -> None:
        self.network.reset_classifier(num_classes)


class MultiInstanceSCNN(nn.Module):
    """`SpectroCNN` that sees an image as `n_patch` squares and joins their features.

    Squares of the image's height are cut at evenly spaced columns and go through one backbone;
    their features, side by side, enter the custom head. custom_classifier 'none' pools by the
    average. Any front-end and any mixing of `SpectroCNN` is allowed.

    Args: as in `SpectroCNN`, but `n_patch`.

    Raises:
        UserError: as `SpectroCNN`, or an image with fewer columns than rows.
    """

    def __init__(
        self,
        model_name: str = "efficientnet_b7",
        pretrained: bool = False,
        num_classes: int = 1,
        timm_params: Mapping[str, Any] | None = None,
        n_patch: int = 2,
        custom_preprocess: str = "none",
        custom_classifier: str = "none",
        custom_attention: str = "none",
        spectrogram: FrontEnd | None = None,
        spec_params: Mapping[str, Any] | None = None,
        augmentations: Any = None,
        augmentations_test: Any = None,
        resize_img: Size = None,
        upsample: str = "nearest",
        mixup: str = "mixup",
        norm_spec: bool = False,
        return_spec: bool = False,
        feature_mode: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if n_patch < 1:
            raise UserError(f"MultiInstanceSCNN: n_patch = {n_patch}: expected at least 1")
        timm_params = dict(timm_params or {})
        image_mixup, in_chans = check_options(
            "MultiInstanceSCNN",
            custom_preprocess,
            custom_classifier,
            custom_attention,
            mixup,
            timm_params,
        )
        self.image = SpectrogramImage(
            spectrogram,
            spec_params or {},
            in_chans,
            augmentations,
            augmentations_test,
            resize_img,
            upsample,
            norm_spec,
            image_mixup,
        )
        if n_patch > 1:
            check_patches(self.image.size or self.image.made)
        self.return_spec = return_spec
        self.network = ImageNetwork(
            model_name,
            pretrained,
            weights,
            num_classes,
            timm_params,
            custom_preprocess,
            custom_classifier,
            custom_attention,
            self.image.size,
            in_chans,
            n_patch,
            feature_mode,
        )
        self.network.to(memory_format=torch.channels_last)

    def forward(
        self, strain: Tensor, lam: Tensor | None = None, idx: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """As `SpectroCNN.forward`."""
        check_mixing(lam, idx)
        image, lam = self.image(strain, lam, idx)
        mix = (lam, idx) if self.image.mixup is None else (None, None)
        return collect(self.network(image, *mix), image if self.return_spec else None, lam)

    def get_classifier(self) -> nn.Module:
        return self.network.get_classifier()

    def reset_classifier(self, num_classes: int) -> None:
        self.network.reset_classifier(num_classes)


def build_plain(
    model_name: str,
    pretrained: bool,
    weights: str | None,
    num_classes: int,
    size: tuple[int, int] | None,
    timm_params: Mapping[str, Any],
) -> nn.Module:
    """Return a timm network with its own pooling and linear head."""
    timm_params = size_params(model_name, size, timm_params)
    return create_timm(model_name, num_classes, pretrained, weights, **timm_params)


def check_mixing(lam: Tensor | None, idx: Tensor | None) -> None:
    if (lam is None) != (idx is None):
        raise UserError("a model got only one of lam and idx: mixing needs both")


def collect(logits: Tensor, image: Tensor | None, lam: Tensor | None) -> Tensor | tuple:
    """Return the logits alone, or with what else was asked for."""
    extra = [value for value in (image, lam) if value is not None]
    return (logits, *extra) if extra else logits
