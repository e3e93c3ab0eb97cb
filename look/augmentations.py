"""What each augmentation of an experiment does to a sample, one at a time and all together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from configuration.class_with_arguments import Part, thaw
from configuration.config_class import ConfigMeta
from configuration.types import accepted_arguments
from experiments.building import build_transforms, observation_of
from look.network_input import prepare
from look.pictures import COLUMN_WIDTH, channel_names, colour_of, new_figure, sample_times, title_of
from look.samples import Samples
from runtime.errors import UserError
from runtime.seeds import seed_everything

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW_HEIGHT = 1.5  # inches


def parts_of(config: ConfigMeta, stage: str) -> tuple[Part, ...]:
    """Return the transforms of a stage as a tuple of parts."""
    parts = config.transforms[stage]
    return (parts,) if isinstance(parts, Part) else tuple(parts or ())


def augmentations_of(config: ConfigMeta) -> tuple[Part, ...]:
    """Return the transforms of the training that validation does not have."""
    kept = parts_of(config, "test")
    return tuple(part for part in parts_of(config, "train") if part not in kept)


def surely(part: Part) -> Part:
    """Return a part that changes every row, where it would otherwise draw which ones it changes."""
    known = accepted_arguments(part.cls) or ()
    sure = {"always_apply": True} if "always_apply" in known else {"p": 1.0} if "p" in known else {}
    return Part(part.cls, **{**thaw(part.params), **sure})


@torch.no_grad()
def apply_each(config: ConfigMeta, samples: Samples, seed: int = 0) -> list[tuple[str, Tensor]]:
    """Return each augmentation's name and what the training makes of samples with it alone.

    Args:
        config: of the experiment.
        samples: of `look.samples`.
        seed: of what is drawn.

    Returns:
        Tensors (n, channel, time), each of the transforms of the training without the other
        augmentations; the augmentation changes every sample.
    """
    alone, observation = augmentations_of(config), observation_of(config)
    found = []
    with torch.random.fork_rng(devices=[]):
        for number, chosen in enumerate(alone):
            chain = tuple(
                surely(part) if part is chosen else part
                for part in parts_of(config, "train")
                if part is chosen or part not in alone
            )
            seed_everything(seed, "look", number)
            made = build_transforms(chain, observation)(samples.trained)
            found.append((chosen.cls.__name__, made))
    return found


def draw_augmentations(
    config: ConfigMeta,
    samples: Samples,
    row: int,
    span: Sequence[float] | None = None,
    draws: int = 2,
) -> Figure:
    """Draw a sample under each augmentation alone, and under all of them as the training draws.

    Behind each stands the sample as validation prepares it, in grey.

    Args:
        config: of the experiment.
        samples: of `look.samples`.
        row: of the sample.
        span: first and last time that are shown, in s; None shows the whole window.
        draws: how often all augmentations are drawn together.

    Raises:
        UserError: the experiment has no augmentations of the waveform.
    """
    rows = apply_each(config, samples)
    if not rows:
        raise UserError(
            f"{config.__name__} has no augmentations of the waveform: transforms['train'] and "
            f"transforms['test'] are the same"
        )
    looked = prepare(config, samples)
    plain = looked.plain.waveforms[0][row]
    for seed in range(draws):
        together = prepare(config, samples, seed).augmented.waveforms[0]
        rows.append((f"all, draw {seed + 1}", together))
    names = channel_names(looked, len(plain))
    figure = new_figure(
        COLUMN_WIDTH * len(names), ROW_HEIGHT * len(rows) + 1.2, title_of(looked, row)
    )
    axes = figure.subplots(len(rows), len(names), squeeze=False, sharex=True, sharey="col")
    for of_row, (words, values) in zip(axes, rows, strict=True):
        of_row[0].set_ylabel(words, fontsize=8)
        for place, (axis, name) in enumerate(zip(of_row, names, strict=True)):
            axis.plot(sample_times(looked, plain.shape[-1]), plain[place], color="0.75", lw=0.8)
            times = sample_times(looked, values.shape[-1])
            axis.plot(times, values[row, place], color=colour_of(name, place), lw=0.7)
            axis.margins(x=0)
            axis.tick_params(labelsize=8)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("time in the window (s)", fontsize=8)
    if span is not None:
        axes[0, 0].set_xlim(*span)
    return figure
