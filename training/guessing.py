"""What guessing would score, and what to say of a fit that does no better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from runtime.errors import UserError

PAGE = "docs/how-to/a-bad-run.md"
# Of an AUC that would tell guessing from learning: about 15 samples. A dry run has fewer.
WIDEST = 0.15


@dataclass(frozen=True)
class Guessing:
    """Scores of a network that gives every sample the same logit.

    Attributes:
        loss: the validation loss of the best such logit; ln 2 of cross-entropy, where half of the
            samples are signals.
        score: the validation score of equal logits; 0.5 of an AUC.
        spread: standard deviation of the AUC of random logits.
    """

    loss: float
    score: float
    spread: float


def score_guessing(targets: Tensor, criterion: Callable, metric: Callable) -> Guessing | None:
    """Return what guessing scores on these targets; None where there are not just two classes.

    Args:
        targets: (n, 1) of the validation set.
        criterion: (logits, targets) -> loss.
        metric: (targets, logits) -> float.
    """
    if targets.ndim > 1 and targets.shape[1] > 1:  # several outputs
        return None
    signals = int((targets == 1).sum())
    noise = int((targets == 0).sum())
    if not signals or not noise or signals + noise < targets.numel():
        return None
    # Cross-entropy is smallest for the log odds of the two classes. Other losses may be smaller
    # for equal odds.
    odds = math.log(signals / noise)
    guesses = [torch.full_like(targets, logit) for logit in {odds, 0.0}]
    try:
        score = float(metric(targets, guesses[0]))
    except UserError:  # the metric is not defined for equal logits, or for these classes
        score = math.nan
    return Guessing(
        loss=min(float(criterion(guess, targets)) for guess in guesses),
        score=score,
        # n AUC is the statistic U of Mann and Whitney, whose variance without ties is
        # n1 n0 (n1 + n0 + 1) / 12.
        spread=math.sqrt((signals + noise + 1) / (12 * signals * noise)),
    )


def explain_bad_run(
    history: Sequence[Mapping[str, float]], guessing: Guessing | None
) -> str | None:
    """Return a sentence on a fit that is no better than guessing; None of one that is.

    The likeliest cause comes first. What the training loss says tells causes apart: a rate that is
    too high drives it above guessing, samples learnt by heart leave it far below.

    Args:
        history: the scores of each epoch so far.
        guessing: of the same validation set.
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
    facts = []
    if loss_is_high:
        facts.append(f"a validation loss above that of guessing ({guessing.loss:.3f})")
    if is_random:
        facts.append(f"a score within two standard deviations ({2 * guessing.spread:.3f}) of 0.5")
    if is_inverted:
        facts.append(f"a score of {scores[-1]:.3f}, clearly below 0.5")
    # The first epoch's rate is the closest to what the config states, whatever the schedule.
    lower = history[0].get("learning_rate", math.nan) / 10
    causes = list_causes(history[-1], lower, guessing, is_inverted, is_random or not knows_chance)
    epochs = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
    return (
        f"no better than guessing after {epochs}: {' and '.join(facts)}. The likeliest causes in "
        f"order: {'; '.join(f'({n}) {cause}' for n, cause in enumerate(causes, 1))}. See {PAGE}"
    )


def list_causes(
    newest: Mapping[str, float],
    lower_rate: float,
    guessing: Guessing,
    is_inverted: bool,
    is_random: bool,
) -> list[str]:
    """Return causes of a bad run, the likeliest first.

    Args:
        newest: the scores of the last epoch.
        lower_rate: a learning rate to try.
        is_inverted: whether signals are ranked below noise.
        is_random: whether the score tells no signal from noise.
    """
    too_high = (
        f"the learning rate is too high: try a tenth of it, "
        f"--set optimizer_params.lr={lower_rate:.2g}"
    )
    clipped = newest.get("clipped_steps", math.nan)
    if clipped > 0.5:
        too_high += f" ({clipped:.0%} of the steps were clipped)"
    drowned = "the signal is drowned: transforms need whitening, or a band-pass, and a scale near 1"
    if is_inverted:
        return [
            "targets are exchanged in the training or the validation rows",
            "a transform of the training turns signals into noise, which --show lists",
            too_high,
        ]
    ratio = newest["train_loss"] / guessing.loss
    # A loss that is NaN, or above guessing on the very samples it is trained on, has diverged.
    if not ratio <= 1.1:
        return [too_high, drowned, "the loss has another scale than max_grad_norm expects"]
    if not is_random:
        return [
            "signals are ranked well and the network is too sure of itself: fewer epochs, more "
            "samples or augmentations, or smoothed targets",
            too_high,
            "validation rows have other transforms than training rows",
        ]
    if ratio < 0.9:
        return [
            "training samples are learnt by heart: more samples, stronger augmentations, or a "
            "smaller network",
            "validation rows have other transforms than training rows",
            "targets of the table do not belong to its samples",
        ]
    return [
        drowned,
        "the learning rate is too low, or too high from the first step on: try ten times and a "
        "tenth of it",
        "targets of the table do not belong to its samples",
        "too few samples or epochs for signals this weak",
    ]
