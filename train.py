"""Train one experiment over its folds and predict: `python train.py --config Nspec16`."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from configuration.json_types import format_config
from runtime.command_line import CommandLine, run_command
from runtime.console import configure_logging
from runtime.errors import UserError
from runtime.interruption import Interrupted
from runtime.machine import keep_freed_memory
from runtime.notifications import notify

if TYPE_CHECKING:
    import torch

    from configuration.config_class import ConfigMeta
    from experiments.experiment import Experiment
    from experiments.seed_runs import SeedRuns


def not_negative(kind: type) -> Callable[[str], float]:
    """A command-line number of that type that is at least 0."""

    def read(text: str) -> float:
        value = kind(text)
        if not value >= 0:  # NaN is not
            raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
        return value

    read.__name__ = kind.__name__  # argparse names it in its complaints
    return read


def build_parser(pseudo: bool = False) -> argparse.ArgumentParser:
    """Return the command line of `train.py`, or of `train_pseudo.py`."""
    description = __doc__
    if pseudo:
        description = (
            "Train one experiment with pseudo-labels over its folds and predict: "
            "`python train_pseudo.py --config Pseudo07`, once its source has predictions."
        )
    parser = CommandLine(description=description)
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "--config",
        default="Pseudo07" if pseudo else "Baseline",
        help="an experiment: a class of configs.py, path/to/mine.py:MyTry, "
        "package.module:MyTry, or results/NAME/config.json (%(default)s)",
    )
    what.add_argument("--list", action="store_true", help="print all experiments and exit")
    what.add_argument(
        "--show",
        action="store_true",
        help="print every setting, refuse what a training would refuse, and exit",
    )
    what.add_argument(
        "--new",
        type=Path,
        metavar="FILE.py",
        help="write a file with an experiment of your own and exit",
    )
    what.add_argument(
        "--from",
        dest="parent",
        default="Demo",
        metavar="NAME",
        help="with --new: the experiment that it inherits from (%(default)s)",
    )
    what.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change settings, e.g. --set num_epochs=3 model_params.model_name=resnet18",
    )
    what.add_argument("--limit_fold", type=int, metavar="K", help="train fold K only, from 0")
    what.add_argument(
        "--limit_seed", type=int, metavar="S", help="train seed S only, of a config with seeds"
    )
    what.add_argument(
        "--limit_samples",
        type=int,
        metavar="N",
        help="train on N samples of the table, of each class in its share; --set limit_samples=N",
    )
    what.add_argument("--inference", action="store_true", help="predict only, from checkpoints")
    what.add_argument("--tta", action="store_true", help="average predictions over the views")
    what.add_argument(
        "--dry_run",
        action="store_true",
        help="two batches, one epoch, two folds, into dry_run/ below --results; invents noise "
        "where the data are missing",
    )
    there = parser.add_argument_group(
        "where results are there already; without these, finished ones are refused"
    )
    # Each excludes the others: a run is either continued or begun anew.
    choices = there.add_mutually_exclusive_group()
    choices.add_argument("--resume", action="store_true", help="continue where a run stopped")
    choices.add_argument(
        "--overwrite",
        action="store_true",
        help="move what is there aside, to <name>.<time>, and start again",
    )
    choices.add_argument(
        "--skip_existing",
        action="store_true",
        help="keep folds that have weights as they are, resume the others",
    )
    there.add_argument(
        "--allow_unfinished",
        action="store_true",
        help="use weights of folds whose training has not ended, and mark the predictions",
    )
    there.add_argument(
        "--allow_changed_code",
        action="store_true",
        help="continue a run whose own file has changed since, and record from which epoch",
    )
    there.add_argument(
        "--checkpoint_every",
        type=not_negative(float),
        default=10,
        metavar="MINUTES",
        help="minutes between saves within an epoch (%(default)g)",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--gpu",
        default="",
        help="device ids, one a process, e.g. 0,1; or 'free': one that no other run has taken",
    )
    how.add_argument(
        "--num_workers", type=not_negative(int), help="reader processes; 0 on a CPU, 4 on a GPU"
    )
    how.add_argument(
        "--cache_device",
        action="store_true",
        help="hold the caches wholly on the device; needs train_cache and test_cache",
    )
    how.add_argument(
        "--compile",
        action="store_true",
        help="compile the backbone: minutes at the start, faster steps after",
    )
    how.add_argument("--no_pretrained", action="store_true", help="start from random weights")
    how.add_argument(
        "--weights",
        metavar="FILE",
        help="start the backbone from this state dict, .pt or .safetensors, instead of timm's",
    )
    how.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)"
    )
    how.add_argument(
        "--wait",
        type=not_negative(float),
        default=0,
        metavar="SECONDS",
        help="sleep first (%(default)g)",
    )
    how.add_argument("--debug", action="store_true", help="log loss and gradient every 50 steps")
    how.add_argument("--silent", action="store_true", help="no log file and no notification")
    how.add_argument(
        "--progress_bar",
        action="store_true",
        help="draw progress bars even if stderr is not a terminal",
    )
    return parser


def main(argv: list[str] | None = None, pseudo: bool = False) -> int:
    args = build_parser(pseudo).parse_args(argv)
    # Imports follow here and below, so that --help answers without torch.
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override

    if args.list:
        from experiments.experiment_list import print_table

        print_table()
        return 0
    if args.new is not None:
        from experiments.new_experiment import write_new_experiment

        print(write_new_experiment(args.new, load_config(args.parent)))
        return 0
    words = list(args.set)
    if args.limit_samples is not None:
        words.append(f"limit_samples={args.limit_samples}")
    config = override(load_config(args.config), words)
    if args.show:
        print(format_config(config.to_plain()), flush=True)
        # After the settings, which help to see what is wrong.
        from experiments.config_checks import check_config

        check_config(config)
        return 0
    check_script(config, pseudo)
    # After the checks: a misspelt setting is reported now and not when the wait is over.
    if args.wait > 0:
        time.sleep(args.wait)
    from runtime.torch_settings import torch_settings_restored

    with torch_settings_restored():
        return run(config, args)


def check_script(config: ConfigMeta, pseudo: bool) -> None:
    """Refuse the configs of the other script, so that nobody trains on pseudo-labels by mistake.

    Raises:
        UserError: the config is for the other script.
    """
    if pseudo and config.pseudo_labels is None:
        raise UserError(
            f"{config.__name__} has no pseudo_labels: use `python train.py --config "
            f"{config.reference}`"
        )
    if not pseudo and config.pseudo_labels is not None:
        raise UserError(
            f"{config.__name__} learns from pseudo-labels: use `python train_pseudo.py --config "
            f"{config.reference}`"
        )


def run(config: ConfigMeta, args: argparse.Namespace) -> int:
    from experiments.device_errors import explains_device
    from experiments.dry_run import shrink_to_dry_run
    from experiments.experiment import Experiment
    from experiments.run_options import RunOptions
    from experiments.seed_runs import SeedRuns, check_limit
    from runtime import interruption
    from training import distributed

    distributed.start()  # first: the device depends on the rank of this process
    device = choose_device(args.gpu)
    options = RunOptions(
        results=args.results,
        resume=args.resume,
        overwrite=args.overwrite,
        allow_unfinished=args.allow_unfinished,
        allow_changed_code=args.allow_changed_code,
        skip_existing=args.skip_existing,
        inference=args.inference,
        tta=args.tta,
        dry_run=args.dry_run,
        pretrained=not args.no_pretrained,
        weights=args.weights,
        num_workers=args.num_workers,
        cache_device=args.cache_device,
        compile=args.compile,
        show_progress=True if args.progress_bar else None,
        limit_fold=args.limit_fold,
        limit_seed=args.limit_seed,
        checkpoint_every=args.checkpoint_every,
        log_steps=args.debug,
    )
    check_arguments(config, args)
    check_limit(config, args.limit_seed)
    log_file = None
    if not args.silent and not args.dry_run and distributed.is_main():
        part = "" if args.limit_seed is None else f"_seed{args.limit_seed}"
        part += "" if args.limit_fold is None else f"_fold{args.limit_fold}"
        # Folds may be trained at the same time, each by a process with a log of its own.
        stamp = time.strftime("%y%m%d%H%M")
        log_file = args.results / config.name / f"{config.name}{part}_{stamp}.log"
    if args.dry_run:
        config, options = shrink_to_dry_run(config, options)
    tell = not args.silent and not args.dry_run and distributed.is_main()
    try:
        make = SeedRuns if config.seeds else Experiment
        experiment = make(config, options, device)
        # After the experiment: one that cannot begin leaves no log file behind.
        logger = configure_logging(log_file)
        # Every process computes the same scores; one of them reports.
        if not distributed.is_main():
            logger.setLevel("WARNING")
        with interruption.watched(), experiment.lock(), explains_device(config, device):
            if isinstance(experiment, SeedRuns):
                announce(experiment.first, args, device, tell)
                text = train_seeds(experiment, args)
            else:
                announce(experiment, args, device, tell)
                text = train_and_predict(experiment, args)
        if tell:
            notify(f"{config.name} is done", text)
    except BaseException as error:  # Ctrl-C too: somebody may wait for the notification
        if tell:
            what = "was stopped" if isinstance(error, Interrupted) else "failed"
            notify(f"{config.name} {what}", f"{type(error).__name__}: {error}")
        raise
    finally:
        distributed.stop()
    return 0


def train_seeds(runs: SeedRuns, args: argparse.Namespace) -> str:
    """Train and predict with each seed, then average and summarize.

    Returns:
        As `train_and_predict`, of the mean, or of what --limit_seed or --limit_fold has trained.

    Raises:
        UserError: as in `train_and_predict`, of any seed, and in `SeedRuns.begin`.
    """
    from experiments.seed_runs import summaries_of_seeds
    from runtime.console import LOGGER
    from training import distributed

    runs.begin()
    config, folder, texts = runs.config, runs.directory.path, []
    for number, experiment in enumerate(runs.experiments(), 1):
        LOGGER.info(f"seed {experiment.config.seed} ({number} of {len(runs.seeds)})")
        with experiment.lock():
            texts.append(train_and_predict(experiment, args))
    if runs.is_limited or not distributed.is_main():
        return "\n".join(texts)
    suffix = "_tta" if args.tta else ""
    runs.average(suffix)
    return summarize(runs.first, folder, args, summaries_of_seeds(folder, suffix), config.name)


def train_and_predict(experiment: Experiment, args: argparse.Namespace) -> str:
    """Train the folds that are asked for, then predict and summarize.

    Returns:
        What was done, how good it is and which files are there, in a paragraph.

    Raises:
        UserError: as in `Experiment.fit` and `Experiment.predict`; or there is no score.
    """
    from training import distributed

    config, folder = experiment.config, experiment.directory.path
    name = config.name
    if experiment.options.seed is not None:
        name = f"{config.name}, seed {experiment.options.seed}"
    set_determinism(config.deterministic)
    if not args.inference:
        experiment.fit()
        warn_of_targets(experiment)  # again: the start of the log may be far away
        # Predictions need all folds, and other processes may be training the rest.
        if args.limit_fold is not None:
            text = summarize_fold(experiment, args.limit_fold)
            if distributed.is_main():
                print(text)
            return text
    # All processes predict, each its part of the rows; only the first has files to summarize.
    experiment.predict()
    if not distributed.is_main():
        return ""
    return summarize(experiment, folder, args, None, name)


def summarize(
    experiment: Experiment,
    folder: Path,
    args: argparse.Namespace,
    seeds: dict[str, dict] | None,
    name: str,
) -> str:
    """Write the summary of predictions and print it.

    Args:
        experiment: whose tables and settings these are.
        folder: where the predictions lie.
        seeds: where they are a mean over seeds, the summary of each.
        name: of the run, as the text calls it.

    Returns:
        The text.

    Raises:
        UserError: there is no score, or a sample has none; all files are written before.
    """
    from experiments.summary import run_paragraph, write_summary
    from experiments.tracking_of_runs import track_result
    from experiments.unscored_samples import advise, explain_unscored, find_unscored

    config, suffix = experiment.config, "_tta" if args.tta else ""
    result = write_summary(
        folder, suffix, experiment.train, experiment.test, config, experiment.targets.true, seeds
    )
    track_result(config, folder, suffix, result)
    text = run_paragraph(name, result, folder, suffix, experiment.options.dry_run)
    print(f"\n{text}")
    # After all files are written: they help to find out why.
    has_score = {"oof_auc", "oof_score"} & set(result)
    if not has_score and not args.dry_run and result.get("n_validated") != 0:
        raise UserError(
            f"the out-of-fold logits in {folder} have no score, as those that are finite are of "
            f"one class: check the samples and the log of the training"
        )
    if not args.dry_run:
        ids = [table["id"].tolist() for table in (experiment.train, experiment.test)]
        if unscored := find_unscored(folder, suffix, *ids):
            raise UserError(f"{folder}: {explain_unscored(unscored)}: {advise(config)}")
    return text


def summarize_fold(experiment: Experiment, fold: int) -> str:
    """Return what --limit_fold has trained, its score and which files are there.

    Raises:
        UserError: the fold has no score, as its logits are NaN.
    """
    from experiments.summary import draw_fold_curves
    from training import distributed

    name, state = experiment.config.name, experiment.states.get(fold)
    if experiment.options.seed is not None:
        name = f"{name}, seed {experiment.options.seed}"
    folder = experiment.directory.path
    if state is not None and distributed.is_main() and not experiment.options.dry_run:
        # Before anything is refused: the curves of a bad fold help to find out why.
        valid = experiment.targets.true[experiment.folds[fold][1]]
        draw_fold_curves(folder, fold, state, experiment.config, valid)
    files = (f"fold{fold}.pt", f"fold{fold}.json", f"fold{fold}.png")
    written = [file for file in files if (folder / file).exists()]
    listed = " and ".join([", ".join(written[:-1]), written[-1]] if written[1:] else written)
    there = f" {listed} lie in {folder}/." if written else ""
    if state is None:  # kept by --skip_existing
        return f"Fold {fold} of {name} was kept as it is.{there}"
    # none where no sample is validated
    scores = [row["valid_metric"] for row in state.history if "valid_metric" in row]
    if (
        scores
        and not any(math.isfinite(score) for score in scores)
        and not experiment.options.dry_run
    ):
        raise UserError(
            f"fold {fold} of {name} has no validation score in any epoch: check its samples and "
            f"the log, and train it anew with --overwrite --limit_fold {fold}"
        )
    score = state.best_score if state.average is None else state.average.get("valid_metric")
    best = "" if score is None else f", validation score {score:.6f}"
    return (
        f"Fold {fold} of {name} is trained{best}.{there} Predict when all folds are, with "
        f"--inference."
    )


def announce(
    experiment: Experiment, args: argparse.Namespace, device: torch.device, tell: bool
) -> None:
    """Say what starts, in the log and, with `tell`, to those who are notified."""
    import torch

    from experiments.partial_splits import explain_validation
    from runtime.console import LOGGER
    from training import distributed

    config = experiment.config
    what = "prediction" if args.inference else "training"
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else (f"{torch.get_num_threads()} CPU threads")
    )
    LOGGER.info(
        f"{config.__name__} ({config.name}): {what}, {len(experiment.fold_numbers)} of "
        f"{len(experiment.folds)} folds, {len(experiment.train)} train and "
        f"{len(experiment.test)} test samples, on {where}"
    )
    if not args.inference:
        if warning := explain_validation(config, experiment.directory.samples.folds):
            LOGGER.warning(warning)
        warn_of_targets(experiment)
    LOGGER.debug(f"the resolved config:\n{format_config(config.to_plain())}")
    # Whoever named one GPU has chosen it, and needs no advice.
    if torch.cuda.device_count() > 1 and distributed.world_size() == 1 and not args.gpu.isdecimal():
        LOGGER.info(
            f"one of {torch.cuda.device_count()} GPUs is used; for all of them: torchrun "
            f"--nproc_per_node {torch.cuda.device_count()} {' '.join(sys.argv)}"
        )
    if tell:
        notify(f"{config.name} starts", f"{what} on {where}")


def warn_of_targets(experiment: Experiment) -> None:
    """Warn of targets that contradict the injections that are listed beside them."""
    from data.injected_signals import explain_contradictions
    from runtime.console import LOGGER
    from training import distributed

    if experiment.outputs.target.kind != "binary" or not distributed.is_main():
        return
    ids, targets = experiment.train["id"].tolist(), experiment.targets.true[:, 0]
    if warning := explain_contradictions(Path(experiment.config.train_path), ids, targets):
        LOGGER.warning(warning)


def check_arguments(config: ConfigMeta, args: argparse.Namespace) -> None:
    fold = args.limit_fold
    if args.weights is not None and args.inference:
        raise UserError("--weights begins a training, and --inference trains nothing: choose one")
    if fold is not None and args.inference:
        raise UserError(
            "--inference predicts with all folds at once: leave --limit_fold out, which would "
            "overwrite the others' predictions"
        )
    if fold is not None and not 0 <= fold < config.cv:
        raise UserError(f"--limit_fold {fold}: {config.__name__} has folds 0 to {config.cv - 1}")


def choose_device(gpu: str) -> torch.device:
    """Return the device of this process: its GPU of those asked for, or the CPU.

    Raises:
        UserError: a GPU is asked for that is not there.
    """
    import torch

    from training import distributed

    count = torch.cuda.device_count()
    if gpu == "free":
        if distributed.world_size() > 1:
            raise UserError("--gpu free finds a GPU for one process: leave it out under torchrun")
        gpu = distributed.take_free_gpu() if count else ""
    words = [word for word in gpu.replace(",", " ").split() if word]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--gpu {gpu!r}: expected device ids separated by commas, e.g. --gpu 0,1")
    ids = [int(word) for word in words]
    missing = [index for index in ids if index >= count]
    if missing:
        there = f"0 to {count - 1}" if count else "none"
        raise UserError(f"--gpu {gpu}: there is no GPU {missing[0]}; there are {there}")
    if not count:
        keep_freed_memory()
        return torch.device("cpu")
    ids = ids or list(range(count))  # without --gpu torchrun takes all in order
    if distributed.local_rank() >= len(ids):
        raise UserError(
            f"torchrun started more processes than there are GPUs ({len(ids)}): lower "
            f"--nproc_per_node"
        )
    device = torch.device("cuda", ids[distributed.local_rank()])
    # NCCL and tensors made on plain "cuda" would otherwise all go to GPU 0.
    torch.cuda.set_device(device)
    # Inputs of products are rounded to 10 bits of mantissa, which Ampere and later compute
    # several times faster than float32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return device


def set_determinism(deterministic: bool) -> None:
    import torch

    if deterministic:
        # cuBLAS sums in one order only with workspaces of a fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    # Choosing the fastest algorithm by timing may choose another one in the next run.
    torch.backends.cudnn.benchmark = not deterministic


if __name__ == "__main__":
    run_command(main)
