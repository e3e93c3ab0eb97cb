"""What the report knows of one run: its settings, its starts and its scores."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.strain_maps import WorstSamples
from reporting.comparison import AlignedScores
from reporting.curves import MeasuredScores
from reporting.files import int_or_none, params_of, text_or_none
from runtime.errors import UserError
from runtime.files import is_number

# Settings that only say where files are or what the run is called.
PLACES = {"name", "train_path", "test_path", "train_cache", "test_cache", "data_root"}


@dataclass
class ScoreSet:
    """The scores of one run, without or with test-time views.

    Attributes:
        folds: the AUC of each fold's validation rows.
        validated: whether these are the best validation scores of the training instead, because
            there are no predictions.
        oof, test: the scores of all validation rows together, and of the test samples.
        of_seeds: by 'oof' and 'test', the AUC of each seed of a run that has several.
        aligned: by 'oof' and 'test', the scores in an order that other runs share.
        by_quantity: by 'oof' and 'test', the scores by SNR and masses.
    """

    folds: dict[int, float] = field(default_factory=dict)
    validated: bool = False
    oof: MeasuredScores | None = None
    test: MeasuredScores | None = None
    of_seeds: dict[str, list[float]] = field(default_factory=dict)
    aligned: dict[str, AlignedScores] = field(default_factory=dict)
    by_quantity: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.folds.values()) if self.folds else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over folds (n - 1); None if there is only one fold."""
        return statistics.stdev(self.folds.values()) if len(self.folds) > 1 else None


@dataclass
class ReportedRun:
    """What the report knows of one run.

    Attributes:
        starts: the provenance of every start, oldest first.
        history: the rows of history.csv, one per fold and epoch.
        points: the rows of loss_by_step.csv; none of a run of an earlier version.
        variants: the scores, by 'plain' and 'tta'.
        done: the folds whose logits are complete.
        unfinished: the folds whose training had not ended when they were predicted.
        samples: the letter of its set of training samples; None if they are not known.
        n_train: the number of training samples; None if they are not known.
        breakdown: by covariate, the score of each of its values, as summary.json has them.
        borrowed: whether its logits are of another run's weights (`weight_path`).
        lines: of orientation in the learning curves, see `orientation.lines_of`.
        worst: the samples that it was most wrong about.
        notes: what is missing or wrong, one sentence each.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    starts: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    points: list[dict[str, float]] = field(default_factory=list)
    variants: dict[str, ScoreSet] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)
    unfinished: list[int] = field(default_factory=list)
    samples: str | None = None
    n_train: int | None = None
    breakdown: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    borrowed: bool = False
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    worst: WorstSamples | None = None
    notes: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Turn a `UserError` into a note, so that the rest of the run is still read."""
        try:
            yield
        except UserError as error:
            self.note(str(error))

    def note(self, text: str) -> None:
        text = " ".join(text.split())
        if text not in self.notes:  # reading with and without views meets the same bad file twice
            self.notes.append(text)

    @property
    def best(self) -> ScoreSet:
        """The scores without test-time views; those with views if there are no others."""
        return self.variants.get("plain") or self.variants.get("tta") or ScoreSet()

    @property
    def cv(self) -> int | None:
        return int_or_none(self.config.get("cv"))

    @property
    def complete(self) -> bool:
        whole = bool(self.done) and (self.cv is None or len(self.done) == self.cv)
        return whole and not self.unfinished

    @property
    def competes(self) -> bool:
        """Whether its scores may be called the best: they are of all folds, and its own."""
        return self.complete and not self.borrowed

    @property
    def epochs(self) -> list[int]:
        """The number of epochs trained, of each fold in the history."""
        by_fold: dict[int, int] = {}
        for row in self.history:
            by_fold[int(row["fold"])] = max(by_fold.get(int(row["fold"]), 0), int(row["epoch"]))
        return [by_fold[fold] for fold in sorted(by_fold)]

    @property
    def seconds(self) -> float | None:
        """The time of training and validation of all folds together."""
        names = ("train_seconds", "valid_seconds")
        seconds = sum(row.get(name, 0.0) for row in self.history for name in names)
        # Without any recorded time nothing is shown, rather than 0 s.
        return seconds or None

    @property
    def last_start(self) -> dict[str, Any]:
        return self.starts[-1] if self.starts else {}

    @property
    def front_end(self) -> str | None:
        return text_or_none(params_of(self.config).get("spectrogram"))

    @property
    def backbone(self) -> str | None:
        return text_or_none(params_of(self.config).get("model_name") or self.config.get("model"))

    @property
    def class_name(self) -> str | None:
        return text_or_none(self.config.get("class"))

    @property
    def published(self) -> dict[str, float]:
        """The published scores of this experiment: cv, public and private leaderboard."""
        scores = self.config.get("published")
        scores = scores if isinstance(scores, Mapping) else {}
        return {str(key): float(value) for key, value in scores.items() if is_number(value)}

    @property
    def changed_settings(self) -> list[str]:
        """The settings of --set by which it differs from the experiment of its class."""
        command = self.last_start.get("command")
        words = [str(word) for word in command] if isinstance(command, list) else []
        found, inside = [], False
        # --set takes all words up to the next flag.
        for word in words:
            inside = word == "--set" if word.startswith("--") else inside
            if inside and "=" in word and word.split("=")[0].split(".")[0] not in PLACES:
                found.append(word)
        return found
