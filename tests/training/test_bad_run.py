"""The sentence on a fit that is no better than guessing."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from toy import Toy, make_trainer

from loss_functions import BCEWithLogitsLoss
from metrics import AUC
from training.bad_run import FitFacts, explain_bad_run, facts_of
from training.batch_preparation import Preparation
from training.guessing import Guessing, score_guessing
from transforms import BandPass, Compose, FlipWave, Normalize, Whiten

GUESSING = Guessing(loss=math.log(2), score=0.5, spread=0.04)
WHITENED = FitFacts(samples=20_000, whitens=True)
DRAWN = FitFacts(samples=20_000, draws_samples=True, whitens=True)
MANY = 5_000  # steps


def epoch(
    train_loss: float,
    valid_loss: float,
    valid_metric: float,
    clipped: float = 0.1,
    train_metric: float = math.nan,
) -> dict:
    return {
        "train_loss": train_loss,
        "train_metric": train_metric,
        "valid_loss": valid_loss,
        "valid_metric": valid_metric,
        "clipped_steps": clipped,
        "learning_rate": 0.5,
    }


def first_cause(text: str) -> str:
    return text[text.index("(1)") : text.index("(2)")]


def test_nothing_is_said_of_a_handful_of_samples() -> None:
    assert "after 1 epoch: " in explain_bad_run([epoch(9.0, 9.0, 0.5)], GUESSING)
    few = score_guessing(torch.arange(4).float()[:, None] % 2, BCEWithLogitsLoss(), AUC())
    assert explain_bad_run([epoch(9.0, 9.0, 0.5)], few) is None
    assert explain_bad_run([epoch(9.0, 9.0, 0.5)], None) is None


@pytest.mark.parametrize(
    ("scores", "first", "fact"),
    [
        (epoch(6.5, 6.5, 0.487, 0.9), "learning rate is too high", "(90% of the steps were"),
        (epoch(math.nan, math.nan, math.nan), "learning rate is too high", "(0.693)"),
        (epoch(0.69, 0.695, 0.51), "the signal is drowned", "within two standard deviations"),
        (epoch(0.2, 1.4, 0.53), "learnt by heart", "(0.693)"),
        (epoch(0.5, 0.9, 0.2), "targets are exchanged", "0.200, clearly below 0.5"),
    ],
)
def test_the_likeliest_cause_comes_first(scores: dict, first: str, fact: str) -> None:
    text = explain_bad_run([scores, scores], GUESSING)
    assert "no better than guessing after 2 epochs" in text
    assert first in first_cause(text)
    assert fact in text
    if "too high: try" in text:
        assert "--set optimizer_params.lr=0.05" in text


def test_a_good_ranking_with_a_high_loss_is_called_badly_calibrated() -> None:
    history = [epoch(0.6, 0.9, 0.60)]
    text = explain_bad_run(history, GUESSING, WHITENED, MANY)
    assert text.startswith("ranks signals above noise (a score of 0.600) and is badly calibrated")
    assert "no better than guessing" not in text
    assert "a validation loss above that of guessing (0.693)" in text
    assert "too sure of itself: fewer epochs, more samples" in first_cause(text)
    # More of what is never seen twice would not help.
    drawn = explain_bad_run(history, GUESSING, DRAWN, MANY)
    assert "too sure of itself: fewer epochs, smoothed targets" in first_cause(drawn)


def test_few_steps_and_samples_come_first_and_are_counted() -> None:
    history = [epoch(0.742, 0.6931, 0.5526), epoch(0.655, 0.6932, 0.543)]
    text = explain_bad_run(history, GUESSING, FitFacts(samples=200, whitens=True), 8)
    assert "too few for signals this weak, 8 steps and 200 training samples" in first_cause(text)
    assert "more samples and more epochs" in first_cause(text)
    enough = explain_bad_run(history, GUESSING, WHITENED, MANY)
    assert "too few samples or epochs" in enough[enough.index("(3)") :]
    # A loss that was driven up is a sign of the rate, however few the steps were.
    diverged = [epoch(1321.0, 9.0, 0.51), epoch(0.8, 2.0, 0.5)]
    text = explain_bad_run(diverged, GUESSING, FitFacts(samples=200), 8)
    assert "the learning rate is too high" in first_cause(text)


def test_what_is_known_not_to_be_the_cause_is_left_out() -> None:
    for history in ([epoch(0.69, 0.7, 0.5)], [epoch(6.5, 6.5, 0.5)]):
        assert "drowned" in explain_bad_run(history, GUESSING, FitFacts(), MANY)
        text = explain_bad_run(history, GUESSING, WHITENED, MANY)
        assert "drowned" not in text
        assert "clip" not in text
    clipping = FitFacts(clip_grad="value")
    assert "clip_grad = 'value'" in explain_bad_run([epoch(6.5, 6.5, 0.5)], GUESSING, clipping)


def test_simulated_samples_are_not_learnt_by_heart() -> None:
    history = [epoch(0.44, 5.2, 0.487, train_metric=0.856)]
    text = explain_bad_run(history, GUESSING, DRAWN, 16)
    assert "by heart" not in text
    assert "targets of the validation table do not belong to its samples" in first_cause(text)
    assert "a score of 0.856" in first_cause(text)


class OwnWhitening(torch.nn.Module):
    pass


def test_whitening_is_known_of_transforms_data_set_and_network() -> None:
    rows, linear = Toy(8), torch.nn.Linear(2, 1)
    plain = Preparation(Compose([Normalize(), FlipWave()]))
    assert facts_of(rows, plain, linear, "norm") == FitFacts(samples=8, clip_grad="norm")
    band = Preparation(Compose([]), Compose([BandPass(lower=20, upper=400)]))
    own = torch.nn.Sequential(OwnWhitening(), linear)
    whitening = Preparation(Compose([FlipWave(), Whiten()]))
    for preparation, network in ((band, linear), (plain, own), (whitening, linear)):
        assert facts_of(rows, preparation, network, None).whitens
    drawn = Toy(8)
    drawn.whiten, drawn.draws_samples = Whiten(), True
    assert facts_of(drawn, plain, linear, None) == FitFacts(8, draws_samples=True, whitens=True)


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
    # A network of two layers still ranks what its rate has driven far up.
    assert "fold0: ranks signals above noise" in caplog.text
    assert "(1) the learning rate is too high" in caplog.text
    # What is known of the fit reaches the sentence.
    assert "26 steps and 200 training samples" in caplog.text


def test_it_is_said_after_the_second_epoch_and_at_the_end_alone(tmp_path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    for number, (epochs, told) in enumerate(((1, [1]), (2, [2]), (3, [2, 3]))):
        caplog.clear()
        trainer = make_trainer(tmp_path / str(number), num_epochs=epochs, lr=50.0)
        trainer.fit(Toy(200), Toy(64, seed=1))
        lines = [line for line in caplog.text.splitlines() if "The likeliest causes" in line]
        assert len(lines) == len(told)
        for line, count in zip(lines, told, strict=True):
            assert f"after {count} epoch" in line
