"""The clock stops a training after its steps, and leaves the command as it is."""

from __future__ import annotations

import json

import pytest

import train
from benchmarks.training import timed_command
from training.trainer import Trainer


@pytest.fixture
def steps(monkeypatch) -> list[list[str]]:
    """Let `train.main` be a loop of three steps; return what it is called with."""
    calls = []

    class Loop:
        class device:
            type = "cpu"

    def main(arguments: list[str]) -> int:
        calls.append(arguments)
        for _ in range(3):
            Trainer.save_or_stop(Loop())
        return 0

    monkeypatch.setattr(Trainer, "save_or_stop", Trainer.save_or_stop)  # put back afterwards
    monkeypatch.setattr(train, "main", main)
    return calls


def test_it_stops_after_the_steps(steps, capsys) -> None:
    line = ["--steps", "2", "--", "--config", "Demo", "--set", "cv=2"]
    for _ in range(2):
        assert timed_command.main(line) == 0
        first, second = json.loads(capsys.readouterr().out)["ended"]
        assert first[0] <= second[0]
        assert 0 < first[1] <= second[1]  # what the process has used of the processor
    assert steps == [["--config", "Demo", "--set", "cv=2"]] * 2


def test_a_training_that_ends_before_is_an_error(steps) -> None:
    with pytest.raises(AssertionError, match="after 3 of 4 steps"):
        timed_command.main(["--steps", "4", "--", "--config", "Demo"])
