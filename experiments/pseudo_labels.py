"""Labels for the test samples, from the predictions of an experiment that was trained before.

Fold k learns from the labels that fold k of the source gave. That network never saw fold k's
validation rows, and so nothing of them comes back through the labels; this holds as long as both
experiments share out their samples alike, which is checked row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from configuration.config_class import config_named
from experiments.prediction_stamp import has_predictions
from experiments.predictions import Predictions, align, read_predictions, sigmoid
from runtime.errors import UserError


@dataclass(frozen=True)
class Labels:
    """The pseudo-labels of the test samples that one experiment learns from.

    Attributes:
        rows: (n,) positions in its test table.
        values: (folds, n) labels from 0 to 1, a row for each fold.
        unfinished: the folds of the source whose training had not ended, each with the reason.
        digest: of both, so that a resumed run notices when they have changed.
    """

    rows: np.ndarray
    values: np.ndarray
    unfinished: Mapping[int, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        # Fixed byte order and width: the digest must be the same on every machine.
        content = hashlib.sha256(np.ascontiguousarray(self.rows, "<i8"))
        content.update(np.ascontiguousarray(self.values, "<f8"))
        return content.hexdigest()


class PseudoLabels:
    """How the test samples are labelled, as settled by a config.

    P is the sigmoid of the source's logits, (folds, test samples), without test-time views.

    Args:
        source: the `name` of the experiment whose predictions are used, its folder in results/.
        confident_samples: None, or (lower, upper): with the test samples in the order of the mean
            of P over the folds, the first `lower` and the last 1 - `upper` of them, as fractions,
            count as confident. None takes all as confident. As in the reference this order is
            that of all folds together; the labels themselves are those of one fold.
        hard_label: False for all samples with their soft labels P, whatever the confidence; True
            for the confident ones only, rounded to 0 or 1; 'mix' for all samples, the confident
            ones rounded.

    Raises:
        UserError: values that make no sense.
    """

    def __init__(
        self,
        source: str,
        confident_samples: tuple[float, float] | None = None,
        hard_label: bool | str = False,
    ) -> None:
        if not (isinstance(hard_label, bool) or hard_label == "mix"):
            raise UserError(
                f"pseudo_labels: hard_label = {hard_label!r}: expected False, True or 'mix'"
            )
        if confident_samples is not None:
            values = confident_samples
            if (
                not isinstance(values, list | tuple)
                or len(values) != 2
                or not all(isinstance(value, int | float) for value in values)
                or not 0 <= values[0] <= values[1] <= 1
            ):
                raise UserError(
                    f"pseudo_labels: confident_samples = {confident_samples!r}: expected None or "
                    f"two fractions in order, e.g. (0.2, 0.9)"
                )
            confident_samples = tuple(values)  # `--set` gives a list
        if not source or Path(source).name != source:
            raise UserError(
                f"pseudo_labels: source = {source!r}: expected the name of an experiment"
            )
        self.source, self.confident_samples = source, confident_samples
        self.hard_label = hard_label

    # --- the source --------------------------------------------------------------------------

    def command(self) -> str:
        """The command that makes the source's predictions, keeping what is trained already."""
        config = config_named(self.source)
        if config is None:
            return f"the experiment named {self.source!r}"
        script = "train" if config.pseudo_labels is None else "train_pseudo"
        return f"`python {script}.py --config {config.reference} --resume`"

    def read(
        self,
        results: Path,
        train_ids: np.ndarray,
        folds: np.ndarray,
        test_ids: np.ndarray,
        allow_unfinished: bool = False,
    ) -> Labels:
        """Return the labels of an experiment with these samples and folds.

        Args:
            results: the folder of all results.
            train_ids, folds: (n,) each, the experiment's training samples and their folds.
            test_ids: (m,) its test samples.
            allow_unfinished: take labels of folds whose training has not ended.

        Raises:
            UserError: the source's predictions are missing, incomplete, of unfinished folds, of
                other samples, or of other folds; the message names the command that makes them.
        """
        folder = results / self.source
        if not has_predictions(folder):
            raise UserError(
                f"{folder} has no predictions to take pseudo-labels from: make them with "
                f"{self.command()}"
            )
        source = read_predictions(folder)
        source.check_complete(self.command(), allow_unfinished)
        # Fold k of this run learns the labels of the source's fold k, so both need the same folds.
        n_folds = max(int(folds.max()) + 1, 1)  # a single one validates nothing with cv = 1
        if len(source.logits) != n_folds:
            raise UserError(
                f"{folder} has {len(source.logits)} folds and this experiment {n_folds}: give both "
                f"the same cv and run {self.command()} again"
            )
        self.check_folds(source, train_ids, folds)
        # The source may list its test samples in another order.
        place = self.place_of(source.test_ids, test_ids, folder)
        labels = self.choose(sigmoid(source.logits[:, place].astype(np.float64)))
        return replace(labels, unfinished=source.unfinished)

    def check_folds(self, source: Predictions, train_ids: np.ndarray, folds: np.ndarray) -> None:
        """Refuse a source whose fold k may have seen validation rows of our fold k."""
        place = self.place_of(source.train_ids, train_ids, source.folder)
        others = source.folds[place] != folds
        if others.any():
            raise UserError(
                f"{source.folder} shared its samples out into other folds than this experiment "
                f"(the first is {str(train_ids[others.argmax()])!r}), so that its labels would "
                f"leak: give both the same samples, cv and splitter and run {self.command()} again"
            )

    def place_of(self, ids: np.ndarray, wanted: np.ndarray, folder: Path) -> np.ndarray:
        try:
            return align(ids, wanted, str(folder))
        except UserError as error:
            raise UserError(f"{error}: run {self.command()} again on the same data") from error

    # --- the labels --------------------------------------------------------------------------

    def choose(self, probability: np.ndarray) -> Labels:
        """Return the rows and labels for P (folds, m)."""
        m = probability.shape[1]
        confident = np.ones(m, bool)
        if self.confident_samples is not None:
            lower, upper = self.confident_samples
            order = np.argsort(probability.mean(0), kind="stable")  # (folds, m) -> (m,)
            # The middle of the order: neither surely noise nor surely a signal.
            confident[order[round(lower * m) : round(upper * m)]] = False
        if self.hard_label is False:
            return Labels(np.arange(m), probability)
        rounded = np.round(probability)
        if self.hard_label is True:
            if not confident.any():
                raise UserError(
                    f"pseudo_labels: confident_samples = {self.confident_samples} leaves none of "
                    f"{m} test samples: widen it"
                )
            rows = np.flatnonzero(confident)
            return Labels(rows, rounded[:, rows])
        return Labels(np.arange(m), np.where(confident, rounded, probability))

    def invent(self, folds: int, m: int, seed: int) -> Labels:
        """Return labels drawn at random, for a dry run."""
        return self.choose(np.random.default_rng(seed).uniform(size=(folds, m)))


def label_figures(labels: Labels, source: str, m: int) -> dict[str, Any]:
    """Return plain figures of the labels for the log and for `pseudo_labels.json`.

    Args:
        source: the experiment whose predictions they are.
        m: the number of test samples.
    """
    figures = {
        "source": source,
        "digest": labels.digest,
        "samples": len(labels.rows),
        "test_samples": m,
        "mean_label": round(float(labels.values.mean()), 6),
    }
    if labels.unfinished:
        reasons = {str(fold): reason for fold, reason in labels.unfinished.items()}
        figures["unfinished_folds"] = reasons
    return figures
