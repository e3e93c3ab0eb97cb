"""The section of the page about studies of settings: their best trials, and Optuna's plots."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from experiments.run_names import TUNING
from reporting.files import text_or_none
from reporting.templates import render
from runtime.errors import UserError
from runtime.files import is_number, read_json_object
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


def tuning_section_html(studies: Sequence[ReportedStudy]) -> Markup:
    """Return the section, '' where nothing was tuned."""
    if not studies:
        return Markup("")
    return render("tuning.html", studies=[shown_study(study) for study in studies])


def shown_study(study: ReportedStudy) -> dict[str, Any]:
    """Return what the template shows of a study."""
    content, trials = study.content, study.trials
    states = [str(trial.get("state")) for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    scored = best_trials(study)
    return {
        "name": study.name,
        "note": study.note,
        "reference": text_or_none(content.get("reference")) or "an experiment",
        "fold": content.get("fold"),
        "count": len(trials),
        "states": f" ({counts})" if counts else "",
        "space": " ".join(str(word) for word in content.get("space") or ()),
        "metric": text_or_none(content.get("metric")) or "score",
        "complete": len(scored),
        "trials": [
            {
                "folder": trial.get("folder"),
                "score": trial["score"],
                "epochs": trial.get("epochs"),
                "settings": " ".join(map(str, trial.get("settings") or ())),
            }
            for trial in scored[:MOST_TRIALS]
        ],
        "figures": [
            (FIGURES[name], base64.b64encode(picture).decode())
            for name, picture in study.figures.items()
        ],
    }


def best_trials(study: ReportedStudy) -> list[Mapping[str, Any]]:
    """Return the complete trials that have a score, the best first."""
    sign = 1 if study.content.get("maximize", True) else -1
    scored = [
        trial
        for trial in study.trials
        if trial.get("state") == "complete" and is_number(trial.get("score"))
    ]
    return sorted(scored, key=lambda trial: -sign * trial["score"])
