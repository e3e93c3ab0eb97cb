"""The trainer's own loop is timed, and timing it changes nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from toy import Toy, make_trainer

from benchmarks.harness.timed_steps import EpochPlan, run_epoch


def test_the_trainers_own_loop_is_timed(tmp_path: Path) -> None:
    trainer, dataset = make_trainer(tmp_path), Toy(203)
    plan = EpochPlan(warm_up=2, rounds=3, steps=2, settle=1)
    between: list[int] = []
    paced = run_epoch(trainer, dataset, plan, between.append)
    assert trainer.state.step == plan.total == 12
    assert between == [2, 2, 2]
    assert len(paced.step_seconds) == len(paced.data_seconds) == 3
    assert all(0 < d < s for d, s in zip(paced.data_seconds, paced.step_seconds, strict=True))


def test_pacing_changes_nothing_of_what_is_learnt(tmp_path: Path) -> None:
    plain, paced = make_trainer(tmp_path / "a"), make_trainer(tmp_path / "b")
    plan = EpochPlan(warm_up=1, rounds=4, steps=1)
    plain.max_batches = plan.total
    plain.train_epoch(plain.make_loader(Toy(203), shuffle=True))
    run_epoch(paced, Toy(203), plan)
    for first, second in zip(plain.model.parameters(), paced.model.parameters(), strict=True):
        assert torch.equal(first, second)
