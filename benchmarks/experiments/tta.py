"""How many samples a second does Nspec16 predict with test-time views, compared to without?

Both go through `Trainer.predict`, from a cache of random strain: reading, transforms, front-end and
backbone. Nspec16 has two views, so that half the rate is what two forward passes would give if
nothing were shared between them. They differ by the sign of the strain, which its image does not
show: the network runs once for both. The second row has the same views, each by itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timed_steps import TINY, random_experiment
from benchmarks.harness.timing import Spread, check_agreement, interleave, paired_ratios
from configuration.config_class import ConfigMeta
from experiments.building import observation_of
from runtime.command_line import run_command
from training_extras import find_views

TARGETS = {"cpu": 0.5, "cuda": 0.5}


def predictors(
    settings: BenchmarkSettings, config: ConfigMeta, folder: Path, batch: int, n: int, workers: int
) -> dict[str, Callable[[], np.ndarray]]:
    """Return functions that predict all of a test set of n samples.

    Returns:
        With the config's views, with the same views of which none is known to turn the sign alone,
        and without views, by the names 'ours', 'each by itself' and 'theirs'.
    """
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
    apart = [replace(view, turns_sign=False) for view in views]
    return {
        "ours": lambda: trainer.predict(dataset, views),
        "each by itself": lambda: trainer.predict(dataset, apart),
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
        shared, apart = (torch.from_numpy(sides[name]()) for name in ("ours", "each by itself"))
        # On a CPU bit for bit; on a GPU an algorithm may be chosen anew.
        difference = check_agreement("views", shared, apart, 1e-3 if settings.on_gpu else 0.0)
        times = interleave(sides, settings.device, rounds, settings.least_seconds, warm_up=1)
    rates = {name: [n / seconds for seconds in times[name]] for name in times}
    rows = [
        Measurement(
            key,
            f"samples a second of Nspec16 with its {len(Nspec16.views)} views",
            against,
            paired_ratios(rates["ours"], rates[other]),
            "×",
            True,
            targets,
            Spread.of(rates["ours"]),
            Spread.of(rates[other]),
            "samples/s",
            settings={
                "batch": batch,
                "samples": n,
                "workers": workers,
                "threads": torch.get_num_threads(),
            },
            extra={"rounds": rounds, "largest_difference": difference},
        )
        for key, against, other, targets in (
            ("tta.nspec_16", "without views", "theirs", TARGETS),
            ("tta.nspec_16_shared", "each view by itself", "each by itself", {}),
        )
    ]
    return Findings(rows)


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("tta", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
