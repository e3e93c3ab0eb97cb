"""The scores of a stack as a table, as JSON and as text for a terminal."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.console import format_seconds
from runtime.versions import git_revision, versions
from stack.blend import StackResult
from stack.scores import Comparison, ScoredColumn

if TYPE_CHECKING:
    import pandas as pd

# The files of a stack. stack.json is written last: it is there only if the others are.
FILES = ("submission.csv", "stack_ids.npy", "stack_outoffolds.npy", "stack.csv", "stack.json")


def score_frame(stack: StackResult) -> pd.DataFrame:
    """Return the scores of models and methods, one row each, the best first within its kind.

    Columns: kind, name, chosen (whether it is submitted), auc and std over the folds, error
    (bootstrap), pooled, fold0 ..., then the difference to the best single model and to the plain
    mean with their 95 % intervals (…_low, …_high), in_sample (the reference blend only), seconds,
    and test_auc if it is known.
    """
    import pandas as pd

    rows = []
    for kind, scored in (("method", stack.methods), ("model", stack.models)):
        for name, column in scored.items():
            fit = stack.fits.get(name) if kind == "method" else None
            score = column.score
            row: dict[str, Any] = {
                "kind": kind,
                "name": name,
                "chosen": column is stack.submitted,
                "auc": score.mean,
                "std": score.std,
                "error": score.error,
                "pooled": score.pooled,
                **{f"fold{k}": value for k, value in enumerate(score.folds)},
            }
            for key, other in (("vs_best", stack.best_model), ("vs_mean", stack.plain_mean)):
                comparison = column.difference_to(other)
                row |= {
                    key: comparison.difference,
                    f"{key}_low": comparison.low,
                    f"{key}_high": comparison.high,
                }
            # only the reference blend is scored on the rows of its own fit, to compare with it
            in_sample = None if fit is None or fit.in_sample is None else np.mean(fit.in_sample)
            row |= {"in_sample": in_sample, "seconds": None if fit is None else fit.seconds}
            if stack.test_aucs:
                row["test_auc"] = stack.test_aucs[kind][name]
            rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.sort_values(["kind", "auc"], ascending=[True, False], ignore_index=True)


def weight_frame(stack: StackResult, method: str | None = None) -> pd.DataFrame | None:
    """Return the weights of a method (default: the chosen one): model, mean, std, fold0 ...

    A weight is per standard deviation of the model's feature, except for `reference`, whose
    weights multiply probabilities. None for a method without weights.
    """
    import pandas as pd

    of_fold = stack.fits[method or stack.method].weights  # (folds, models)
    if of_fold is None:
        return None
    frame = pd.DataFrame(
        {"model": stack.data.names, "mean": of_fold.mean(0), "std": of_fold.std(0, ddof=1)}
    )
    for fold, values in enumerate(of_fold):
        frame[f"fold{fold}"] = values
    return frame


# --- stack.json ------------------------------------------------------------------------------


def stack_record(stack: StackResult) -> dict[str, Any]:
    """Return the content of stack.json, which `reporting/stack.py` reads."""
    data, members = stack.data, stack.inputs.members
    unfinished = members.unfinished
    record: dict[str, Any] = {
        "method": stack.method,
        "submitted": {
            "kind": "method" if stack.submitted_model is None else "model",
            "name": stack.submitted.name,
        },
        "choice": None if stack.choice is None else asdict(stack.choice),
        "best_model": stack.best_model.name,
        "models": {
            name: {
                "tta": bool(suffix),
                # None, or the run by whose predictions the test samples were labelled for training
                "test_labelled_by": members.labelled_by.get(name),
                "unfinished_folds": {str(k): v for k, v in unfinished.get(name, {}).items()},
                **score_record(stack, "model", stack.models[name]),
            }
            for name, suffix in zip(data.names, data.suffixes, strict=True)
        },
        "methods": {
            name: score_record(stack, "method", column) for name, column in stack.methods.items()
        },
        "skipped": dict(stack.skipped),
        "left_out": dict(members.left_out),
        "missing": [final.name for final in stack.inputs.missing],
        "train_csv": str(stack.inputs.train_csv),
        "test_csv": None if stack.inputs.test_csv is None else str(stack.inputs.test_csv),
        "n_train": len(data.train_ids),
        "n_test": len(data.test_ids),
        "folds": data.num_folds,
        "resamples": stack.settings.resamples,
        "seed": stack.settings.seed,
        "seconds": round(stack.seconds, 1),
        "command": sys.argv,
        "revision": git_revision(),
        "versions": versions(),
    }
    # an extra that need not be installed
    with contextlib.suppress(PackageNotFoundError):
        record["versions"]["cmaes"] = version("cmaes")
    return record


def score_record(stack: StackResult, kind: str, column: ScoredColumn) -> dict[str, Any]:
    """Return what stack.json holds of one model or method (`kind`)."""
    score = column.score
    record: dict[str, Any] = {
        "auc": score.mean,
        "std": score.std,
        "error": score.error,
        "pooled": score.pooled,
        "folds": list(score.folds),
        "vs_best": asdict(column.difference_to(stack.best_model)),
        "vs_mean": asdict(column.difference_to(stack.plain_mean)),
    }
    if stack.test_aucs:
        record["test_auc"] = stack.test_aucs[kind][column.name]
    if kind == "method":
        fit = stack.fits[column.name]
        record["seconds"] = round(fit.seconds, 2)
        if fit.in_sample is not None:
            record["in_sample"] = list(fit.in_sample)
        if fit.weights is not None:
            # (folds, models) -> {model: [weight of each fold's fit]}
            record["weights"] = dict(zip(stack.data.names, fit.weights.T.tolist(), strict=True))
    return record


# --- text for a terminal ---------------------------------------------------------------------


def format_score_table(stack: StackResult) -> str:
    """Return the scores as a table of text, with notes on how to read it."""
    header = ["", "AUC", "± folds", f"against {stack.best_model.name}", "against the plain mean"]
    if stack.test_aucs:
        header.append("test AUC")
    # Columns of text, aligned once all cells are known.
    lines = [header]
    for kind, scored in (("method", stack.methods), ("model", stack.models)):
        for column in sorted(scored.values(), key=lambda other: -other.score.mean):
            mark = "* " if column is stack.submitted else "  "
            line = [
                f"{mark}{column.name}",
                f"{column.score.mean:.5f}",
                f"{column.score.std:.5f}",
                format_comparison(column.difference_to(stack.best_model)),
                format_comparison(column.difference_to(stack.plain_mean)),
            ]
            if stack.test_aucs:
                line.append(f"{stack.test_aucs[kind][column.name]:.5f}")
            lines.append(line)
        if kind == "method":
            lines.append([""] * len(header))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    drawn = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*drawn, "", *score_table_notes(stack)])


def format_comparison(comparison: Comparison) -> str:
    """Return a difference with its 95 % interval; '-' for a column compared with itself."""
    if comparison.difference == comparison.low == comparison.high == 0:
        return "-"
    return f"{comparison.difference:+.5f} [{comparison.low:+.5f}, {comparison.high:+.5f}]"


def score_table_notes(stack: StackResult) -> list[str]:
    """Return what a reader of the table has to know, one line each."""
    lines = [
        "* submitted. All scores are on rows that neither the networks nor the blend were fitted "
        f"on, means over the folds; intervals are 95 % of {stack.settings.resamples} bootstrap "
        f"samples of the rows, paired."
    ]
    if stack.submitted_model is not None or stack.choice is None:
        lines.append(explain_submission(stack))
    lines += warn_about_members(stack)
    reference = stack.fits.get("reference")
    if reference is not None and reference.in_sample is not None:
        lines.append(
            "reference on the rows of its own fit, as such scores were published: "
            + ", ".join(f"{area:.5f}" for area in reference.in_sample)
            + f"; mean {np.mean(reference.in_sample):.5f}"
        )
    choice = stack.choice
    if choice is not None:
        lines.append(
            f"Choosing the method by these scores flatters it by {choice.optimism:.1e} at most on "
            f"average; chosen without the fold that is scored it has {np.mean(choice.nested):.5f}."
        )
    lines += [f"{name} was not tried: {reason}" for name, reason in stack.skipped.items()]
    return lines


def explain_submission(stack: StackResult) -> str:
    """Return a sentence: whether the method or the best single run is submitted, and why."""
    best = stack.best_model
    comparison = format_comparison(stack.methods[stack.method].difference_to(best))
    if comparison == "-":  # a stack of one run
        comparison = "the scores are the same"
    if stack.submitted_model is not None:
        return (
            f"Submitted is the best single run, {best.name}: {stack.method}, the best choice among "
            f"the methods, is not clearly better ({comparison})."
        )
    if stack.methods[stack.method].difference_to(best).low > 0:
        return f"Submitted is {stack.method}: it is better than {best.name} ({comparison})."
    return (
        f"Submitted is {stack.method}, as asked for, although it is not clearly better than the "
        f"best single run, {best.name} ({comparison})."
    )


def warn_about_members(stack: StackResult) -> list[str]:
    """Return one line each on pseudo-labels, unfinished folds and runs that were left out."""
    members, lines = stack.inputs.members, []
    if members.labelled_by:
        names = ", ".join(f"{name} (by {by})" for name, by in members.labelled_by.items())
        lines.append(
            f"Trained on the test samples with pseudo-labels: {names}. These networks have not "
            f"seen the held-out rows, but they have seen the test samples: the held-out scores "
            f"need not hold on the test set."
        )
    for name, folds in members.unfinished.items():
        lines.append(f"Unfinished: fold {', '.join(map(str, folds))} of {name}, as allowed.")
    lines += [f"Left out: {name}: {reason}" for name, reason in members.left_out.items()]
    return lines


def stack_paragraph(stack: StackResult, out: Path) -> str:
    """Return one paragraph: what is submitted, how good it is and where the files are."""
    data, column = stack.data, stack.submitted
    kind = "method" if stack.submitted_model is None else "model"
    what = f"{column.name} over {len(data.names)} models" if kind == "method" else column.name
    text = (
        f"{what}: out-of-fold AUC {column.score.mean:.5f} ± {column.score.std:.5f} over "
        f"{data.num_folds} folds. {explain_submission(stack)}"
    )
    if stack.test_aucs:
        best = stack.best_model.name
        text += (
            f" Test AUC {stack.test_aucs[kind][column.name]:.5f} on {len(data.test_ids)} "
            f"samples whose truth is known, {best} {stack.test_aucs['model'][best]:.5f}."
        )
    if stack.inputs.missing:
        text += f" {len(stack.inputs.missing)} of the final experiments are not in it."
    return f"{text} It took {format_seconds(stack.seconds)}. {list_stack_files(out)}"


def list_stack_files(out: Path) -> str:
    """Return a sentence that names the files of the stack which are in `out`."""
    found = [path.name for path in (out / name for name in FILES) if path.is_file()]
    return f"In {out}/: {', '.join(found)}." if found else f"There are no files in {out}/."
