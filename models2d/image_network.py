"""A timm backbone with a head of our own: images in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layers.attention import TripletAttention
from layers.mixing import ManifoldMixup
from layers.pooling import GeM
from layers.positional_encoding import PositionalEncoding2d
from models2d.backbones import Backbone, BackboneOptions
from runtime.errors import UserError

HIDDEN = 512  # features of the head
TABLE_SIZE = (128, 128)  # largest feature map of the 'positional' classifier


@dataclass(frozen=True)
class HeadOptions:
    """What follows the backbone; the fields are the arguments of `SpectroCNN` of these names."""

    num_classes: int
    custom_preprocess: str
    custom_classifier: str
    custom_attention: str
    feature_mode: bool


class ImageNetwork(nn.Module):
    """Backbone with a head of our own: preprocess, backbone, attention, pooling, two layers.

    Args:
        backbone: name, weights and arguments of the timm network.
        head: what stands before and behind it.
        size: (rows, columns) of the images where known.
        in_chans: channels of the images, before the preprocessing.
        n_patch: into how many square patches an image is cut; 1 leaves it whole.

    Raises:
        UserError: options that do not go together.
    """

    def __init__(
        self,
        backbone: BackboneOptions,
        head: HeadOptions,
        size: tuple[int, int] | None,
        in_chans: int,
        n_patch: int = 1,
    ) -> None:
        super().__init__()
        self.n_patch = n_patch
        if n_patch > 1 and size is not None:
            check_patches(size)
            size = (size[0], size[0])  # what the backbone sees is one square
        self.preprocess = build_preprocess(head.custom_preprocess, size)
        channels = in_chans + (head.custom_preprocess == "positional-cat")
        self.backbone = Backbone(
            backbone.model_name,
            backbone.pretrained,
            backbone.weights,
            size,
            {**backbone.timm_params, "in_chans": channels},
        )
        if not self.backbone.is_map:
            check_vector(backbone.model_name, head.custom_classifier, head.custom_attention)
        self.attention = {"triplet": TripletAttention, "mixup": ManifoldMixup}.get(
            head.custom_attention, nn.Identity
        )()
        # A vector is pooled already; a map is pooled by the chosen mean.
        pooling = head.custom_classifier
        self.pool = build_pooling(pooling) if self.backbone.is_map else nn.Identity()
        self.mix_pooled = ManifoldMixup() if pooling == "mixup" else None
        width = self.backbone.num_features * (2 if pooling == "concat" else 1)
        self.num_features = width * n_patch  # the patches' features lie side by side
        self.hidden = nn.Linear(self.num_features, HIDDEN)
        self.reset_classifier(0 if head.feature_mode else head.num_classes)

    def forward(
        self, image: Tensor, lam: Tensor | None = None, idx: Tensor | None = None
    ) -> Tensor:
        """Return logits (B, num_classes), or features (B, 512) in feature mode."""
        batch = image.shape[0]
        if self.n_patch > 1:
            image = cut_patches(image, self.n_patch)  # (B, C, H, W) -> (B·n, C, H, H)
        features = self.backbone(self.preprocess(image))
        if isinstance(self.attention, ManifoldMixup):
            features = self.attention(features, *self.by_patch(lam, idx))
        else:
            features = self.attention(features)
        features = self.pool(features)
        if self.mix_pooled is not None:
            features = self.mix_pooled(features, *self.by_patch(lam, idx))
        # (B·n, D) -> (B, n·D)
        return self.classify(self.hidden(features.reshape(batch, -1)))

    def classify(self, hidden: Tensor) -> Tensor:
        return hidden if self.feature_mode else self.classifier(F.relu(hidden))

    def by_patch(
        self, lam: Tensor | None, idx: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return λ and partners of the patches: every patch has its row's λ and that patch of
        the partner."""
        if lam is None or idx is None or self.n_patch == 1:
            return lam, idx
        patch = torch.arange(self.n_patch, device=idx.device)
        partners = (idx[:, None] * self.n_patch + patch).flatten()  # (B, n) -> (B·n,)
        return lam.expand(idx.shape[0]).repeat_interleave(self.n_patch), partners

    def head_modules(self) -> list[nn.Module]:
        """Return what follows the backbone."""
        return [self.attention, self.pool, self.hidden, self.classifier]

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last layer of `num_classes` logits; 0 leaves the 512 features."""
        self.feature_mode = num_classes == 0
        self.classifier = nn.Linear(HIDDEN, num_classes) if num_classes else nn.Identity()


def build_preprocess(kind: str, size: tuple[int, int] | None) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if size is None:
        raise UserError(f"custom_preprocess = {kind!r} needs the size of the image: set resize_img")
    return PositionalEncoding2d(size, mode=kind.removeprefix("positional-"), dropout=0.1)


class GlobalMaxPool2d(nn.Module):
    """Maximum: (B, C, H, W) -> (B, C). Equal ones share the gradient, on a GPU always alike."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax((-2, -1))


class ConcatPool2d(nn.Module):
    """Maximum, then average: (B, C, H, W) -> (B, 2C)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.amax((-2, -1)), x.mean((-2, -1))], dim=1)  # 2 × (B, C) -> (B, 2C)


def build_pooling(kind: str) -> nn.Module:
    """Return what makes (B, C) of a map (B, C, H, W), or (B, 2C) for 'concat'."""
    if kind in ("gem", "mixup"):
        return GeM(eps=1e-4)
    if kind == "concat":
        return ConcatPool2d()
    if kind == "max":
        return GlobalMaxPool2d()
    average = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if kind == "positional":
        row = GeM(eps=1e-4, dims=(-2,), keepdim=True)  # (B, C, H, W) -> (B, C, 1, W)
        return nn.Sequential(row, PositionalEncoding2d(TABLE_SIZE), *average)
    return nn.Sequential(*average)


def check_vector(model_name: str, custom_classifier: str, custom_attention: str) -> None:
    """Refuse what needs a feature map; a vector is pooled already, whichever mean is asked for."""
    for key, value, wrong in (
        ("custom_classifier", custom_classifier, ("concat", "positional")),
        ("custom_attention", custom_attention, ("triplet",)),
    ):
        if value in wrong:
            raise UserError(
                f"{key} = {value!r} needs a feature map, and {model_name} gives a vector for each "
                "image: choose 'none', 'gem' or 'mixup', or another backbone"
            )


# --- patches ---------------------------------------------------------------------------------


def check_patches(size: Sequence[int]) -> None:
    if size[1] < size[0]:
        raise UserError(
            f"an image of {tuple(size)} cannot be cut into squares side by side: set resize_img "
            "with at least as many columns as rows"
        )


def cut_patches(image: Tensor, n_patch: int) -> Tensor:
    """Cut squares of full height, evenly spaced: (B, C, H, W) -> (B·n_patch, C, H, H).

    Raises:
        UserError: images with fewer columns than rows.
    """
    height, width = image.shape[-2:]
    check_patches((height, width))
    step = (width - height) // (n_patch - 1)
    patches = [image[..., i * step : i * step + height] for i in range(n_patch)]
    return torch.stack(patches, dim=1).flatten(0, 1)  # (B, n, C, H, H) -> (B·n, C, H, H)
