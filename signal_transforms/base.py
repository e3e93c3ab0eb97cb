"""The base of all waveform transforms, which draws the rows that are changed, and their chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from runtime.errors import UserError
from signal_transforms.checks import check_probability, check_waveforms
from signal_transforms.per_sample_operations import output_for_empty_batch


class WaveTransform(nn.Module):
    """Base of the waveform transforms: checks the input and draws the rows that are changed.

    A subclass defines `transform_rows`, which returns the changed batch and never writes to its
    input.

    Args:
        always_apply: change every row.
        p: otherwise, the probability of a change; each row draws on its own.
    """

    per_channel = False  # whether each detector of a row draws on its own as well
    # Whether `transform_rows` of -x is minus that of x, bit for bit. It is not inherited: a child
    # that does something else would be believed as well.
    turns_with_sign = False

    def __init__(self, always_apply: bool = False, p: float = 0.5) -> None:
        super().__init__()
        self.always_apply = always_apply
        self.p = check_probability(type(self).__name__, p)

    @property
    def is_odd(self) -> bool:
        """Whether -x becomes minus what x becomes, bit for bit, with nothing drawn."""
        if self.always_apply:
            return vars(type(self)).get("turns_with_sign", False)
        return self.p == 0  # it changes nothing

    def transform_rows(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        check_waveforms(type(self).__name__, x)
        if x.shape[0] == 0:
            return output_for_empty_batch(self.transform_rows, x)
        if self.always_apply:
            return self.transform_rows(x)
        if self.p == 0:  # switched off
            return x
        shape = (x.shape[0], x.shape[1] if self.per_channel else 1, 1)
        # Every row is transformed and the unchosen ones are put back: selecting rows would make the
        # host wait for a GPU, and would change what the other rows draw.
        chosen = torch.rand(shape, device=x.device) < self.p
        return torch.where(chosen, self.transform_rows(x), x)

    def extra_repr(self) -> str:
        return "always" if self.always_apply else f"p={self.p:g}"


class Compose(nn.Module):
    """Apply transforms one after another.

    Args:
        transforms: modules in order, one module, or None for none.
    """

    def __init__(self, transforms: Sequence[nn.Module] | nn.Module | None = None) -> None:
        super().__init__()
        if transforms is None:
            transforms = []
        elif isinstance(transforms, nn.Module):
            transforms = [transforms]
        self.transforms = nn.ModuleList(transforms)

    @property
    def is_odd(self) -> bool:
        """Whether -x becomes minus what x becomes, bit for bit; see `WaveTransform.is_odd`."""
        return all(getattr(transform, "is_odd", False) for transform in self.transforms)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.transforms)

    def __len__(self) -> int:
        return len(self.transforms)

    def forward(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x


class OneOf(nn.Module):
    """Apply one of several transforms, drawn uniformly for each row; it then obeys its own p.

    Every transform is computed for the whole batch, as a batch's rows are to stay together.

    Args:
        transforms: at least one module that keeps the shape.
    """

    def __init__(self, transforms: Sequence[nn.Module]) -> None:
        super().__init__()
        if not transforms:
            raise UserError("OneOf: give at least one transform to choose from")
        self.transforms = nn.ModuleList(transforms)

    def forward(self, x: Tensor) -> Tensor:
        shape = (len(x),) + (1,) * (x.ndim - 1)
        choice = torch.randint(len(self.transforms), shape, device=x.device)
        y = x
        for i, transform in enumerate(self.transforms):
            y = torch.where(choice == i, transform(x), y)
        return y
