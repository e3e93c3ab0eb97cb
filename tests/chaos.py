"""Kill small runs at random moments, resume them, and compare with runs left alone.

    python tests/chaos.py --kills 100

Every run goes through the real command line in a process of its own and is ended by SIGKILL at a
moment drawn uniformly over its life: while it starts, in a step, while a checkpoint is written,
between folds, in a prediction. A third of the runs is killed a second time while it goes on. Then
weights, optimiser, schedule, averages, early stopping, scores, out-of-fold and test logits must be
those of the unbroken run, bit by bit.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "helpers"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.command_line import run_command
from runtime.console import progress

SMALL = {"cv": 2, "num_epochs": 2, "batch_size": 16, "train_cache": None, "test_cache": None}


def define_cases() -> dict[str, Any]:
    """Define the experiments: wavelets, waveform, mixup in loader and hook, pseudo-labels.

    Among them they have all that a run must remember: the moments of AdamW, schedules by epoch, by
    step and by score, averaged weights, a count of epochs without progress that does end a fold,
    half-done accumulations, readers of their own, and soft labels.
    """
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    import configs
    from configuration.class_with_arguments import Part
    from configuration.config_class import ConfigMeta
    from experiments.settings import labels_of
    from training_extras import EarlyStopping, MixupTrain

    network = {
        "widths": (4, 8),
        "depths": (1, 1),
        "kernel_sizes": (7, 5),
        "strides": (4, 4),
        "dropout": 0.1,
    }
    waveform = {**SMALL, "model_params": network, "ema_decay": 0.9}
    wavelets = configs.DemoSpec.model_params["spec_params"] | {
        "n_scales": 16,
        "trainable_width": True,
    }
    images = {
        **SMALL,
        "model_params": configs.DemoSpec.model_params | {"spec_params": wavelets},
        "clip_grad": "norm",
        "max_grad_norm": 1.0,
        "scheduler": ReduceLROnPlateau,
        "scheduler_params": {"patience": 0, "threshold": 1.0},
        "scheduler_target": "valid_loss",
    }
    mixup = {
        **SMALL,
        "num_epochs": 4,
        "model_params": network,
        "ema_decay": 0.9,
        "accumulate": 2,
        "hook": Part(MixupTrain, level="waveform"),
        "dataset_params": {"mixup": True},
        # The AUC is to sink here, which it does not for long.
        "batch_scheduler": True,
        "callbacks": (Part(EarlyStopping, patience=2),),
    }
    cases = {
        "Waveform": (configs.Demo, waveform),
        "Wavelets": (configs.DemoSpec, images),
        "Mixup": (configs.Demo, mixup),
    }
    for name, (parent, settings) in cases.items():
        cases[name] = ConfigMeta(name, (parent,), {"name": name.lower(), **settings})
    pseudo = {"name": "pseudo", "pseudo_labels": labels_of(cases["Waveform"])}
    cases["Pseudo"] = ConfigMeta("Pseudo", (cases["Waveform"],), pseudo)
    return cases


def train(arguments: list[str]) -> int:
    """One run, in a process of its own: the command line with the cases known to it."""
    from train import main

    pseudo = define_cases()[arguments[1]].pseudo_labels is not None
    return main(arguments, pseudo=pseudo)


# --- one trial -------------------------------------------------------------------------------


def arguments(case: str, data: Path, results: Path, every: str, *extra: str) -> list[str]:
    """What `train.py` is given for a case."""
    return [
        "--config",
        case,
        "--results",
        str(results),
        "--checkpoint_every",
        every,
        "--num_workers",
        "1" if case == "Mixup" else "0",
        *extra,
        "--set",
        f"train_path={data / 'train.csv'}",
        f"test_path={data / 'test.csv'}",
    ]


def run_for(arguments: list[str], seconds: float | None) -> bool:
    """Run a command line, kill it after some seconds; return whether it had to be killed.

    Args:
        arguments: of `train`.
        seconds: None lets it end.
    """
    line = [sys.executable, __file__, "train", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        _, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True
    if process.returncode:
        raise RuntimeError(f"{' '.join(line)} ended with {process.returncode}: {error}")
    return False


def differences(first: Path, second: Path) -> Iterator[str]:
    """Yield what differs between two result folders of one experiment, but for times."""
    import numpy as np
    import torch

    from runtime.files import read_json
    from training.checkpoints import load_checkpoint

    names = [
        sorted(path.name for path in folder.iterdir() if not path.name.endswith(("lock", ".log")))
        for folder in (first, second)
    ]
    if names[0] != names[1]:
        yield f"files: {' '.join(set(names[0]) ^ set(names[1]))}"
        return
    for name in ("submission.csv", "loss_by_step.csv"):
        if (first / name).read_bytes() != (second / name).read_bytes():
            yield name
    results = [read_json(folder / "summary.json") for folder in (first, second)]
    yield from nested(*results, "summary.json", torch)
    for name in ("outoffolds.npy", "predictions.npy", "folds.npy", "ids_train.npy"):
        one, two = (np.load(folder / name, allow_pickle=False) for folder in (first, second))
        if not np.array_equal(one, two):
            yield name
    for path in sorted(first.glob("fold*.pt")):
        yield from nested(
            load_checkpoint(path), load_checkpoint(second / path.name), path.name, torch
        )
    rows = []
    for folder in (first, second):
        with open(folder / "history.csv", newline="") as file:
            rows.append(
                [
                    {k: v for k, v in row.items() if "second" not in k}
                    for row in csv.DictReader(file)
                ]
            )
    if rows[0] != rows[1]:
        yield "history.csv"


def nested(one: Any, two: Any, where: str, torch: Any) -> Iterator[str]:
    if where.endswith(("seconds", "per_second")):
        return
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        for key in one:
            yield from nested(one[key], two[key], f"{where}.{key}", torch)
    elif isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        for place, (a, b) in enumerate(zip(one, two, strict=True)):
            yield from nested(a, b, f"{where}.{place}", torch)
    elif torch.is_tensor(one) and torch.is_tensor(two):
        if not torch.equal(one, two):
            yield where
    elif one != two and not (one != one and two != two):  # two NaNs are alike
        yield where


def trial(
    number: int,
    case: str,
    data: Path,
    alone: Path,
    folder: Path,
    lasts: float,
    seed: int,
    run: Callable[[list[str], float | None], bool],
) -> str | None:
    """Kill one run once or twice and let it end; return what is different, None where nothing."""
    draw = random.Random(f"{seed} {number}")
    folder.mkdir()
    if case == "Pseudo":
        (folder / "waveform").symlink_to(alone / "waveform")
    every = draw.choice(["0", "10"])  # save after each step, or each epoch only
    moments = [draw.uniform(0, lasts) for _ in range(draw.choice([1, 1, 2]))]
    extra: list[str] = []
    for moment in moments:
        run(arguments(case, data, folder, every, *extra), moment)
        extra = ["--resume"]
    run(arguments(case, data, folder, every, "--resume"), None)
    found = list(differences(alone / case.lower(), folder / case.lower()))
    if not found:
        return None
    after = " and ".join(f"{moment:.2f} s" for moment in moments)
    return f"trial {number}, {case}, killed after {after}: {', '.join(found[:5])}"


def chaos(
    kills: int,
    jobs: int,
    seed: int,
    work: Path,
    cases: Sequence[str] | None = None,
    run: Callable[[list[str], float | None], bool] = run_for,
) -> list[str]:
    """Kill runs of these cases, or of all; return a line for each that was different.

    Args:
        run: runs `train` with these arguments in a process that it kills after some seconds, and
            returns whether it had to.
    """
    from small_run import make_data

    data, alone = make_data(work / "input"), work / "alone"
    cases = list(define_cases()) if cases is None else cases
    lasts = {}
    for case in progress(cases, desc="runs left alone", unit="run"):
        started = time.monotonic()
        run(arguments(case, data, alone, "0"), None)
        lasts[case] = time.monotonic() - started

    def one(number: int) -> str | None:
        case = cases[number % len(cases)]
        folder = work / f"killed{number}"
        expected = lasts[case] * max(1, jobs / 2)
        return trial(number, case, data, alone, folder, expected, seed, run)

    with ThreadPoolExecutor(jobs) as pool:
        bar = progress(pool.map(one, range(kills)), total=kills, desc="killed runs", unit="run")
        return [line for line in bar if line is not None]


def main() -> int:
    if sys.argv[1:2] == ["train"]:
        return train(sys.argv[2:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="how many runs to kill")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = chaos(options.kills, options.jobs, options.seed, Path(folder))
    print("\n".join([*lines, f"{options.kills - len(lines)} of {options.kills} identical"]))
    return 1 if lines else 0


if __name__ == "__main__":
    run_command(main)
