"""The page of a search as one HTML file that needs no other file and no network.

Tables and maps are in the HTML; the charts of reporting/assets and search/assets draw the rest from
the JSON in the page. The content security policy admits only the page's own script and style.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from reporting.page import content_security_policy, script_json
from reporting.templates import ASSETS as REPORT_ASSETS
from reporting.templates import render
from runtime.console import format_seconds
from runtime.files import atomic_path
from search.background import format_rate
from search.injections import InjectionResult, list_rates
from search.plots import DRAWN, LINEAR_SCORES, MARKED, draw_time_frequency_map
from search.result import SearchResult
from search.result_files import format_summary
from search.sensitivity_files import side_cells
from search.trigger_table import format_side, side_column, trigger_cells

ASSETS = Path(__file__).parent / "assets"
Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # heads and rows of text
MOST_CANDIDATES = 200  # in the table; candidates.csv has all
MOST_POINTS = 400  # of a curve
MOST_GATES = 200
SECONDS_PER_MONTH = 365.25 * 86_400 / 12


def write_page(
    path: Path, result: SearchResult, title: str, injections: InjectionResult | None
) -> None:
    """Write the page of a search, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(search_page_html(result, title, injections), encoding="utf-8")


def search_page_html(result: SearchResult, title: str, injections: InjectionResult | None) -> str:
    """Return the whole page."""
    styles = (REPORT_ASSETS / "style.css", ASSETS / "search.css")
    scripts = (REPORT_ASSETS / "charts.js", ASSETS / "search.js")
    style, script = (
        Markup("\n".join(file.read_text(encoding="utf-8") for file in files))
        for files in (styles, scripts)
    )
    return render(
        "search.html",
        [ASSETS],
        # Of exactly the text that follows: one character more and the browser runs nothing.
        policy=content_security_policy(script, style),
        style=style,
        script=script,
        title=title,
        summary=format_summary(result),
        cards=list_cards(result),
        shown=shown_note(result),
        candidates=candidate_table(result),
        maps=list_maps(result),
        live=live_table(result),
        removed=list_removed(result),
        injections=shown_injections(result, injections),
        excluded=shown_excluded(result),
        data=script_json(chart_data(result, injections)),
    )


# --- tables ----------------------------------------------------------------------------------


def list_cards(result: SearchResult) -> list[tuple[str, str]]:
    """Return the most important numbers, for large figures, with their names."""
    cards = [
        ("Searched", format_seconds(result.live_time)),
        ("Time slides", format_seconds(result.all_slid_seconds)),
        ("Triggers", str(len(result.triggers))),
    ]
    if len(result.triggers):
        rated = result.significance
        cards.append(("Loudest", f"{result.triggers.score[0]:.2f}"))
        cards.append(("Its false alarms", format_rate(rated.rate[0], bool(rated.is_limit[0]))))
    return cards


def shown_note(result: SearchResult) -> str:
    """Return how many of all triggers the table shows."""
    count = len(result.triggers)
    if count <= MOST_CANDIDATES:
        return f"All {count} triggers, the loudest first."
    return f"The {MOST_CANDIDATES} loudest of {count} triggers; candidates.csv has all."


def candidate_table(result: SearchResult) -> Table:
    """Return the table of the loudest triggers."""
    detectors, rated = result.observation.detectors, result.significance
    removed = {event.time for event in result.background.removed}
    heads = ["", "GPS", "score", *detectors, *(f"χ² {name}" for name in detectors)]
    sides = [(side_column(name), name.replace("_", " ")) for name in result.triggers.side_names]
    heads += [
        "masses, M☉, detector frame",
        *(f"predicted {words}" for _, words in sides),
        "detectors",
    ]
    heads += ["false-alarm rate", "IFAR, years", "p-value", "sigma", ""]
    rows = []
    for row in range(min(len(result.triggers), MOST_CANDIDATES)):
        cells = trigger_cells(result.triggers, row)
        masses = f"{cells['mass1']} + {cells['mass2']}" if cells["mass1"] else "–"
        rate, limit = float(rated.rate[row]), bool(rated.is_limit[row])
        known = math.isfinite(rate)
        over, under = (("> ", "< ") if limit else ("", "")) if known else ("", "")
        rows.append(
            [
                str(row + 1),
                cells["gps"],
                cells["score"],
                *(cells[f"score_{name}"] or "–" for name in detectors),
                *(cells[f"chi_squared_{name}"] or "–" for name in detectors),
                masses,
                *(cells[column] or "–" for column, _ in sides),
                cells["combination"],
                format_rate(rate, limit),
                f"{over}{rated.ifar_years[row]:.3g}" if known else "–",
                f"{under}{rated.p_value[row]:.3g}" if known else "–",
                f"{over}{rated.sigma[row]:.2f}" if known else "–",
                "signal" if float(result.triggers.time[row]) in removed else "",
            ]
        )
    return heads, rows


def list_maps(result: SearchResult) -> list[dict[str, str]]:
    """Return maps of the whitened strain around the loudest triggers.

    Returns:
        Of each trigger its `title`, the picture as `source` in base64, and it in words as `alt`.
    """
    parts = []
    for row, whitened in sorted(result.whitened.items()):
        names = list(whitened.strain)
        figure = Figure(figsize=(4.2 * len(names), 2.8), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(names)))
        time, score = float(result.triggers.time[row]), float(result.triggers.score[row])
        for axis, name in zip(axes, names, strict=True):
            draw_time_frequency_map(axis, whitened, name, time, result.observation)
            axis.set_title(name, fontsize=10)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=90)
        source = base64.b64encode(picture.getvalue()).decode()
        parts.append(
            {
                "title": f"Candidate {row + 1}: GPS {time:.2f}, score {score:.2f}",
                "alt": f"Whitened strain of {', '.join(names)} around GPS {time:.2f}",
                "source": source,
            }
        )
    return parts


def live_table(result: SearchResult) -> Table:
    """Return the table of live times by combination of detectors."""
    background = result.background
    rows = []
    for name, seconds in result.live_seconds.items():
        has_slides = name in background.combinations
        slid = background.live.seconds[background.live.combination == name].sum()
        live = background.live_time(name) if has_slides else 0.0
        count = len(background.scores(name)) if has_slides else 0
        times = [format_seconds(one) for one in (seconds, float(slid), live)]
        rows.append([name, *times, str(count)])
    remaining = "slid triggers that remain"
    return ["detectors", "searched", "time slides", "after signals are removed", remaining], rows


def list_removed(result: SearchResult) -> list[str]:
    """Return what was removed from the background as a signal, in words."""
    return [
        f"GPS {event.time:.2f}, score {event.score:.2f}: {event.triggers} slid triggers and "
        f"{format_seconds(event.seconds)} of time slides"
        for event in result.background.removed
    ]


def shown_injections(result: SearchResult, found: InjectionResult | None) -> dict[str, Any] | None:
    """Return the table of the sensitivity and a note on it; None where nothing was injected."""
    if found is None:
        return None
    rows = []
    for rate in list_rates(result.significance, result.background):
        efficiency, error = found.efficiency(rate)
        distance, distance_error = found.sensitive_distance(rate)
        radius = f"{distance:.0f} ± {distance_error:.0f}" if math.isfinite(distance) else "–"
        share = f"{100 * efficiency:.1f} ± {100 * error:.1f}"
        rows.append([f"{rate * SECONDS_PER_MONTH:.4g}", share, radius])
    heads = ["false alarms a month", "found, %", "sensitive distance, Mpc"]
    level = "" if not rows else f" Found is what has at most {rows[-1][0]} false alarms a month."
    return {
        "note": f"{len(found.injections)} injections.{level}",
        "table": (heads, rows),
        "predicted": shown_predictions(found),
    }


def shown_predictions(found: InjectionResult) -> dict[str, Any] | None:
    """Return the table of what networks predict of the loudest injections beside what was injected.

    None where they predict no side targets or no injection has a trigger. The note has the median
    difference of each.
    """
    rows = np.flatnonzero(np.isfinite(found.score))
    if not found.side_names or not len(rows):
        return None
    words = [name.replace("_", " ") for name in found.side_names]
    differences = np.abs(found.predicted[rows] - found.injected[rows])
    notes = []
    for name, column in zip(words, differences.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known):
            notes.append(f"{name} {format_side(float(np.median(known)))}")
    note = f"{len(rows)} of {len(found.injections)} injections have a trigger."
    if notes:
        note += f" Median distance of what is predicted from what was injected: {', '.join(notes)}."
    rows = rows[np.argsort(-found.score[rows], kind="stable")][:MOST_CANDIDATES]
    table = [
        [
            f"{found.injections.time[row]:.4f}",
            f"{found.injections.snr[row]:.2f}",
            f"{found.score[row]:.2f}",
            *(cell or "–" for cell in side_cells(found, int(row))),
        ]
        for row in rows
    ]
    heads = ["GPS", "SNR", "score"]
    heads += [head for name in words for head in (f"injected {name}", f"predicted {name}")]
    return {"note": note, "table": (heads, table)}


def shown_excluded(result: SearchResult) -> dict[str, Any] | None:
    """Return the table of strain that was not searched; None where all was."""
    rows = [[item.detector, item.what, "", f"{item.seconds:g}"] for item in result.excluded]
    rows += [
        [gap.detector, "gap", f"{gap.start:.2f}", f"{gap.end - gap.start:.2f}"]
        for gap in result.missing[:MOST_GATES]
    ]
    rows += [
        [gate.detector, "gate", f"{gate.start:.2f}", f"{gate.end - gate.start:.2f}"]
        for gate in result.gates[:MOST_GATES]
    ]
    if not rows:
        return None
    note = " ".join(
        f"{MOST_GATES} of {len(found)} {kind} are shown."
        for kind, found in (("gaps", result.missing), ("gates", result.gates))
        if len(found) > MOST_GATES
    )
    heads = ["detector", "reason", "GPS", "seconds"]
    return {"table": (heads, rows), "note": note}


# --- charts ----------------------------------------------------------------------------------


def chart_data(result: SearchResult, injections: InjectionResult | None) -> dict[str, Any]:
    """Return what the charts are drawn from, in JSON types."""
    triggers = result.triggers.take(np.arange(min(len(result.triggers), DRAWN)))
    background = result.background
    curves = []
    for name in background.combinations:
        share = result.live_seconds.get(name, 0.0) / background.live_time(name)
        scores = background.scores(name)
        curves.append(thinned_curve(f"background of {name}", scores, share))
    data = {
        "start": result.start,
        "seconds": result.end - result.start,
        "linear_scores": LINEAR_SCORES,
        "marked": min(MARKED, len(triggers)),
        "triggers": {
            "time": np.round(triggers.time - result.start, 4).tolist(),
            "score": np.round(triggers.score, 4).tolist(),
            "combination": triggers.combination.tolist(),
        },
        "background": curves,
        "found": thinned_curve("found", np.sort(result.triggers.score), 1.0),
        "injections": None,
    }
    if injections is not None:
        rates = list_rates(result.significance, background)
        found = injections.is_found(rates[-1]) if rates else np.isfinite(injections.score)
        data["injections"] = {
            "snr": np.round(injections.injections.snr, 3).tolist(),
            "distance": np.round(injections.injections.chirp_distance, 2).tolist(),
            "found": found.tolist(),
        }
    return data


def thinned_curve(name: str, scores: np.ndarray, scale: float) -> dict[str, Any]:
    """Return how many scores are at least as loud, at some of them, the loudest ones all.

    Args:
        name: of the curve.
        scores: (n,) ascending.
        scale: by which counts are multiplied.
    """
    counts = np.arange(len(scores), 0, -1)
    # evenly in the logarithm of the count, as the chart shows it
    wanted = np.geomspace(1, max(len(scores), 1), MOST_POINTS).round().astype(int)
    rows = np.unique(len(scores) - wanted) if len(scores) else np.empty(0, int)
    return {
        "name": name,
        "score": np.round(scores[rows], 4).tolist(),
        "count": (counts[rows] * scale).tolist() if scale > 0 else [0.5] * len(rows),
    }
