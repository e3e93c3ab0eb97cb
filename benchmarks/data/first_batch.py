"""A fresh process that reads its first batches as `train.py` does, and prints time and memory.

`startup` runs it, again and again, with a cache and without. It prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

from runtime.command_line import run_command


def resident_bytes(pid: int) -> dict[str, int] | None:
    """Return the memory that a process holds; None where the system does not say.

    'proportional' counts a page that n processes share as one n-th for each of them, so that a sum
    over processes counts it once; 'resident' counts it for each in full.
    """
    names = {"Pss": "proportional", "Rss": "resident"}
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    found = dict.fromkeys(names.values(), 0)
    for line in lines:
        key, _, value = line.partition(":")
        if key in names:
            found[names[key]] = int(value.split()[0]) * 1024
    return found


def memory_of_all() -> dict[str, int] | None:
    """Return the memory of this process and its readers together."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    parts = [resident_bytes(pid) for pid in pids]
    if any(part is None for part in parts):
        return None
    return {key: sum(part[key] for part in parts) for key in parts[0]}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--started", type=float, required=True, help="time.monotonic() before it")
    parser.add_argument("--set", nargs="+", default=[])
    args = parser.parse_args(argv)

    # After the arguments: the imports are part of what a start takes, and --help needs none.
    import configs  # noqa: F401 - importing it registers the experiments
    from benchmarks.harness.machine import find_device
    from configuration.config_references import load_config
    from configuration.overrides import override
    from experiments.experiment import Experiment
    from experiments.run_options import RunOptions

    device = find_device(args.device)
    options = RunOptions(
        results=args.results, pretrained=False, num_workers=args.workers, show_progress=False
    )
    experiment = Experiment(override(load_config(args.config), args.set), options, device)
    trainer = experiment.build_trainer(0, training=True)
    train_rows, valid_rows = experiment.folds[0]
    train_set = experiment.dataset(experiment.train, train_rows, "train")
    valid_set = experiment.dataset(experiment.train, valid_rows, "train", is_test=True)
    loader = trainer.make_loader(train_set, shuffle=True)
    other = trainer.make_loader(valid_set, shuffle=False)
    batches = iter(loader)
    next(batches)
    seconds = time.monotonic() - args.started
    for _ in range(2 * args.workers):  # until every reader has opened its cache and read from it
        next(batches)
    memory = memory_of_all()
    print(json.dumps({"seconds": seconds, "memory": memory, "samples": len(other.dataset)}))
    del batches
    return 0


if __name__ == "__main__":
    run_command(main)
