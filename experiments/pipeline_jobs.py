"""A job of the pipeline: `python -m experiments.pipeline_jobs configs MARK python train.py ...`.

It runs a command line of the project in this process, and then writes the mark of what that made.
The command itself decides what is to be done: it resumes, finds everything up to date, or refuses.
Only where weights or labels have changed since, --resume becomes --overwrite, which moves aside
what is there.
"""

from __future__ import annotations

import argparse
import importlib
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from runtime.command_line import run_command
from runtime.errors import UserError

# What needs torch is imported inside functions: `run_command` sets up its threads before that.

TRAINING = ("train.py", "train_pseudo.py")
MARKS = {"stacking.py": "stack.done", "report.py": "report.done"}


@dataclass(frozen=True)
class Job:
    """What a command line of a plan is about.

    Attributes:
        command: the script and its arguments.
        results: --results.
        config: --config; None for stacking.py and report.py.
        settings: --set.
        fold: --limit_fold; None for a prediction.
        seed: --limit_seed.
        views: --tta.
    """

    command: tuple[str, ...]
    results: Path
    config: str | None
    settings: tuple[str, ...]
    fold: int | None
    views: bool
    seed: int | None = None


def parse_command(command: list[str]) -> Job:
    """Return what a command line is about, of those that `pipeline.Plan` writes.

    Raises:
        UserError: it is none of them.
    """
    script = Path(command[0]).name
    if script not in (*TRAINING, *MARKS):
        raise UserError(f"{script}: a job of the pipeline runs {', '.join((*TRAINING, *MARKS))}")
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--config")
    parser.add_argument("--set", nargs="+", action="extend", default=[])
    parser.add_argument("--limit_fold", type=int)
    parser.add_argument("--limit_seed", type=int)
    parser.add_argument("--tta", action="store_true")
    # The other options are the script's own, which checks them.
    known, _ = parser.parse_known_args(command[1:])
    return Job(
        tuple(command),
        known.results,
        known.config,
        tuple(known.set),
        known.limit_fold,
        known.tta,
        known.limit_seed,
    )


def adapt_to_changes(job: Job) -> tuple[str, tuple[str, ...]]:
    """Return the name of the mark below the results, and the command that is to be run.

    A run that learnt pseudo-labels of other predictions than its source has now is moved aside.

    Raises:
        UserError: an unknown experiment; or the source of pseudo-labels has none.
    """
    if job.config is None:
        return MARKS[Path(job.command[0]).name], job.command
    from configuration.config_references import load_config
    from configuration.overrides import override
    from experiments import pipeline_checks as checks
    from experiments.seed_folders import config_of_seed, seed_folder

    config = override(load_config(job.config), job.settings)
    if job.fold is None:
        anew = checks.has_predictions_of_other_weights(job.results / config.name)
        name = f"{config.name}/predictions{'_tta' if job.views else ''}.done"
    else:
        folder, name = job.results / config.name, config.name
        if job.seed is not None:
            config, folder = config_of_seed(config, job.seed), seed_folder(folder, job.seed)
            name = f"{name}/{folder.name}"
        checks.move_run_of_other_labels_aside(config, job.results, folder)
        anew = checks.began_with_other_weights(config, job.results, job.fold, folder)
        name = f"{name}/fold{job.fold}.done"
    replaced = ("--overwrite" if word == "--resume" else word for word in job.command)
    return name, tuple(replaced) if anew else job.command


def run_script(command: tuple[str, ...]) -> None:
    """Run a script as if it had been typed; it ends this process if it fails."""
    sys.argv = list(command)  # run.json and stack.json record it
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


def main(argv: list[str] | None = None) -> int:
    """Run a job.

    Args:
        argv: the module that registers the experiments, the path of the mark, the interpreter that
            runs this, and the command line that it runs.

    Raises:
        UserError: as in the functions above, or what the job is to make is not complete.
    """
    module, mark, _, *command = sys.argv[1:] if argv is None else argv
    importlib.import_module(module)
    job = parse_command(command)
    name, adapted = adapt_to_changes(job)
    if adapted != job.command:
        print(f"weights have changed: {shlex.join(adapted)}", file=sys.stderr)
    run_script(adapted)
    from experiments.pipeline_checks import digest_to_mark
    from experiments.pipeline_done_files import write_mark

    write_mark(Path(mark), digest_to_mark(job.results, name))
    return 0


if __name__ == "__main__":
    run_command(main)
