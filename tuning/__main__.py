"""Search for good settings of an experiment by training one fold with many: Optuna's studies.

    python -m tuning --config Demo --space lr=1e-4..1e-2:log model_params.dropout=0.0..0.5

Every trial draws the settings of --space and trains one fold; a trial whose validation score falls
behind the others is stopped. The same command continues a study, whatever ended it. Started several
times at once, the processes share the trials. Everything is in results/tuning/<study>/: the trials,
Optuna's storage and plots, and the best settings as a file that --config takes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging, format_seconds
from runtime.errors import UserError

if TYPE_CHECKING:
    from configuration.config_class import ConfigMeta
    from experiments.run_options import RunOptions
    from tuning.study import Outcome, Study, StudySettings


def build_parser() -> argparse.ArgumentParser:
    from train import not_negative

    parser = CommandLine(
        prog="-m tuning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what to tune")
    add = what.add_argument
    add("--config", default="Demo", help="an experiment, as train.py takes it (%(default)s)")
    add(
        "--space",
        nargs="+",
        default=[],
        metavar="KEY=VALUES",
        help="settings to draw: KEY=LOW..HIGH, with :log or :step=S, or KEY=[A,B,C]",
    )
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings that all trials share")
    add("--limit_fold", type=int, default=0, metavar="K", help="the fold to train (%(default)s)")
    study = parser.add_argument_group("the study")
    add = study.add_argument
    add("--trials", type=int, default=40, help="how many the study should have (%(default)s)")
    add("--study", help="its name, and its folder in results/tuning (the experiment's name)")
    add("--storage", metavar="URL", help="of Optuna's storage (SQLite in that folder)")
    add("--seed", type=int, default=0, help="of the draws (%(default)s)")
    add("--no_pruning", action="store_true", help="train every trial to its end")
    add(
        "--prune_after",
        type=int,
        default=1,
        metavar="EPOCHS",
        help="the first epoch after which a trial may be stopped (%(default)s)",
    )
    how = parser.add_argument_group("how, as in train.py")
    add = how.add_argument
    add("--gpu", default="", help="a device id; or 'free': one that no other run has taken so")
    add("--num_workers", type=not_negative(int), help="reader processes; 0 on a CPU, 4 on a GPU")
    add("--cache_device", action="store_true", help="hold the caches wholly on the device")
    add("--compile", action="store_true", help="compile the backbone")
    add("--no_pretrained", action="store_true", help="start from random weights")
    add(
        "--checkpoint_every",
        type=not_negative(float),
        default=10,
        metavar="MINUTES",
        help="minutes between saves within an epoch (%(default)g)",
    )
    add("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    add("--progress_bar", action="store_true", help="draw bars even when nobody seems to watch")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    check_arguments(args)
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override
    from experiments.run_names import TUNING, check_run_name
    from runtime.torch_settings import torch_settings_restored
    from tuning.space import read_space
    from tuning.study import StudySettings

    base = load_config(args.config)
    config = override(base, args.set)
    check_config(config, args)
    name = config.name if args.study is None else args.study
    check_run_name(name)
    settings = StudySettings(
        name=name,
        folder=args.results / TUNING / name,
        space=read_space(config, args.space),
        storage=args.storage,
        seed=args.seed,
        prune=not args.no_pruning,
        prune_after=args.prune_after,
    )
    with torch_settings_restored():
        return tune(base, config, settings, args)


def check_arguments(args: argparse.Namespace) -> None:
    """Raise a UserError for numbers that make no sense, and under torchrun."""
    if args.trials < 1:
        raise UserError(f"--trials {args.trials}: expected 1 or more")
    if args.prune_after < 1:
        raise UserError(f"--prune_after {args.prune_after}: expected 1 or more")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: expected 0 or more")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(
            "tuning does not run under torchrun: start it once for each GPU, with --gpu free; "
            "the processes share the study"
        )


def check_config(config: ConfigMeta, args: argparse.Namespace) -> None:
    """Raise a UserError for an experiment that cannot be tuned, or a fold that it has not."""
    if config.pseudo_labels is not None:
        raise UserError(
            f"{config.__name__} learns from pseudo-labels, and its trials would have none: tune an "
            f"experiment without them, and give this one the settings that were found"
        )
    if not 0 <= args.limit_fold < config.cv:
        raise UserError(
            f"--limit_fold {args.limit_fold}: {config.__name__} has folds 0 to {config.cv - 1}"
        )


def tune(
    base: ConfigMeta, config: ConfigMeta, settings: StudySettings, args: argparse.Namespace
) -> int:
    """Run trials until the study has enough of them, and return the exit code.

    Args:
        base: the experiment as it was named.
        config: with the settings of the command line.
    """
    from experiments.experiment import Experiment
    from runtime import interruption
    from runtime.interruption import Interrupted
    from train import choose_device, set_determinism
    from tuning.study import Study
    from tuning.trials import run_trial, run_trials

    device = choose_device(args.gpu)
    options = trial_options(args, settings)
    config = with_weights_by_path(config, args.results)
    # Before the study: what is wrong with the data is wrong in every trial.
    experiment = Experiment(config, options, device)
    if not len(experiment.folds[args.limit_fold][1]):
        raise UserError(
            f"cv = {config.cv} validates no sample, so that trials have no score: hold some out "
            f"with --set cv=1 splitter=HoldOut"
        )
    metric = config.eval_metric.build()
    description = describe(config, settings, args.limit_fold, experiment.directory.samples.labelled)
    study = Study(settings, bool(metric.maximize), description)
    configure_logging(settings.folder / f"{time.strftime('%y%m%d%H%M%S')}_{os.getpid()}.log")
    set_determinism(config.deterministic)
    progress = Progress(base, config, study, args)
    LOGGER.info(f"study {settings.name}: {study.count()} of {args.trials} trials are there already")
    try:
        with interruption.watched():
            run_trials(
                study,
                args.trials,
                lambda trial: run_trial(study, trial, config, options, device),
                progress.tell,
            )
    except Interrupted as stop:
        progress.write()
        print(
            f"stopped by {stop.signal.name}: the trial that was under way is saved; the same "
            f"command continues the study",
            file=sys.stderr,
        )
        return stop.exit_code
    progress.draw()
    print(f"\n{progress.summary()}")
    return 0


def trial_options(args: argparse.Namespace, settings: StudySettings) -> RunOptions:
    """Return the options of every trial, whose run directories lie in the study's folder."""
    from experiments.run_options import RunOptions

    return RunOptions(
        results=settings.folder,
        limit_fold=args.limit_fold,
        pretrained=not args.no_pretrained,
        num_workers=args.num_workers,
        cache_device=args.cache_device,
        compile=args.compile,
        show_progress=True if args.progress_bar else None,
        checkpoint_every=args.checkpoint_every,
    )


def with_weights_by_path(config: ConfigMeta, results: Path) -> ConfigMeta:
    """Return a config whose weight_path is a path: trials do not lie beside the run it names."""
    from configuration.config_class import config_named
    from configuration.overrides import override

    name = config.weight_path
    if name is None or Path(name).exists() or config_named(name) is None:
        return config
    return override(config, [f"weight_path={results / name}"])


def describe(
    config: ConfigMeta, settings: StudySettings, fold: int, samples: str
) -> dict[str, Any]:
    """Return what makes the scores of a study comparable, in JSON's own types."""
    from experiments.observation_record import plain_config
    from experiments.run_identity import LOCATIONS, settings_digest

    plain = plain_config(config)
    return {
        "experiment": config.__name__,
        "settings": settings_digest(
            {key: value for key, value in plain.items() if key not in (*LOCATIONS, "name")}
        ),
        "space": sorted(dimension.text for dimension in settings.space),
        "fold": fold,
        "samples": samples,
    }


class Progress:
    """What is said and written while a study goes on.

    Args:
        base: the experiment as it was named.
        config: with the settings of the command line.
        study: it.
        args: of the command line.
    """

    def __init__(
        self, base: ConfigMeta, config: ConfigMeta, study: Study, args: argparse.Namespace
    ) -> None:
        self.base, self.config, self.study, self.args = base, config, study, args
        self.folder = study.settings.folder
        self.metric = config.eval_metric.cls.__name__
        self.started, self.ended = time.monotonic(), 0
        self.write()

    def tell(self, number: int, outcome: Outcome) -> None:
        """Log how a trial ended and how long the rest will take, and write it down."""
        from tuning.records import format_score
        from tuning.study import best_of

        self.write()
        self.ended += 1
        records = self.study.records()
        best = best_of(records, self.study.maximize)
        left = max(0, self.args.trials - len(records))
        # Of this process alone: others make it shorter.
        seconds = (time.monotonic() - self.started) / self.ended * left
        if outcome.failure is not None:
            how = f"failed: {outcome.failure}"
        else:
            pruned = f", stopped after epoch {outcome.epochs}" if outcome.pruned else ""
            how = format_score(outcome.score, self.metric) + pruned
        drawn = next(record.settings for record in records if record.number == number)
        LOGGER.info(
            f"trial {number}: {how}, with {' '.join(drawn)}"
            + (f"; the best is {best.score:.6f} of trial {best.number}" if best else "")
            + (f"; {left} left, at most {format_seconds(seconds)}" if left else "")
        )

    def write(self) -> None:
        """Write study.json and, once there is a best trial, the file of its settings."""
        from runtime.files import read_json_object
        from tuning.best_file import best_file_path, format_best_file, write_best_file
        from tuning.records import STUDY_FILE, StudyRecord, format_score, read_best_file
        from tuning.study import best_of

        settings = self.study.settings
        # One process at a time: the later one has the newer trials.
        with self.study.choosing():
            records = self.study.records()
            best = best_of(records, self.study.maximize)
            path, text = best_file_path(self.base, settings.name, self.folder), None
            if best is not None:
                words = [*self.args.set, *best.settings]
                score = f"{format_score(best.score, self.metric)} of fold {self.args.limit_fold}"
                text = format_best_file(self.base, settings.name, self.folder, words, score)
                there = self.folder / STUDY_FILE
                before = read_json_object(there) if there.is_file() else {}
                write_best_file(path, text, read_best_file(before))
            StudyRecord(
                name=settings.name,
                reference=self.base.reference,
                settings=tuple(self.args.set),
                space=tuple(dimension.text for dimension in settings.space),
                metric=self.metric,
                maximize=self.study.maximize,
                fold=self.args.limit_fold,
                trials=records,
                best=None if best is None else best.number,
                best_file=text,
            ).write(self.folder)

    def draw(self) -> None:
        """Draw Optuna's plots of the trials so far."""
        from tuning.figures import draw_study

        draw_study(self.study.study, self.folder)

    def summary(self) -> str:
        """Return what the study has found and what to type next."""
        from tuning.best_file import best_file_path, names_of_best
        from tuning.records import format_score
        from tuning.study import best_of

        records = self.study.records()
        best = best_of(records, self.study.maximize)
        states = [record.state for record in records]
        counts = ", ".join(
            f"{states.count(state)} {state}"
            for state in ("complete", "pruned", "failed", "running")
            if state in states
        )
        name = self.study.settings.name
        if best is None:
            return f"The study {name} has {counts} trials, and none to choose from."
        path = best_file_path(self.base, name, self.folder)
        class_name, _ = names_of_best(self.base, name)
        return (
            f"The study {name} has {len(records)} trials ({counts}). The best, trial "
            f"{best.number}, has {format_score(best.score, self.metric)} on fold "
            f"{self.args.limit_fold} with\n    {' '.join(best.settings)}\n"
            f"A score that was chosen among many is flattered: train all folds to see it.\n"
            f"    python train.py --config {path}:{class_name}\n"
            f"    python report.py --results {self.folder}"
        )


if __name__ == "__main__":
    run_command(main)
