"""What a study is about and how its trials went, as plain data: study.json, for people and reports.

results/tuning/<study>/
    study.db          Optuna's storage, unless --storage names another
    study.json        what this file describes, written anew after every trial
    <study>_tuned.py  the best trial as an experiment, see best_file.py
    *.png             Optuna's plots, see figures.py
    trial0000/ …      the run directory of every trial, with its fold, curve and checkpoints
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.files import write_json

STUDY_FILE = "study.json"


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a study.

    Attributes:
        number: Optuna's, from 0.
        folder: the name of its run directory.
        state: 'complete', 'pruned', 'failed' or 'running'.
        score: of its best epoch; None where there is none.
        settings: what was drawn, as words of `--set`.
        epochs: how many epochs it was trained for.
        seconds: how long it took.
        reason: why it failed; None where it did not.
    """

    number: int
    folder: str
    state: str
    score: float | None
    settings: tuple[str, ...]
    epochs: int
    seconds: float
    reason: str | None = None


@dataclass(frozen=True)
class StudyRecord:
    """A study.

    Attributes:
        name: of the study.
        reference: the experiment, as `--config` names it.
        settings: of the command line, the same in all trials.
        space: words of `--space`.
        metric: the class that scores the validation rows.
        maximize: whether a larger score is better.
        fold: the fold that every trial trains.
        trials: all of them, by number.
        best: the number of the best complete trial; None before there is one.
        best_file: text of the file with the best trial that was last written.
    """

    name: str
    reference: str
    settings: tuple[str, ...]
    space: tuple[str, ...]
    metric: str
    maximize: bool
    fold: int
    trials: Sequence[TrialRecord]
    best: int | None
    best_file: str | None = None

    def write(self, folder: Path) -> None:
        write_json(folder / STUDY_FILE, asdict(self))


def trial_folder(number: int) -> str:
    """Return the name of a trial's run directory, e.g. trial0007."""
    return f"trial{number:04d}"


def format_score(score: float | None, metric: str) -> str:
    return "no score" if score is None else f"{metric} {score:.6f}"


def read_best_file(content: Mapping[str, Any]) -> str | None:
    """Return the text of the best file that a study.json says was written last."""
    text = content.get("best_file")
    return text if isinstance(text, str) else None
