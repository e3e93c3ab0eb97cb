"""Bare steps train the network and nothing else."""

from __future__ import annotations

from pathlib import Path

import torch
from toy import make_trainer

from benchmarks.training import training_step


def test_bare_steps_train_the_network_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    inputs = training_step.ready_inputs(trainer, 4)
    assert inputs.shape == (4, 3, 4096)
    assert inputs.std() > 0.5  # never zeros
    before = [p.detach().clone() for p in trainer.model.parameters()]
    training_step.bare_step(trainer, inputs[:, :, :8])()
    assert not all(map(torch.equal, before, trainer.model.parameters()))
    assert all(p.grad is None for p in trainer.model.parameters())
