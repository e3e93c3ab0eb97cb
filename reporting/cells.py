"""The columns of the report's table of experiments, and the HTML of each cell.

Their pieces are macros of assets/templates/cells.html, which escape what comes from a run, so that
names and settings stay text whatever they contain.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from reporting.curves import MeasuredScores
from reporting.files import int_or_none
from reporting.reported_run import ReportedRun, ScoreSet
from reporting.templates import macro, minus
from runtime.console import format_seconds

DASH = macro("dash")


@dataclass(frozen=True)
class TableCell:
    """The HTML of a cell, and the value that its column is sorted by; None sorts last."""

    content: Markup
    value: float | str | None


@dataclass(frozen=True)
class TableColumn:
    """A column of the table.

    Attributes:
        key: its name in the page.
        title, group: its header, and the header above it and its neighbours.
        tip: one line that says what it holds.
        cell: returns the cell of a run.
        kind: 'score', 'number' or 'text'; the first click sorts scores and numbers downwards.
    """

    key: str
    title: str
    group: str
    tip: str
    cell: Callable[[ReportedRun], TableCell]
    kind: str = "text"


def score_html(auc: float, error: float | None = None, mark: str = "", tip: str = "") -> Markup:
    """Write a score with its error below it and, if given, a mark with a tooltip."""
    return macro("score", auc, error, mark, tip)


def sample_cell(kind: str, variant: str) -> Callable[[ReportedRun], TableCell]:
    def cell(run: ReportedRun) -> TableCell:
        scores = run.variants.get(variant)
        sample: MeasuredScores | None = getattr(scores, kind) if scores else None
        # No figure is shown as a dash, never as 0, which could be read as a score.
        if sample is None:
            return TableCell(DASH, None)
        mark = "stored" if sample.stored else ""
        tip = "from summary.json; it could not be computed again" if mark else ""
        content = score_html(sample.auc, sample.error, mark, tip) + guessing_html(sample)
        content += seeds_html(scores, kind)
        return TableCell(content, sample.auc)

    return cell


def guessing_html(sample: MeasuredScores) -> Markup:
    """Return the mark of a score that is no better than guessing; '' of a better one."""
    if not sample.is_guessing:
        return Markup("")
    tip = (
        f"no better than guessing: not above 0.5 by two standard deviations of random scores "
        f"({sample.above_guessing:.4f})"
    )
    return macro("small", "guessing", tip, "mark")


def seeds_html(scores: ScoreSet, kind: str) -> Markup:
    """Return the mean and the spread of the scores of single seeds; '' for a run without seeds."""
    of_seeds = scores.of_seeds.get(kind)
    if not of_seeds:
        return Markup("")
    mean, deviation = statistics.fmean(of_seeds), ""
    if len(of_seeds) > 1:
        deviation = f" ± {statistics.stdev(of_seeds):.4f}"
    tip = "the score is of the mean over seeds; this is the mean of their scores, ± their deviation"
    count = f"{len(of_seeds)} seed{'s' * (len(of_seeds) > 1)}"
    return macro("small", f"{count} {mean:.4f}{deviation}", tip)


def cv_cell(run: ReportedRun) -> TableCell:
    best = run.best
    if best.mean is None:
        return TableCell(DASH, None)
    mark = tip = ""
    if best.validated:
        mark, tip = "validation", "the best validation scores of the training: there are no logits"
    elif "plain" not in run.variants:
        mark, tip = "TTA", "there are only predictions with test-time views"
    return TableCell(score_html(best.mean, best.deviation, mark, tip), best.mean)


def published_cell(key: str) -> Callable[[ReportedRun], TableCell]:
    def cell(run: ReportedRun) -> TableCell:
        value = run.published.get(key)
        if value is None:
            return TableCell(DASH, None)
        content = macro("bold", f"{value:.4f}")
        mean = run.best.mean
        # A run with other settings is another experiment: no difference to the published score.
        if run.changed_settings:
            changed = "run with --set " + " ".join(run.changed_settings)
            content += macro("small", "other settings", changed, "mark")
        elif key == "cv" and mean is not None and not run.best.validated:
            difference = minus(f"{mean - value:+.4f}")
            content += macro("small", difference, "this run minus the published score")
        return TableCell(content, value)

    return cell


def text_cell(get: Callable[[ReportedRun], str | None]) -> Callable[[ReportedRun], TableCell]:
    def cell(run: ReportedRun) -> TableCell:
        text = get(run)
        return TableCell(macro("words", text) if text else DASH, text)

    return cell


def backbone_cell(run: ReportedRun) -> TableCell:
    """The architecture; the tag after the dot names the pretrained weights it started from."""
    if run.backbone is None:
        return TableCell(DASH, None)
    name, _, tag = run.backbone.partition(".")
    small = macro("small", tag) if tag else Markup("")
    return TableCell(macro("words", name) + small, run.backbone)


def epochs_cell(run: ReportedRun) -> TableCell:
    done, planned = run.epochs, int_or_none(run.config.get("num_epochs"))
    if not done:
        return TableCell(DASH if planned is None else macro("small", f"{planned} planned"), None)
    text = Markup(done[0] if len(set(done)) == 1 else f"{min(done)}–{max(done)}")
    # fewer where the training stopped early or has not ended
    if planned is not None and set(done) != {planned}:
        text += macro("small", f"of {planned}")
    return TableCell(text, sum(done) / len(done))  # folds may have stopped at different epochs


def time_cell(run: ReportedRun) -> TableCell:
    text = DASH if run.seconds is None else escape(format_seconds(run.seconds))
    return TableCell(text, run.seconds)


def samples_cell(run: ReportedRun) -> TableCell:
    if run.samples is None or run.n_train is None:
        return TableCell(DASH, None)
    number = f"{run.n_train:,}".replace(",", "\u202f")  # a narrow space that does not break
    return TableCell(macro("bold", run.samples) + macro("small", number), run.samples)


def revision_cell(run: ReportedRun) -> TableCell:
    revision = run.last_start.get("git_revision")
    if not isinstance(revision, str) or not revision:
        return TableCell(DASH, None)
    short = revision[:8] + ("+" if revision.endswith("+") else "")
    tip = revision + (" (with uncommitted changes)" if revision.endswith("+") else "")
    return TableCell(macro("code", short, tip), revision)


def versions_cell(run: ReportedRun) -> TableCell:
    versions = run.last_start.get("versions")
    if not isinstance(versions, dict) or not versions:
        return TableCell(DASH, None)
    shown = [f"{name} {versions[name]}" for name in ("torch", "timm") if name in versions]
    every = ", ".join(f"{name} {version}" for name, version in versions.items())
    return TableCell(macro("lines", shown or ["…"], every), " ".join(shown))


def device_text(run: ReportedRun) -> str | None:
    device, processes = run.last_start.get("device"), run.last_start.get("processes")
    if not isinstance(device, str):
        return None
    return f"{processes} × {device}" if isinstance(processes, int) and processes > 1 else device


def started_text(run: ReportedRun) -> str | None:
    started = run.last_start.get("started")
    return started[:16].replace("T", " ") if isinstance(started, str) else None


def folds_cell(runs: Sequence[ReportedRun]) -> Callable[[ReportedRun], TableCell]:
    """Return a function that draws the folds' scores of a run, on one axis for all runs."""
    # One axis for the whole table, so that the plots of different rows can be compared.
    every = sorted(score for run in runs for score in run.best.folds.values())
    # far outliers, such as a fold that failed, are cut by `axis_ends`
    low, high = axis_ends(every)

    def cell(run: ReportedRun) -> TableCell:
        best = run.best
        if not best.folds:
            return TableCell(DASH, None)
        done = "" if run.complete or best.validated else " (not all folds)"
        words = ", ".join(f"fold {fold} {score:.4f}" for fold, score in best.folds.items())
        few = run.cv is not None and len(best.folds) < run.cv
        number = f"{len(best.folds)} of {run.cv}" if few else str(len(best.folds))
        plot = strip_plot_svg(list(best.folds.values()), best.mean, low, high, words + done)
        return TableCell(plot + macro("small", number), len(best.folds))

    return cell


def axis_ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis for sorted values.

    Scores far below the rest are drawn at its left end, or they would squeeze all others together.
    """
    if not values:
        return 0.0, 1.0
    # Four times the distance from the median to the best score, and 0.02 at least.
    high, middle = values[-1], values[len(values) // 2]  # largest and median
    low = max(values[0], high - 4 * max(high - middle, 0.005))
    # equal scores need an axis of some length as well
    return (low, high) if high > low else (low - 0.01, high + 0.01)


def strip_plot_svg(
    dots: Iterable[float],
    mean: float | None,
    low: float,
    high: float,
    title: str,
    interval: tuple[float, float] | None = None,
) -> Markup:
    """Draw scores as dots on a line 110 units long, and their mean as a stroke across it."""

    def place(value: float) -> float:
        # From 6 to 104 of 110 units, so that dots at the ends are not cut.
        return round(6 + 98 * (min(max(value, low), high) - low) / (high - low), 1)

    span = None if interval is None else [place(end) for end in interval]
    drawn = [place(value) for value in dots]
    return macro("strip", title, drawn, None if mean is None else place(mean), span)


def table_columns(runs: Sequence[ReportedRun]) -> list[TableColumn]:
    """Return all columns but the first two (the check box and the name)."""
    return [
        TableColumn(
            "cv",
            "mean",
            "Cross-validation",
            "mean of the folds' AUCs, ± their standard deviation",
            cv_cell,
            "score",
        ),
        TableColumn(
            "folds",
            "folds",
            "Cross-validation",
            "each fold's AUC, all experiments on one axis",
            folds_cell(runs),
            "number",
        ),
        TableColumn(
            "oof",
            "AUC",
            "Out of fold",
            "all validation rows together, ± standard error",
            sample_cell("oof", "plain"),
            "score",
        ),
        TableColumn(
            "oof_tta",
            "with TTA",
            "Out of fold",
            "the same, averaged over the test-time views",
            sample_cell("oof", "tta"),
            "score",
        ),
        TableColumn(
            "test",
            "AUC",
            "Test",
            "mean of the folds' networks, where the truth is known, ± standard error",
            sample_cell("test", "plain"),
            "score",
        ),
        TableColumn(
            "test_tta",
            "with TTA",
            "Test",
            "the same, averaged over the test-time views",
            sample_cell("test", "tta"),
            "score",
        ),
        TableColumn(
            "published_cv",
            "CV",
            "Published",
            "the cross-validated AUC published of this experiment, and this run's difference",
            published_cell("cv"),
            "number",
        ),
        TableColumn(
            "private",
            "private LB",
            "Published",
            "the AUC published for the private leaderboard",
            published_cell("private"),
            "number",
        ),
        TableColumn(
            "front_end",
            "front-end",
            "Model",
            "makes the image of the strain",
            text_cell(lambda run: run.front_end),
        ),
        TableColumn(
            "backbone",
            "backbone",
            "Model",
            "the network behind it, and its first weights",
            backbone_cell,
        ),
        TableColumn(
            "samples",
            "samples",
            "Training",
            "a letter for each set of training samples: only scores of one set compare",
            samples_cell,
        ),
        TableColumn(
            "epochs",
            "epochs",
            "Training",
            "trained, of those planned where fewer",
            epochs_cell,
            "number",
        ),
        TableColumn(
            "time", "time", "Training", "training and validation of all folds", time_cell, "number"
        ),
        TableColumn("device", "device", "Training", "of the last start", text_cell(device_text)),
        TableColumn("started", "started", "Provenance", "the last start", text_cell(started_text)),
        TableColumn(
            "revision",
            "revision",
            "Provenance",
            "git revision, + with uncommitted changes",
            revision_cell,
        ),
        TableColumn(
            "versions",
            "versions",
            "Provenance",
            "of the last start; all in the details",
            versions_cell,
        ),
    ]
