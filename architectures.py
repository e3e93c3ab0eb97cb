"""Front-end, timm backbone and head as one network: strain in, logits out.

The models take flat keyword arguments, as configs write them in `model_params`, and group them at
once: `ImageOptions` for what happens before the backbone, `BackboneOptions` for the backbone,
`HeadOptions` for what follows it. `ImageModel` holds what the two models share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from layers.front import FrontStep
from models2d.backbones import BackboneOptions, create_timm, size_params
from models2d.image_network import HeadOptions, ImageNetwork, check_patches
from models2d.memory_format import MemoryFormat
from models2d.spectrogram_image import FrontEnd, ImageOptions, Size, SpectrogramImage
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError, check_choice

PREPROCESS = ("none", "positional-add", "positional-cat")
CLASSIFIERS = ("none", "avg", "max", "concat", "gem", "positional", "mixup")
ATTENTIONS = ("none", "triplet", "mixup")


def check_options(
    owner: str, head: HeadOptions, mixup: str, timm_params: Mapping[str, Any]
) -> tuple[bool, int | None]:
    """Check the options by themselves and in pairs.

    Returns:
        Whether images are mixed (otherwise features are), and the channels of an image; None
        for those that the front-end gives.

    Raises:
        UserError: an option that does not exist, or options that do not go together.
    """
    check_choice(owner, "custom_preprocess", head.custom_preprocess, PREPROCESS)
    check_choice(owner, "custom_classifier", head.custom_classifier, CLASSIFIERS)
    check_choice(owner, "custom_attention", head.custom_attention, ATTENTIONS)
    check_choice(owner, "mixup", mixup, ("mixup", "cutmix"))
    # The models pass these to timm themselves.
    for key in ("num_classes", "pretrained", "global_pool"):
        if key in timm_params:
            raise UserError(f"{owner}: {key!r} is an argument of the model, not of timm_params")
    if head.custom_classifier == head.custom_attention == "mixup":
        raise UserError(
            f"{owner}: custom_classifier and custom_attention are both 'mixup', which would mix "
            "twice: choose one"
        )
    in_chans = timm_params.get("in_chans")
    # 'positional-cat' adds its table as a channel after the front-end, so the image has one less.
    if head.custom_preprocess == "positional-cat" and in_chans is not None:
        if in_chans < 2:
            raise UserError(
                f"{owner}: in_chans = {in_chans} with custom_preprocess = 'positional-cat': "
                "expected the image's channels and one more"
            )
        in_chans -= 1
    mixes_features = "mixup" in (head.custom_classifier, head.custom_attention)
    return not mixes_features, in_chans


class ImageModel(nn.Module):
    """What `SpectroCNN` and `MultiInstanceSCNN` share: strain to image, image to logits.

    Args:
        owner: name of the model, for messages.
        backbone, head, image: the options in groups.
        return_spec: return the image as well.
        n_patch: into how many squares the image is cut; 1 leaves it whole.
        allow_timm_head: keep timm's own pooling and linear head where no part of a custom head is
            asked for.
        channels_last: as in `SpectroCNN`.
        observation: whose strain becomes images.

    Raises:
        UserError: an option that does not exist, or options that do not go together.
    """

    def __init__(
        self,
        owner: str,
        backbone: BackboneOptions,
        head: HeadOptions,
        image: ImageOptions,
        return_spec: bool,
        n_patch: int,
        allow_timm_head: bool,
        channels_last: bool,
        observation: Observation,
    ) -> None:
        super().__init__()
        mixes_image, in_chans = check_options(owner, head, image.mixup, backbone.timm_params)
        # The order of construction decides what the seed draws: front-end first, then the network.
        self.image = SpectrogramImage(image, in_chans, mixes_image, observation)
        in_chans = self.image.channels
        # An image that is not resized has a size only once strain has come in; see `try_input`.
        if n_patch > 1 and self.image.size is not None:
            check_patches(self.image.size)
        self.return_spec, self.n_patch = return_spec, n_patch
        custom_head = (head.custom_classifier, head.custom_attention) != ("none", "none")
        if allow_timm_head and not custom_head:
            if head.custom_preprocess != "none":
                raise UserError(
                    f"{owner}: custom_preprocess = {head.custom_preprocess!r} needs a custom head: "
                    "set custom_classifier, e.g. to 'gem'"
                )
            self.network = build_timm_with_own_head(backbone, head, self.image.size, in_chans)
        else:
            self.network = ImageNetwork(backbone, head, self.image.size, in_chans, n_patch)
        self.memory_format = MemoryFormat(self.network, channels_last)
        self.memory_format.arrange_weights(self.network)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ImageModel:
        """Move or convert the weights, as `to`, `cuda` and `double` do.

        The format of weights depends on the device. Arranged here, once, they need not be arranged
        anew in each forward pass.
        """
        super()._apply(fn, recurse)
        self.memory_format.arrange_weights(self.network)
        return self

    def try_input(self, strain: Tensor) -> None:
        """See whether strain as the data set gives it, (B, detector, time), becomes an image.

        Raises:
            UserError: the strain is sampled at another rate than the front-end is made for; or the
                image has other channels than the backbone takes, or fewer columns than rows where
                squares are cut from it.
        """
        self.image.check_sample_rate(strain)
        size = self.image.find_image_size(strain)  # rows and columns, after resizing
        if self.n_patch > 1:
            check_patches(size)

    def forward(
        self, strain: Tensor, lam: Tensor | None = None, idx: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Return logits (B, num_classes) of strain (B, detector, T).

        With `return_spec` the image follows, and with `lam` and `idx` (each (B,)) the rows are
        mixed and the λ that was used comes last.
        """
        check_mixing(lam, idx)
        image, lam = self.image(strain, lam, idx)
        return self.forward_image(image, lam, idx)

    def forward_image(
        self, image: Tensor, lam: Tensor | None = None, idx: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Return what `forward` returns, of images (B, C, F, T') as the network takes them."""
        image = self.memory_format.arrange(image)
        if self.image.mixup is None:  # features are mixed instead of images
            logits = self.network(image, lam, idx)
        else:
            logits = self.network(image)
        return join_outputs(logits, image if self.return_spec else None, lam)

    def front_steps(self) -> list[FrontStep]:
        """Return the front-end and what follows it; see `layers/front.py`.

        None for a child with a forward pass of its own, or where images are returned as well.
        """
        if type(self).forward is not ImageModel.forward or self.return_spec:
            return []

        def rest(spectrogram: Tensor) -> Tensor:
            return self.forward_image(self.image.finish(spectrogram)[0])

        return [FrontStep(self.image.spectrogram, rest)]

    @property
    def ignores_sign(self) -> bool:
        """Whether -strain has the logits of the strain, bit for bit, outside training.

        A child with a forward pass of its own may do something else.
        """
        return type(self).forward is ImageModel.forward and self.image.ignores_sign

    def parts(self) -> dict[str, list[nn.Module]]:
        """Return the modules of the front-end and of the head; the rest is the backbone."""
        own_head = isinstance(self.network, ImageNetwork)
        head = self.network.head_modules() if own_head else [self.network.get_classifier()]
        return {"front_end": [self.image], "head": head}

    def get_classifier(self) -> nn.Module:
        return self.network.get_classifier()

    def reset_classifier(self, num_classes: int) -> None:
        self.network.reset_classifier(num_classes)


class SpectroCNN(ImageModel):
    """Spectrogram front-end, timm backbone, and its own head or a custom one.

    With custom_classifier and custom_attention both 'none' the timm network keeps its own
    pooling and linear head. Otherwise these are replaced: preprocess → backbone → attention →
    pooling → Linear(D, 512) → ReLU → Linear(512, num_classes).

    Args:
        model_name: timm's name, best with the tag of its weights.
        pretrained: take timm's pretrained weights.
        num_classes: logits.
        timm_params: further arguments of the timm network. `in_chans` is by default the number of
            channels that the front-end gives (with 'positional-cat', one more).
        custom_preprocess: 'none', or 'positional-add' / 'positional-cat': a sinusoidal table of
            the rows of `resize_img`, added or as a further channel.
        custom_classifier: pooling 'avg', 'max', 'concat' (maximum and average), 'gem',
            'positional' (generalised mean over frequency, table, average), or 'mixup'
            (generalised mean, then manifold mixup). A transformer pools by itself.
        custom_attention: 'none', 'triplet', or 'mixup' (manifold mixup of the feature map).
        spectrogram: front-end class; (B, detector, T) -> (B, C, F, T').
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
        channels_last: keep images and weights with the channels of a pixel side by side, which is
            faster. On a CPU, networks with a batch norm, which would be less exact, and those that
            could crash are left as they are; see models2d/memory_format.py.
        observation: detectors, sampling rate and window; an experiment gives its own.

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
        channels_last: bool = True,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(
            "SpectroCNN",
            BackboneOptions(model_name, pretrained, weights, dict(timm_params or {})),
            HeadOptions(
                num_classes, custom_preprocess, custom_classifier, custom_attention, feature_mode
            ),
            ImageOptions(
                spectrogram,
                spec_params,
                augmentations,
                augmentations_test,
                resize_img,
                upsample,
                mixup,
                norm_spec,
            ),
            return_spec,
            n_patch=1,
            allow_timm_head=True,
            channels_last=channels_last,
            observation=observation,
        )


class MultiInstanceSCNN(ImageModel):
    """`SpectroCNN` that sees an image as `n_patch` squares and joins their features.

    Squares of the image's height are cut at evenly spaced columns and go through one backbone;
    their features, side by side, enter the custom head. custom_classifier 'none' pools by the
    average. Any front-end and any mixing of `SpectroCNN` is allowed.

    Args: as in `SpectroCNN`, and `n_patch`, the number of squares.

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
        channels_last: bool = True,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        if n_patch < 1:
            raise UserError(f"MultiInstanceSCNN: n_patch = {n_patch}: expected at least 1")
        super().__init__(
            "MultiInstanceSCNN",
            BackboneOptions(model_name, pretrained, weights, dict(timm_params or {})),
            HeadOptions(
                num_classes, custom_preprocess, custom_classifier, custom_attention, feature_mode
            ),
            ImageOptions(
                spectrogram,
                spec_params,
                augmentations,
                augmentations_test,
                resize_img,
                upsample,
                mixup,
                norm_spec,
            ),
            return_spec,
            n_patch=n_patch,
            allow_timm_head=False,
            channels_last=channels_last,
            observation=observation,
        )


def build_timm_with_own_head(
    backbone: BackboneOptions, head: HeadOptions, size: tuple[int, int] | None, in_chans: int
) -> nn.Module:
    """Return a timm network with its own pooling and linear head."""
    timm_params = {**backbone.timm_params, "in_chans": in_chans}
    # Transformers need the size of the image when they are built.
    timm_params = size_params(backbone.model_name, size, timm_params)
    num_classes = 0 if head.feature_mode else head.num_classes  # 0: timm's pooled features
    return create_timm(
        backbone.model_name, num_classes, backbone.pretrained, backbone.weights, **timm_params
    )


def check_mixing(lam: Tensor | None, idx: Tensor | None) -> None:
    if (lam is None) != (idx is None):
        raise UserError("a model got only one of lam and idx: mixing needs both")


def join_outputs(logits: Tensor, image: Tensor | None, lam: Tensor | None) -> Tensor | tuple:
    """Return the logits alone, or with what else was asked for."""
    extra = [value for value in (image, lam) if value is not None]
    return (logits, *extra) if extra else logits
