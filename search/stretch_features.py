"""What the front of a network makes of successive windows, without the same work twice.

See search/local_front.py. The columns of a whole stretch are computed in pieces; those that know of
a window's edges are computed for each window from strips of its strain, and both are put together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from search.local_front import Reach


class StretchFeatures:
    """The features of successive windows.

    Args:
        front: (B, D, T) -> (B, ..., T').
        reach: of it.
        series: (D, samples), at least as long as the windows reach.
        count: of windows; the first begins with the series.
        hop: samples from one to the next, a multiple of the stride.
        batch_size: windows computed at once.
    """

    def __init__(
        self,
        front: Callable[[Tensor], Tensor],
        reach: Reach,
        series: Tensor,
        count: int,
        hop: int,
        batch_size: int,
    ) -> None:
        self.front, self.reach, self.series = front, reach, series
        self.count, self.hop, self.batch_size = count, hop, batch_size
        self.skip = hop // reach.stride  # columns from one window to the next
        self.left = self.right = self.inner = None
        if reach.left:
            self.left = self.edges(0, slice(0, reach.left))  # (windows, ..., left)
        if reach.right:
            self.right = self.edges(reach.samples - reach.strip, slice(-reach.right, None))
        if reach.is_local:
            self.inner = self.over_series()  # (..., columns)
        del self.series

    def edges(self, begin: int, columns: slice) -> Tensor:
        """Return columns of the strip of each window that begins `begin` samples into it."""
        strips = self.series[:, begin:].unfold(-1, self.reach.strip, self.hop)  # (D, windows, T)
        found: Tensor | None = None
        for first in range(0, self.count, self.batch_size):
            last = min(first + self.batch_size, self.count)
            # (D, n, T) -> (n, D, T)
            part = self.front(strips[:, first:last].transpose(0, 1).contiguous())[..., columns]
            if found is None:  # filled, since parts and their concatenation would be twice as much
                found = part.new_empty(self.count, *part.shape[1:])
            found[first:last] = part
        return found

    def over_series(self) -> Tensor:
        """Return the columns of the whole series; those that no window needs are zeros."""
        reach = self.reach
        inner: Tensor | None = None
        # All pieces have one length, and those of few windows that of a power of two of them: what
        # a front keeps for a length, it keeps a few times only.
        batch = min(self.batch_size, 1 << (self.count - 1).bit_length())
        length = (batch - 1) * self.hop + reach.samples
        for first in range(0, self.count, batch):
            piece = self.series[:, first * self.hop :][:, :length]
            piece = F.pad(piece, (0, length - piece.shape[1]))
            columns = self.front(piece[None])[0]  # (1, D, T) -> (..., T')
            if inner is None:
                whole = (self.count - 1) * self.skip + reach.columns
                inner = columns.new_zeros(*columns.shape[:-1], whole)
            # Those from `begin` to `end` of the piece do not know of its edges.
            windows = min(batch, self.count - first)
            begin, end = reach.left, (windows - 1) * self.skip + reach.columns - reach.right
            place = first * self.skip
            inner[..., place + begin : place + end] = columns[..., begin:end]
        return inner

    def take(self, shown: np.ndarray) -> Tensor:
        """Return the features of some windows.

        Args:
            shown: (D, n), which window each detector shows. Of a front that is not apart, all show
                the same.

        Returns:
            (n, ..., T') as the front makes of windows.
        """
        if not self.reach.is_apart:
            return self.put_together(shown[0], self.left, self.right, self.inner)
        parts = [
            self.put_together(
                numbers,
                None if self.left is None else self.left[:, channel],
                None if self.right is None else self.right[:, channel],
                None if self.inner is None else self.inner[channel],
            )
            for channel, numbers in enumerate(shown)
        ]
        return torch.stack(parts, dim=1)  # D times (n, ..., T') -> (n, D, ..., T')

    def put_together(
        self, numbers: np.ndarray, left: Tensor | None, right: Tensor | None, inner: Tensor | None
    ) -> Tensor:
        """Return (n, ..., T') of the columns at the edges and those between them."""
        reach, parts = self.reach, []
        device = next(each.device for each in (left, right, inner) if each is not None)
        which = torch.from_numpy(numbers).to(device)
        if left is not None:
            parts.append(left[which])
        if inner is not None:
            between = reach.columns - reach.left - reach.right
            # (..., columns) -> (..., windows, between) -> (n, ..., between)
            views = inner[..., reach.left :].unfold(-1, between, self.skip)
            parts.append(views[..., which, :].movedim(-2, 0))
        if right is not None:
            parts.append(right[which])
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
