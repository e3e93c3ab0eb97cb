"""How fast are injections drawn on the fly, and how much faster than samples from files?

Ours are batches of Wave01's `SimulatedDataset`: fresh signals in fresh noise, whitened. The files'
pipeline reads samples of the competition's format in a new order, as `G2NetDataset` does where
there is no cache, and whitens them alike. A second row uses every signal and every stretch of
noise once, so that samples are independent. A third has the published solution's pipeline on the
other side: np.load, scipy's `filtfilt` and numpy, a sample at a time. On a CPU all have one core. A
timing of ours is of whole pools of signals, so that drawing them is in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data.reading import load_files, write_files
from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.random_data import sample_ids
from benchmarks.harness.timing import Spread, interleave, one_core, paired_ratios
from benchmarks.signal_transforms.preparation import SampleAtATime
from configuration.class_with_arguments import thaw
from configuration.config_class import ConfigMeta
from data.batch_order import CountedBatchSampler
from datasets import G2NetDataset
from runtime.command_line import run_command
from simulation.dataset_on_the_fly import SimulatedDataset

RATE = "simulating.rate"
TARGETS = {"simulating.files": {"cpu": 20.0, "cuda": 20.0}, RATE: {"cuda": 20_000.0}}


def open_simulated(
    config: ConfigMeta, settings: BenchmarkSettings, **changes: Any
) -> SimulatedDataset:
    few = {"bank_size": 16, "pool": 16} if settings.quick else {}
    params = thaw(config.dataset_params) | few | changes
    # The tables' own samples are of no concern: real noise would be drawn from them.
    return SimulatedDataset(["none.npy"] * 2, [0, 1], device=settings.device, **params)


def batches_of(dataset: SimulatedDataset, batch: int) -> Iterator[Any]:
    """Return endless batches, epoch after epoch."""
    sampler = CountedBatchSampler(len(dataset), batch, shuffle=True)
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        for indices in sampler:
            yield dataset.__getitems__(indices)["waveform"]
        epoch += 1


def file_batches(paths: Sequence[Path], batch: int) -> Iterator[np.ndarray]:
    """Return endless batches of shuffled rows."""
    rng = np.random.default_rng(2)
    while True:
        # (n,) -> (batches, batch)
        yield from rng.permutation(len(paths)).reshape(-1, batch)


@torch.no_grad()
def measure(settings: BenchmarkSettings) -> Findings:
    with (
        one_core(settings.device),  # the target is that of a core
        tempfile.TemporaryDirectory(prefix="simulating_", dir=settings.folder) as name,
    ):
        return Findings(compare(settings, Path(name)))


def compare(settings: BenchmarkSettings, folder: Path) -> list[Measurement]:
    from configs import Nspec16, Wave01

    batch = settings.choose(cpu=Wave01.batch_size, cuda=1024, quick=4)
    dataset = open_simulated(Wave01, settings)
    independent = open_simulated(Wave01, settings, reuse=1)
    # A batch takes half as many signals as it has rows.
    steps, fewer = (
        max(2 * data.pools.size * data.pools.reuse // batch, 1) for data in (dataset, independent)
    )
    paths = write_files(folder, sample_ids(batch * 4))
    files, whiten = G2NetDataset(paths), Wave01.dataset_params["whiten"].build()
    reference = SampleAtATime(Nspec16, np.random.default_rng(1))
    few = settings.choose(cpu=16, cuda=16, quick=1)
    simulated, fresh = batches_of(dataset, batch), batches_of(independent, batch)
    rows = file_batches(paths, batch)

    def ours() -> None:
        for _ in range(steps):
            next(simulated)

    def ours_used_once() -> None:
        for _ in range(fewer):
            next(fresh)

    def from_files() -> None:
        whiten(torch.as_tensor(files.__getitems__(next(rows))["waveform"]).to(settings.device))

    def published() -> None:
        reference(load_files([paths[row] for row in next(rows)[:few]]))

    sides: dict[str, tuple[Callable[[], None], int]] = {
        "ours": (ours, steps * batch),
        "once": (ours_used_once, fewer * batch),
        "files": (from_files, batch),
        "published": (published, few),
    }
    rounds = settings.rounds(9)
    times = interleave(
        {name: call for name, (call, _) in sides.items()},
        settings.device,
        rounds,
        settings.least_seconds,
    )
    each = {name: [s / sides[name][1] for s in seconds] for name, seconds in times.items()}
    cores = "one core" if not settings.on_gpu else "the GPU; files read on one core"
    shared = {"batch": batch, "on": cores, "a signal used": f"{dataset.pools.reuse} times"}

    def row(key: str, against: str, name: str, side: str = "ours", **more: str) -> Measurement:
        return Measurement(
            key,
            "endless injections, a sample",
            against,
            paired_ratios(each[name], each[side]),
            "×",
            True,
            TARGETS.get(key, {}),
            Spread.of(each[side]),
            Spread.of(each[name]),
            settings=shared | more,
            extra={"rounds": rounds},
        )

    rates = {name: Spread.of([1 / s for s in seconds]) for name, seconds in each.items()}
    batched = "files read and whitened in batches"
    return [
        row("simulating.files", batched, "files"),
        row("simulating.once", batched, "files", "once", **{"a signal used": "once"}),
        row(
            "simulating.published",
            "np.load, filtfilt and numpy, a sample at a time",
            "published",
            theirs=f"{few} samples",
        ),
        Measurement(
            RATE,
            "endless injections, how many",
            batched,
            rates["ours"],
            "samples/s",
            True,
            TARGETS[RATE],
            rates["ours"],
            rates["files"],
            "samples/s",
            settings=shared,
            extra={"rounds": rounds},
        ),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("simulating", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
