"""What an experiment may add to the loop: hooks, callbacks, weight averages, schedules, views.

This file names them all; configs import them from here. They are written in training/, one file
for each kind. The test-time views below are those of strain:

The sign of a signal and, with equal noise curves, the exchange of H1 and L1 are symmetries of the
strain. After transforms they need not be: the channels of `GetDiff` are no detectors, and
`Normalize` divides each by a number of its own. So these two act before the transforms.

A shift in time acts after them. The gap it leaves is filled with zeros, which are silence in
whitened noise. In strain, whose slow noise is far louder than the rest, they would be a step, and
exact whitening makes samples of 70 standard deviations of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from runtime.errors import UserError, nearest
from training.batch_preparation import WAVEFORMS, OnWaveforms, Preparation
from training.callbacks import EarlyStopping, EpochVerdict, KeepLast
from training.hooks import MixupTrain, MixupTrain2, TrainHook, draw_beta
from training.prediction_views import IDENTITY, View, prepare_views
from training.warmup_cosine import WarmupCosine
from training.weight_average import WeightAverage

__all__ = [
    "IDENTITY",
    "VIEWS",
    "WAVEFORMS",
    "EarlyStopping",
    "EpochVerdict",
    "KeepLast",
    "MixupTrain",
    "MixupTrain2",
    "OnWaveforms",
    "Preparation",
    "TrainHook",
    "View",
    "WarmupCosine",
    "WeightAverage",
    "draw_beta",
    "find_views",
    "make_shift",
    "make_swap",
    "prepare_views",
]


def make_swap(norm_factor: Sequence[float] | None = None) -> Callable[[Tensor], Tensor]:
    """Return the exchange of H1 and L1, whose noise curves are taken to be the same.

    Args:
        norm_factor: what a data set has divided the channels by. Exchanged is the strain, so that
            each channel is multiplied by its own factor and divided by that of its new place.
    """
    factors = norm_factor or (1.0, 1.0, 1.0)
    h1_to_l1, l1_to_h1 = factors[0] / factors[1], factors[1] / factors[0]

    def swapped(x: Tensor) -> Tensor:
        # Slices, since a list as an index of a CUDA tensor makes the host wait for the device.
        h1, l1, others = x[:, :1], x[:, 1:2], x[:, 2:]
        if norm_factor is not None:
            h1, l1 = h1 * h1_to_l1, l1 * l1_to_h1
        return torch.cat([l1, h1, others], dim=1)

    return swapped


def make_shift(samples: int) -> Callable[[Tensor], Tensor]:
    """Return a shift by `samples` (later if positive); the gap is filled with zeros."""

    def shifted(x: Tensor) -> Tensor:
        if abs(samples) >= x.shape[-1]:
            raise UserError(
                f"views: shift{samples:+d} moves a waveform of {x.shape[-1]} samples out of sight"
            )
        out = torch.zeros_like(x)
        if samples >= 0:
            out[..., samples:] = x[..., : x.shape[-1] - samples]
        else:
            out[..., :samples] = x[..., -samples:]
        return out

    return shifted


VIEWS = ("identity", "flip", "swap_ligo")  # and shifts, of any number of samples


def find_views(names: Sequence[str], norm_factor: Sequence[float] | None = None) -> list[View]:
    """Return the views of these names: those of `VIEWS`, or 'shift+8', 'shift-8' and the like.

    Args:
        norm_factor: what the data set divides the channels of the strain by, if it does.

    Raises:
        UserError: an unknown name, or none at all.
    """
    if not names:
        raise UserError("views is empty: name at least 'identity'")
    on_strain = {"flip": torch.neg, "swap_ligo": make_swap(norm_factor)}
    views = []
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"views: {name!r} is no name; there are {', '.join(VIEWS)}")
        if name in VIEWS:
            views.append(View(name, on_strain.get(name)))
        elif name.startswith("shift") and name[5:6] in ("+", "-") and name[6:].isdecimal():
            views.append(View(name, on_waveform=make_shift(int(name[5:]))))
        else:
            known = [*VIEWS, "shift+8"]
            raise UserError(
                f"there is no view {name!r}{nearest(name, known)}; there are {', '.join(VIEWS)} "
                f"and shift+N or shift-N samples"
            )
    return views
