"""A training that draws its learning curves as it goes, for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from configuration.config_class import ConfigMeta
from experiments.experiment import Experiment
from experiments.fold_record import read_fold
from experiments.run_options import RunOptions
from look.pictures import new_figure
from runtime.optional_packages import require
from runtime.torch_settings import torch_settings_restored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from training.fit_state import TrainerState

LN2 = float(np.log(2))  # the loss of one who guesses, with as many signals as noise


class LiveCurves:
    """Shows the learning curves of a fold anew after each epoch, in the place of the old ones.

    Args:
        title: of the picture.
        show: called with each figure; None shows it below the cell of the notebook.

    Raises:
        UserError: without `show`, and IPython is not installed.
    """

    def __init__(self, title: str, show: Callable[[Figure], None] | None = None) -> None:
        self.title = title
        self.show = show or self.show_in_notebook
        self.handle: Any = None
        self.epochs = 0  # that were drawn
        if show is None:
            require("IPython", "notebook")

    def __call__(self, state: TrainerState) -> None:
        """Draw the epochs so far; the fold goes on."""
        self.epochs += 1
        self.show(draw_history(state.history, self.title))

    def show_in_notebook(self, figure: Figure) -> None:
        from IPython.display import display

        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)


def draw_history(history: Sequence[Mapping[str, float]], title: str) -> Figure:
    """Draw loss and score by epoch, training dotted, with the lines of one who guesses.

    Args:
        history: a row for each epoch, as in `fold<k>.json`.
        title: of the picture.
    """
    figure = new_figure(10, 3.6, title)
    panels = (("loss", LN2, "loss"), ("metric", 0.5, "score (AUC)"))
    epochs = [row["epoch"] for row in history]
    for axis, (key, chance, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for part, style in (("train", "o:"), ("valid", "o-")):
            values = [row.get(f"{part}_{key}", np.nan) for row in history]
            axis.plot(epochs, values, style, ms=4, label=part)
        axis.axhline(chance, color="0.5", ls="--", lw=1, label="guessing")
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure


def train_live(
    config: ConfigMeta, results: Path, show: Callable[[Figure], None] | None = None
) -> Path:
    """Train the folds of an experiment with live curves, predict, and return the run directory.

    A run that is there is continued, and a finished one is kept; its curves are shown all the same.

    Args:
        config: of the experiment.
        results: the folder of all results.
        show: as in `LiveCurves`.

    Raises:
        UserError: as in `Experiment`.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    curves = LiveCurves(f"{config.__name__} ({config.name})", show)
    options = RunOptions(results=Path(results), resume=True)
    with torch_settings_restored():
        experiment = Experiment(config, options, device, watch=curves)
        with experiment.lock():
            experiment.fit()
            experiment.predict()
    if not curves.epochs:  # a finished run is kept as it is
        for fold in experiment.fold_numbers:
            record = read_fold(experiment.directory.weights(fold))
            curves.show(draw_history(record.state["history"], curves.title))
    return experiment.directory.path
