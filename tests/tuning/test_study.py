"""Studies that several processes share, that are killed, and that are continued."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from configs import Demo
from runtime.errors import UserError
from tuning.space import read_space
from tuning.study import PRUNED_AFTER, STARTUP, Outcome, Study, StudySettings, best_of

pytest.importorskip("optuna")

SPACE = ("lr=1e-4..1e-2:log", "model_params.widths=[(4,8,16),(8,16,32)]")
ABOUT = {"experiment": "Demo", "space": list(SPACE), "fold": 0}


def open_study(folder: Path, about: dict = ABOUT, maximize: bool = True, **options) -> Study:
    settings = StudySettings("study", folder, read_space(Demo, SPACE), **options)
    return Study(settings, maximize, about)


def complete(study: Study, trials: int, score: float = 0.5) -> list[dict]:
    """End trials of a study until it has so many; return what was drawn."""
    drawn = []
    while True:
        with study.next_trial(trials) as trial:
            if trial is None:
                return drawn
            drawn.append(dict(trial.params))
            study.end(trial, Outcome(score, 1, 1.0))


def test_processes_share_the_trials(tmp_path: Path) -> None:
    one, two = open_study(tmp_path), open_study(tmp_path)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(one.next_trial(3))
        second = stack.enter_context(two.next_trial(3))
        third = stack.enter_context(one.next_trial(3))
        assert {first.number, second.number, third.number} == {0, 1, 2}
        assert first.params != second.params
        assert stack.enter_context(two.next_trial(3)) is None  # three run
        for study, trial in ((two, second), (one, first), (one, third)):
            study.end(trial, Outcome(0.1 * trial.number, 2, 1.0))
    records = two.records()
    assert [record.state for record in records] == ["complete"] * 3
    assert best_of(records, maximize=True).number == 2
    assert best_of(records, maximize=False).number == 0
    assert records[0].settings[0].startswith("optimizer_params.lr=0.00")


def test_a_killed_trial_is_taken_up_again_and_the_rest_is_as_without(tmp_path: Path) -> None:
    expected = complete(open_study(tmp_path / "whole"), STARTUP + 2)  # beyond the random start
    killed = open_study(tmp_path / "killed")
    drawn = complete(killed, 1)
    with contextlib.suppress(KeyboardInterrupt), killed.next_trial(STARTUP + 2) as trial:
        trial.report(0.3, 1)
        raise KeyboardInterrupt
    again = open_study(tmp_path / "killed")
    assert [record.state for record in again.records()] == ["complete", "running"]
    with again.next_trial(STARTUP + 2) as trial:
        assert trial.user_attrs["folder"] == "trial0001"
        drawn.append(dict(trial.params))
        again.end(trial, Outcome(0.5, 1, 1.0))
    drawn += complete(again, STARTUP + 2)
    assert drawn == expected
    folders = [record.folder for record in again.records()]
    assert folders[:3] == ["trial0000", "trial0001", "trial0003"]


def test_a_trial_behind_the_others_is_pruned(tmp_path: Path) -> None:
    study = open_study(tmp_path, prune_after=2)
    pruned = {}
    for number in range(PRUNED_AFTER + 2):
        with study.next_trial(99) as trial:
            # the last but one is good, the last one falls behind after both epochs
            scores = (0.5, 0.6 + 0.01 * number) if number <= PRUNED_AFTER else (0.4, 0.4)
            for epoch, score in enumerate(scores, 1):
                trial.report(score, epoch)
                pruned[number, epoch] = trial.should_prune()
            study.end(trial, Outcome(scores[-1], 2, 1.0, pruned=pruned[number, 2]))
    assert [key for key, value in pruned.items() if value] == [(PRUNED_AFTER + 1, 2)]
    assert study.records()[-1].state == "pruned"
    assert best_of(study.records(), maximize=True).number == PRUNED_AFTER
    free = open_study(tmp_path, prune=False)
    with free.next_trial(99) as trial:
        for epoch in (1, 2):
            trial.report(0.0, epoch)
        assert not trial.should_prune()


@pytest.mark.parametrize(
    ("about", "maximize", "said"),
    [
        ({**ABOUT, "fold": 1}, True, "another fold"),
        ({**ABOUT, "space": ["lr=1..2"]}, True, "another space"),
        (ABOUT, False, "another direction"),
    ],
)
def test_another_study_is_not_continued(
    about: dict, maximize: bool, said: str, tmp_path: Path
) -> None:
    open_study(tmp_path)
    open_study(tmp_path)
    with pytest.raises(UserError, match=said) as error:
        open_study(tmp_path, about, maximize)
    assert "--study NAME" in str(error.value)


@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////nowhere/at/all.db"])
def test_a_storage_that_cannot_be_opened(storage: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened") as error:
        open_study(tmp_path, storage=storage)
    assert "\n" not in str(error.value)
