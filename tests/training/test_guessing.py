"""What guessing scores, and the sentence on a fit that does no better."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from toy import Toy, make_trainer

from loss_functions import BCEWithLogitsLoss
from metrics import AUC
from training.guessing import Guessing, explain_bad_run, score_guessing

HALF = torch.arange(200).float()[:, None] % 2
GUESSING = Guessing(loss=math.log(2), score=0.5, spread=0.04)


def epoch(train_loss: float, valid_loss: float, valid_metric: float, clipped: float = 0.1) -> dict:
    return {
        "train_loss": train_loss,
        "valid_loss": valid_loss,
        "valid_metric": valid_metric,
        "clipped_steps": clipped,
        "learning_rate": 0.5,
    }


def test_guessing_is_the_entropy_of_the_classes_and_half_an_area() -> None:
    guessing = score_guessing(HALF, BCEWithLogitsLoss(), AUC())
    assert guessing.loss == pytest.approx(math.log(2), rel=1e-6)
    assert guessing.score == 0.5
    one_in_four = (torch.arange(200) % 4 == 0).float()[:, None]
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert score_guessing(one_in_four, BCEWithLogitsLoss(), AUC()).loss == pytest.approx(entropy)


def test_the_spread_is_that_of_random_scores() -> None:
    spread = score_guessing(HALF, BCEWithLogitsLoss(), AUC()).spread
    generator = torch.Generator().manual_seed(0)
    metric = AUC()
    areas = [metric(HALF, torch.randn(200, 1, generator=generator)) for _ in range(400)]
    # The deviation of 400 draws has an error of 1 / sqrt(800) = 3.5 %; three of these.
    assert np.std(areas) == pytest.approx(spread, rel=0.11)


@pytest.mark.parametrize("targets", [torch.ones(4, 1), torch.tensor([[0.0], [1.0], [0.5]])])
def test_other_targets_than_two_classes_have_no_guess(targets: torch.Tensor) -> None:
    assert score_guessing(targets, BCEWithLogitsLoss(), AUC()) is None
    assert explain_bad_run([epoch(9.0, 9.0, 0.5)], None) is None


def test_nothing_is_said_of_a_handful_of_samples() -> None:
    assert "after 1 epoch: " in explain_bad_run([epoch(9.0, 9.0, 0.5)], GUESSING)
    few = score_guessing(HALF[:4], BCEWithLogitsLoss(), AUC())
    assert explain_bad_run([epoch(9.0, 9.0, 0.5)], few) is None


@pytest.mark.parametrize(
    ("scores", "first", "fact"),
    [
        (epoch(6.5, 6.5, 0.487, 0.9), "learning rate is too high", "(90% of the steps were"),
        (epoch(math.nan, math.nan, math.nan), "learning rate is too high", "(0.693)"),
        (epoch(0.69, 0.695, 0.51), "the signal is drowned", "within two standard deviations"),
        (epoch(0.2, 1.4, 0.53), "learnt by heart", "(0.693)"),
        (epoch(0.5, 0.9, 0.2), "targets are exchanged", "0.200, clearly below 0.5"),
        (epoch(0.1, 1.2, 0.8), "too sure of itself", "(0.693)"),
    ],
)
def test_the_likeliest_cause_comes_first(scores: dict, first: str, fact: str) -> None:
    text = explain_bad_run([scores, scores], GUESSING)
    assert "no better than guessing after 2 epochs" in text
    assert first in text[text.index("(1)") : text.index("(2)")]
    assert fact in text
    if "too high: try" in text:
        assert "--set optimizer_params.lr=0.05" in text


@pytest.mark.parametrize(
    "history",
    [
        [epoch(0.6, 0.62, 0.7)],
        # One good epoch is enough: what came later is for early stopping.
        [epoch(0.6, 0.62, 0.7), epoch(0.1, 2.0, 0.7)],
        [],
    ],
)
def test_nothing_is_said_of_a_fit_that_learns(history: list[dict]) -> None:
    assert explain_bad_run(history, GUESSING) is None


def test_a_diverging_fit_is_told_so_and_a_good_one_is_not(tmp_path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    make_trainer(tmp_path / "good", num_epochs=2).fit(Toy(200), Toy(64, seed=1))
    assert "no better than guessing" not in caplog.text
    bad = make_trainer(tmp_path / "bad", num_epochs=2, lr=50.0)
    state = bad.fit(Toy(200), Toy(64, seed=1))
    assert state.history[-1]["train_loss"] > 1
    assert "fold0: no better than guessing after 2 epochs" in caplog.text
    assert "(1) the learning rate is too high" in caplog.text
