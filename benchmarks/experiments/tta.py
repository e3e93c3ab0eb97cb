"""How many samples a second does Nspec16 predict with test-time views, compared to without?

Both go through `Trainer.predict`, from a cache of random strain: reading, transforms, front-end and
backbone. Nspec16 has two views, so that half the rate is what two forward passes would give if
nothing were shared between them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timed_steps import TINY, random_experiment
from benchmarks.harness.timing import Spread, interleave, paired_ratios
from configuration.config_class import ConfigMeta
from experiments.building import observation_of
from runtime.command_line import run_command
from training_extras import find_views

TARGETS = {"cpu": 0.5, "cuda": 0.5}
# By kind of device, from `profile_step`.
REASONS = {
    "cpu": "the network runs once for each view, and what the views share, reading and transforms, "
    "is 0.2 % of the time: half is the bound, and the rest is the spread of the measurement."
}


def predictors(
    settings: BenchmarkSettings, config: ConfigMeta, folder: Path, batch: int, n: int, workers: int
) -> dict[str, Callable[[], np.ndarray]]:
    """Return functions that predict all of a test set of n samples, with and without views."""
    changes = [f"batch_size={batch}", *(TINY[config.__name__] if settings.quick else [])]
    experiment = random_experiment(
        config,
        folder,
        settings.device,
        n_train=2 * config.cv,
        n_test=n,
        changes=changes,
        num_workers=workers,
    )
    trainer = experiment.build_trainer(0, training=False)
    dataset = experiment.dataset(experiment.test, np.arange(n), "test", is_test=True)
    views = find_views(
        config.views, config.dataset_params.get("norm_factor"), observation=observation_of(config)
    )
    return {
        "ours": lambda: trainer.predict(dataset, views),
        "theirs": lambda: trainer.predict(dataset),
    }


def measure(settings: BenchmarkSettings) -> Findings:
    from configs import Nspec16

    batch = settings.choose(cpu=16, cuda=Nspec16.batch_size, quick=2)
    # 64 batches on a GPU, so that starting the readers is a small part of the time.
    n = settings.choose(cpu=2 * batch, cuda=64 * batch, quick=2 * batch)
    workers = settings.choose(cpu=0, cuda=4, quick=0)
    rounds = settings.rounds(settings.choose(cpu=15, cuda=11, quick=2))
    with tempfile.TemporaryDirectory(prefix="tta_", dir=settings.folder) as folder:
        sides = predictors(settings, Nspec16, Path(folder), batch, n, workers)
        times = interleave(sides, settings.device, rounds, settings.least_seconds, warm_up=1)
    rates = {name: [n / seconds for seconds in times[name]] for name in times}
    row = Measurement(
        "tta.nspec_16",
        f"samples a second of Nspec16 with its {len(Nspec16.views)} views",
        "without views",
        paired_ratios(rates["ours"], rates["theirs"]),
        "×",
        True,
        TARGETS,
        Spread.of(rates["ours"]),
        Spread.of(rates["theirs"]),
        "samples/s",
        settings={
            "batch": batch,
            "samples": n,
            "workers": workers,
            "threads": torch.get_num_threads(),
        },
        reason=REASONS.get(settings.device.type),
        extra={"rounds": rounds},
    )
    return Findings([row])


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("tta", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
