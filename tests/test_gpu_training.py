"""Training on a GPU: mixed precision, resuming, determinism, full memory, the loop's waits."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from deterministic_steps import DETERMINISTIC, deterministic_config, two_steps
from every_network import NETWORKS, make_batch
from host_copies import no_waits
from small_run import make_data, run_here, same_arrays
from torch import nn
from toy import Toy, make_trainer

import configs
from configuration.overrides import override
from data.cache_writer import write_cache
from datasets import load_index
from experiments.building import build_optimizer
from experiments.device_errors import explains_device
from loss_functions import BCEWithLogitsLoss
from runtime.errors import UserError
from runtime.torch_settings import torch_settings_restored
from train import set_determinism
from training.hooks import TrainHook
from training.trainer import Trainer
from training_extras import WeightAverage

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _settings_of_torch(device: torch.device) -> Iterator[None]:
    """A command sets TF32 and deterministic algorithms for its own run."""
    with torch_settings_restored():
        yield


def make_network() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(24, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Linear(16, 1)
    )


def trainer_on(device: torch.device, folder: Path, ema: bool = False, **options) -> Trainer:
    """Return a trainer of a small network whose steps are as the experiments make them."""
    torch.manual_seed(1)
    model = make_network().to(device)
    config = override(configs.Demo, ["optimizer_params.lr=0.01"])
    optimizer = build_optimizer(config, model, device)
    return make_trainer(
        folder,
        model=model,
        device=device,
        criterion=BCEWithLogitsLoss(pos_weight=1.2),  # a weight that must not be copied in a step
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4),
        ema=WeightAverage(model, 0.9) if ema else None,
        **options,
    )


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies on the CPU: of a network there, `cpu()` alone gives its own tensors."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


# --- precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("amp", [False, "bf16", "fp16"])
def test_a_fit_learns_in_every_precision(device: torch.device, tmp_path: Path, amp) -> None:
    if amp == "fp16" and device.type == "cpu":
        pytest.skip("fp16 needs a GPU")
    trainer = trainer_on(device, tmp_path, ema=True, amp=amp)
    state = trainer.fit(Toy(200), Toy(64, seed=1))
    assert state.history[-1]["valid_metric"] > 0.8
    assert all(torch.isfinite(value).all() for value in state_of(trainer.model).values())
    assert trainer.scaler.is_enabled() == (device.type == "cuda")


@pytest.mark.parametrize("amp", [False, "bf16", "fp16"])
@pytest.mark.parametrize("clip", [None, "norm", "value", "agc"])
def test_a_step_does_not_wait(device: torch.device, tmp_path: Path, amp, clip) -> None:
    if amp == "fp16" and device.type == "cpu":
        pytest.skip("fp16 needs a GPU")
    trainer = trainer_on(device, tmp_path, ema=True, amp=amp, clip_grad=clip, log_every=50)
    trainer.train_set = Toy(16)
    batch = {
        key: value.pin_memory() if device.type == "cuda" else value
        for key, value in trainer.train_set.__getitems__(range(16)).items()
    }
    trainer.model.train()
    for step in range(4):
        trainer.state.step = step
        if step < 2:  # state of the optimiser is made, and kernels are loaded
            trainer.train_step(trainer.prepare_batch(batch, "train"), 1.0, last=False)
            continue
        with no_waits(device):
            trainer.train_step(trainer.prepare_batch(batch, "train"), 1.0, last=False)
    assert trainer.state.updates == 4


@pytest.mark.parametrize("name", ["SpectroCNN", "MatchedFilter1d of pairs"])
def test_whole_networks_step_in_every_precision(
    device: torch.device, tmp_path: Path, name: str
) -> None:
    """Scaled, clipped and without a wait; the first loss is near that of float32."""
    first_losses = {}
    for amp in (False, "bf16", "fp16") if device.type == "cuda" else (False, "bf16"):
        torch.manual_seed(0)
        model = NETWORKS[name]().to(device)
        trainer = make_trainer(
            tmp_path / str(amp),
            model=model,
            device=device,
            optimizer=build_optimizer(override(configs.Demo, []), model, device),
            scheduler=None,
            ema=WeightAverage(model, 0.9),
            amp=amp,
            clip_grad="norm",
            max_grad_norm=1.0,
            log_every=50,
        )
        batch, before = make_batch(4, device), state_of(model)
        model.train()
        for step in range(4):
            trainer.state.step = step
            # The first make banks and the optimiser's state, and choose kernels.
            with no_waits(device) if step >= 2 else contextlib.nullcontext():
                trainer.train_step(trainer.prepare_batch(batch, "train"), 1.0, last=False)
        after = state_of(model)
        assert trainer.state.updates == 4
        assert all(torch.isfinite(value).all() for value in after.values())
        # fp16 may leave out its first steps, until the scale of the loss fits.
        assert amp == "fp16" or any(
            not torch.equal(after[key], before[key]) for key, _ in model.named_parameters()
        )
        first_losses[amp] = trainer.record.losses[0].item()
    for amp, loss in first_losses.items():
        assert loss == pytest.approx(first_losses[False], rel=0.05), amp


class BadHook(TrainHook):
    """Every loss is NaN."""

    def forward_train(self, model, batch, criterion):
        loss, logits, target = super().forward_train(model, batch, criterion)
        return loss * torch.nan, logits, target


def test_bad_losses_end_the_fit_with_their_sentence(device: torch.device, tmp_path: Path) -> None:
    trainer = trainer_on(device, tmp_path, hook=BadHook(), max_bad_losses=8, log_every=4)
    before = state_of(trainer.model)
    with pytest.raises(UserError, match="the loss of fold0 was NaN or infinite 8 times in a row"):
        trainer.fit(Toy(200), Toy(64, seed=1))
    for name, value in state_of(trainer.model).items():  # steps and statistics were left out
        assert name.endswith("num_batches_tracked") or torch.equal(value, before[name]), name


# --- the optimiser --------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["fused=true", "foreach=true", "foreach=false"])
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD"])
def test_every_way_to_step_gives_the_same(device: torch.device, kind: str, choice: str) -> None:
    """Beside what is chosen by itself; sums of a few numbers, in another order.

    Without batch norm: the gradient of what it takes away is rounding errors, which Adam enlarges.
    """
    x, found = torch.randn(32, 24).to(device), []
    for settings in ([], [f"optimizer_params.{choice}"]):
        torch.manual_seed(0)
        config = override(
            configs.Demo, [f"optimizer={kind}", "optimizer_params.lr=0.01", *settings]
        )
        model = nn.Sequential(nn.Linear(24, 16), nn.SiLU(), nn.Linear(16, 1)).to(device)
        optimizer = build_optimizer(config, model, device)
        for _ in range(3):
            model(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        found.append(state_of(model))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5)


def killed_after(trainer: Trainer, steps: int) -> None:
    """Let the trainer die at the start of a step."""
    step, count = trainer.train_step, iter(range(10_000))

    def dying(*args, **kwargs):
        if next(count) == steps:
            raise KeyboardInterrupt
        step(*args, **kwargs)

    trainer.train_step = dying


@pytest.mark.parametrize("amp", [False, "bf16"])
def test_killed_and_resumed_equals_unbroken(device: torch.device, tmp_path: Path, amp) -> None:
    """Bit by bit, where algorithms are deterministic."""
    set_determinism(True)
    data = Toy(100), Toy(64, seed=1)

    def fresh(folder: str) -> Trainer:
        return trainer_on(device, tmp_path / folder, ema=True, amp=amp, checkpoint_every=0)

    whole, broken = fresh("whole"), fresh("broken")
    whole.fit(*data)
    killed_after(broken, 10)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(*data)
    again = fresh("broken")
    assert again.resume()
    again.fit(*data)
    for first, second in ((whole.model, again.model), (whole.ema.model, again.ema.model)):
        for name, value in state_of(first).items():
            assert torch.equal(value, state_of(second)[name]), name


@pytest.mark.parametrize(("begins", "goes_on"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_a_checkpoint_goes_on_at_another_device(
    device: torch.device, tmp_path: Path, begins: str, goes_on: str
) -> None:
    places, data = {"cpu": CPU, "gpu": device}, (Toy(100), Toy(64, seed=1))
    broken = trainer_on(places[begins], tmp_path, checkpoint_every=0)
    killed_after(broken, 10)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(*data)
    again = trainer_on(places[goes_on], tmp_path)
    assert again.resume()
    assert again.fit(*data).history[-1]["valid_metric"] > 0.75


# --- determinism ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_runs_are_equal_bit_by_bit(
    device: torch.device, tmp_path: Path, name: str
) -> None:
    set_determinism(True)
    config = deterministic_config(name, small=device.type == "cpu")
    with explains_device(config, device):
        first, second = (two_steps(config, device, tmp_path / str(run)) for run in range(2))
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_crops_behind_a_front_end_that_learns_are_deterministic(device: torch.device) -> None:
    set_determinism(True)
    torch.manual_seed(0)
    network = NETWORKS["SpectroCNN that crops"]().to(device).train()
    x, found = make_batch(4)["waveform"].to(device), []
    for _ in range(2):
        there = copy.deepcopy(network)
        torch.manual_seed(1)
        there(x).sum().backward()
        found.append([p.grad.cpu().clone() for p in there.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


# --- memory, and whole runs -----------------------------------------------------------------------


def test_a_full_memory_says_what_to_set(device: torch.device) -> None:
    config = override(configs.Demo, ["batch_size=64"])
    expected = "does not hold batches of 64 .*--resume --set batch_size=32 accumulate=2"
    with pytest.raises(UserError, match=expected), explains_device(config, device):
        torch.empty(2**48, device=device)  # 1 PiB
    torch.ones(1, device=device)  # goes on


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_data(tmp_path_factory.mktemp("gpu") / "data")
    for split in ("train", "test"):
        index = load_index(folder / f"{split}.csv")
        write_cache(folder / f"{split}_cache.f32", index["id"].tolist(), index["path"].tolist())
    return folder


def test_a_run_from_the_cache_on_the_device_ends_alike(
    device: torch.device, data: Path, tmp_path: Path
) -> None:
    gpu = () if device.type == "cuda" else ("--gpu", "")
    caches = tuple(f"{split}_cache={data / split}_cache.f32" for split in ("train", "test"))
    settings = (*caches, "deterministic=true", "amp=false")
    run_here(data, tmp_path / "file", *gpu, settings=settings)
    run_here(data, tmp_path / "held", "--cache_device", *gpu, settings=settings)
    assert same_arrays(tmp_path / "file" / "demo", tmp_path / "held" / "demo")


@pytest.mark.slow
def test_a_compiled_run_ends_nearly_alike(device: torch.device, data: Path, tmp_path: Path) -> None:
    settings = ("amp=false",)
    run_here(data, tmp_path / "plain", settings=settings)
    run_here(data, tmp_path / "compiled", "--compile", settings=settings)
    first, second = (
        np.load(tmp_path / kind / "demo" / "outoffolds.npy") for kind in ("plain", "compiled")
    )
    # Compiled code sums in another order; two epochs of training make more of the difference.
    np.testing.assert_allclose(first, second, rtol=0.05, atol=0.02)
