"""Blend the runs of a results folder into one submission: `python stacking.py`.

Joins the out-of-fold and test logits of the runs by sample id, fits each stacking method on four
folds and scores it on the fifth, compares it with the best single model and with the plain mean,
and writes to --out

    submission.csv         (id, target) as Kaggle wants it
    stack.json             scores, intervals, weights, what was used, versions
    stack.csv              the table of scores
    stack_outoffolds.npy   (n, 1) float64, the out-of-fold probabilities of the stack
    stack_ids.npy          (n,) text, the samples of its rows
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.predictions import align, save_array, sigmoid
from experiments.summary import read_truth
from metrics import AUC
from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging, format_seconds, progress
from runtime.errors import UserError
from runtime.files import atomic_path, write_json
from runtime.optional_packages import require
from stack import report as stack_report
from stack.features import Features
from stack.inputs import (
    FinalExperiment,
    StackData,
    final_experiments,
    find_runs,
    join,
    named_tables,
    read_runs,
    read_targets,
    submission_order,
    train_table,
    write_submission,
)
from stack.methods import METHODS, Fit, cross_fit
from stack.scores import Candidate, Choice, assess, choose, fold_scores

if TYPE_CHECKING:
    import pandas as pd

EXTRA = "stack"  # of pyproject.toml: what some methods need
PLAIN = "mean"  # the method that every other is compared with
# Quick enough to be fitted anew without each model in turn.
QUICK = tuple(name for name in METHODS if name.startswith(("mean", "nonneg", "ridge", "logistic")))


@dataclass(frozen=True)
class Inputs:
    """What is stacked and where it comes from.

    Attributes:
        data: the joined logits.
        finals: the experiments of the published stack, whether they are there or not.
        train_csv, test_csv: the tables of the samples; the latter None where it is not known.
        order: (m,) the test samples as the submission lists them.
        truth: (m,) targets of `data.test_ids` where they are known, as of simulated samples.
    """

    data: StackData
    finals: Sequence[FinalExperiment]
    train_csv: Path
    test_csv: Path | None
    order: np.ndarray
    truth: np.ndarray | None

    @property
    def missing(self) -> list[FinalExperiment]:
        return [final for final in self.finals if final.name not in self.data.names]


@dataclass(frozen=True)
class Stack:
    """A finished stack.

    Attributes:
        features: the logits as the methods see them.
        fits: of each method that was tried, the simplest first.
        method: the chosen one.
        models, methods: the single models and the methods, scored out of fold on the same rows.
        choice: how the method was chosen; None where it was asked for.
        skipped: methods that were not tried, and why.
        test_areas: {'model': {...}, 'method': {...}}, test AUCs where the truth is known.
        resamples, seed: of the bootstrap; of the methods that draw.
        seconds: how long it all took.
    """

    inputs: Inputs
    features: Features
    fits: Mapping[str, Fit]
    method: str
    models: Mapping[str, Candidate]
    methods: Mapping[str, Candidate]
    choice: Choice | None
    skipped: Mapping[str, str]
    test_areas: Mapping[str, Mapping[str, float]]
    resamples: int
    seed: int
    seconds: float

    @property
    def data(self) -> StackData:
        return self.inputs.data

    @property
    def fit(self) -> Fit:
        """What the chosen method gives."""
        return self.fits[self.method]

    @property
    def best_model(self) -> Candidate:
        return max(self.models.values(), key=lambda model: model.score.mean)

    @property
    def plain_mean(self) -> Candidate:
        return self.methods[PLAIN]


# --- the flow --------------------------------------------------------------------------------


def build(
    results: Path,
    experiments: Sequence[str] = (),
    method: str = "auto",
    train_csv: Path | None = None,
    sample_submission: Path | None = None,
    tta: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    show: bool | None = None,
) -> Stack:
    """Read the runs, fit the methods, score and compare them, and choose one.

    Args:
        results, experiments, train_csv, sample_submission, tta: see `read_inputs`.
        method: one of METHODS, or 'auto': the simplest within one standard error of the best.
        show: draw progress bars; None means where a person watches.

    Raises:
        UserError: as `read_inputs`, or the method is unknown or lacks its package.
    """
    started = time.monotonic()
    to_try, skipped = methods_to_try(method)
    if resamples < 2:
        raise UserError(f"--resamples {resamples}: a bootstrap needs at least 2")
    inputs = read_inputs(Path(results), experiments, train_csv, sample_submission, tta)
    data = inputs.data
    LOGGER.info(stack_report.what_is_stacked(data, inputs.finals))
    features = Features(data)
    fits = fit_all(to_try, features, seed, show)
    models, methods = (
        assess(columns, data.targets, data.folds, resamples, seed, show)
        for columns in (
            {name: data.out_of_fold[:, i] for i, name in enumerate(data.names)},
            {name: fit.out_of_fold for name, fit in fits.items()},
        )
    )
    choice = choose(methods) if method == "auto" else None
    return Stack(
        inputs,
        features,
        fits,
        method if choice is None else choice.method,
        models,
        methods,
        choice,
        skipped,
        score_test(inputs, fits),
        resamples,
        seed,
        time.monotonic() - started,
    )


def read_inputs(
    results: Path,
    experiments: Sequence[str] = (),
    train_csv: Path | None = None,
    sample_submission: Path | None = None,
    tta: bool = True,
) -> Inputs:
    """Find, read and join the runs and the tables that belong to them.

    Args:
        results: the folder that holds the runs.
        experiments: folders or config classes; none means those of the published stack or, where
            there are none of these, all.
        train_csv: the table (id, target); None means the one that the runs' config.json name.
        sample_submission: Kaggle's file; None means the one beside the runs' test table, if any.
        tta: prefer the logits that are averaged over the test-time views.

    Raises:
        UserError: runs are missing, unfinished or do not belong together; a table does not fit.
    """
    import pandas as pd

    import configs  # noqa: F401 - importing it registers the experiments

    finals = final_experiments()
    folders = find_runs(results, experiments, finals)
    runs = read_runs(folders, tta)
    train_csv = train_table(folders) if train_csv is None else Path(train_csv)
    data = join(runs, read_targets(train_csv, runs[0].train_ids))
    tables = list(named_tables(folders, "test_path"))
    test_csv = tables[0] if len(tables) == 1 else None
    order = submission_order(data.test_ids, sample_submission, test_csv)
    truth = None
    if test_csv is not None:
        ids = pd.DataFrame({"id": data.test_ids})
        truth = read_truth(test_csv.parent / "test_labels.csv", ids)
    return Inputs(data, finals, train_csv, test_csv, order, truth)


def methods_to_try(method: str) -> tuple[list[str], dict[str, str]]:
    """Return the methods to fit, the simplest first, and why others are not.

    Raises:
        UserError: the one asked for is unknown or lacks its package.
    """
    if method != "auto":
        if method not in METHODS:
            raise UserError(f"--method {method}: expected auto or one of {', '.join(METHODS)}")
        needs = METHODS[method]
        if needs is not None and needs.module is not None:
            require(needs.module, EXTRA)  # said before the runs are read, not after
        return list(dict.fromkeys((PLAIN, method))), {}
    skipped = {}
    for name, needs in METHODS.items():
        module = None if needs is None else needs.module
        if module is not None and importlib.util.find_spec(module) is None:
            skipped[name] = f"the package {module!r} is not installed: pip install -e '.[{EXTRA}]'"
    return [name for name in METHODS if name not in skipped], skipped


def fit_all(
    methods: Sequence[str], features: Features, seed: int, show: bool | None
) -> dict[str, Fit]:
    """Fit every method on every fold, with a bar that shows the scores as they come."""
    data, fits = features.data, {}
    bar = progress(total=len(methods) * data.num_folds, desc="stack", unit="fit", show=show)
    with bar:
        for name in methods:

            def on_fold(fold: int, area: float, name: str = name) -> None:
                bar.update()
                bar.set_postfix_str(f"{name}, fold {fold}: {area:.5f}")

            fits[name] = fit = cross_fit(name, features, seed, on_fold)
            of_fold = fold_scores(data.targets, fit.out_of_fold, data.folds)
            bar.clear()
            LOGGER.info(
                f"{name}: {of_fold.mean():.5f} ± {of_fold.std(ddof=1):.5f} "
                f"in {format_seconds(fit.seconds)}"
            )
    return fits


def score_test(inputs: Inputs, fits: Mapping[str, Fit]) -> dict[str, dict[str, float]]:
    """Return the test AUCs {'model': {...}, 'method': {...}} of simulated data, {} without truth.

    A single model is the mean over the folds of its probabilities, as in its own submission.
    """
    data, truth, area = inputs.data, inputs.truth, AUC()
    if truth is None or len(set(truth)) < 2:
        return {}
    return {
        "model": {
            name: area(truth, sigmoid(data.test[..., i].astype(np.float64)).mean(0))
            for i, name in enumerate(data.names)
        },
        "method": {name: area(truth, fit.test) for name, fit in fits.items()},
    }


def leave_one_out(
    stack: Stack, method: str | None = None, show: bool | None = None
) -> pd.DataFrame:
    """Return what each model adds: the mean AUC of the stack minus that of the stack without it.

    Args:
        method: default: the chosen one, or 'ridge_rank' where that takes long to fit.

    Returns:
        A row a model, the most useful first: model, auc_without, adds, low, high (95 %).

    A stack of one model has no row: nothing is left without it.
    """
    import pandas as pd

    columns_of_table = ["model", "auc_without", "adds", "low", "high"]
    data = stack.data
    if len(data.names) < 2:
        return pd.DataFrame(columns=columns_of_table)
    method = method or (stack.method if stack.method in QUICK else "ridge_rank")
    whole = stack.fits.get(method) or cross_fit(method, stack.features, stack.seed)
    columns = {"": whole.out_of_fold}
    for name in progress(data.names, desc="without each model", unit="model", show=show):
        columns[name] = cross_fit(method, stack.features.without(name), stack.seed).out_of_fold
    scored = assess(columns, data.targets, data.folds, stack.resamples, stack.seed, show)
    rows = []
    for name in data.names:
        adds = scored[""].against(scored[name])
        rows.append((name, scored[name].score.mean, adds.difference, adds.low, adds.high))
    table = pd.DataFrame(rows, columns=columns_of_table)
    return table.sort_values("adds", ascending=False, ignore_index=True)


# --- files -----------------------------------------------------------------------------------


def submission(stack: Stack) -> pd.DataFrame:
    """Return the table (id, target) of the chosen method, in the order of sample_submission.csv."""
    import pandas as pd

    order = stack.inputs.order
    rows = align(stack.data.test_ids, order, "the test set")
    return pd.DataFrame({"id": order, "target": stack.fit.test[rows]})


def write(stack: Stack, out: Path) -> pd.DataFrame:
    """Write submission.csv and all that says what it is into `out`; return the submission.

    Raises:
        UserError: a target is not finite.
    """
    table, out = submission(stack), Path(out)
    write_submission(out / "submission.csv", table)
    save_array(out / "stack_ids.npy", stack.data.train_ids)
    save_array(out / "stack_outoffolds.npy", stack.fit.out_of_fold[:, None])  # (n,) -> (n, 1)
    with atomic_path(out / "stack.csv") as temporary:
        stack_report.table(stack).to_csv(temporary, index=False)
    write_json(out / "stack.json", stack_report.plain(stack))
    return table


# --- the command line ------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--results", type=Path, default=Path("results"), help="folder of the runs (results)")
    add(
        "--experiments",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="folders or config classes to stack (the published stack's, or else all)",
    )
    add(
        "--method",
        default="auto",
        metavar="METHOD",
        help=f"auto (the simplest within one standard error of the best) or one of "
        f"{', '.join(METHODS)}",
    )
    add("--train_csv", type=Path, help="table of training targets (that of the runs)")
    add(
        "--sample_submission",
        type=Path,
        help="Kaggle's file of that name (looked for beside the runs' test table)",
    )
    add("--out", type=Path, help="where to write (the folder of --results)")
    add("--no_tta", action="store_true", help="use the logits of the plain view throughout")
    add("--resamples", type=int, default=1000, help="bootstrap samples (1000)")
    add("--seed", type=int, default=0, help="of the bootstrap and of methods that draw (0)")
    add("--progress_bar", action="store_true", help="draw bars even when nobody seems to watch")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    out = args.results if args.out is None else args.out
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: expected a folder")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: expected 0 or more")
    configure_logging()
    stack = build(
        args.results,
        args.experiments,
        args.method,
        args.train_csv,
        args.sample_submission,
        not args.no_tta,
        args.resamples,
        args.seed,
        True if args.progress_bar else None,
    )
    write(stack, out)
    print(f"\n{stack_report.text(stack)}\n\n{stack_report.paragraph(stack, out)}")
    return 0


if __name__ == "__main__":
    run_command(main)
