"""What does half precision save in a training step? (`amp`: bf16 on a CPU, the best type on a GPU.)

Both sides are the same network, front-end included, on the same random strain, prepared as the
config prepares it and ready on the device: forward, loss, backward and the config's optimiser. The
other side computes in float32, on a GPU with TF32 products, as `train.py` lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timed_steps import TINY, plain_step, set_training_flags
from benchmarks.harness.timing import Spread, interleave, paired_ratios
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.building import build_model, build_optimizer, build_preparation
from physics.constants import TYPICAL_STRAIN
from physics.observation import COMPETITION
from runtime.command_line import run_command
from training.precision import choose_amp_dtype

# Samples of a step on a CPU: the config's own where that takes a second or less.
CPU_BATCH = {"Nspec16": 8, "Seq03aug3": 16}


def step_of(
    config: ConfigMeta, batch: int, device: torch.device
) -> Callable[[torch.dtype | None], None]:
    """Return a function that trains a config's network for one step in a type; None is float32."""
    model = build_model(config).to(device).train()
    optimizer, criterion = build_optimizer(config, model, device), config.criterion.build()
    strain = torch.randn(batch, *COMPETITION.shape, device=device) * TYPICAL_STRAIN
    given = {"waveform": strain, "target": torch.randint(0, 2, (batch, 1), device=device).float()}
    # Once, and not in the timed step: preparation is float32 on both sides.
    with torch.no_grad():
        given = build_preparation(config, "test", device)(given)

    def step(dtype: torch.dtype | None) -> None:
        autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
        plain_step(model, given["waveform"], given["target"], criterion, optimizer, autocast)

    return step


def compare(settings: BenchmarkSettings, config: ConfigMeta) -> Measurement:
    name = config.__name__
    cpu = CPU_BATCH.get(name, config.batch_size)
    batch = settings.choose(cpu=cpu, cuda=config.batch_size, quick=2)
    if settings.quick and name in TINY:
        config = override(config, TINY[name])
    half = choose_amp_dtype(True if settings.on_gpu else "bf16", settings.device)
    step = step_of(config, batch, settings.device)
    rounds = settings.rounds(settings.choose(cpu=9, cuda=11, quick=2))
    # In turn, so that a machine that slows down slows both sides alike.
    times = interleave(
        {"half": lambda: step(half), "single": lambda: step(None)},
        settings.device,
        rounds,
        settings.least_seconds,
    )
    kind = str(half).removeprefix("torch.")
    return Measurement(
        f"mixed_precision.{config.name}",
        f"step of {name} in {kind}",
        "in float32",
        paired_ratios(times["single"], times["half"]),
        "×",
        True,
        {},
        Spread.of(times["half"]),
        Spread.of(times["single"]),
        settings={"batch": batch, "threads": torch.get_num_threads()},
        extra={"rounds": rounds},
    )


def measure(settings: BenchmarkSettings) -> Findings:
    from configs import Demo, DemoSpec, Nspec16, Seq03aug3, Spec01, Spec02, Wave01, Wave06

    set_training_flags(settings.device)
    configs = (Wave01, Wave06, Spec01, Spec02, Demo, DemoSpec, Seq03aug3, Nspec16)
    return Findings([compare(settings, config) for config in configs])


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("mixed_precision", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
