"""How much faster is the Morlet front-end than a strided convolution with the same kernels?

The front-ends of Nspec16 (128 scales) and MultiInstance04 (384), stride 4, forward only, in
float32, on white noise, against torch's own conv1d.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, check_agreement, interleave, paired_ratios
from benchmarks.spectrograms.direct_cwt import DirectMorletCWT
from configuration.class_with_arguments import thaw
from configuration.config_class import ConfigMeta
from physics.observation import COMPETITION
from runtime.command_line import run_command
from spectrograms.wavelets import ComplexMorletCWT

TOLERANCE = 1e-4  # of the peak; both sides are float32
TARGETS = {"cpu": 5.0, "cuda": 10.0}
REASONS: dict[tuple[str, str], str] = {}  # by (key of the row, kind of device)


def front_end_of(config: ConfigMeta, quick: bool, **changes: object) -> ComplexMorletCWT:
    """Return a config's front-end; a quick one has few scales and short kernels."""
    params = thaw(config.model_params["spec_params"]) | changes
    if quick:
        params |= {"n_scales": 8, "lower_freq": 128}
    return ComplexMorletCWT(**params)


def waveforms(settings: BenchmarkSettings, batch: int) -> torch.Tensor:
    """Return white noise (batch, detector, time) of unit variance, as after `Normalize`."""
    return torch.randn(batch, *COMPETITION.shape, device=settings.device)


def use_full_float32(tf32: bool = False) -> None:
    """Let a GPU's convolutions be true float32, and choose their fastest algorithm."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True


@torch.no_grad()
def compare(settings: BenchmarkSettings, config: ConfigMeta, tf32: bool = False) -> Measurement:
    """Time one config's front-end; `tf32` lets the convolution of a GPU round to 10 bits."""
    batch = settings.choose(cpu=config.batch_size, cuda=config.batch_size, quick=1)
    use_full_float32(tf32)
    front_end = front_end_of(config, settings.quick, trainable_width=False).to(settings.device)
    direct = DirectMorletCWT(front_end).to(settings.device)
    x = waveforms(settings, batch)
    tolerance = 1e-2 if tf32 else TOLERANCE
    difference = check_agreement(f"CWT of {config.__name__}", front_end(x), direct(x), tolerance)
    sides = {"ours": lambda: front_end(x), "theirs": lambda: direct(x)}
    rounds = settings.rounds(settings.choose(cpu=7, cuda=25, quick=2))
    times = interleave(sides, settings.device, rounds, settings.least_seconds)
    key = f"cwt.{config.name}" + (".tf32" if tf32 else "")
    return Measurement(
        key,
        f"Morlet CWT of {config.__name__}, forward",
        "strided conv1d" + (" in TF32, 1e-3 off" if tf32 else ""),
        paired_ratios(times["theirs"], times["ours"]),
        "×",
        True,
        {} if tf32 else TARGETS,
        Spread.of(times["ours"]),
        Spread.of(times["theirs"]),
        settings={
            "batch": batch,
            "scales": len(front_end.scales),
            "threads": torch.get_num_threads(),
        },
        reason=REASONS.get((key, settings.device.type)),
        extra={"largest_difference": difference, "rounds": rounds},
    )


def measure(settings: BenchmarkSettings) -> Findings:
    from configs import MultiInstance04, Nspec16

    rows = [compare(settings, config) for config in (Nspec16, MultiInstance04)]
    if settings.on_gpu:  # a training lets convolutions round; the front-end never does
        rows += [compare(settings, config, tf32=True) for config in (Nspec16, MultiInstance04)]
    return Findings(rows)


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("cwt", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
