"""What does a whole training step cost, compared with its network and optimizer alone?

One side is the trainer's loop with the config's own data set, loader, transforms, front-end,
clipping and optimiser, on a cache of random strain. The other is the same network (for Nspec16 its
backbone with the head, after the front-end) and the same optimiser on random inputs that lie on the
device already: forward, loss, backward, step.

On a CPU the batches are smaller than the config's. What a step costs once, whatever the batch,
weighs more in them, so that the ratio is if anything too large.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement, format_duration
from benchmarks.harness.timed_steps import (
    TINY,
    EpochPlan,
    plain_step,
    random_experiment,
    run_epoch,
    trainer_of,
    training_set,
)
from benchmarks.harness.timing import Spread, paired_ratios, time_calls
from configuration.config_class import ConfigMeta
from physics.observation import COMPETITION
from runtime.command_line import run_command
from training.precision import autocast
from training.trainer import Trainer

TARGETS = {"Nspec16": 1.05, "Seq03aug3": 1.10, "Seq12arch4": 1.10}
CPU_BATCH = {"Nspec16": 8, "Seq03aug3": 16, "Seq12arch4": 4}  # seconds a step, not minutes
# By (key of the row, kind of device), from `profile_step` and from timing the first convolution.
REASONS = {
    ("training_step.nspec_16", "cpu"): "the front-end with a learnt width takes 4 to 5 % of the "
    "step, two thirds of that in its backward pass, and the gradient of the image, which the bare "
    "backbone need not hand on, another 1 %; reading and transforms take 0.2 %, the norm of the "
    "gradients 0.5 %. "
    "Kernels and their gradient cost the same for 8 samples as for the config's 64."
}


def bare_network(model: nn.Module) -> nn.Module:
    """Return the network behind the front-end, or a whole network on the waveform."""
    return model.network if hasattr(model, "image") else model


@torch.no_grad()
def ready_inputs(trainer: Trainer, batch: int) -> Tensor:
    """Return random numbers of the shape that the bare network takes, on the device."""
    strain = torch.randn(batch, *COMPETITION.shape, device=trainer.device)
    # only its shape is wanted: (B, C, F, T') for an image model, (B, 3, T) for others
    image = trainer.model.image(strain)[0] if hasattr(trainer.model, "image") else strain
    return torch.randn_like(image)


def bare_step(trainer: Trainer, inputs: Tensor) -> Callable[[], None]:
    """Return a function that trains the bare network on the inputs, with the trainer's optimiser.

    The weights are the trainer's own: two copies of a large network and its optimiser would not
    fit, and neither side cares what they are.
    """
    network, optimizer = bare_network(trainer.model), trainer.optimizer
    target = torch.randint(0, 2, (len(inputs), 1), device=trainer.device).float()

    def step() -> None:
        plain_step(
            network,
            inputs,
            target,
            trainer.step_criterion,
            optimizer,
            autocast(trainer.amp_dtype, trainer.device),
        )

    return step


def compare(
    settings: BenchmarkSettings, config: ConfigMeta, cache_device: bool = False
) -> Measurement:
    """Time one config's whole steps and its bare ones, in turn, in one epoch.

    Args:
        cache_device: hold the cache on the device; a row beside the target, which is without.
    """
    name = config.__name__
    batch = settings.choose(cpu=CPU_BATCH[name], cuda=config.batch_size, quick=2)
    rounds = settings.rounds(settings.choose(cpu=15, cuda=11, quick=2))
    workers = settings.choose(cpu=0, cuda=0 if cache_device else 4, quick=0)  # as train.py's
    plan = settings.choose(
        cpu=EpochPlan(warm_up=2, rounds=rounds, steps=1),
        cuda=EpochPlan(warm_up=20, rounds=rounds, steps=20, settle=3 * workers),
        quick=EpochPlan(warm_up=1, rounds=rounds, steps=1),
    )
    changes = [f"batch_size={batch}", *(TINY[name] if settings.quick else [])]
    bare: list[float] = []
    with tempfile.TemporaryDirectory(prefix="training_", dir=settings.folder) as folder:
        experiment = random_experiment(
            config,
            Path(folder),
            settings.device,
            plan.total * batch,
            changes=changes,
            num_workers=workers,
            cache_device=cache_device,
        )
        with trainer_of(experiment) as trainer:
            step = bare_step(trainer, ready_inputs(trainer, batch))
            trainer.wrapped.train()
            # First calls choose kernels and allocate memory, on both sides.
            time_calls(step, settings.device, plan.warm_up)
            paced = run_epoch(
                trainer,
                training_set(experiment),
                plan,
                between=lambda steps: bare.append(time_calls(step, settings.device, steps)),
            )
    key = f"training_step.{config.name}" + (".cache_device" if cache_device else "")
    target = TARGETS[name]
    data = Spread.of(paced.data_seconds)
    theirs = "backbone" if hasattr(trainer.model, "image") else "network"
    return Measurement(
        key,
        f"training step of {name}" + (", cache on the device" if cache_device else ""),
        f"{theirs} and optimiser on ready inputs",
        paired_ratios(paced.step_seconds, bare),
        "×",
        False,
        {} if cache_device else {"cpu": target, "cuda": target},
        Spread.of(paced.step_seconds),
        Spread.of(bare),
        settings={
            "batch": batch,
            "workers": workers,
            "threads": torch.get_num_threads(),
            "of which waiting for data": format_duration(data.median),
        },
        reason=REASONS.get((key, settings.device.type)),
        extra={
            "data_seconds": data,
            "config_batch": config.batch_size,
            "rounds": rounds,
            "steps_a_round": plan.steps,
            "amp": str(trainer.amp_dtype),
        },
    )


def measure(settings: BenchmarkSettings) -> Findings:
    from configs import Nspec16, Seq03aug3, Seq12arch4

    rows = [compare(settings, config) for config in (Nspec16, Seq03aug3, Seq12arch4)]
    if settings.on_gpu:
        rows.append(compare(settings, Nspec16, cache_device=True))
    return Findings(rows)


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("training_step", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
