"""What an experiment may add to the loop: hooks, callbacks, weight averages, schedules, views.

This file names them all; configs import them from here. They are written in training/, one file
for each kind. The test-time views below are those of strain:

The sign of a signal and, with equal noise curves, the exchange of two detectors such as H1 and L1
are symmetries of the strain. After transforms they need not be: the channels of `GetDiff` are no
detectors, and `Normalize` divides each by a number of its own. So these act before the transforms.

A shift in time acts after them. The gap it leaves is filled with zeros, which are silence in
whitened noise. In strain, whose slow noise is far louder than the rest, they would be a step, and
exact whitening makes samples of 70 standard deviations of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError, nearest
from training.batch_preparation import WAVEFORMS, OnWaveforms, Preparation
from training.callbacks import EarlyStopping, EpochVerdict, KeepLast
from training.checkpoint_average import CheckpointAverage
from training.freezing import Freeze
from training.hooks import MixupTrain, MixupTrain2, TrainHook, draw_beta
from training.lookahead import Lookahead
from training.parameter_groups import ParameterGroups
from training.prediction_views import IDENTITY, View, prepare_views
from training.warmup_cosine import WarmupCosine
from training.weight_average import WeightAverage

__all__ = [
    "IDENTITY",
    "VIEWS",
    "WAVEFORMS",
    "CheckpointAverage",
    "EarlyStopping",
    "EpochVerdict",
    "Freeze",
    "KeepLast",
    "Lookahead",
    "MixupTrain",
    "MixupTrain2",
    "OnWaveforms",
    "ParameterGroups",
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


def make_swap(
    first: int, second: int, norm_factor: Sequence[float] | None = None
) -> Callable[[Tensor], Tensor]:
    """Return the exchange of two detectors, whose noise curves are taken to be the same.

    Args:
        first, second: their channels, the smaller one first.
        norm_factor: what a data set has divided the channels by. Exchanged is the strain, so that
            each channel is multiplied by its own factor and divided by that of its new place.
    """

    def swapped(x: Tensor) -> Tensor:
        # Slices, since a list as an index of a CUDA tensor makes the host wait for the device.
        one, two = x[:, first : first + 1], x[:, second : second + 1]
        if norm_factor is not None:
            one = one * (norm_factor[first] / norm_factor[second])
            two = two * (norm_factor[second] / norm_factor[first])
        before, between, after = x[:, :first], x[:, first + 1 : second], x[:, second + 1 :]
        return torch.cat([before, two, between, one, after], dim=1)

    return swapped


def find_swap(
    name: str, observation: Observation, norm_factor: Sequence[float] | None
) -> Callable[[Tensor], Tensor]:
    """Return the exchange that a view's name means.

    Args:
        name: 'swap_ligo' for H1 and L1, or 'swap_alike' for the first two with the same curve.
        observation: whose detectors are exchanged.
        norm_factor: as in `make_swap`.

    Raises:
        UserError: the observation has no two such detectors with the same noise curve.
    """
    pairs = observation.alike_pairs()
    if name == "swap_ligo":
        detectors = list(observation.detectors)
        ligo = sorted(detectors.index(one) for one in ("H1", "L1") if one in detectors)
        pairs = [pair for pair in pairs if list(pair) == ligo]
    if not pairs:
        which = "H1 and L1" if name == "swap_ligo" else "two detectors"
        raise UserError(
            f"views: {name} exchanges {which} with the same noise curve, and the observation "
            f"({observation}) has none such: leave it out of views"
        )
    return make_swap(*pairs[0], norm_factor)


def make_shift(samples: int) -> Callable[[Tensor], Tensor]:
    """Return a shift by `samples` (later if positive); the gap is filled with zeros."""

    def shifted(x: Tensor) -> Tensor:
        if abs(samples) >= x.shape[-1]:
            raise UserError(
                f"views: shift{samples:+d} moves a waveform of {x.shape[-1]} samples out of sight"
            )
        out = torch.zeros_like(x)
        if samples >= 0:
            # Not roll: the end of a window has nothing to do with its beginning.
            out[..., samples:] = x[..., : x.shape[-1] - samples]
        else:
            out[..., :samples] = x[..., -samples:]
        return out

    return shifted


VIEWS = ("identity", "flip", "swap_ligo", "swap_alike")  # and shifts, of any number of samples


def find_views(
    names: Sequence[str],
    norm_factor: Sequence[float] | None = None,
    *,
    observation: Observation = COMPETITION,
) -> list[View]:
    """Return the views of these names: those of `VIEWS`, or 'shift+8', 'shift-8' and the like.

    Args:
        norm_factor: what the data set divides the channels of the strain by, if it does.
        observation: whose samples are viewed; an experiment gives its own.

    Raises:
        UserError: an unknown name, or none at all; or detectors are to be exchanged that the
            observation does not have, or whose noise curves differ.
    """
    if not names:
        raise UserError("views is empty: name at least 'identity'")
    views = []
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"views: {name!r} is no name; there are {', '.join(VIEWS)}")
        if name == "identity":
            views.append(IDENTITY)
        elif name == "flip":
            # -h is as likely as h: a polarisation angle turned by 90 degrees changes its sign.
            views.append(View(name, on_strain=torch.neg, turns_sign=True))
        elif name in VIEWS:
            swap = find_swap(name, observation, norm_factor)
            views.append(View(name, on_strain=swap))
        elif name.startswith("shift") and name[5:6] in ("+", "-") and name[6:].isdecimal():
            # After the transforms: before them, filters would ring at the step to the zeros.
            views.append(View(name, on_waveform=make_shift(int(name[5:]))))
        else:
            known = [*VIEWS, "shift+8"]
            raise UserError(
                f"there is no view {name!r}{nearest(name, known)}; there are {', '.join(VIEWS)} "
                f"and shift+N or shift-N samples"
            )
    return views
