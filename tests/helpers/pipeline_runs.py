"""A small pipeline whose jobs run in this process, which need not import torch for each of them."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from pathlib import Path

from paths import ROOT
from small_run import SMALL

import configs  # noqa: F401 - registers the experiments
from experiments.pipeline import Plan, make_plan
from experiments.pipeline_jobs import main

# Starts write these anew, or with their date and duration.
NOT_RESULTS = {"run.json", "config.json", "stack.json", "stack.csv", "index.html", "summary.json"}


def small_settings(data: Path, *settings: str) -> str:
    paths = [f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    return " ".join([*SMALL, "num_epochs=1", *paths, *settings])


def small_plan(data: Path, results: Path, experiments: str = "PseudoDemo") -> Plan:
    return make_plan(experiments, str(results), small_settings(data), python=sys.executable)


def run_job(results: Path, name: str, command: str) -> None:
    """Run a job of a plan and write the mark `name`; as Snakemake, without the old mark."""
    before, argv = Path.cwd(), sys.argv
    mark = results / name
    mark.unlink(missing_ok=True)
    os.chdir(ROOT)
    try:
        main(["configs", str(mark), *shlex.split(command)])
    finally:
        os.chdir(before)
        sys.argv = argv


def run_all_jobs(plan: Plan) -> None:
    results = Path(plan.results)
    for run in plan.runs:
        for network in plan.networks(run):
            run_job(results, f"{run}/{network}.done", plan.train_network(run, network))
        run_job(results, f"{run}/predictions.done", plan.predict(run))
        if plan.wants_views(run):
            run_job(results, f"{run}/predictions_tta.done", plan.predict(run, views=True))
    run_job(results, "stack.done", plan.stack())
    run_job(results, "report.done", plan.report())


def contents(results: Path) -> dict[str, str]:
    """Return a digest of each file but locks and logs, by its path below `results`."""
    return {
        str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".log"
    }


def lost_results(before: dict[str, str], results: Path) -> list[str]:
    """Return the results whose content is nowhere below `results` any more."""
    there = set(contents(results).values())
    return [
        name
        for name, digest in before.items()
        if digest not in there and Path(name).name not in NOT_RESULTS and ".done" not in name
    ]
