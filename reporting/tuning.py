"""The section of the page about studies of settings: their best trials, and Optuna's plots."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.run_names import TUNING
from reporting.cells import escape
from reporting.files import is_number, text_or_none
from runtime.errors import UserError
from runtime.files import read_json_object
from tuning.figures import FIGURES
from tuning.records import STUDY_FILE

MOST_TRIALS = 10  # in a table
LARGEST_FIGURE = 4_000_000  # bytes of a picture that is put into the page
PNG = b"\x89PNG\r\n\x1a\n"  # how every PNG file begins


@dataclass(frozen=True)
class ReportedStudy:
    """What the report knows of a study.

    Attributes:
        name: of its folder.
        content: of study.json; empty where that is damaged.
        figures: PNG files by name, of `FIGURES`.
        note: what is wrong with study.json; None where nothing is.
    """

    name: str
    content: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, bytes] = field(default_factory=dict)
    note: str | None = None

    @property
    def trials(self) -> list[Mapping[str, Any]]:
        return [each for each in self.content.get("trials", ()) if isinstance(each, Mapping)]


def read_studies(results: Path) -> list[ReportedStudy]:
    """Return the studies of a results folder, or the one whose folder it is, by name."""
    folders = [results, *sorted((results / TUNING).glob("*"))]
    return [read_study(folder) for folder in folders if (folder / STUDY_FILE).is_file()]


def read_study(folder: Path) -> ReportedStudy:
    """Return what a study's folder holds; a damaged file becomes a note."""
    figures = {}
    for name in FIGURES:
        path = folder / f"{name}.png"
        if path.is_file() and path.stat().st_size <= LARGEST_FIGURE:
            content = path.read_bytes()
            if content.startswith(PNG):
                figures[name] = content
    try:
        content = read_json_object(folder / STUDY_FILE, {"trials": list, "settings": list})
    except UserError as error:
        return ReportedStudy(folder.resolve().name, {}, figures, str(error))
    return ReportedStudy(folder.resolve().name, content, figures)


def tuning_section_html(studies: Sequence[ReportedStudy]) -> str:
    """Return the section, '' where nothing was tuned."""
    if not studies:
        return ""
    parts = "".join(study_html(study) for study in studies)
    return (
        f'<section id="tuning" aria-labelledby="tuning-title">\n'
        f'<h2 id="tuning-title">Tuning</h2>\n{parts}</section>\n'
    )


def tuning_link_html(studies: Sequence[ReportedStudy]) -> str:
    """Return the section's entry of the navigation."""
    return '<a href="#tuning">Tuning</a>' if studies else ""


def study_html(study: ReportedStudy) -> str:
    if study.note is not None:
        words = f'<p class="warning">{escape(study.note)}</p>'
    else:
        words = f'<p class="lead">{sentence(study)}</p>{trials_html(study)}'
    pictures = "".join(
        f'<figure class="panel"><figcaption><h3>{escape(FIGURES[name])}</h3></figcaption>'
        f'<img class="plot" alt="{escape(FIGURES[name])}" '
        f'src="data:image/png;base64,{base64.b64encode(content).decode()}"></figure>'
        for name, content in study.figures.items()
    )
    return f"<h3>{escape(study.name)}</h3>{words}{pictures}\n"


def sentence(study: ReportedStudy) -> str:
    """Return what was tuned and how far the study is, escaped."""
    content, trials = study.content, study.trials
    states = [str(trial.get("state")) for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    space = " ".join(str(word) for word in content.get("space") or ())
    return (
        f"{escape(text_or_none(content.get('reference')) or 'an experiment')}, fold "
        f"{escape(content.get('fold'))}: {len(trials)} trials"
        + (f" ({escape(counts)})" if counts else "")
        + f" of <code>{escape(space)}</code>. Scores that were chosen among many are flattered: "
        f"compare runs over all folds."
    )


def trials_html(study: ReportedStudy) -> str:
    """Return a table of the best complete trials, '' where there is none."""
    sign = 1 if study.content.get("maximize", True) else -1
    scored = [
        trial
        for trial in study.trials
        if trial.get("state") == "complete" and is_number(trial.get("score"))
    ]
    if not scored:
        return ""
    scored.sort(key=lambda trial: -sign * trial["score"])
    metric = text_or_none(study.content.get("metric")) or "score"
    rows = "".join(
        f'<tr><th scope="row">{escape(trial.get("folder"))}</th>'
        f'<td class="score">{trial["score"]:.5f}</td><td>{escape(trial.get("epochs"))}</td>'
        f"<td><code>{escape(' '.join(map(str, trial.get('settings') or ())))}</code></td></tr>"
        for trial in scored[:MOST_TRIALS]
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Trials of '
        f'{escape(study.name)}"><table><caption>The best {min(len(scored), MOST_TRIALS)} of '
        f"{len(scored)} complete trials</caption><thead><tr>"
        f'<th scope="col">trial</th><th scope="col">{escape(metric)}</th>'
        f'<th scope="col">epochs</th><th scope="col">settings</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
