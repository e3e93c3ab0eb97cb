"""What an epoch records: means over rows and not over batches, and the way into a checkpoint."""

from __future__ import annotations

import math

import pytest
import torch

from training.epoch_record import EpochRecord, mean_over_rows

CPU = torch.device("cpu")


def recorded(*batches: tuple[float, list[float]], scored: bool = True) -> EpochRecord:
    """Return the record of batches, each given by its mean loss and its logits."""
    record = EpochRecord()
    for loss, logits in batches:
        column = torch.tensor(logits)[:, None]  # (B,) -> (B, 1)
        record.add(torch.tensor(loss), column, torch.ones_like(column) if scored else None)
    return record


def mean_loss(record: EpochRecord) -> float:
    return mean_over_rows(*record.gather_losses())


def test_the_mean_loss_is_of_rows_and_not_of_batches() -> None:
    record = recorded((1.0, [0.0, 0.0, 0.0]), (5.0, [0.0]))
    assert mean_loss(record) == pytest.approx((3 * 1.0 + 1 * 5.0) / 4)


def test_batches_with_a_bad_loss_are_left_out_of_the_mean() -> None:
    assert mean_loss(recorded((math.nan, [0.0] * 5), (2.0, [0.0]))) == 2.0


def test_rows_with_a_bad_logit_are_not_scored() -> None:
    logits, targets = recorded((1.0, [0.5, math.nan]), (1.0, [math.inf, -0.5])).scored_rows()
    assert logits.flatten().tolist() == [0.5, -0.5]
    assert targets.shape == (2, 1)


def test_mixed_rows_have_a_loss_and_no_score() -> None:
    record = recorded((1.0, [0.0]), scored=False)
    assert mean_loss(record) == 1.0
    assert record.scored_rows() is None


def test_recording_keeps_no_graph() -> None:
    record, weight = EpochRecord(), torch.ones(1, requires_grad=True)
    record.add(weight.sum(), weight[:, None], torch.ones(1, 1))
    assert not record.losses[0].requires_grad
    assert not record.outputs[0][0].requires_grad


def test_an_epoch_continues_from_a_checkpoint() -> None:
    record = recorded((1.0, [0.25, 0.5]), (4.0, [0.75]))
    again = EpochRecord.from_checkpoint(record.to_checkpoint(), CPU)
    assert mean_loss(again) == mean_loss(record)
    assert torch.equal(again.scored_rows()[0], record.scored_rows()[0])
    assert EpochRecord.from_checkpoint(EpochRecord().to_checkpoint(), CPU).losses == []


def test_losses_of_a_checkpoint_without_rows_count_alike() -> None:
    losses, outputs, *_ = recorded((1.0, [0.0] * 3), (5.0, [0.0])).to_checkpoint()
    assert mean_loss(EpochRecord.from_checkpoint((losses, outputs), CPU)) == 3.0
