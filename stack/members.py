"""Which runs of a results folder are stacked, and the reading of their logits.

find_member_runs -> read_members -> inputs.join_runs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from configuration.config_class import ConfigMeta, published_stack
from configuration.config_references import load_config
from experiments.prediction_stamp import (
    are_of_the_same_networks,
    has_predictions,
    read_stamp,
    samples_digest,
)
from experiments.predictions import Predictions, read_predictions
from experiments.run_names import is_run_directory
from runtime.console import LOGGER
from runtime.errors import UserError, nearest
from runtime.files import read_json_object


@dataclass(frozen=True)
class FinalExperiment:
    """One of the experiments that the published solution stacked.

    Attributes:
        name: its run directory in results/.
        config: its class in configs.py.
        column: its position in the published stack, from 0.
        tta: whether the published stack used its logits averaged over the test-time views (TTA).
    """

    name: str
    config: str
    column: int
    tta: bool


def final_experiments() -> list[FinalExperiment]:
    """Return the experiments of the published stack in its order of columns.

    They are registered by importing configs.py, which the caller must have done: this wing lies
    below it.
    """
    # A mistake of the program, not of its user: hence no UserError.
    published = published_stack()
    if not published:
        raise RuntimeError("import configs before stacking: it registers the experiments")
    return [
        FinalExperiment(
            config.name, config.__name__, config.published["column"], config.published["tta"]
        )
        for config in published
    ]


def find_member_runs(
    results: Path, experiments: Sequence[str], finals: Sequence[FinalExperiment]
) -> list[Path]:
    """Return the run directories to stack, those of the published stack first and in its order.

    Without `experiments` they are the predicted runs of the published stack or, if there is none,
    all predicted runs.

    Args:
        experiments: names of folders or of config classes, as `folder_name` takes them.

    Raises:
        UserError: there is no such folder, class or file, or none with predictions.
    """
    if not results.is_dir():
        raise UserError(f"{results} is not a folder: train an experiment first, or name --results")
    there = sorted(folder.name for folder in results.iterdir() if is_predicted_run(folder))
    columns = {final.name: final.column for final in finals}
    if experiments:
        names = list(dict.fromkeys(folder_name(name) for name in experiments))
        for name in names:
            if not (results / name).is_dir():
                raise UserError(
                    f"--experiments {name}: there is no folder {results / name}"
                    f"{nearest(name, there)}: train it first"
                )
    else:
        names = [name for name in there if name in columns]
        others = [name for name in there if name not in columns]
        if names and others:
            LOGGER.info(
                f"left out, as they are not of the published stack: {', '.join(others)} "
                f"(--experiments names any runs)"
            )
        names = names or others
        if not names:
            raise UserError(
                f"{results} holds no run with outoffolds.npy and predictions.npy: train an "
                f"experiment first, or name another folder with --results"
            )
    names.sort(key=lambda name: (columns.get(name, len(columns)), name))
    return [results / name for name in names]


def is_predicted_run(folder: Path) -> bool:
    """Whether a folder is a run directory with logits, with or without test-time views."""
    return is_run_directory(folder) and any(has_predictions(folder, end) for end in ("", "_tta"))


def find_unpredicted_runs(
    results: Path, members: Sequence[Path], finals: Sequence[FinalExperiment]
) -> dict[str, str]:
    """Return {name: reason} of the runs that would be stacked if they had predictions.

    Args:
        results: the folder of all results.
        members: the runs that are stacked. If one of them is of the published stack, only runs of
            the published stack are missed.
        finals: the experiments of the published stack.
    """
    published = {final.name for final in finals}
    only_published = any(folder.name in published for folder in members)
    found = {}
    for folder in sorted(results.iterdir()):
        if only_published and folder.name not in published:
            continue
        if is_run_directory(folder) and not is_predicted_run(folder):
            found[folder.name] = (
                "it has no outoffolds.npy and predictions.npy yet: train it to its end with "
                "--resume, which predicts too, or predict with --inference"
            )
    return found


def folder_name(experiment: str) -> str:
    """Return the folder of the run of an experiment; any other name is a folder already.

    Args:
        experiment: a config class, of a file (mine.py:MyTry) or a package as well, the config.json
            of a run, or a folder.

    Raises:
        UserError: there is no such file, package or class.
    """
    # Of what `load_config` takes, only places of classes have a colon or these endings.
    if ":" in experiment or experiment.endswith((".py", ".json")):
        return load_config(experiment).name
    config = ConfigMeta.registry.get(experiment)
    return experiment if config is None else config.name


@dataclass(frozen=True)
class Members:
    """The runs that are stacked.

    Attributes:
        runs: their logits.
        left_out: the runs that were found but cannot be stacked, each with the reason.
        labelled_by: for each member whose networks were trained on the test samples with
            pseudo-labels, the run that gave the labels.
    """

    runs: tuple[Predictions, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    labelled_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def unfinished(self) -> dict[str, dict[int, str]]:
        """The members with folds whose training had not ended, with the reason for each fold."""
        return {run.name: dict(run.unfinished) for run in self.runs if run.unfinished}


def read_members(
    folders: Sequence[Path],
    named: bool,
    tta: bool = True,
    allow_unfinished: bool = False,
    unpredicted: Mapping[str, str] | None = None,
) -> Members:
    """Read the runs; of each the logits averaged over the test-time views, if it has them.

    Args:
        named: whether the user named these runs. A run that was not named and cannot be stacked is
            left out with a warning; a named one is an error.
        tta: False reads the logits without test-time views of all runs.
        allow_unfinished: accept folds whose training had not ended.
        unpredicted: {name: reason} of further runs that are left out with a warning.

    Raises:
        UserError: a named run, or every run, cannot be stacked.
    """
    runs: list[Predictions] = []
    left_out: dict[str, str] = dict(unpredicted or {})
    for folder in folders:
        try:
            runs.append(read_member(folder, tta, allow_unfinished))
        except UserError as error:
            # Whoever named a run wants it in the stack, and would not notice that it is missing.
            if named:
                raise
            left_out[folder.name] = str(error)
    if not named:
        kept = largest_group(runs)
        reason = "it has other samples or folds than the runs that are stacked"
        names = {run.name for run in kept}
        left_out |= {run.name: reason for run in runs if run.name not in names}
        runs = kept
    if not runs:
        raise UserError(
            "; ".join(left_out.values()) + ": no run is left to stack" if left_out else "no runs"
        )
    for name, reason in left_out.items():
        LOGGER.warning(f"left out of the stack: {name}: {reason}")
    labelled_by = {run.name: label_source(run.folder) for run in runs}
    members = Members(
        tuple(runs), left_out, {name: source for name, source in labelled_by.items() if source}
    )
    for name, folds in members.unfinished.items():
        listed = ", ".join(map(str, folds))
        LOGGER.warning(f"{name}: fold {listed} is not finished and stacked all the same")
    return members


def read_member(folder: Path, tta: bool, allow_unfinished: bool) -> Predictions:
    """Read one run; see `read_members`.

    Raises:
        UserError: an array is missing or damaged, a fold is missing or unfinished.
    """
    suffix = "_tta" if tta and has_predictions(folder, "_tta") else ""
    if suffix and has_predictions(folder) and not have_same_networks(folder):
        raise UserError(
            f"{folder}: predictions_tta.npy is not known to be of the same networks, settings and "
            f"samples as predictions.npy: predict with --inference --overwrite, which moves both "
            f"aside, and again with --inference --tta, or stack with --no_tta"
        )
    run = read_predictions(folder, suffix)
    run.check_complete(
        "finish its folds with --resume, or leave it out with --experiments", allow_unfinished
    )
    if not run.validated.all():
        raise UserError(
            f"{folder} validated {int(run.validated.sum())} of its {len(run.validated)} training "
            f"samples, and a stack is fitted on out-of-fold logits of all: leave it out with "
            f"--experiments, or train it with cv=5 and splitter=StratifiedKFold"
        )
    return run


def have_same_networks(folder: Path) -> bool:
    """Whether the logits with and without test-time views are of the same networks and samples.

    Digests of weights, samples and settings decide. How a path was written, which views were used
    and where a cache lies do not.
    """
    stamps = [read_stamp(folder), read_stamp(folder, "_tta")]
    # Bare arrays of another origin have neither file. One of the two alone was lost.
    return not any(stamps) or (all(stamps) and are_of_the_same_networks(*stamps))


def largest_group(runs: Sequence[Predictions]) -> list[Predictions]:
    """Return the runs that share their samples and folds with the most others.

    Of two groups of equal size it is the one with the first run.
    """
    groups: dict[str, list[Predictions]] = {}
    for run in runs:
        groups.setdefault(samples_and_folds(run), []).append(run)
    return max(groups.values(), key=len, default=[])  # max returns the first of equals


def samples_and_folds(run: Predictions) -> str:
    """Return a digest of a run's samples and folds that does not depend on their order."""
    train, test = np.argsort(run.train_ids), np.argsort(run.test_ids)
    ids = samples_digest(run.train_ids[train], run.test_ids[test], run.folds[train])
    return f"{ids} {len(run.logits)}"


def unfinished_labels(folder: Path) -> str:
    """Return a remark on the folds that gave labels before their training had ended; else ''."""
    path = folder / "pseudo_labels.json"
    folds = read_json_object(path).get("unfinished_folds") if path.exists() else None
    return f", whose fold {', '.join(folds)} was not finished" if isinstance(folds, dict) else ""


def label_source(folder: Path) -> str | None:
    """Return the run whose predictions labelled the test samples that this run was trained on.

    A run that begins with the weights of such a run has learnt from those labels as well, so
    `weight_path` is followed.

    Returns:
        The name of the run that gave the labels, with a remark if it was unfinished; None if the
        run saw no test sample.
    """
    stamps = [read_stamp(folder, suffix) for suffix in ("", "_tta")]
    labelled = any(
        entry.get("pseudo_labelled_test_samples")
        for stamp in stamps
        for entry in stamp.get("folds", {}).values()
    ) or any(
        read_json_object(path, {"trained_from": dict}).get("trained_from", {}).get("pseudo_labels")
        for path in sorted(folder.glob("fold*.json"))
    )
    seen = set()
    while folder not in seen and (folder / "config.json").exists():
        seen.add(folder)
        config = read_json_object(folder / "config.json")
        labels = config.get("pseudo_labels")
        if labels:
            source = str(labels.get("source")) if isinstance(labels, dict) else "another run"
            return source + unfinished_labels(folder)
        weights = config.get("weight_path")
        if not isinstance(weights, str) or not weights:
            break
        # `weight_path` is a file or a run directory, or else the name of a run beside this one.
        path = Path(weights)
        path = path if path.exists() else folder.parent / weights
        folder = path.parent if path.is_file() else path
    # Weights of a run whose config is not there, as with --weights
    return "another run" if labelled else None
