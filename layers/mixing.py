"""Mixing rows of a batch: mixup, manifold mixup, cutmix.

Each row is combined with a partner row `idx` at a share `lam` (λ). What is drawn and how targets
are mixed is decided by the training hook; these functions only combine tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runtime.errors import UserError


def mix_rows(x: Tensor, lam: Tensor, idx: Tensor) -> Tensor:
    """Return λx + (1 − λ)x[idx], for x of any rank.

    Reference: mixup, Zhang et al. 2018, arXiv:1710.09412.

    Args:
        x: (B, ...).
        lam: λ, (B,) or one number for all rows.
        idx: (B,) row that each row is mixed with.
    """
    lam = lam.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # (B,) -> (B, 1, ..., 1)
    return lam * x + (1 - lam) * x[idx]


def mix_input(x: Tensor, lam: Tensor | None, idx: Tensor | None) -> Tensor:
    """Return x, mixed where λ and the partners are given.

    Raises:
        UserError: only one of the two is given.
    """
    if (lam is None) != (idx is None):
        raise UserError("a model got only one of lam and idx: mixing needs both")
    return x if lam is None else mix_rows(x, lam, idx)


class ManifoldMixup(nn.Module):
    """Mixes features of rows where λ is given and passes them on where it is not.

    Reference: Verma et al. 2019, arXiv:1806.05236. Works for features of any rank.
    """

    def forward(self, x: Tensor, lam: Tensor | None = None, idx: Tensor | None = None) -> Tensor:
        return mix_input(x, lam, idx)


def cutmix(image: Tensor, lam: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """Paste a box of image[idx] into each image; return the images and the share that stayed.

    The sides of a row's box are floor(side·√(1 − λ)), its centre is uniform, and what lies
    outside is cut off. The input is left as it is.

    Reference: Yun et al. 2019, arXiv:1905.04899.

    Args:
        image: (B, C, F, T).
        lam: λ (B,), the share of the image to stay.
        idx: (B,) row that each row takes its box from.
    """
    height, width = image.shape[-2:]
    batch = image.shape[0]
    lam = lam.to(image.device, torch.float32).expand(batch)
    side = (1.0 - lam).clamp(min=0).sqrt()

    def extent(size: int) -> tuple[Tensor, Tensor]:
        # The box may reach beyond the image; what does is cut off, so λ is computed again below.
        length = (size * side).floor().long()
        centre = torch.randint(size, (batch,), device=image.device)
        start = centre - length // 2
        return start.clamp(min=0), (start + length).clamp(max=size)

    (top, bottom), (left, right) = extent(height), extent(width)
    row = torch.arange(height, device=image.device)
    column = torch.arange(width, device=image.device)
    in_rows = (row >= top[:, None]) & (row < bottom[:, None])  # (B, F)
    in_columns = (column >= left[:, None]) & (column < right[:, None])  # (B, T)
    # The outer product of both intervals is the box.
    box = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]  # (B, 1, F, T)
    area = (bottom - top) * (right - left)
    return torch.where(box, image[idx], image), 1.0 - area / (height * width)
