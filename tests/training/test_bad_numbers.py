"""What is advised after too many bad numbers works as it is typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from small_run import command, make_data
from torch import nn

from runtime.errors import UserError
from runtime.files import read_json
from train import main
from training.bad_numbers import advise_lower_rate
from training.trainer import Trainer
from training_extras import TrainHook


def test_the_advice_names_the_setting_that_decides_the_rate() -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.3)
    assert advise_lower_rate(optimizer, None) == (
        "lower the learning rate, --resume --set optimizer_params.lr=0.1"
    )
    assert advise_lower_rate(optimizer, torch.float16).endswith(
        ", or compute in float32, --resume --set amp=false"
    )
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.6, total_steps=10)
    assert "--set scheduler_params.max_lr=0.2" in advise_lower_rate(optimizer, None)


class OverflowingHook(TrainHook):
    """From the second epoch on, the loss overflows above a learning rate."""

    steps = 0
    above = 0.0
    optimizers: list = []  # noqa: RUF012 - the tests note the optimiser here

    def forward_train(self, model, batch, criterion):
        loss, logits, target = super().forward_train(model, batch, criterion)
        OverflowingHook.steps += 1
        group = self.optimizers[-1].param_groups[0]
        rate = group.get("max_lr", group["initial_lr"])
        is_bad = OverflowingHook.steps > 4 and rate > self.above
        return (loss * torch.inf if is_bad else loss), logits, target


@pytest.mark.parametrize(
    "settings",
    [
        ("optimizer_params.lr=0.01",),
        ("scheduler=OneCycleLR", "scheduler_params.max_lr=0.01", "batch_scheduler=true"),
    ],
)
def test_a_run_that_overflowed_goes_on_as_the_message_says(
    tmp_path: Path, monkeypatch, settings: tuple[str, ...]
) -> None:
    begin = Trainer.fit

    def noted_fit(self, *data):
        self.hook = OverflowingHook()
        OverflowingHook.optimizers.append(self.optimizer)
        return begin(self, *data)

    monkeypatch.setattr(Trainer, "fit", noted_fit)
    OverflowingHook.steps, OverflowingHook.above = 0, 0.0
    data = make_data(tmp_path / "data")
    more = ("batch_size=10", "max_bad_losses=2", *settings)
    arguments = ["--silent", "--limit_fold", "0"]
    line = command(data, tmp_path / "results", *arguments, settings=more)[2:]
    with pytest.raises(UserError) as error:
        main(line)
    advice = re.search(r"lower the learning rate, (--resume --set \S+)", str(error.value))[1]
    OverflowingHook.above = 5e-3  # between the two rates
    *_, setting = advice.split()
    assert main([*line[: line.index("--silent")], setting, *arguments, "--resume"]) == 0
    state = read_json(tmp_path / "results" / "demo" / "fold0.json")
    assert state["epoch"] == 2
    assert state["finished"]
    assert [entry["from_epoch"] for entry in state["adjusted"]] == [1, 2]
