"""From strain to the image that a backbone sees: front-end, mixing, augmentations, size, norm."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layers.mixing import cutmix, mix_rows
from layers.resampling import resize
from physics.observation import Observation
from runtime.errors import UserError, check_choice

Size = int | Sequence[int] | None
FrontEnd = Callable[..., nn.Module]

UPSAMPLE = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")


@dataclass(frozen=True)
class ImageOptions:
    """How strain becomes an image; the fields are the arguments of `SpectroCNN` of these names."""

    spectrogram: FrontEnd | None
    spec_params: Mapping[str, Any] | None
    augmentations: Any
    augmentations_test: Any
    resize_img: Size
    upsample: str
    mixup: str
    norm_spec: bool


def parse_image_size(resize_img: Size) -> tuple[int, int] | None:
    """Return (frequency rows, time columns); one number means a square."""
    if resize_img is None:
        return None
    size = (resize_img, resize_img) if isinstance(resize_img, int) else tuple(resize_img)
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise UserError(
            f"resize_img = {resize_img!r}: expected None, a whole number, or two: rows and columns"
        )
    return size


def build_augmentations(augmentations: Any, key: str) -> nn.Module | None:
    """Return one module for None, a module, a recipe with `build()`, or a sequence of these."""
    if augmentations is None or isinstance(augmentations, nn.Module):
        return augmentations
    if isinstance(augmentations, Sequence) and not isinstance(augmentations, str):
        return nn.Sequential(
            *(build_augmentations(item, key) for item in augmentations if item is not None)
        )
    if hasattr(augmentations, "build"):
        return augmentations.build()
    raise UserError(f"{key} = {augmentations!r}: expected modules that take an image")


def build_front_end(
    spectrogram: FrontEnd | None, spec_params: Mapping[str, Any], observation: Observation
) -> nn.Module:
    """Return spectrogram(**spec_params), given the observation where it takes one.

    Raises:
        UserError: it is no class or function, or takes no such argument.
    """
    if not callable(spectrogram) or isinstance(spectrogram, nn.Module):
        raise UserError(
            f"spectrogram = {spectrogram!r}: expected a front-end class such as ComplexMorletCWT, "
            "with its arguments in spec_params"
        )
    given = {}
    if "observation" in inspect.signature(spectrogram).parameters:
        given["observation"] = observation
    try:
        return spectrogram(**given, **spec_params)
    except TypeError as error:
        raise UserError(f"spec_params = {dict(spec_params)}: {error}") from error


class SpectrogramImage(nn.Module):
    """Makes images of strain: front-end, mixing, augmentation, resizing, normalising.

    Args:
        options: front-end, augmentations, size and norm.
        channels: of the image, as the backbone takes them; None for those that the front-end gives.
        mixes_image: whether rows are mixed here; False where the network mixes features instead.
        observation: whose strain becomes images.

    Attributes:
        channels: of the image.
    """

    def __init__(
        self,
        options: ImageOptions,
        channels: int | None,
        mixes_image: bool,
        observation: Observation,
    ) -> None:
        super().__init__()
        check_choice("image model", "upsample", options.upsample, UPSAMPLE)
        self.spectrogram = build_front_end(
            options.spectrogram, options.spec_params or {}, observation
        )
        self.window = observation.window
        if channels is None:  # a front-end that does not say gives one channel for each detector
            channels = getattr(self.spectrogram, "image_channels", observation.num_detectors)
        self.augmentations = build_augmentations(options.augmentations, "augmentations")
        self.augmentations_test = build_augmentations(
            options.augmentations_test, "augmentations_test"
        )
        self.size, self.upsample = parse_image_size(options.resize_img), options.upsample
        self.channels = channels
        self.norm = nn.BatchNorm2d(channels) if options.norm_spec else None
        self.mixup = options.mixup if mixes_image else None

    @property
    def ignores_sign(self) -> bool:
        """Whether images of -strain are those of the strain, bit for bit, outside training."""
        return getattr(self.spectrogram, "ignores_sign", False) and self.augmentations_test is None

    @torch.no_grad()
    def find_image_size(self, strain: Tensor) -> tuple[int, int]:
        """Return rows and columns of the image that strain (B, detector, time) becomes.

        Raises:
            UserError: the front-end refuses the strain, or the image has other channels than the
                backbone takes.
        """
        training = self.spectrogram.training
        # A learned front-end may hold batch norms, whose statistics must stay as they are.
        image = self.spectrogram.eval()(strain)
        self.spectrogram.train(training)
        self.check_channels(image)
        return self.size or tuple(image.shape[-2:])

    def check_sample_rate(self, strain: Tensor) -> None:
        """Check that strain (B, detector, time) has the rate that the front-end is made for.

        A transform that keeps every n-th sample divides the rate of the observation by n.

        Raises:
            UserError: it has another one.
        """
        made_for = getattr(self.spectrogram, "fs", None)
        rate = strain.shape[-1] / self.window
        if made_for is not None and made_for != rate:
            raise UserError(
                f"{type(self.spectrogram).__name__} is made for {made_for:g} Hz and is given "
                f"{strain.shape[-1]} samples of {self.window:g} s, which are {rate:g} Hz: set "
                f"model_params.spec_params (fs, or sr of CQT) to {rate:g}"
            )

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
        """Return images (B, C, F, T') of strain (B, detector, T), and the λ that was used."""
        image = self.spectrogram(strain)  # (B, detector, T) -> (B, C, F, T')
        return self.finish(image, lam, idx)

    def finish(
        self, image: Tensor, lam: Tensor | None = None, idx: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what `forward` returns, of what the front-end gives, (B, C, F, T')."""
        self.check_channels(image)
        # Before the augmentations: partners are mixed as they are, then augmented as one image.
        if lam is not None and idx is not None:
            if self.mixup == "cutmix":
                image, lam = cutmix(image, lam, idx)
            elif self.mixup == "mixup":
                image = mix_rows(image, lam, idx)
        # Augmentations know rows as frequencies and columns as times, so they come before resizing.
        augmentations = self.augmentations if self.training else self.augmentations_test
        if augmentations is not None:
            image = augmentations(image)
        if self.size is not None and tuple(image.shape[-2:]) != self.size:
            image = resize(image, self.size, self.upsample)
        if self.norm is not None:
            image = self.norm(image)
        return image, lam
