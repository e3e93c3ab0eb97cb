"""Test-time views: a sample as it could have been as well, before or after the transforms.

training_extras.py has the views of strain that configs can name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
    """

    name: str
    on_strain: Callable[[Tensor], Tensor] | None = None
    on_waveform: Callable[[Tensor], Tensor] | None = None


def prepare_views(
    views: Sequence[View], batch: Batch, preparation: Callable[[Batch], Batch]
) -> Iterator[Batch]:
    """Yield what the network takes for each view of a batch.

    Views that leave the strain as it is share the transforms.

    Args:
        batch: with the strain (B, detector, T), on its device.
        preparation: the transforms, a batch -> batch.
    """
    # Prepared only when a view needs it: all of them may change the strain.
    untouched = None
    for view in views:
        if view.on_strain is not None:
            prepared = preparation(OnWaveforms(view.on_strain)(batch))
        else:
            if untouched is None:
                untouched = preparation(batch)
            prepared = untouched
        yield prepared if view.on_waveform is None else OnWaveforms(view.on_waveform)(prepared)


IDENTITY = View("identity")
