"""Optuna's plots of a study as PNG files, which the report shows.

They are drawn by matplotlib and not by plotly: the report is one file that loads nothing and runs
no script but its own, and plotly's would be four megabytes of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.files import atomic_path
from runtime.optional_packages import require

if TYPE_CHECKING:
    import optuna

# File name -> what it shows, in the order of the report.
FIGURES = {
    "history": "Score of every trial, and the best so far",
    "curves": "Validation score of every trial after each epoch",
    "importances": "How much of the scores' variance each setting explains",
    "slices": "Score against each setting",
    "parallel": "The settings of every trial, coloured by score",
}


def draw_study(study: optuna.Study, folder: Path) -> list[Path]:
    """Draw what the trials so far allow, and return the files.

    Args:
        study: of Optuna.
        folder: for the files, `<name>.png` of `FIGURES`.
    """
    plots = require("optuna", "tune").visualization.matplotlib
    trials = study.get_trials(deepcopy=False)
    complete = sum(trial.state.name == "COMPLETE" for trial in trials)
    settings = {name for trial in trials for name in trial.params}
    # Each plot needs something to compare.
    wanted: dict[str, Callable[[Any], Any]] = {}
    if complete:
        wanted |= {"history": plots.plot_optimization_history}
        wanted |= {"curves": plots.plot_intermediate_values, "slices": plots.plot_slice}
    if complete > 1 and len(settings) > 1:
        wanted |= {"parallel": plots.plot_parallel_coordinate}
        # A variance of nothing cannot be explained.
        if len({trial.value for trial in trials if trial.state.name == "COMPLETE"}) > 1:
            wanted |= {"importances": plots.plot_param_importances}
    return [draw(name, wanted[name], study, folder) for name in FIGURES if name in wanted]


def draw(name: str, plot: Callable[[Any], Any], study: optuna.Study, folder: Path) -> Path:
    """Draw one plot into a file and return its path."""
    import matplotlib
    from matplotlib import pyplot

    path = folder / f"{name}.png"
    # Optuna draws with pyplot, which would open a window where there is a screen. What the caller
    # had chosen is restored.
    with matplotlib.rc_context({"backend": "agg"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these plots are 'experimental', and have been for years
        axes = plot(study)
        figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
        try:
            with atomic_path(path) as temporary:
                figure.savefig(temporary, dpi=110, bbox_inches="tight", format="png")
        finally:
            pyplot.close(figure)
    return path
