"""Sinusoidal tables that tell a network in which row (at which frequency) of an image it is.

Convolutions and pooling see every row alike; whether a line in a spectrogram lies at 50 or at 500
Hz is lost to them unless the image says so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runtime.errors import UserError, check_choice


def sinusoidal_table(rows: int, columns: int) -> Tensor:
    """Return the table (rows, columns) of positions (rows) by dimensions (columns).

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5, base 10000.
    """
    position = torch.arange(rows, dtype=torch.float64)[:, None]
    # PE(pos, 2 i) = sin(pos / 10000^(2 i / d)), PE(pos, 2 i + 1) = cos of the same, d = columns
    even = torch.arange(0, columns, 2, dtype=torch.float64)
    angle = position / 10000.0 ** (even / columns)
    table = torch.empty(rows, columns, dtype=torch.float64)
    table[:, 0::2] = angle.sin()
    # an odd number of columns has one cosine less
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
