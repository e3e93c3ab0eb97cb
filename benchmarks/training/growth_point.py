"""One point of the curves of `growth`, in a process of its own: its time and its peak memory.

The peak of a process cannot be taken back, so that each point needs a fresh one. It prints one line
of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.data.first_batch import resident_bytes
from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.machine import find_device
from benchmarks.harness.timed_steps import (
    TINY,
    EpochPlan,
    random_experiment,
    run_epoch,
    trainer_of,
    training_set,
)
from benchmarks.harness.timing import Spread, interleave
from benchmarks.spectrograms.cwt import front_end_of, use_full_float32, waveforms
from benchmarks.spectrograms.cwt_width import forward_backward
from configuration.config_references import load_config
from runtime.command_line import run_command

MEGABYTE = 1e6


# --- memory ----------------------------------------------------------------------------------


def status_bytes(key: str) -> int:
    """Return a line of this process's status, 'VmRSS' or 'VmHWM'; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


class PeakMemory:
    """The largest memory between `start` and `megabytes`: of the GPU where there is one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def start(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        # Not possible everywhere: the peak then is that since the start of the process.
        with contextlib.suppress(OSError):  # sets the peak back to what is held now
            Path("/proc/self/clear_refs").write_text("5")
        self.before = status_bytes("VmRSS")

    def megabytes(self, on_top: bool) -> float:
        """Return the peak; `on_top` of what was held at the start, on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MEGABYTE
        return (status_bytes("VmHWM") - (self.before if on_top else 0)) / MEGABYTE


def memory_of_readers() -> float:
    """Return the megabytes that the readers hold, pages that they share counted once."""
    parts = [resident_bytes(child.pid) for child in multiprocessing.active_children()]
    return sum(part["proportional"] for part in parts if part) / MEGABYTE


# --- the points ------------------------------------------------------------------------------


def cwt_point(settings: BenchmarkSettings, point: dict[str, Any]) -> dict[str, Any]:
    """Time Nspec16's front-end at one number of scales, stride and batch size."""
    from configs import Nspec16

    use_full_float32()
    learnt = point["width_learnt"]
    front_end = front_end_of(
        Nspec16,
        quick=False,
        trainable_width=learnt,
        n_scales=point["scales"],
        stride=point["stride"],
        lower_freq=128 if settings.quick else 16,
    ).to(settings.device)
    x = waveforms(settings, point["batch"])
    peak = PeakMemory(settings.device)
    peak.start()
    # A gradient for every coefficient, as the backbone would hand it back.
    if learnt:
        frames = (x.shape[-1] - 1) // point["stride"] + 1
        shape = (point["batch"], 3, point["scales"], frames)
        function = forward_backward(front_end, x, torch.randn(shape, device=settings.device))
    else:

        def function() -> torch.Tensor:
            with torch.no_grad():
                return front_end(x)

    rounds = settings.rounds(9)
    times = interleave({"it": function}, settings.device, rounds, settings.least_seconds)["it"]
    return {"seconds": Spread.of(times), "peak_megabytes": peak.megabytes(on_top=True)}


def training_point(settings: BenchmarkSettings, point: dict[str, Any]) -> dict[str, Any]:
    """Time the trainer's steps of a config at one batch size and number of readers."""
    config = load_config(point["config"])
    batch, workers = point["batch"], point["workers"]
    steps = settings.choose(cpu=1, cuda=20, quick=1)
    plan = EpochPlan(
        warm_up=settings.choose(cpu=2, cuda=20, quick=1),
        rounds=settings.rounds(5),
        # a reader that was started late must not count as fast, and one may be ahead by batches
        steps=max(steps, 2 * workers),
        settle=3 * workers,
    )
    changes = [f"batch_size={batch}", *(TINY[config.__name__] if settings.quick else [])]
    peak = PeakMemory(settings.device)
    with tempfile.TemporaryDirectory(prefix="growth_", dir=settings.folder) as folder:
        experiment = random_experiment(
            config,
            Path(folder),
            settings.device,
            plan.total * batch,
            changes=changes,
            num_workers=workers,
        )
        dataset = training_set(experiment)
        readers = []
        with trainer_of(experiment) as trainer:
            peak.start()
            paced = run_epoch(
                trainer, dataset, plan, between=lambda _: readers.append(memory_of_readers())
            )
    rates = Spread.of([batch / seconds for seconds in paced.step_seconds])
    found = {
        "samples_per_second": rates,
        "data_seconds": Spread.of(paced.data_seconds),
        # all that the process holds, network and optimiser too: a training needs that much
        "peak_megabytes": peak.megabytes(on_top=False),
    }
    return found | ({} if settings.on_gpu else {"readers_megabytes": max(readers)})


POINTS = {"cwt": cwt_point, "training": training_point}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("point", help="JSON: what, and its arguments")
    parser.add_argument("--device", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args(argv)
    import configs  # noqa: F401 - importing it registers the experiments

    # A fresh process would take torch's default instead of what the benchmark was told.
    torch.set_num_threads(args.threads)
    settings = BenchmarkSettings(find_device(args.device), args.quick, args.repeats, args.folder)
    point = json.loads(args.point)
    found = POINTS[point["what"]](settings, point)
    plain = {
        key: dataclasses.asdict(value) if isinstance(value, Spread) else round(value, 1)
        for key, value in found.items()
    }
    print(json.dumps(plain))
    return 0


if __name__ == "__main__":
    run_command(main)
