"""What a stack came to: a table, a JSON, a few lines for a person."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.console import format_seconds
from runtime.versions import git_revision, versions

if TYPE_CHECKING:
    import pandas as pd

    from stack.inputs import FinalExperiment, StackData
    from stack.scores import Candidate, Comparison
    from stacking import Stack


def what_is_stacked(data: StackData, finals: Sequence[FinalExperiment]) -> str:
    """Say which runs are joined and which of the final experiments are not among them."""
    named = [
        name + (" (tta)" if suffix else "")
        for name, suffix in zip(data.names, data.suffixes, strict=True)
    ]
    missing = [f"{final.name} ({final.config})" for final in finals if final.name not in data.names]
    said = (
        f"{len(named)} models: {', '.join(named)}; {len(data.train_ids)} training and "
        f"{len(data.test_ids)} test samples, {data.num_folds} folds."
    )
    if len(missing) == len(finals):
        said += f" None of the {len(finals)} final experiments is among them."
    elif missing:
        said += (
            f" Of the {len(finals)} final experiments {len(missing)} are missing: "
            f"{', '.join(missing)}."
        )
    return said


def table(stack: Stack) -> pd.DataFrame:
    """Return the scores of models and methods, a row each, the best first within their kind.

    Columns: kind, name, chosen, auc and std over the folds, error (bootstrap), pooled, fold0 ...,
    then the difference to the best single model and to the plain mean with their 95 % intervals
    (…_low, …_high), in_sample (the reference blend only), seconds, and test_auc where known.
    """
    import pandas as pd

    rows = []
    for kind, candidates in (("method", stack.methods), ("model", stack.models)):
        for name, candidate in candidates.items():
            fit = stack.fits.get(name) if kind == "method" else None
            score = candidate.score
            row: dict[str, Any] = {
                "kind": kind,
                "name": name,
                "chosen": kind == "method" and name == stack.method,
                "auc": score.mean,
                "std": score.std,
                "error": score.error,
                "pooled": score.pooled,
                **{f"fold{k}": value for k, value in enumerate(score.folds)},
            }
            for key, other in (("vs_best", stack.best_model), ("vs_mean", stack.plain_mean)):
                against = candidate.against(other)
                row |= {
                    key: against.difference,
                    f"{key}_low": against.low,
                    f"{key}_high": against.high,
                }
            in_sample = None if fit is None or fit.in_sample is None else np.mean(fit.in_sample)
            row |= {"in_sample": in_sample, "seconds": None if fit is None else fit.seconds}
            if stack.test_areas:
                row["test_auc"] = stack.test_areas[kind][name]
            rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.sort_values(["kind", "auc"], ascending=[True, False], ignore_index=True)


def weights(stack: Stack, method: str | None = None) -> pd.DataFrame | None:
    """Return the weights of a method (default: the chosen): model, mean, std, fold0 ...

    They are per standard deviation of a model's feature, but those of `reference`, which are of
    its probabilities. None for a method without weights.
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


def plain(stack: Stack) -> dict[str, Any]:
    """Return what stack.json holds."""
    data = stack.data
    result: dict[str, Any] = {
        "method": stack.method,
        "choice": None if stack.choice is None else asdict(stack.choice),
        "best_model": stack.best_model.name,
        "models": {
            name: {"tta": bool(suffix), **describe(stack, "model", stack.models[name])}
            for name, suffix in zip(data.names, data.suffixes, strict=True)
        },
        "methods": {
            name: describe(stack, "method", candidate) for name, candidate in stack.methods.items()
        },
        "skipped": dict(stack.skipped),
        "missing": [final.name for final in stack.inputs.missing],
        "train_csv": str(stack.inputs.train_csv),
        "test_csv": None if stack.inputs.test_csv is None else str(stack.inputs.test_csv),
        "n_train": len(data.train_ids),
        "n_test": len(data.test_ids),
        "folds": data.num_folds,
        "resamples": stack.resamples,
        "seed": stack.seed,
        "seconds": round(stack.seconds, 1),
        "command": sys.argv,
        "revision": git_revision(),
        "versions": versions(),
    }
    with contextlib.suppress(PackageNotFoundError):
        result["versions"]["cmaes"] = version("cmaes")
    return result


def describe(stack: Stack, kind: str, candidate: Candidate) -> dict[str, Any]:
    score = candidate.score
    entry: dict[str, Any] = {
        "auc": score.mean,
        "std": score.std,
        "error": score.error,
        "pooled": score.pooled,
        "folds": list(score.folds),
        "vs_best": asdict(candidate.against(stack.best_model)),
        "vs_mean": asdict(candidate.against(stack.plain_mean)),
    }
    if stack.test_areas:
        entry["test_auc"] = stack.test_areas[kind][candidate.name]
    if kind == "method":
        fit = stack.fits[candidate.name]
        entry["seconds"] = round(fit.seconds, 2)
        if fit.in_sample is not None:
            entry["in_sample"] = list(fit.in_sample)
        if fit.weights is not None:
            # of each fold's fit
            entry["weights"] = dict(zip(stack.data.names, fit.weights.T.tolist(), strict=True))
    return entry


def text(stack: Stack) -> str:
    """Return the table as text for a terminal, and what is to be said of it."""
    header = ["", "AUC", "± folds", f"against {stack.best_model.name}", "against the plain mean"]
    if stack.test_areas:
        header.append("test AUC")
    lines = [header]
    for kind, candidates in (("method", stack.methods), ("model", stack.models)):
        ordered = sorted(candidates.values(), key=lambda other: -other.score.mean)
        for candidate in ordered:
            mark = "* " if kind == "method" and candidate.name == stack.method else "  "
            line = [
                f"{mark}{candidate.name}",
                f"{candidate.score.mean:.5f}",
                f"{candidate.score.std:.5f}",
                interval(candidate.against(stack.best_model)),
                interval(candidate.against(stack.plain_mean)),
            ]
            if stack.test_areas:
                line.append(f"{stack.test_areas[kind][candidate.name]:.5f}")
            lines.append(line)
        if kind == "method":
            lines.append([""] * len(header))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    drawn = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*drawn, "", *notes(stack)])


def interval(against: Comparison) -> str:
    """Return a difference with its 95 % interval; '-' for a candidate against itself."""
    if against.difference == against.low == against.high == 0:
        return "-"
    return f"{against.difference:+.5f} [{against.low:+.5f}, {against.high:+.5f}]"


def notes(stack: Stack) -> list[str]:
    """Return what a reader of the table has to know, a line each."""
    lines = [
        "* chosen. All scores are out of sample, means over the folds; intervals are 95 % of "
        f"{stack.resamples} bootstrap samples of the rows, paired."
    ]
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
    lines += [f"{name} was not tried: {why}" for name, why in stack.skipped.items()]
    return lines


def paragraph(stack: Stack, out: Path) -> str:
    """Say in one paragraph what was stacked, how good it is and where everything lies."""
    data, candidate = stack.data, stack.methods[stack.method]
    against = candidate.against(stack.best_model)
    said = (
        f"{stack.method} over {len(data.names)} models: out-of-fold AUC "
        f"{candidate.score.mean:.5f} ± {candidate.score.std:.5f} over {data.num_folds} folds, "
        f"{against.difference:+.5f} ({against.low:+.5f} to {against.high:+.5f}) against the best "
        f"of them, {stack.best_model.name}."
    )
    if stack.test_areas:
        best = stack.best_model.name
        said += (
            f" Test AUC {stack.test_areas['method'][stack.method]:.5f} on {len(data.test_ids)} "
            f"samples whose truth is known, {best} {stack.test_areas['model'][best]:.5f}."
        )
    if stack.inputs.missing:
        said += f" {len(stack.inputs.missing)} of the final experiments are not in it."
    return (
        f"{said} It took {format_seconds(stack.seconds)}; submission.csv, stack.json, stack.csv "
        f"and stack_outoffolds.npy lie in {out}/."
    )
