"""Where does the time of one training step of Nspec16 go?

Twice over: by phase, from a clock at the seams of the trainer's own step (the device waits at each,
so that the sum is a little more than an undisturbed step), and by operation, from torch's profiler
on one step without that clock.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import format_duration, markdown_table
from benchmarks.harness.timed_steps import (
    TINY,
    EpochPlan,
    random_experiment,
    run_epoch,
    trainer_of,
    training_set,
)
from benchmarks.harness.timing import Spread, synchronise
from runtime.command_line import run_command
from training.trainer import Trainer

CPU_BATCH = 8
SHOWN = 10  # operations in the table
LARGEST = 3  # named in the sentence
PHASES = (
    "waiting for data",
    "transforms",
    "front-end, forward",
    "backbone and head, forward",
    "backbone and head, backward",
    "front-end, backward",
    "clipping",
    "optimiser",
)
MEANING = {
    "aten::convolution_backward": "gradients of convolutions",
    "aten::mkldnn_convolution": "convolutions",
    "aten::cudnn_convolution": "convolutions",
    "aten::_slow_conv2d_forward": "convolutions",
    "aten::thnn_conv2d": "convolutions",
    "aten::_conv_depthwise2d": "depthwise convolutions",
    "aten::native_batch_norm": "batch norm",
    "aten::native_batch_norm_backward": "gradients of batch norm",
    "aten::cudnn_batch_norm": "batch norm",
    "aten::cudnn_batch_norm_backward": "gradients of batch norm",
    "aten::silu": "activations",
    "aten::silu_": "activations",
    "aten::silu_backward": "gradients of activations",
    "aten::mul": "products, element by element",
    "aten::mul_": "products, element by element",
    "aten::add_": "sums, element by element",
    "aten::add": "sums, element by element",
    "aten::_fft_c2c": "Fourier transforms of the front-end",
    "aten::_fft_r2c": "Fourier transforms",
    "aten::_fft_c2r": "Fourier transforms",
    "aten::addcmul_": "products of the front-end and the optimiser",
    "aten::sum": "sums over images",
    "aten::mean": "means over images",
    "aten::copy_": "copies",
    "aten::fill_": "filling with zeros",
    "aten::clamp_": "clipping",
    "aten::addmm": "matrix products",
    "aten::mm": "matrix products",
    "aten::bmm": "matrix products",
    "aten::_fused_adam_": "the optimiser",
    "aten::_foreach_addcdiv_": "the optimiser",
}


# --- by phase --------------------------------------------------------------------------------


class PhaseClock:
    """Records the time at the boundaries between the phases of a training step.

    Attributes:
        marks: of the running step, seam -> time.
        seconds: of all steps, phase -> seconds of each.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: dict[str, float] = {}
        self.seconds: dict[str, list[float]] = {phase: [] for phase in PHASES[1:]}

    def mark(self, seam: str) -> None:
        # A GPU works on after the call has returned: without waiting, time would be lost to later
        # phases.
        synchronise(self.device)
        self.marks[seam] = time.perf_counter()

    def end_step(self, _: int) -> None:
        """Turn the marks of a step into seconds; a step that was skipped lacks some of them."""
        between = {
            "transforms": ("batch", "transformed"),
            "front-end, forward": ("strain", "spectrogram"),
            "backbone and head, forward": ("image", "logits"),
            "backbone and head, backward": ("loss", "image gradient"),
            "front-end, backward": ("image gradient", "gradients"),
            "clipping": ("gradients", "clipped"),
            "optimiser": ("clipped", "stepped"),
        }
        if all(seam in self.marks for seams in between.values() for seam in seams):
            for phase, (first, last) in between.items():
                self.seconds[phase].append(self.marks[last] - self.marks[first])
        self.marks.clear()


@contextmanager
def clocked(trainer: Trainer, clock: PhaseClock) -> Iterator[None]:
    """Attach the clock to a trainer's step, within a `with` block."""
    model, optimizer = trainer.model, trainer.optimizer
    transform, criterion = trainer.transforms["train"], trainer.step_criterion

    def surrounded(function: Callable, before: str | None, after: str) -> Callable:
        def run(*arguments: Any) -> Any:
            if before is not None:
                clock.mark(before)
            result = function(*arguments)
            clock.mark(after)
            return result

        return run

    def keep_image(module: nn.Module, _: Any, result: Any) -> None:
        clock.mark("image")
        result[0].register_hook(lambda _: clock.mark("image gradient"))

    spectrogram, width = model.image.spectrogram, model.image.spectrogram.wavelet_width
    handles = [
        spectrogram.register_forward_pre_hook(lambda *_: clock.mark("strain")),
        spectrogram.register_forward_hook(lambda *_: clock.mark("spectrogram")),
        model.image.register_forward_hook(keep_image),
        model.network.register_forward_hook(lambda *_: clock.mark("logits")),
        # the front-end is the first in the forward pass and so the last in the backward pass
        width.register_post_accumulate_grad_hook(lambda _: clock.mark("gradients")),
        optimizer.register_step_pre_hook(lambda *_: clock.mark("clipped")),
        optimizer.register_step_post_hook(lambda *_: clock.mark("stepped")),
    ]
    trainer.transforms = {
        **trainer.transforms,
        "train": surrounded(transform, "batch", "transformed"),
    }
    trainer.step_criterion = surrounded(criterion, None, "loss")
    try:
        yield
    # The profile of the operations is taken of the same trainer, without the clock.
    finally:
        for handle in handles:
            handle.remove()
        trainer.transforms = {**trainer.transforms, "train": transform}
        trainer.step_criterion = criterion


def phase_table(clock: PhaseClock, data: Sequence[float], steps: Sequence[float]) -> dict[str, Any]:
    """Return the median seconds of each phase, of a whole step, and of what no phase names."""
    medians = {PHASES[0]: Spread.of(data).median}
    medians |= {phase: Spread.of(seconds).median for phase, seconds in clock.seconds.items()}
    whole = Spread.of(steps).median
    return {**medians, "the rest": max(whole - sum(medians.values()), 0.0), "whole step": whole}


# --- by operation ----------------------------------------------------------------------------


def operation_costs(profiler: profile, on_gpu: bool) -> list[dict[str, Any]]:
    """Return the operations of a profile by their own time on the device, the largest first."""
    found = []
    for event in profiler.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # a kernel by its own name, whose time its operation has already
        # Older releases of torch call the GPU's time 'cuda' instead of 'device'.
        own = getattr(event, "self_device_time_total", None) if on_gpu else None
        seconds = (event.self_cpu_time_total if own is None else own) / 1e6
        if seconds > 0:
            found.append({"name": event.key, "seconds": seconds, "calls": event.count})
    found.sort(key=lambda each: -each["seconds"])
    total = sum(each["seconds"] for each in found)
    return [
        {**each, "share": each["seconds"] / total, "meaning": MEANING.get(each["name"], "")}
        for each in found
    ]


def format_largest_costs(found: Sequence[dict[str, Any]]) -> str:
    """Return a sentence that names the largest costs."""
    parts = [
        f"{each['meaning'] or each['name']} ({each['name']}), {each['share']:.0%}"
        for each in found[:LARGEST]
    ]
    return f"The {len(parts)} largest costs are {'; '.join(parts)}."


# --- the benchmark ---------------------------------------------------------------------------


def profile_operations(
    trainer: Trainer, dataset: Any, settings: BenchmarkSettings, warm_up: int
) -> profile:
    """Return torch's profile of one step of the trainer's loop."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if settings.on_gpu else [])
    profiler = profile(activities=activities)
    # Called between timings: on after the first step, off after the second.
    actions = iter([profiler.start, profiler.stop])
    trainer.state.step = 0
    run_epoch(trainer, dataset, EpochPlan(warm_up, 2, 1), between=lambda _: next(actions)())
    return profiler


def measure(settings: BenchmarkSettings) -> Findings:
    from configs import Nspec16

    batch = settings.choose(cpu=CPU_BATCH, cuda=Nspec16.batch_size, quick=2)
    rounds = settings.rounds(7)
    warm_up = settings.choose(cpu=2, cuda=20, quick=1)
    workers = settings.choose(cpu=0, cuda=4, quick=0)
    plan = EpochPlan(warm_up, rounds, 1)
    changes = [f"batch_size={batch}", *(TINY["Nspec16"] if settings.quick else [])]
    clock = PhaseClock(settings.device)
    with tempfile.TemporaryDirectory(prefix="profile_", dir=settings.folder) as folder:
        experiment = random_experiment(
            Nspec16,
            Path(folder),
            settings.device,
            max(plan.total, warm_up + 3) * batch,
            changes=changes,
            num_workers=workers,
        )
        dataset = training_set(experiment)
        with trainer_of(experiment) as trainer:
            with clocked(trainer, clock):
                paced = run_epoch(trainer, dataset, plan, between=clock.end_step)
            profiler = profile_operations(trainer, dataset, settings, warm_up)
    phases = phase_table(clock, paced.data_seconds, paced.step_seconds)
    found = operation_costs(profiler, settings.on_gpu)
    return Findings(
        details={f"A training step of Nspec16, batches of {batch}": format_profile(phases, found)},
        data={
            "batch": batch,
            "phases": phases,
            "operations": found[: 3 * SHOWN],
            "largest_costs": [each["name"] for each in found[:LARGEST]],
        },
    )


def format_profile(phases: dict[str, float], found: Sequence[dict[str, Any]]) -> list[str]:
    """Return both tables as Markdown."""
    whole = phases["whole step"]
    by_phase = [
        (phase, format_duration(seconds), f"{seconds / whole:.1%}")
        for phase, seconds in phases.items()
    ]
    by_operation = [
        (
            f"`{each['name']}`",
            each["meaning"],
            format_duration(each["seconds"]),
            f"{each['share']:.1%}",
            str(each["calls"]),
        )
        for each in found[:SHOWN]
    ]
    return [
        format_largest_costs(found),
        "",
        *markdown_table(("phase", "time", "share"), by_phase),
        "",
        *markdown_table(("operation", "what", "own time", "share", "calls"), by_operation),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("profile_step", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
