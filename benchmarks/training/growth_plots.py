"""The plots of how cost grows, one picture for the front-end and one for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.result_files import Results
from runtime.files import atomic_path

LABELS = {
    "scales": "scales",
    "stride": "stride (samples)",
    "batch": "batch size",
    "workers": "readers",
}
# Of each picture: its title and its rows, a figure and what stands beside the axis.
PICTURES = {
    "cwt": (
        "Wavelet front-end of Nspec16",
        (("seconds", "time (s)"), ("megabytes", "memory on top (MB)")),
    ),
    "training": (
        "Training, from the cache to the optimiser",
        (("samples_per_second", "samples/s"), ("megabytes", "memory (MB)")),
    ),
}
Points = Sequence[dict[str, Any]]


def plot_paths(results: Results, folder: Path) -> list[Path]:
    """Return where a device's pictures go."""
    slug = results["device"]["slug"]
    return [folder / f"performance-{what}-{slug}.png" for what in PICTURES]


def draw_growth(results: Results, folder: Path) -> list[Path]:
    """Draw both pictures of a device's points; return their files."""
    points = [
        # readers are other processes, and their memory is as much in use
        point | {"megabytes": point["peak_megabytes"] + point.get("readers_megabytes", 0)}
        for point in results["benchmarks"]["growth"]["points"]
    ]
    paths = plot_paths(results, folder)
    for path, (what, (title, rows)) in zip(paths, PICTURES.items(), strict=True):
        chosen = [point for point in points if point["what"] == what]
        draw_grid(chosen, rows, f"{title}, {results['device']['name']}", path)
    return paths


def draw_grid(points: Points, rows: Sequence[tuple[str, str]], title: str, path: Path) -> None:
    """Draw a grid: one column per varied setting, one row per figure, one line per curve."""
    from matplotlib.figure import Figure

    varied = list(dict.fromkeys(point["varied"] for point in points))
    curves = list(dict.fromkeys(point["curve"] for point in points))
    figure = Figure(figsize=(3.4 * len(varied), 5.2), layout="constrained")
    axes = figure.subplots(len(rows), len(varied), squeeze=False, sharex="col", sharey="row")
    for across, setting in enumerate(varied):
        for down, (key, label) in enumerate(rows):
            axis = axes[down, across]
            for place, curve in enumerate(curves):
                chosen = [p for p in points if p["varied"] == setting and p["curve"] == curve]
                draw_curve(axis, chosen, setting, key, f"C{place}", curve)
            style_log_axes(axis, points, setting)
            if across == 0:
                axis.set_ylabel(label)
            if down == len(rows) - 1:
                axis.set_xlabel(LABELS[setting])
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, metadata={"Software": None})


def draw_curve(axis: Any, points: Points, setting: str, key: str, color: str, label: str) -> None:
    """Draw medians as a line and quartiles as a band; a curve without points is left out."""
    if not points:
        return
    points = sorted(points, key=lambda point: point[setting])
    x = [point[setting] for point in points]
    values = [point[key] for point in points]
    if isinstance(values[0], dict):
        axis.fill_between(
            x,
            [v["lower"] for v in values],
            [v["upper"] for v in values],
            color=color,
            alpha=0.2,
            linewidth=0,
        )
        values = [v["median"] for v in values]
    axis.plot(x, values, "o-", color=color, markersize=3, linewidth=1, label=label)


def style_log_axes(axis: Any, points: Points, setting: str) -> None:
    """Scale both axes logarithmically and label settings by their values."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    ticks = sorted({point[setting] for point in points if point["varied"] == setting})
    if setting == "workers":
        axis.set_xscale("symlog", base=2, linthresh=1)
    else:
        axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=8)
    axis.minorticks_off()
