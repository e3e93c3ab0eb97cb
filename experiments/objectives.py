"""Loss and metrics of a config, fitted to what its network puts out.

A loss and a metric say for which kinds of targets they are (`kinds`, see metrics.py). One that does
not fit is refused before the training, with the names of those that do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from configuration.types import accepted_arguments
from experiments.side_targets import MERGER_TIME
from experiments.targets import Outputs, outputs_of
from loss_functions import mean_over_rows
from metrics import as_numpy
from runtime.errors import UserError
from training.settings import Objective


def build_objective(config: ConfigMeta, monitors: Sequence[Any]) -> Objective:
    """Return what the trainer of a config learns, and how it scores it.

    Args:
        monitors: the built `monitor_metrics`.

    Raises:
        UserError: loss, metric, hook or data set do not fit the target.
    """
    outputs, hook = outputs_of(config), config.hook.build()
    criterion, metric = config.criterion.build(), config.eval_metric.build()
    check_fits(config, outputs)
    # The competition's case needs no wrapping: one logit, one target.
    if not outputs.is_plain:
        criterion = OutputsLoss(criterion, outputs)
        metric = OutputsMetric(metric, outputs)
        monitors = [OutputsMetric(monitor, outputs) for monitor in monitors]
        monitors += [SideError(outputs, number) for number in range(len(outputs.sides))]
    return Objective(hook=hook, criterion=criterion, metric=metric, monitors=monitors)


class OutputsLoss(nn.Module):
    """The loss of the target and the weighted losses of the side targets.

    Args:
        main: (outputs (B, K), targets (B, K)) -> scalar.
        outputs: what the columns are.
    """

    def __init__(self, main: Callable[[Tensor, Tensor], Tensor], outputs: Outputs) -> None:
        super().__init__()
        self.main, self.outputs = main, outputs

    @property
    def is_mean_over_rows(self) -> bool:
        """Whether parts of a batch may be averaged; the side targets' parts always may."""
        return getattr(self.main, "is_mean_over_rows", True)

    def forward(self, outputs: Tensor, targets: Tensor, *weights: Tensor) -> Tensor:
        """Return a scalar for outputs and targets (B, K + S), and (B, 1) if rows have weights.

        Raises:
            UserError: the network has another number of outputs.
        """
        count, width = self.outputs.count, self.outputs.width
        if outputs.ndim != 2 or outputs.shape[1] != width or targets.shape != outputs.shape:
            raise UserError(
                f"the network gave outputs of shape {tuple(outputs.shape)} for targets of shape "
                f"{tuple(targets.shape)}: expected {width} outputs a sample "
                f"({', '.join(output_names(self.outputs))})"
            )
        loss = self.main(outputs[:, :count], targets[:, :count], *weights)
        for number, side in enumerate(self.outputs.sides):
            given, wanted = outputs[:, count + number].float(), targets[:, count + number].float()
            known = wanted.isfinite()
            # Where nothing is known, the output is its own target: no loss and no gradient.
            wanted = torch.where(known, wanted, given.detach())
            # The mean over all rows, known or not: that of a batch is then the mean of its parts.
            losses = F.smooth_l1_loss(given, wanted, reduction="none")
            loss = loss + side.weight * mean_over_rows(losses, weights[0] if weights else None)
        return loss


class OutputsMetric:
    """A metric of the target's columns, in the form that metrics take; see metrics.py.

    Args:
        metric: (target, outputs) -> float. One for signals alone gets the output that is said to be
            one.
        outputs: what the columns are.
    """

    def __init__(self, metric: Any, outputs: Outputs) -> None:
        self.metric, self.outputs = metric, outputs
        self.name = getattr(metric, "name", type(metric).__name__)
        self.maximize = getattr(metric, "maximize", True)

    def __call__(self, targets: Any, given: Any) -> float:
        """Return the metric for targets and outputs (n, K + S)."""
        target = self.outputs.target
        truth = self.outputs.main(as_numpy(targets))
        # Numbers are scored in the units of the table.
        truth = target.to_values(truth) if target.kind == "numbers" else truth
        found = target.to_log_odds(self.outputs.main(as_numpy(given)))
        if target.kind != "binary" and takes_signal_alone(self.metric, target.kind):
            truth, found = truth[:, target.signal], found[:, target.signal]
        return float(self.metric(truth, found))


class SideError:
    """The median of the absolute error of a side target, in its own units; NaN where unknown.

    Args:
        outputs: what the columns are.
        number: of the side target.
    """

    maximize = False

    def __init__(self, outputs: Outputs, number: int) -> None:
        self.outputs, self.number = outputs, number
        self.name = f"{outputs.sides[number].name}_error"

    def __call__(self, targets: Any, given: Any) -> float:
        """Return the median for targets and outputs (n, K + S); NaN where none is known."""
        errors = self.errors(as_numpy(targets), as_numpy(given))
        return float(np.median(errors)) if errors.size else float("nan")

    def errors(self, targets: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Return |output - truth| of the samples of which both are known, (known,)."""
        quantity = self.outputs.sides[self.number].quantity
        truth = quantity.decode(self.outputs.side(targets, self.number))
        found = quantity.decode(self.outputs.side(given, self.number))
        return np.abs(found - truth)[np.isfinite(truth) & np.isfinite(found)]


def output_names(outputs: Outputs) -> list[str]:
    """Return the names of all outputs, those of side targets last."""
    return [*outputs.target.outputs, *(side.name for side in outputs.sides)]


def takes_signal_alone(part: Any, kind: str) -> bool:
    """Whether a metric is one of a signal's score, and of no target of this kind."""
    kinds = getattr(part, "kinds", (kind,))
    return kind not in kinds and "binary" in kinds


# --- what fits together -----------------------------------------------------------------------


def check_fits(config: ConfigMeta, outputs: Outputs) -> None:
    """Refuse losses, metrics, hooks and data sets that do not fit the target.

    Raises:
        UserError: one does not.
    """
    check_kind(config, "criterion", config.criterion.cls, outputs, may_take_signal=False)
    check_kind(config, "eval_metric", config.eval_metric.cls, outputs, may_take_signal=True)
    # What is no part is refused where parts are built.
    for part in (each for each in config.monitor_metrics if isinstance(each, Part)):
        check_kind(config, "monitor_metrics", part.cls, outputs, may_take_signal=True)
    check_direction(config)
    if outputs.is_plain:
        return
    if config.pseudo_labels is not None and outputs.target.kind != "binary":
        raise UserError(
            f"pseudo_labels are those of a signal, and {config.__name__} predicts "
            f"{', '.join(outputs.target.outputs)}: leave pseudo_labels out"
        )
    check_mixing(config, outputs)
    check_shifts(config, outputs)


def check_kind(
    config: ConfigMeta, key: str, cls: type, outputs: Outputs, *, may_take_signal: bool
) -> None:
    """Refuse a class that is for other kinds of targets; one without `kinds` is for all.

    Raises:
        UserError: it is.
    """
    target = outputs.target
    kinds = getattr(cls, "kinds", (target.kind,))
    if target.kind in kinds or (
        may_take_signal and "binary" in kinds and target.signal is not None
    ):
        return
    choices = config.class_choices((key,))
    known = {} if choices is None else choices.classes
    fitting = [name for name, other in known.items() if target.kind in getattr(other, "kinds", ())]
    option = f"{key}+=" if key == "monitor_metrics" else f"{key}="
    raise UserError(
        f"{key} = {cls.__name__} is of no use for targets = {config.targets.cls.__name__}: choose "
        f"{' or '.join(fitting)}, e.g. --set {option}{fitting[0]}"
    )


def find_direction(config: ConfigMeta, score: str | None) -> bool | None:
    """Return whether a score of the history is better when larger; None where that is not known.

    Args:
        score: its key, such as 'valid_metric', 'train_loss' or that of a monitor.
    """
    if score in ("valid_loss", "train_loss"):
        return False
    if score in ("valid_metric", "train_metric"):
        return getattr(config.eval_metric.cls, "maximize", None)
    for part in config.monitor_metrics:
        cls = getattr(part, "cls", None)
        if score == f"valid_{getattr(cls, 'name', None)}":
            return getattr(cls, "maximize", None)
    return None


def check_direction(config: ConfigMeta) -> None:
    """Refuse what would keep the worst epochs of a score, or slow down while it improves.

    Raises:
        UserError: a callback, the averaged checkpoints or the schedule take another direction than
            the score that they follow.
    """
    followers = [(f"callbacks.{number}", part) for number, part in enumerate(config.callbacks)]
    for key, part in (*followers, ("checkpoint_average", config.checkpoint_average)):
        known = accepted_arguments(part.cls) or () if isinstance(part, Part) else ()
        if not {"maximize", "target"} <= set(known):
            continue
        built = part.build()
        if getattr(built, "which", "best") != "best":
            continue  # the last epochs follow no score
        larger = find_direction(config, built.target)
        if larger is not None and built.maximize != larger:
            raise UserError(
                f"{key}: {part.cls.__name__} takes maximize = {built.maximize}, and "
                f"{describe_direction(config, built.target, larger)}: --set "
                f"{key}.maximize={str(larger).lower()}"
            )
    if config.scheduler is None:
        return
    mode = inspect.signature(config.scheduler).parameters.get("mode")  # 'min' or 'max'
    larger = find_direction(config, config.scheduler_target)
    if mode is None or larger is None:
        return
    wanted, given = "max" if larger else "min", config.scheduler_params.get("mode", mode.default)
    if given in ("min", "max") and given != wanted:
        raise UserError(
            f"scheduler_params: {config.scheduler.__name__} takes mode = {given}, and "
            f"{describe_direction(config, config.scheduler_target, larger)}: --set "
            f"scheduler_params.mode={wanted}"
        )


def describe_direction(config: ConfigMeta, score: str, larger: bool) -> str:
    """Return in words which way a score is better: 'LogLoss is better when smaller'."""
    name = config.eval_metric.cls.__name__ if score.endswith("_metric") else score
    return f"{name} is better when {'larger' if larger else 'smaller'}"


def check_shifts(config: ConfigMeta, outputs: Outputs) -> None:
    """Refuse to learn a merger time from samples whose signals training moves in time.

    Raises:
        UserError: a transform of the training does.
    """
    if not any(side.name == MERGER_TIME for side in outputs.sides):
        return
    for number, part in enumerate(config.transforms.get("train") or ()):
        moves = getattr(part.cls, "moves_signal", False)
        if moves and (part.params.get("always_apply") or part.params.get("p", 0.5) > 0):
            raise UserError(
                f"side_targets: {part.cls.__name__} of transforms.train moves signals in time, so "
                f"that their merger_time is no longer true: --set transforms.train.{number}.p=0.0 "
                f"turns it off, or leave merger_time out"
            )


def check_mixing(config: ConfigMeta, outputs: Outputs) -> None:
    """Refuse to mix samples whose targets cannot be mixed.

    Raises:
        UserError: side targets would be mixed, or rules for a single target are asked for.
    """
    hook = config.hook.build()
    mixes = getattr(hook, "mixes_rows", False)
    if config.dataset_params.get("mixup") or (mixes and outputs.sides):
        name = config.hook.cls.__name__ if mixes else "mixup of the data set"
        what = "side_targets" if outputs.sides else f"targets = {config.targets.cls.__name__}"
        advice = (
            "a mixture of two signals has no merger time: leave side_targets out, or --set "
            "hook=TrainHook dataset_params.mixup=false"
            if outputs.sides
            else "it mixes one target a sample: use --set hook=MixupTrain"
        )
        raise UserError(f"{name} and {what} do not go together: {advice}")
    if mixes and outputs.target.kind != "binary":
        by_rule = getattr(hook, "hard_label", False) is not False or hook.lor_label
        if by_rule or type(hook).__name__ == "MixupTrain2":
            raise UserError(
                f"{type(hook).__name__} with these arguments is for a single target: use --set "
                f"hook=MixupTrain without hard_label and lor_label for "
                f"{config.targets.cls.__name__}"
            )
