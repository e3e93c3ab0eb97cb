"""The stack itself: the joined runs, a fit of every method, their scores and the method chosen.

    read_stack_inputs -> blend_runs -> StackResult

`stacking.py` is the command line of this module, `submission.ipynb` shows its result, and
`files.py` writes it.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.scores import blend_folds, ordered_probabilities
from metrics import AUC
from runtime.console import LOGGER, format_seconds, progress
from runtime.errors import UserError
from runtime.optional_packages import require
from stack.features import Features
from stack.inputs import StackData, join_runs, list_members
from stack.members import (
    FinalExperiment,
    Members,
    final_experiments,
    find_member_runs,
    find_unpredicted_runs,
    read_members,
)
from stack.methods import METHODS, MethodFit, cross_fit
from stack.scores import Choice, ScoredColumn, choose_method, fold_aucs, score_columns
from stack.tables import read_targets, read_training_targets, submission_order, table_paths

if TYPE_CHECKING:
    import pandas as pd

EXTRA = "stack"  # of pyproject.toml: what some methods need
PLAIN_MEAN = "mean"  # the method that every other method is compared with
# Fitted in seconds, so that `leave_one_out` can fit them once for every model left out.
QUICK = tuple(name for name in METHODS if name.startswith(("mean", "nonneg", "ridge", "logistic")))


@dataclass(frozen=True)
class StackSettings:
    """What the user decides about a stack.

    Attributes:
        experiments: names of folders or of config classes. None given means the runs of the
            published stack or, if there are none of these, all runs.
        method: one of METHODS, or 'auto': the simplest within one standard error of the best; if
            that is not better than the best single run, this run is submitted instead.
        train_csv: the table (id, target); None means the one that the runs' config.json name.
        sample_submission: Kaggle's file; None means the one beside the runs' test table, if any.
        tta: prefer the logits that are averaged over the test-time views.
        allow_unfinished: also stack folds whose training had not ended.
        resamples, seed: of the bootstrap; the seed is also that of the methods that draw numbers.
    """

    experiments: Sequence[str] = ()
    method: str = "auto"
    train_csv: Path | None = None
    sample_submission: Path | None = None
    tta: bool = True
    allow_unfinished: bool = False
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class StackInputs:
    """The runs that are blended, and the tables that belong to them.

    Attributes:
        members: the runs, and those that were left out.
        data: their joined logits.
        finals: the experiments of the published stack, whether or not they are in `data`.
        train_csv, test_csv: the tables of the samples; `test_csv` is None if it is not known.
        order: (m,) the test ids in the order of the submission.
        truth: (m,) targets of `data.test_ids` if they are known, as for simulated samples.
    """

    members: Members
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
class StackResult:
    """A finished stack.

    Attributes:
        features: the logits as the methods see them.
        fits: the fit of each method that was tried, the simplest method first.
        method: the method that was asked for, or chosen.
        submitted_model: the single run that is submitted instead, because the chosen method is not
            better; None if the method is submitted.
        models, methods: the single models and the methods, scored out of fold on the same rows.
        choice: how the method was chosen; None if the user asked for it.
        skipped: the methods that were not tried, each with the reason.
        test_aucs: {'model': {...}, 'method': {...}}, test AUCs if the truth is known, else {}.
        settings: what was asked for.
        seconds: the wall-clock time of it all.
    """

    inputs: StackInputs
    features: Features
    fits: Mapping[str, MethodFit]
    method: str
    submitted_model: str | None
    models: Mapping[str, ScoredColumn]
    methods: Mapping[str, ScoredColumn]
    choice: Choice | None
    skipped: Mapping[str, str]
    test_aucs: Mapping[str, Mapping[str, float]]
    settings: StackSettings
    seconds: float

    @property
    def data(self) -> StackData:
        return self.inputs.data

    @property
    def fit(self) -> MethodFit:
        """The fit of the chosen method."""
        return self.fits[self.method]

    @property
    def best_model(self) -> ScoredColumn:
        return max(self.models.values(), key=lambda model: model.score.mean)

    @property
    def plain_mean(self) -> ScoredColumn:
        return self.methods[PLAIN_MEAN]

    @property
    def submitted(self) -> ScoredColumn:
        """The scores of what is submitted: the method, or the single run."""
        if self.submitted_model is not None:
            return self.models[self.submitted_model]
        return self.methods[self.method]

    def submitted_probabilities(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what is submitted, out of fold (n,) and for the test samples (m,), from 0 to 1."""
        if self.submitted_model is None:
            return self.fit.out_of_fold, self.fit.test
        column = self.data.names.index(self.submitted_model)
        return (
            ordered_probabilities(self.data.out_of_fold[:, column].astype(np.float64)),
            ordered_probabilities(blend_folds(self.data.test[..., column])),
        )


# --- the flow --------------------------------------------------------------------------------


def blend_runs(
    results: Path, settings: StackSettings | None = None, show: bool | None = None
) -> StackResult:
    """Read the runs, fit the methods, score and compare them, and choose what to submit.

    Args:
        results: the folder of the run directories.
        show: draw progress bars; None draws them only on a terminal.

    Raises:
        UserError: as `read_stack_inputs`, or the method is unknown or lacks its package.
    """
    started, settings = time.monotonic(), settings or StackSettings()
    to_try, skipped = methods_to_try(settings.method)
    if settings.resamples < 2:
        raise UserError(f"--resamples {settings.resamples}: a bootstrap needs at least 2")
    inputs = read_stack_inputs(Path(results), settings)
    data, seed = inputs.data, settings.seed
    LOGGER.info(list_members(data, inputs.finals))
    features = Features(data)
    fits = fit_all(to_try, features, seed, show)
    # Both calls draw the same resamples, so that models and methods can be compared in pairs.
    models, methods = (
        score_columns(columns, data.targets, data.folds, settings.resamples, seed, show)
        for columns in (
            {name: data.out_of_fold[:, i] for i, name in enumerate(data.names)},
            {name: fit.out_of_fold for name, fit in fits.items()},
        )
    )
    choice, method, submitted_model = None, settings.method, None
    if settings.method == "auto":
        choice = choose_method(methods)
        method = choice.method
        submitted_model = better_single_run(methods[method], models)
    return StackResult(
        inputs,
        features,
        fits,
        method,
        submitted_model,
        models,
        methods,
        choice,
        skipped,
        score_test_samples(inputs, fits),
        settings,
        time.monotonic() - started,
    )


def better_single_run(blend: ScoredColumn, models: Mapping[str, ScoredColumn]) -> str | None:
    """Return the best single run, unless the blend is better than it beyond doubt.

    That is, unless the 95 % interval of the paired difference lies above 0. The best of many runs
    is chosen by its score, which flatters it a little; the rule errs on the side of the simpler
    submission.
    """
    best = max(models.values(), key=lambda model: model.score.mean)
    return None if blend.difference_to(best).low > 0 else best.name


def read_stack_inputs(results: Path, settings: StackSettings) -> StackInputs:
    """Find, read and join the runs and the tables that belong to them.

    Raises:
        UserError: runs are missing, unfinished or do not belong together; a table does not fit.
    """
    import pandas as pd

    finals = final_experiments()
    folders = find_member_runs(results, settings.experiments, finals)
    named = bool(settings.experiments)
    members = read_members(
        folders,
        named,
        settings.tta,
        settings.allow_unfinished,
        {} if named else find_unpredicted_runs(results, folders, finals),
    )
    folders, first = [run.folder for run in members.runs], members.runs[0]
    if settings.train_csv is None:
        train_csv, targets = read_training_targets(folders, first.train_ids)
    else:
        train_csv = Path(settings.train_csv)
        targets = read_targets(train_csv, first.train_ids)
    data = join_runs(members.runs, targets)
    # Runs may name several test tables; which of them lies beside the truth is then not known.
    tables = [path for path in table_paths(folders, "test_path") if path.parent.is_dir()]
    test_csv = tables[0] if len(tables) == 1 else None
    order = submission_order(data.test_ids, settings.sample_submission, test_csv)
    truth = None
    if test_csv is not None:
        ids = pd.DataFrame({"id": data.test_ids})
        # Imported here: it takes torch with it, and `--help` should answer at once.
        from experiments.summary import read_truth

        truth = read_truth(test_csv.parent / "test_labels.csv", ids)
    return StackInputs(members, data, finals, train_csv, test_csv, order, truth)


def methods_to_try(method: str) -> tuple[list[str], dict[str, str]]:
    """Return the methods to fit, the simplest first, and {method: reason} for those left out.

    Raises:
        UserError: the one asked for is unknown or lacks its package.
    """
    if method != "auto":
        if method not in METHODS:
            raise UserError(f"--method {method}: expected auto or one of {', '.join(METHODS)}")
        needs = METHODS[method]
        if needs is not None and needs.module is not None:
            require(needs.module, EXTRA)  # fails now, before minutes are spent reading the runs
        return list(dict.fromkeys((PLAIN_MEAN, method))), {}
    skipped = {}
    for name, needs in METHODS.items():
        module = None if needs is None else needs.module
        if module is not None and importlib.util.find_spec(module) is None:
            skipped[name] = f"the package {module!r} is not installed: pip install -e '.[{EXTRA}]'"
    return [name for name in METHODS if name not in skipped], skipped


def fit_all(
    methods: Sequence[str], features: Features, seed: int, show: bool | None
) -> dict[str, MethodFit]:
    """Fit every method on every fold, with a progress bar that shows each score as it arrives."""
    data, fits = features.data, {}
    bar = progress(total=len(methods) * data.num_folds, desc="stack", unit="fit", show=show)
    with bar:
        for name in methods:

            def on_fold(fold: int, area: float, name: str = name) -> None:
                bar.update()
                bar.set_postfix_str(f"{name}, fold {fold}: {area:.5f}")

            fits[name] = fit = cross_fit(name, features, seed, on_fold)
            of_fold = fold_aucs(data.targets, fit.out_of_fold, data.folds)
            bar.clear()  # or the log line would be written into the bar
            LOGGER.info(
                f"{name}: {of_fold.mean():.5f} ± {of_fold.std(ddof=1):.5f} "
                f"in {format_seconds(fit.seconds)}"
            )
    return fits


def score_test_samples(
    inputs: StackInputs, fits: Mapping[str, MethodFit]
) -> dict[str, dict[str, float]]:
    """Return the test AUCs {'model': {...}, 'method': {...}}; {} if the truth is not known.

    A single model is scored by the mean over the folds of its probabilities, as in the summary and
    the submission of its own run.
    """
    data, truth, area = inputs.data, inputs.truth, AUC()
    if truth is None or len(set(truth)) < 2:
        return {}
    return {
        "model": {
            name: area(truth, blend_folds(data.test[..., i]))  # (folds, m) -> (m,)
            for i, name in enumerate(data.names)
        },
        "method": {name: area(truth, fit.test) for name, fit in fits.items()},
    }


def leave_one_out(
    stack: StackResult, method: str | None = None, show: bool | None = None
) -> pd.DataFrame:
    """Return what each model adds: the mean AUC of the stack minus that of the stack without it.

    Args:
        method: default: the chosen one, or 'ridge_rank' if the chosen one is slow to fit.

    Returns:
        One row per model, the most useful first: model, auc_without, adds, low, high (95 %).
        No rows if the stack has only one model.
    """
    import pandas as pd

    columns_of_table = ["model", "auc_without", "adds", "low", "high"]
    data, seed, resamples = stack.data, stack.settings.seed, stack.settings.resamples
    if len(data.names) < 2:
        return pd.DataFrame(columns=columns_of_table)
    method = method or (stack.method if stack.method in QUICK else "ridge_rank")
    whole = stack.fits.get(method) or cross_fit(method, stack.features, seed)
    columns = {"": whole.out_of_fold}  # the stack of all models has the empty name
    for name in progress(data.names, desc="without each model", unit="model", show=show):
        columns[name] = cross_fit(method, stack.features.without(name), seed).out_of_fold
    scored = score_columns(columns, data.targets, data.folds, resamples, seed, show)
    rows = []
    for name in data.names:
        adds = scored[""].difference_to(scored[name])
        rows.append((name, scored[name].score.mean, adds.difference, adds.low, adds.high))
    table = pd.DataFrame(rows, columns=columns_of_table)
    return table.sort_values("adds", ascending=False, ignore_index=True)
