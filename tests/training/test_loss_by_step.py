"""The training loss within an epoch: means over rows, in bounded size, the same after a resume."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from toy import Toy, make_trainer

from runtime import interruption
from runtime.interruption import Interrupted
from training.loss_by_step import MOST_GROUPS, add_epoch, group_losses, loss_points


def grouped(losses: list[list[float]], rows: list[list[int]]) -> tuple[list[int], list[float]]:
    return group_losses(torch.tensor(losses), torch.tensor(rows))


def test_each_step_of_a_short_epoch_has_a_point() -> None:
    assert grouped([[0.75, 0.5, 0.25]], [[4, 4, 1]]) == ([1, 2, 3], [0.75, 0.5, 0.25])


def test_processes_count_by_their_rows() -> None:
    steps, losses = grouped([[1.0, 3.0], [4.0, 5.0]], [[2, 1], [1, 1]])
    assert (steps, losses) == ([1, 2], [2.0, 4.0])


def test_bad_losses_are_left_out_and_a_group_without_others_is_nan() -> None:
    _, losses = grouped([[math.nan, 1.0], [2.0, 3.0]], [[4, 1], [4, 1]])
    assert losses == [2.0, 2.0]
    _, losses = grouped([[math.inf, 1.0]], [[4, 1]])
    assert math.isnan(losses[0])
    assert losses[1] == 1.0


@pytest.mark.parametrize("steps", [MOST_GROUPS, MOST_GROUPS + 1, 1000, 7 * MOST_GROUPS])
def test_a_long_epoch_has_a_bounded_number_of_points_that_leave_no_step_out(steps: int) -> None:
    values = torch.linspace(1, 0, steps)[None]  # (steps,) -> (1, steps)
    rows = torch.full((1, steps), 8)
    ends, losses = group_losses(values, rows)
    assert len(ends) == len(losses) == MOST_GROUPS
    assert ends[-1] == steps
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert max(sizes) - min(sizes) <= 1
    mean = sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / steps
    assert mean == pytest.approx(values.mean().item(), rel=1e-5)


def test_points_count_steps_of_the_fit_and_parts_of_epochs() -> None:
    epochs: list = []
    add_epoch(epochs, 1, [2, 4], [0.7, 0.6])
    add_epoch(epochs, 2, [1, 2], [0.5, 0.4])  # in batches of twice the size
    points = list(loss_points(epochs))
    assert [point["epoch"] for point in points] == [0.5, 1.0, 1.5, 2.0]
    assert [point["step"] for point in points] == [2, 4, 5, 6]
    assert [point["train_loss"] for point in points] == [0.7, 0.6, 0.5, 0.4]


def test_epochs_of_an_earlier_version_leave_a_gap() -> None:
    epochs: list = []
    add_epoch(epochs, 3, [2, 4], [0.7, 0.6])
    assert [point["step"] for point in loss_points(epochs)] == [10, 12]
    add_epoch(epochs, 4, [2, 4], [0.5, 0.4])
    assert [point["step"] for point in loss_points(epochs)] == [10, 12, 14, 16]


def test_a_resumed_fit_has_the_same_curve(tmp_path: Path, monkeypatch) -> None:
    """It stops in the middle of an epoch, whose first steps are in the checkpoint."""
    whole = make_trainer(tmp_path / "whole").fit(Toy(70), Toy(20, seed=1))
    first = make_trainer(tmp_path / "parts")
    monkeypatch.setattr(
        interruption, "requested", lambda: (first.state.epoch, first.state.step) >= (1, 2)
    )
    with pytest.raises(Interrupted):
        first.fit(Toy(70), Toy(20, seed=1))
    monkeypatch.undo()
    assert (first.state.epoch, first.state.step, len(first.state.loss_by_step)) == (1, 2, 1)
    again = make_trainer(tmp_path / "parts")
    assert again.resume()
    resumed = again.fit(Toy(70), Toy(20, seed=1))
    assert resumed.loss_by_step == whole.loss_by_step
    assert [entry["steps"] for entry in whole.loss_by_step] == [[1, 2, 3, 4, 5]] * 3
    for scores, entry in zip(whole.history, whole.loss_by_step, strict=True):
        rows = [16, 16, 16, 16, 6]
        mean = sum(n * loss for n, loss in zip(rows, entry["losses"], strict=True)) / 70
        assert mean == pytest.approx(scores["train_loss"], rel=1e-5)


def test_a_checkpoint_of_an_earlier_version_is_continued(tmp_path: Path) -> None:
    make_trainer(tmp_path, num_epochs=1).fit(Toy(64), Toy(20, seed=1))
    path = tmp_path / "fold0_last.pt"
    content = torch.load(path, weights_only=True)
    del content["state"]["loss_by_step"]
    torch.save(content, path)
    again = make_trainer(tmp_path, num_epochs=2)
    assert again.resume()
    state = again.fit(Toy(64), Toy(20, seed=1))
    assert [entry["epoch"] for entry in state.loss_by_step] == [2]
    assert state.loss_by_step[0]["before"] == 4
