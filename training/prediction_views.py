"""Test-time views: a sample as it could have been as well, before or after the transforms.

training_extras.py has the views of strain that configs can name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datasets import Batch
from training.batch_preparation import OnWaveforms


@dataclass(frozen=True)
class View:
    """A sample as it could have been as well: networks answer to each, and logits are averaged.

    A symmetry of what detectors record need not be one of what transforms make of it, and the other
    way round. A view therefore acts before the transforms or after them.

    Attributes:
        name: as configs name it.
        on_strain: strain (B, detector, T) -> strain; None leaves it as it is.
        on_waveform: the same for what the transforms make of it, (B, C, T').
        turns_sign: whether `on_strain` does nothing but turn the sign.
    """

    name: str
    on_strain: Callable[[Tensor], Tensor] | None = None
    on_waveform: Callable[[Tensor], Tensor] | None = None
    turns_sign: bool = False


def prepare_views(
    views: Sequence[View], batch: Batch, preparation: Callable[[Batch], Batch]
) -> Iterator[Batch]:
    """Yield what the network takes for each view of a batch.

    Views that leave the strain as it is share the transforms, and so do those that only turn its
    sign where the transforms are odd: what the network takes is the same, bit for bit.

    Args:
        batch: with the strain (B, detector, T), on its device.
        preparation: the transforms, a batch -> batch; odd where its `is_odd` says so.
    """
    is_odd = getattr(preparation, "is_odd", False)
    # Prepared only when a view needs it: all of them may change the strain.
    untouched = None
    for view in views:
        if view.on_strain is not None and not (view.turns_sign and is_odd):
            prepared = preparation(OnWaveforms(view.on_strain)(batch))
        else:
            if untouched is None:
                untouched = preparation(batch)
            prepared = OnWaveforms(torch.neg)(untouched) if view.turns_sign else untouched
        yield prepared if view.on_waveform is None else OnWaveforms(view.on_waveform)(prepared)


def distinct_views(views: Sequence[View], sign_is_ignored: bool) -> tuple[list[View], list[int]]:
    """Return the views that a network tells apart, and for each of `views` the place of its own.

    Args:
        views: as they are averaged.
        sign_is_ignored: whether the network's logits are the same for strain of either sign.
    """
    distinct: list[View] = []
    places = []
    for view in views:
        if sign_is_ignored and view.turns_sign:
            view = replace(view, on_strain=None, turns_sign=False)
        acts = (view.on_strain, view.on_waveform)
        same = [i for i, each in enumerate(distinct) if (each.on_strain, each.on_waveform) == acts]
        if not same:
            distinct.append(view)
        places.append(same[0] if same else len(distinct) - 1)
    return distinct, places


IDENTITY = View("identity")
