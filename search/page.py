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
from string import Template
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from reporting.cells import escape
from reporting.page import ASSETS as REPORT_ASSETS
from reporting.page import content_security_policy, script_json
from runtime.console import format_seconds
from runtime.files import atomic_path
from search.background import format_rate
from search.injections import InjectionResult, list_rates
from search.plots import DRAWN, LINEAR_SCORES, MARKED, draw_time_frequency_map
from search.result import SearchResult
from search.result_files import format_summary
from search.trigger_table import side_column, trigger_cells

ASSETS = Path(__file__).parent / "assets"
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
        "\n".join(file.read_text(encoding="utf-8") for file in files) for files in (styles, scripts)
    )
    parts = {
        # Of exactly the text that follows: one character more and the browser runs nothing.
        "policy": content_security_policy(script, style),
        "style": style,
        "script": script,
        "title": escape(title),
        "summary": escape(format_summary(result)),
        "cards": cards_html(result),
        "shown": shown_note(result),
        "candidates": candidates_html(result),
        "maps": maps_html(result),
        "live": live_html(result),
        "injections": injections_html(result, injections),
        "excluded": excluded_html(result),
        "data": script_json(chart_data(result, injections)),
    }
    return Template((ASSETS / "search.html").read_text(encoding="utf-8")).substitute(parts)


# --- tables ----------------------------------------------------------------------------------


def table_html(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the head and body of a table of text."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows
    )
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"


def cards_html(result: SearchResult) -> str:
    """Return the most important numbers in large figures."""
    cards = [
        ("Searched", format_seconds(result.live_time)),
        ("Time slides", format_seconds(result.slid_seconds)),
        ("Triggers", str(len(result.triggers))),
    ]
    if len(result.triggers):
        rated = result.significance
        cards.append(("Loudest", f"{result.triggers.score[0]:.2f}"))
        cards.append(("Its false alarms", format_rate(rated.rate[0], bool(rated.is_limit[0]))))
    return "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in cards)


def shown_note(result: SearchResult) -> str:
    """Return how many of all triggers the table shows."""
    count = len(result.triggers)
    if count <= MOST_CANDIDATES:
        return f"All {count} triggers, the loudest first."
    return f"The {MOST_CANDIDATES} loudest of {count} triggers; candidates.csv has all."


def candidates_html(result: SearchResult) -> str:
    """Return the table of the loudest triggers."""
    detectors, rated = result.observation.detectors, result.significance
    removed = {event.time for event in result.background.removed}
    heads = ["", "GPS", "score", *detectors, *(f"χ² {name}" for name in detectors)]
    sides = [(side_column(name), name.replace("_", " ")) for name in result.triggers.side_names]
    heads += ["masses", *(f"predicted {words}" for _, words in sides), "detectors"]
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
    return table_html(heads, rows)


def maps_html(result: SearchResult) -> str:
    """Return a picture of the whitened strain of each detector around the loudest triggers."""
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
        text = f"Candidate {row + 1}: GPS {time:.2f}, score {score:.2f}"
        parts.append(
            f'<figure class="panel map"><figcaption><h3>{escape(text)}</h3></figcaption>'
            f'<img alt="Whitened strain of {escape(", ".join(names))} around GPS {time:.2f}" '
            f'src="data:image/png;base64,{source}"></figure>'
        )
    return "".join(parts)


def live_html(result: SearchResult) -> str:
    """Return the table of live times by combination of detectors."""
    background = result.background
    rows = []
    for name, seconds in result.live_seconds.items():
        has_slides = name in background.combinations
        live = background.live_time(name) if has_slides else 0.0
        count = len(background.scores(name)) if has_slides else 0
        rows.append([name, format_seconds(seconds), format_seconds(live), str(count)])
    table = table_html(["detectors", "searched", "time slides", "slid triggers"], rows)
    removed = [
        f"<li>GPS {event.time:.2f}, score {event.score:.2f}: {event.triggers} slid triggers and "
        f"{escape(format_seconds(event.seconds))} of time slides</li>"
        for event in background.removed
    ]
    note = "<p>No trigger counts as a signal; nothing was removed from the time slides.</p>"
    if removed:
        note = f"<p>Removed as signals:</p><ul>{''.join(removed)}</ul>"
    return f'<table id="live-table">{table}</table>{note}'


def injections_html(result: SearchResult, found: InjectionResult | None) -> str:
    """Return the table of the sensitivity, and the place of its chart."""
    if found is None:
        return "<p>Nothing was injected: see --inject of detect.py.</p>"
    rows = []
    for rate in list_rates(result.significance, result.background):
        efficiency, error = found.efficiency(rate)
        distance, distance_error = found.sensitive_distance(rate)
        radius = f"{distance:.0f} ± {distance_error:.0f}" if math.isfinite(distance) else "–"
        share = f"{100 * efficiency:.1f} ± {100 * error:.1f}"
        rows.append([f"{rate * SECONDS_PER_MONTH:.4g}", share, radius])
    heads = ["false alarms a month", "found, %", "sensitive distance, Mpc"]
    chart = '<div class="canvas" id="injections-chart"></div>'
    level = "" if not rows else f" Found is what has at most {rows[-1][0]} false alarms a month."
    return (
        f'<p>{len(found.injections)} injections.{level}</p><figure class="panel">{chart}</figure>'
        f'<table id="sensitivity-table">{table_html(heads, rows)}</table>'
    )


def excluded_html(result: SearchResult) -> str:
    """Return the table of strain that was not searched."""
    rows = [[item.detector, item.what, "", f"{item.seconds:g}"] for item in result.excluded]
    rows += [
        [gate.detector, "gate", f"{gate.start:.2f}", f"{gate.end - gate.start:.2f}"]
        for gate in result.gates[:MOST_GATES]
    ]
    if not rows:
        return "<p>Nothing was excluded or gated.</p>"
    note = ""
    if len(result.gates) > MOST_GATES:
        note = f"<p>{MOST_GATES} of {len(result.gates)} gates are shown.</p>"
    heads = ["detector", "reason", "GPS", "seconds"]
    return f'<table id="excluded-table">{table_html(heads, rows)}</table>{note}'


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
