"""Scores of an epoch: over all rows, NaN and a warning where a metric is undefined."""

from __future__ import annotations

import math

import pytest
import torch

from loss_functions import BCEWithLogitsLoss
from metrics import AUC
from training.epoch_record import EpochRecord
from training.epoch_scores import compute_score, score_training_pass, score_validation


class Largest:
    """A metric beside the usual ones."""

    name = "largest"

    def __call__(self, targets: torch.Tensor, logits: torch.Tensor) -> float:
        return logits.max()


LOGITS = torch.tensor([2.0, -1.0, 0.5, -0.5])[:, None]
TARGETS = torch.tensor([1.0, 0.0, 0.0, 1.0])[:, None]


def test_validation_has_a_loss_a_metric_and_the_monitors() -> None:
    criterion = BCEWithLogitsLoss()
    scores = score_validation(LOGITS, TARGETS, criterion, AUC(), [Largest()], "fold0")
    assert scores["valid_loss"] == pytest.approx(criterion(LOGITS, TARGETS).item())
    assert scores["valid_metric"] == pytest.approx(3 / 4)  # of 4 pairs one is in the wrong order
    assert scores["valid_largest"] == 2.0


def test_a_metric_of_one_class_is_nan_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert math.isnan(compute_score(AUC(), torch.ones(4, 1), LOGITS, "fold0"))
    assert "fold0: " in caplog.text


def test_one_class_in_two_batches_of_a_dry_run_is_no_fault_of_the_folds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one_class = torch.ones(4, 1)
    scores = score_validation(
        LOGITS, one_class, BCEWithLogitsLoss(), AUC(), [AUC()], "fold0", in_part=True
    )
    record = EpochRecord()
    record.add(torch.tensor(0.5), LOGITS, one_class)
    trained, _ = score_training_pass(record, AUC(), "fold0", in_part=True)
    assert math.isnan(scores["valid_metric"])
    assert math.isnan(scores["valid_auc"])
    assert math.isnan(trained["train_metric"])
    assert caplog.text == ""
    # Logits that are no numbers are a fault of any sample.
    compute_score(AUC(), TARGETS, LOGITS * math.nan, "fold0", in_part=True)
    assert "are NaN" in caplog.text


def test_the_training_pass_is_scored_where_targets_were_not_mixed() -> None:
    record = EpochRecord()
    record.add(torch.tensor(0.5), LOGITS, TARGETS)
    record.add(torch.tensor(0.25), LOGITS, TARGETS)
    scores, by_step = score_training_pass(record, AUC(), "fold0")
    assert scores == {"train_loss": 0.375, "train_metric": pytest.approx(3 / 4)}
    assert by_step == ([1, 2], [0.5, 0.25])
    mixed = EpochRecord()
    mixed.add(torch.tensor(0.5), LOGITS, None)
    scores, _ = score_training_pass(mixed, AUC(), "fold0")
    assert scores["train_loss"] == 0.5
    assert math.isnan(scores["train_metric"])
