"""A study in Optuna's storage, and the processes that work on it.

Several processes may work on one study at once, also on several machines that share its folder.
They meet at the storage and at locks in that folder:

    .study.lock       held while a trial is chosen, so that each gets a number and a draw of its own
    .trial0007.lock   held while a trial runs; a trial that the storage calls running and whose lock
                      is free belongs to a process that was killed

A killed trial is closed as failed and its settings are put in the queue, with the run directory
that it left: whoever takes it up resumes that training from its last checkpoint.

A draw is seeded by the study's seed and how many were drawn before: a study that was stopped and
continued by one process draws what it would have drawn without the stop.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.errors import UserError
from runtime.files import format_json
from runtime.locks import hold, is_held
from runtime.optional_packages import require
from tuning.records import TrialRecord, trial_folder
from tuning.space import Dimension

if TYPE_CHECKING:
    import optuna

DESCRIPTION = "description"  # attribute of a study: what it is about, which may not change
REPLACED = "replaced"  # attribute of a study: numbers of killed trials that others go on with
FOLDER = "folder"  # attribute of a trial: its run directory
FAILURE = "failure"  # attribute of a trial: why it failed
EPOCHS, SECONDS = "epochs", "seconds"  # attributes of a trial
STARTUP = 10  # trials that are drawn at random before the sampler learns from them
PRUNED_AFTER = 5  # complete trials before any is pruned


@dataclass(frozen=True)
class StudySettings:
    """How a study draws and stops.

    Attributes:
        name: of the study.
        folder: where it lies.
        storage: URL of Optuna's storage; None is SQLite in the folder.
        space: the settings that are drawn.
        seed: of the draws.
        prune: whether trials that fall behind are stopped.
        prune_after: the first epoch after which a trial may be stopped.
    """

    name: str
    folder: Path
    space: tuple[Dimension, ...]
    storage: str | None = None
    seed: int = 0
    prune: bool = True
    prune_after: int = 1

    @property
    def url(self) -> str:
        return self.storage or f"sqlite:///{(self.folder / 'study.db').resolve()}"


class Study:
    """A study, begun or continued.

    Args:
        settings: how it draws and stops.
        maximize: whether a larger score is better.
        description: what makes its scores comparable, in JSON's own types; a study that is there
            must have the same.

    Raises:
        UserError: the storage cannot be opened, or holds another study of this name.
    """

    def __init__(
        self, settings: StudySettings, maximize: bool, description: Mapping[str, Any]
    ) -> None:
        self.settings, self.maximize = settings, maximize
        self.optuna = require("optuna", "tune")
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        settings.folder.mkdir(parents=True, exist_ok=True)
        with self.choosing():
            self.study = self.open()
            self.check_description(description)

    def open(self) -> optuna.Study:
        optuna, settings = self.optuna, self.settings
        if settings.prune:
            pruner = optuna.pruners.MedianPruner(
                n_startup_trials=PRUNED_AFTER, n_warmup_steps=settings.prune_after
            )
        else:
            pruner = optuna.pruners.NopPruner()
        try:
            # Other processes may be writing: wait for them rather than fail.
            waits = {"connect_args": {"timeout": 60}} if settings.url.startswith("sqlite") else {}
            return optuna.create_study(
                study_name=settings.name,
                storage=optuna.storages.RDBStorage(settings.url, engine_kwargs=waits),
                direction="maximize" if self.maximize else "minimize",
                pruner=pruner,
                load_if_exists=True,
            )
        # Whatever its database driver raises, or the parser of URLs.
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise UserError(
                f"the storage {settings.url} cannot be opened ({type(error).__name__}: {first}): "
                f"name another with --storage, or leave it out for SQLite in {settings.folder}"
            ) from error

    def check_description(self, description: Mapping[str, Any]) -> None:
        """Record what the study is about, or refuse to continue another.

        Raises:
            UserError: the study that is there is about something else.
        """
        there = self.study.user_attrs.get(DESCRIPTION)
        if there is None and not self.study.get_trials(deepcopy=False):
            self.study.set_user_attr(DESCRIPTION, dict(description))
            return
        there = there if isinstance(there, Mapping) else {}
        # as JSON has them: a tuple and a list are the same
        differs = [
            key
            for key in description
            if format_json(there.get(key)) != format_json(description[key])
        ]
        if differs or self.study.direction.name != ("MAXIMIZE" if self.maximize else "MINIMIZE"):
            raise UserError(
                f"the study {self.settings.name!r} in {self.settings.url} was begun with another "
                f"{', '.join(differs) or 'direction'}, so that its scores cannot be compared with "
                f"these: continue it as it was begun, or give this one a name of its own with "
                f"--study NAME"
            )

    # --- trials ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def choosing(self) -> Iterator[None]:
        """Let one process at a time choose a trial."""
        with hold(self.settings.folder / ".study.lock", wait=True):
            yield

    def lock_of(self, number: int) -> Path:
        return self.settings.folder / f".{trial_folder(number)}.lock"

    @contextlib.contextmanager
    def next_trial(self, trials: int) -> Iterator[optuna.Trial | None]:
        """Yield a trial to run, held until the block ends; None where the study has enough.

        Args:
            trials: how many the study should have, those of other processes included.
        """
        with contextlib.ExitStack() as stack:
            with self.choosing():
                self.queue_killed_trials()
                trial = self.ask() if self.count() < trials else None
                if trial is not None:
                    stack.enter_context(hold(self.lock_of(trial.number)))
            yield trial

    def queue_killed_trials(self) -> None:
        """Close trials of killed processes and queue their settings, to be resumed."""
        running = self.optuna.trial.TrialState.RUNNING
        for trial in self.study.get_trials(deepcopy=False, states=(running,)):
            if is_held(self.lock_of(trial.number)):
                continue
            folder = trial.user_attrs.get(FOLDER, trial_folder(trial.number))
            self.study.enqueue_trial(trial.params, user_attrs={FOLDER: folder})
            # Killed in between, it is queued twice: the second finds its training finished.
            self.study.set_user_attr(REPLACED, [*self.replaced(), trial.number])
            self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)

    def replaced(self) -> list[int]:
        """Return the numbers of killed trials that others go on with."""
        return list(self.study.user_attrs.get(REPLACED, ()))

    def count(self) -> int:
        """Return how many trials there are: ended, or running in some process."""
        return len(self.live_trials())

    def live_trials(self) -> list[optuna.trial.FrozenTrial]:
        """Return all trials, without those in the queue and those that were replaced."""
        waiting, replaced = self.optuna.trial.TrialState.WAITING, set(self.replaced())
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state != waiting and trial.number not in replaced
        ]

    def ask(self) -> optuna.Trial:
        """Draw a trial, or take one from the queue."""
        # Not the trial's number, which counts those that were killed as well.
        seed = np.random.SeedSequence([self.settings.seed, self.count()]).generate_state(1)[0]
        with warnings.catch_warnings():
            # `constant_liar` lets processes that run at once try different settings.
            warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
            self.study.sampler = self.optuna.samplers.TPESampler(
                n_startup_trials=STARTUP, constant_liar=True, seed=int(seed)
            )
        space = {dimension.key: dimension.distribution() for dimension in self.settings.space}
        trial = self.study.ask(space)
        if FOLDER not in trial.user_attrs:
            trial.set_user_attr(FOLDER, trial_folder(trial.number))
        return trial

    def drawn_settings(self, params: Mapping[str, Any]) -> list[str]:
        """Return what was drawn, as words of `--set`, in the order of the space."""
        return [d.setting(params[d.key]) for d in self.settings.space if d.key in params]

    def end(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Record how a trial ended."""
        states = self.optuna.trial.TrialState
        trial.set_user_attr(EPOCHS, outcome.epochs)
        trial.set_user_attr(SECONDS, round(outcome.seconds, 1))
        if outcome.failure is not None:
            trial.set_user_attr(FAILURE, outcome.failure)
            self.study.tell(trial, state=states.FAIL)
        elif outcome.pruned:
            self.study.tell(trial, state=states.PRUNED)
        else:
            self.study.tell(trial, outcome.score)

    def records(self) -> list[TrialRecord]:
        """Return the trials that were begun and not replaced, by number."""
        words = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        found = []
        for trial in self.live_trials():
            attributes = trial.user_attrs
            found.append(
                TrialRecord(
                    number=trial.number,
                    folder=str(attributes.get(FOLDER, trial_folder(trial.number))),
                    state=words.get(trial.state.name, "running"),
                    score=trial.value,
                    settings=tuple(self.drawn_settings(trial.params)),
                    epochs=int(attributes.get(EPOCHS, len(trial.intermediate_values))),
                    seconds=float(attributes.get(SECONDS, 0.0)),
                    reason=attributes.get(FAILURE),
                )
            )
        return found


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        score: of its best epoch; None of a failed one.
        epochs: it was trained for.
        seconds: it took.
        pruned: whether it was stopped as it fell behind.
        failure: why it failed; None where it did not.
    """

    score: float | None
    epochs: int
    seconds: float
    pruned: bool = False
    failure: str | None = None


def best_of(records: Sequence[TrialRecord], maximize: bool) -> TrialRecord | None:
    """Return the best complete trial, the first of equals; None where there is none."""
    complete = [r for r in records if r.state == "complete" and r.score is not None]
    if not complete:
        return None
    return max(complete, key=lambda r: (r.score if maximize else -r.score, -r.number))
