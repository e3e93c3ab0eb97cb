"""One trial: an experiment with the settings that were drawn, trained on one fold.

After each epoch the validation score goes to the study, which may stop the training. A trial's run
directory is like any other: its curve, checkpoints and config.json are there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.device_errors import explains_device
from experiments.experiment import Experiment
from experiments.run_options import RunOptions
from runtime.errors import UserError
from tuning.study import FOLDER, Outcome, Study

if TYPE_CHECKING:
    import optuna

SCORE = "valid_metric"  # the key of the learning curve that is tuned


class CurveWatcher:
    """Reports a learning curve to a study and says when to stop; a trainer asks after each epoch.

    Args:
        trial: of the study.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial
        self.reported = 0
        self.pruned = False

    def __call__(self, state: Any) -> str | None:
        """Report the epochs of a `TrainerState` that are new, and return why to stop, if so."""
        # All of them at the first call: a trial that was killed is resumed under a new number.
        for row in state.history[self.reported :]:
            self.trial.report(float(row[SCORE]), int(row["epoch"]))
        self.reported = len(state.history)
        if self.trial.should_prune():
            self.pruned = True
            return "pruned: its validation score is behind those of the trials before it"
        return None


def run_trial(
    study: Study, trial: optuna.Trial, config: ConfigMeta, options: RunOptions, device: torch.device
) -> Outcome:
    """Train the fold of a trial, or what remains of it, and return how it ended.

    Args:
        config: with the settings of the command line.
        options: of every trial; `results` is the folder of the study.

    Raises:
        Interrupted: a signal asked to stop; the state is saved.
    """
    started = time.monotonic()
    watcher = CurveWatcher(trial)
    fold = options.limit_fold
    state = None
    try:
        # The name last: nothing that is drawn can change it.
        words = [*study.drawn_settings(trial.params), f"name={trial.user_attrs[FOLDER]}"]
        experiment = Experiment(
            override(config, words), replace(options, resume=True), device, watch=watcher
        )
        with experiment.lock(), explains_device(experiment.config, device):
            experiment.fit()
        state = experiment.states[fold]
        score = best_score(state)
    # A draw that the experiment refuses, or that does not fit into memory, is a result as well.
    except UserError as error:
        epochs = 0 if state is None else state.epoch
        return Outcome(None, epochs, time.monotonic() - started, failure=str(error))
    if watcher.reported == 0:  # killed after its last epoch and before its end was recorded
        watcher(state)
    # One that reached its last epoch is complete, however it compares.
    pruned = watcher.pruned and state.epoch < experiment.config.num_epochs
    return Outcome(score, state.epoch, time.monotonic() - started, pruned=pruned)


def best_score(state: Any) -> float:
    """Return the validation score of the epoch whose weights a fold's `TrainerState` keeps.

    Raises:
        UserError: it is NaN, or there is none.
    """
    epoch = state.best_epoch or state.epoch
    scores = {int(row["epoch"]): float(row[SCORE]) for row in state.history}
    score = scores.get(epoch, math.nan)
    if not math.isfinite(score):
        raise UserError(f"its validation score after epoch {epoch} is {score}")
    return score


# What is told after a trial: its number, how it ended, and how many more there are to run.
Tell = Callable[[int, Outcome], None]


def run_trials(
    study: Study,
    trials: int,
    run: Callable[[optuna.Trial], Outcome],
    tell: Tell,
    most_failures: int = 5,
) -> None:
    """Run trials until the study has as many as it should.

    Args:
        trials: how many it should have, those of other processes included.
        run: one trial.
        tell: called after each.
        most_failures: in a row, after which the rest is not tried.

    Raises:
        UserError: as many trials in a row failed; those after them would probably fail as well.
        Interrupted: a signal asked to stop; the trial is resumed by whoever continues the study.
    """
    in_a_row = 0
    while True:
        with study.next_trial(trials) as trial:
            if trial is None:
                return
            outcome = run(trial)
            study.end(trial, outcome)
        tell(trial.number, outcome)
        in_a_row = in_a_row + 1 if outcome.failure is not None else 0
        if in_a_row >= most_failures:
            raise UserError(
                f"{in_a_row} trials of the study {study.settings.name!r} failed one after the "
                f"other, the last as: {outcome.failure}; narrow the --space down to what works, "
                f"under a new name with --study NAME"
            )
