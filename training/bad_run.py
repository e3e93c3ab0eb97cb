"""What to say of a fit that is no better than guessing: the likeliest causes, in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from training.guessing import Guessing

PAGE = "docs/how-to/a-bad-run.md"
# Of an AUC that would tell guessing from learning: about 15 samples. A dry run has fewer.
WIDEST = 0.15
# A network from random weights needs about so many to find signals as weak as those of Demo.
FEW_STEPS, FEW_SAMPLES = 200, 2000
# A training loss this far above that of guessing was driven there: first weights do not reach it.
DIVERGED = 1.5
# What classes are called that take the loud low frequencies away.
WHITENING = ("whiten", "bandpass")


@dataclass(frozen=True)
class FitFacts:
    """What is known of a fit beside its scores.

    Attributes:
        samples: in an epoch; None where that is not known.
        draws_samples: whether they are drawn as they are needed, so that none is seen twice.
        whitens: whether transforms, data set or network whiten the strain or band-pass it.
        clip_grad: how gradients are clipped; None for not at all.
    """

    samples: int | None = None
    draws_samples: bool = False
    whitens: bool = False
    clip_grad: str | None = None


def facts_of(
    train_set: Any, preparation: Any, network: nn.Module, clip_grad: str | None
) -> FitFacts:
    """Return what is known of a fit before its first step.

    Args:
        train_set: what is trained on; `draws_samples` and `whiten` say what it does.
        preparation: what prepares its batches, see `batch_preparation.Preparation`.
        network: that is trained.
        clip_grad: as in `settings.Precision`.
    """
    chains = [getattr(preparation, name, None) for name in ("transform", "second")]
    modules = [
        module
        for part in (*chains, network)
        if isinstance(part, nn.Module)
        for module in part.modules()
    ]
    # With the parents, so that a child of Whiten may have any name.
    names = {cls.__name__.lower() for module in modules for cls in type(module).__mro__}
    whitens = any(word in name for name in names for word in WHITENING)
    return FitFacts(
        samples=len(train_set),
        draws_samples=getattr(train_set, "draws_samples", False),
        whitens=whitens or getattr(train_set, "whiten", None) is not None,
        clip_grad=clip_grad,
    )


def explain_bad_run(
    history: Sequence[Mapping[str, float]],
    guessing: Guessing | None,
    facts: FitFacts | None = None,
    steps: int | None = None,
) -> str | None:
    """Return a sentence on a fit that is no better than guessing; None of one that is.

    The likeliest cause comes first. What the training loss says tells causes apart: a rate that is
    too high drives it above guessing, samples learnt by heart leave it far below.

    Args:
        history: the scores of each epoch so far.
        guessing: of the same validation set.
        facts: what else is known of the fit; None for nothing.
        steps: of the optimiser so far; None where they were not counted.
    """
    if guessing is None or not history or guessing.spread > WIDEST:
        return None
    losses = [row["valid_loss"] for row in history]
    scores = [row["valid_metric"] for row in history]
    # NaN is no success either; a comparison with it is false.
    loss_is_high = not any(loss <= guessing.loss for loss in losses)
    # Only a score that is 0.5 for equal logits is known to have the spread of an AUC.
    knows_chance = guessing.score == 0.5
    is_random = knows_chance and not any(abs(score - 0.5) > 2 * guessing.spread for score in scores)
    is_inverted = knows_chance and scores[-1] < 0.5 - 4 * guessing.spread
    if not (loss_is_high or is_random or is_inverted):
        return None
    best = max((score for score in scores if not math.isnan(score)), default=math.nan)
    ranks = knows_chance and not is_inverted and best > 0.5 + 2 * guessing.spread
    found = []
    if loss_is_high:
        found.append(f"a validation loss above that of guessing ({guessing.loss:.3f})")
    if is_random:
        found.append(f"a score within two standard deviations ({2 * guessing.spread:.3f}) of 0.5")
    if is_inverted:
        found.append(f"a score of {scores[-1]:.3f}, clearly below 0.5")
    epochs = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
    headline = f"no better than guessing after {epochs}: {' and '.join(found)}"
    if ranks:
        headline = (
            f"ranks signals above noise (a score of {best:.3f}) and is badly calibrated after "
            f"{epochs}: {found[0]}"
        )
    causes = list_causes(history, guessing, facts or FitFacts(), steps, is_inverted, ranks)
    return (
        f"{headline}. The likeliest causes in order: "
        f"{'; '.join(f'({n}) {cause}' for n, cause in enumerate(causes, 1))}. See {PAGE}"
    )


def list_causes(
    history: Sequence[Mapping[str, float]],
    guessing: Guessing,
    facts: FitFacts,
    steps: int | None,
    is_inverted: bool,
    ranks: bool,
) -> list[str]:
    """Return causes of a bad run, the likeliest first.

    Args:
        history: the scores of each epoch so far.
        facts, steps: see `explain_bad_run`.
        is_inverted: whether signals are ranked below noise.
        ranks: whether they are ranked above noise.
    """
    newest = history[-1]
    too_high = blame_rate(history)
    few = blame_few(facts, steps)
    other_targets = "targets of the table do not belong to its samples"
    other_transforms = "validation rows have other transforms than training rows"
    heard = facts.whitens or ranks
    drowned = [] if heard else ["the signal is drowned: whiten it, or band-pass and scale"]
    if is_inverted:
        return [
            "targets are exchanged in the training or the validation rows",
            "a transform of the training turns signals into noise, which --show lists",
            too_high,
        ]
    ratios = [row["train_loss"] / guessing.loss for row in history]
    # A loss that is NaN, or above guessing on the very samples it is trained on, has diverged.
    # First weights may be above it as well, until some steps are made.
    if any(not ratio <= DIVERGED for ratio in ratios) or (not ratios[-1] <= 1.1 and not few):
        scale = [f"the loss has another scale than clip_grad = {facts.clip_grad!r} expects"]
        return [too_high, *few, *drowned, *(scale if facts.clip_grad else [])]
    if ranks:
        # Samples that are drawn are not learnt by heart: more of them do not help.
        more = "smoothed targets" if facts.draws_samples else "more samples or augmentations"
        smoothed = "" if facts.draws_samples else ", or smoothed targets"
        sure = f"the network is too sure of itself: fewer epochs, {more}{smoothed}"
        return [*few, sure, too_high, other_transforms]
    if ratios[-1] < 0.9 and facts.draws_samples:
        score = newest.get("train_metric", math.nan)
        good = "" if math.isnan(score) else f" with a score of {score:.3f}"
        return [
            f"targets of the validation table do not belong to its samples (training samples, "
            f"which are simulated, are learnt{good})",
            other_transforms,
            "the table's samples have other noise, or weaker signals, than those simulated",
        ]
    if ratios[-1] < 0.9:
        number = "" if facts.samples is None else f" ({facts.samples:,} in an epoch)"
        heart = (
            f"training samples{number} are learnt by heart: more samples, stronger augmentations, "
            f"or a smaller network"
        )
        return [heart, other_transforms, other_targets]
    rate = (
        "the learning rate is too low, or too high from the first step on: try ten times and a "
        "tenth of it"
    )
    weak = [] if few else ["too few samples or epochs for signals this weak"]
    return [*few, *drowned, rate, other_targets, *weak]


def blame_rate(history: Sequence[Mapping[str, float]]) -> str:
    """Return the advice to lower the learning rate, with the share of steps that were clipped."""
    # The first epoch's rate is the closest to what the config states, whatever the schedule.
    lower = history[0].get("learning_rate", math.nan) / 10
    text = (
        f"the learning rate is too high: try a tenth of it, --set optimizer_params.lr={lower:.2g}"
    )
    clipped = history[-1].get("clipped_steps", math.nan)
    return text + (f" ({clipped:.0%} of the steps were clipped)" if clipped > 0.5 else "")


def blame_few(facts: FitFacts, steps: int | None) -> list[str]:
    """Return that samples or steps are few, where they are; else []."""
    few_samples = facts.samples is not None and facts.samples < FEW_SAMPLES
    few_samples = few_samples and not facts.draws_samples
    few_steps = steps is not None and steps < FEW_STEPS
    made = f"{steps:,} step{'s' * (steps != 1)}" if few_steps else ""
    seen = f"{facts.samples:,} training samples" if few_samples else ""
    if not (made or seen):
        return []
    counted = " and ".join(part for part in (made, seen) if part)
    more = " and ".join(["more samples"] * few_samples + ["more epochs"] * few_steps)
    return [f"too few for signals this weak, {counted} so far: {more}"]
