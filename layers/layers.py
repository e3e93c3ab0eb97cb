"""Small parts that torch and timm lack: mixing of rows, generalised-mean pooling, gates, tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils import UserError, nearest

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
    "leaky_relu": nn.LeakyReLU,
}


def check_choice(owner: str, key: str, value: object, choices: Sequence[object]) -> None:
    """Raise a UserError that lists the choices when `value` is none of them."""
    if value not in choices:
        hint = nearest(value, [c for c in choices if isinstance(c, str)]) if value else ""
        raise UserError(
            f"{owner}: {key} = {value!r}{hint}: expected one of "
            + ", ".join(repr(choice) for choice in choices)
        )


def make_activation(activation: str | type[nn.Module], owner: str = "activation") -> nn.Module:
    """Return a new activation module for one of `ACTIVATIONS` or a module class."""
    if isinstance(activation, type):
        return activation()
    check_choice(owner, "activation", activation, list(ACTIVATIONS))
    return ACTIVATIONS[activation]()


# --- mixing ----------------------------------------------------------------------------------


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


# --- pooling ---------------------------------------------------------------------------------


class GeM(nn.Module):
    """Generalised-mean pooling (mean of max(x, ε)^p)^(1/p) with a learned p.

    Reference: Radenović et al. 2019, arXiv:1711.02512, equation 3. p = 1 is the average, p → ∞
    the maximum. Computed in float32, as a half-precision x³ overflows from x = 41.

    Args:
        p: where p starts.
        eps: ε, the floor that keeps powers and their gradients finite.
        dims: axes that are averaged, (-2, -1) for images and (-1,) for series.
        keepdim: keep those axes with size 1.
    """

    def __init__(
        self, p: float = 3.0, eps: float = 1e-6, dims: Sequence[int] = (-2, -1),
        keepdim: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)]))
        self.eps, self.dims, self.keepdim = float(eps), tuple(dims), keepdim

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, C) with the default axes."""
        with torch.autocast(x.device.type, enabled=False):
            powers = x.float().clamp(min=self.eps).pow(self.p)
            return powers.mean(self.dims, keepdim=self.keepdim).pow(1.0 / self.p).to(x.dtype)

    def extra_repr(self) -> str:
        return f"eps={self.eps}, dims={self.dims}"


class GeMPool1d(nn.Module):
    """Generalised-mean pooling over windows of time: (B, C, T) -> (B, C, T // kernel_size)."""

    def __init__(self, kernel_size: int, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)]))
        self.kernel_size, self.eps = kernel_size, float(eps)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            powers = x.float().clamp(min=self.eps).pow(self.p)
            return F.avg_pool1d(powers, self.kernel_size).pow(1.0 / self.p).to(x.dtype)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, eps={self.eps}"


class GlobalPool1d(nn.Module):
    """Pools a series over time: (B, C, T) -> (B, C), or (B, 2C) for 'concat' (maximum, average).

    Raises:
        UserError: an unknown kind.
    """

    KINDS = ("avg", "max", "concat", "gem")

    def __init__(self, kind: str = "avg") -> None:
        super().__init__()
        check_choice("GlobalPool1d", "pooling", kind, self.KINDS)
        self.kind = kind
        self.gem = GeM(dims=(-1,)) if kind == "gem" else None

    def width(self, channels: int) -> int:
        """Return how many features `channels` channels become."""
        return 2 * channels if self.kind == "concat" else channels

    def forward(self, x: Tensor) -> Tensor:
        if self.gem is not None:
            return self.gem(x)
        if self.kind == "avg":
            return x.mean(-1)
        if self.kind == "max":
            return x.amax(-1)
        return torch.cat([x.amax(-1), x.mean(-1)], dim=1)  # 2 × (B, C) -> (B, 2C)

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}"


class Cbam1d(nn.Module):
    """Convolutional block attention for a series: gates its channels, then its times.

    Reference: Woo et al. 2018, arXiv:1807.06521, equations 1 to 3, in one dimension.

    Args:
        channels: C.
        reduction: by how much the shared hidden layer of the channel gate is narrower.
        kernel_size: odd size of the convolution of the time gate.
    """

    def __init__(self, channels: int, reduction: int = 8, kernel_size: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.channel = nn.Sequential(
            nn.Conv1d(channels, hidden, 1), nn.ReLU(), nn.Conv1d(hidden, channels, 1)
        )
        self.time = nn.Conv1d(2, 1, kernel_size, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        pooled = self.channel(x.mean(-1, keepdim=True)) + self.channel(x.amax(-1, keepdim=True))
        x = x * pooled.sigmoid()  # (B, C, 1)
        both = torch.stack([x.mean(1), x.amax(1)], dim=1)  # 2 × (B, T) -> (B, 2, T)
        return x * self.time(both).sigmoid()


class DropPath(nn.Module):
    """Drop a block's output for some rows in training: stochastic depth.

    Reference: Huang et al. 2016, arXiv:1603.09382. What is kept is scaled up, as in dropout.

    Args:
        p: probability that a row is dropped.

    Raises:
        UserError: not a probability below one.
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"drop_path = {p}: expected a probability from 0 to below 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.p == 0:
            return x
        keep = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.p
        return x * keep / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


# --- parts of image networks -----------------------------------------------------------------


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
        length = (size * side).floor().long()
        centre = torch.randint(size, (batch,), device=image.device)
        start = centre - length // 2
        return start.clamp(min=0), (start + length).clamp(max=size)

    (top, bottom), (left, right) = extent(height), extent(width)
    row = torch.arange(height, device=image.device)
    column = torch.arange(width, device=image.device)
    in_rows = (row >= top[:, None]) & (row < bottom[:, None])  # (B, F)
    in_columns = (column >= left[:, None]) & (column < right[:, None])  # (B, T)
    box = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]  # (B, 1, F, T)
    area = (bottom - top) * (right - left)
    return torch.where(box, image[idx], image), 1.0 - area / (height * width)


def sinusoidal_table(rows: int, columns: int) -> Tensor:
    """Return the table (rows, columns) of positions (rows) by dimensions (columns).

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5, base 10000.
    """
    position = torch.arange(rows, dtype=torch.float64)[:, None]
    even = torch.arange(0, columns, 2, dtype=torch.float64)
    angle = position / 10000.0 ** (even / columns)
    table = torch.empty(rows, columns, dtype=torch.float64)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : columns // 2]
    return table.float()


class PositionalEncoding2d(nn.Module):
    """Gives an image a sinusoidal table of its rows.

    Args:
        size: (rows, columns) of the table; an image may be smaller.
        mode: 'add' to every channel, or 'cat' as a further channel.
        dropout: on the result.
    """

    def __init__(self, size: tuple[int, int], mode: str = "add", dropout: float = 0.0) -> None:
        super().__init__()
        check_choice("PositionalEncoding2d", "mode", mode, ("add", "cat"))
        self.mode = mode
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("table", sinusoidal_table(*size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, C, F, T), or (B, C + 1, F, T) for 'cat'.

        Raises:
            UserError: an image larger than the table.
        """
        rows, columns = x.shape[-2:]
        if rows > self.table.shape[0] or columns > self.table.shape[1]:
            raise UserError(
                f"positional encoding: an image of {(rows, columns)} is larger than the table of "
                f"{tuple(self.table.shape)}: set resize_img smaller, or choose another option"
            )
        table = self.table[:rows, :columns].to(x.dtype)
        if self.mode == "add":
            return self.dropout(x + table)
        table = table.expand(x.shape[0], 1, -1, -1)  # (F, T) -> (B, 1, F, T)
        return self.dropout(torch.cat([x, table], dim=1))


class AttentionGate(nn.Module):
    """Multiplies x by a gate seen through its leading axis: (B, C, H, W) -> the same."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        # (B, C, H, W) -> (B, 2, H, W): maximum and mean over the leading axis
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


class TripletAttention(nn.Module):
    """Mean of three gates, over the C-W, C-H and H-W views of a feature map.

    Reference: Misra et al. 2021, arXiv:2010.03045.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel_width = AttentionGate(kernel_size)
        self.channel_height = AttentionGate(kernel_size)
        self.height_width = AttentionGate(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        # (B, C, H, W) -> (B, H, C, W) and back; (B, C, H, W) -> (B, W, H, C) and back
        channel_width = self.channel_width(x.transpose(1, 2)).transpose(1, 2)
        channel_height = self.channel_height(x.transpose(1, 3)).transpose(1, 3)
        return (channel_width + channel_height + self.height_width(x)) / 3.0
