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
        starts: (windows,) their first samples in order, multiples of the stride.
        batch_size: windows computed at once.
    """

    def __init__(
        self,
        front: Callable[[Tensor], Tensor],
        reach: Reach,
        series: Tensor,
        starts: np.ndarray,
        batch_size: int,
    ) -> None:
        self.front, self.reach, self.series = front, reach, series
        self.starts, self.batch_size = starts, batch_size
        self.places = starts // reach.stride  # of the windows' first columns
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
        strips = self.series[:, begin:].unfold(-1, self.reach.strip, 1)  # (D, places, T)
        found: Tensor | None = None
        count = len(self.starts)
        for first in range(0, count, self.batch_size):
            last = min(first + self.batch_size, count)
            which = torch.from_numpy(self.starts[first:last]).to(strips.device)
            # (D, n, T) -> (n, D, T)
            part = self.front(strips[:, which].transpose(0, 1).contiguous())[..., columns]
            if found is None:  # filled, since parts and their concatenation would be twice as much
                found = part.new_empty(count, *part.shape[1:])
            found[first:last] = part
        return found

    def over_series(self) -> Tensor:
        """Return the columns of the whole series; those that no window needs are zeros."""
        reach, starts, count = self.reach, self.starts, len(self.starts)
        inner: Tensor | None = None
        # All pieces have one length, and those of few windows that of a power of two of them: what
        # a front keeps for a length, it keeps a few times only.
        batch = piece_of_windows(count, self.batch_size)
        between = int(np.diff(starts).max(initial=reach.stride))  # samples, at most
        length = (batch - 1) * between + reach.samples
        for first in range(0, count, batch):
            piece = self.series[:, starts[first] :][:, :length]
            piece = F.pad(piece, (0, length - piece.shape[1]))
            columns = self.front(piece[None])[0]  # (1, D, T) -> (..., T')
            if inner is None:
                whole = self.places[-1] + reach.columns
                inner = columns.new_zeros(*columns.shape[:-1], whole)
            # Those from `begin` to `end` of the piece do not know of its edges.
            place, last = self.places[first], self.places[min(first + batch, count) - 1]
            begin, end = reach.left, last - place + reach.columns - reach.right
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
            # (..., columns) -> (..., places, between) -> (n, ..., between)
            views = inner[..., reach.left :].unfold(-1, between, 1)
            places = torch.from_numpy(self.places[numbers]).to(device)
            parts.append(views[..., places, :].movedim(-2, 0))
        if right is not None:
            parts.append(right[which])
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]


def piece_of_windows(count: int, batch_size: int) -> int:
    """Return how many windows a piece of the series has room for, where there are `count` in all.

    Fewer than a batch are rounded up to a power of two.
    """
    return min(batch_size, 1 << (count - 1).bit_length())
