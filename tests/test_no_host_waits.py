"""No part of a training or prediction step makes the host wait for a GPU, as a CPU can show it.

The transforms and augmentations are tried beside their other tests, in tests/test_transforms.py and
tests/signal_transforms/test_image_augmentations.py. On a GPU tests/test_gpu_parts.py shows the same
by torch.cuda.set_sync_debug_mode.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from every_network import HOOKS, LOSSES, NETWORKS, make_batch
from every_transform import FRONT_ENDS
from host_copies import refuse_host_waits
from torch import nn
from toy import Toy, make_trainer

import architectures
import loss_functions
import models1d
import training_extras
from datasets import Batch
from layers.mixing import mix_rows
from models1d import matched_filter1d
from models1d.delay_averages import log_average_of_any
from training.trainer import Trainer


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[[0, 1]],
        lambda x: x[x > 0],
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool(x.any()),
        lambda x: x * torch.tensor([2.0], device=x.device),
        lambda x: x.nonzero(),
        lambda x: torch.unique(x),
        lambda x: torch.nn.functional.one_hot(x.long()),  # asks for the largest class
    ],
)
def test_what_waits_is_found(wait) -> None:
    x = torch.rand(4)
    with refuse_host_waits(), pytest.raises(AssertionError):
        wait(x)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_front_ends(name: str) -> None:
    front_end = FRONT_ENDS[name]()
    x = torch.randn(2, 3, 512)
    front_end(x)  # banks are made at the first batch
    if name in ("CWT of one width", "CWT of free filters"):
        front_end.bank_and_plan = lambda length, x: whole_bank(front_end, length)  # as on a GPU
    with refuse_host_waits():
        image = front_end(x)
        if image.requires_grad:
            image.sum().backward()


def whole_bank(front_end: nn.Module, length: int):
    """Return what ComplexMorletCWT takes on a GPU, where the values of a bank are not read."""
    from spectrograms import filterbank

    size = filterbank.transform_length(length + 2 * front_end.half + 2, 2 * front_end.stride)
    bank = front_end.bank(size, torch.device("cpu"))
    return bank, filterbank.whole_plan(len(bank), size, front_end.stride)


def average_of_any(log_ratio: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """Return `log_average` as a GPU computes it."""
    return log_average_of_any(log_ratio, log_weights.softmax(0))


def network_as_on_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Return a network that leaves out what it asks its values for on a CPU alone."""
    if "glitches" in name:  # on a CPU it asks which rows are worth the time
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    # On a CPU they ask which rows are loud.
    monkeypatch.setattr(matched_filter1d, "log_average", average_of_any)
    network = NETWORKS[name]()
    front_end = getattr(getattr(network, "image", None), "spectrogram", None)
    if front_end is not None:
        front_end.bank_and_plan = lambda length, x: whole_bank(front_end, length)
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, monkeypatch) -> None:
    """Forward and backward of a training step, then of a prediction."""
    network = network_as_on_a_gpu(name, monkeypatch)
    batch = make_batch(2)
    network(batch["waveform"])  # scales and times are copied to the device once
    with refuse_host_waits():
        network.train()(batch["waveform"]).sum().backward()
        with torch.inference_mode():
            network.eval()(batch["waveform"])


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    loss, outputs, targets_of = LOSSES[name]
    logits = torch.randn(8, outputs, requires_grad=True)
    targets = targets_of(logits.detach())
    with refuse_host_waits():
        loss(logits, targets).backward()


class Mixing(nn.Linear):
    """Logits of a waveform, mixed where that is asked for."""

    def forward(self, x, lam=None, idx=None):
        x = x if lam is None else mix_rows(x, lam, idx)
        logits = super().forward(x.mean(1))
        return logits if lam is None else (logits, lam)


@pytest.mark.parametrize("name", HOOKS)
def test_hooks(name: str) -> None:
    batch = make_batch(8)
    network, hook = Mixing(batch["waveform"].shape[-1], 1), HOOKS[name]()
    with refuse_host_waits():
        hook.forward_train(network, batch, nn.BCEWithLogitsLoss())[0].backward()


def test_views() -> None:
    batch = make_batch(2)
    views = training_extras.find_views(("identity", "flip", "swap_ligo", "shift+8"))
    with refuse_host_waits():
        assert len(list(training_extras.prepare_views(views, batch, dict))) == 4


def trainer_as_on_a_gpu(model: nn.Module, folder: Path, **options) -> Trainer:
    """Return a trainer that looks at no loss in its first steps."""
    trainer = make_trainer(
        folder,
        model=model,
        # In one kernel, as on a GPU: it counts its steps on the device.
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True),
        ema=training_extras.WeightAverage(model, 0.9),
        scheduler=None,
        log_every=50,
        **options,
    )
    trainer.bad_numbers.device = torch.device("cuda")  # nothing is computed there
    return trainer


def take_steps(trainer: Trainer, batch: Batch, steps: int) -> None:
    for step in range(steps):
        trainer.state.step = step
        trainer.train_step(trainer.prepare_batch(batch, "train"), 1.0, last=False)


@pytest.mark.parametrize("clip", [None, "norm", "value", "agc"])
def test_the_trainers_own_step(tmp_path: Path, clip: str | None) -> None:
    """Scaling, clipping, optimiser, average, guard and record, between two looks at the losses."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 16), nn.BatchNorm1d(16), nn.Linear(16, 1))
    trainer = trainer_as_on_a_gpu(model, tmp_path, clip_grad=clip)
    trainer.train_set = Toy(16)
    batch = trainer.train_set.__getitems__(range(16))
    with refuse_host_waits():
        take_steps(trainer, batch, 3)
    assert trainer.state.updates == len(trainer.record.losses) == 3


@pytest.mark.parametrize("amp", [False, "bf16"])
@pytest.mark.parametrize("name", ["SpectroCNN", "MatchedFilter1d of pairs"])
def test_the_trainers_step_of_a_whole_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, amp: bool | str
) -> None:
    network, batch = network_as_on_a_gpu(name, monkeypatch), make_batch(4)
    network(batch["waveform"])  # scales and times are copied to the device once
    trainer = trainer_as_on_a_gpu(network.train(), tmp_path, clip_grad="norm", amp=amp)
    with refuse_host_waits():
        take_steps(trainer, batch, 2)
    assert trainer.state.updates == 2


def test_every_part_is_tried() -> None:
    def classes(module) -> set[type]:
        return {
            value
            for value in vars(module).values()
            if inspect.isclass(value) and value.__module__ == module.__name__
        }

    tried = {type(make()) for make in NETWORKS.values()}
    known = [getattr(models1d, name) for name in models1d.__all__]
    known += [architectures.SpectroCNN, architectures.MultiInstanceSCNN]
    assert tried == {value for value in known if inspect.isclass(value)}
    assert {type(loss) for loss, _, _ in LOSSES.values()} == classes(loss_functions)
    hooks = {value for value in vars(training_extras).values() if inspect.isclass(value)}
    hooks = {value for value in hooks if issubclass(value, training_extras.TrainHook)}
    assert {type(make()) for make in HOOKS.values()} == hooks
