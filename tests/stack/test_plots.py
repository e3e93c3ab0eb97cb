"""The figures of a stack: drawn, not blank, and true to the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import roc_auc_score

from runtime.errors import UserError
from stack import plots as stack_plots
from stack.blend import StackResult, leave_one_out


def test_pictures(stack: StackResult, tmp_path: Path) -> None:
    figures = {
        "scores": stack_plots.plot_scores(stack),
        "correlations": stack_plots.plot_correlations(stack),
        "weights": stack_plots.plot_weights(stack),
        "roc": stack_plots.plot_roc_curves(stack),
        "calibration": stack_plots.plot_calibration(stack),
        "left_out": stack_plots.plot_left_out(leave_one_out(stack, "mean")),
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png", dpi=40)
        assert len(np.unique(imread(tmp_path / f"{name}.png"))) > 20, f"{name} is blank"
        assert all(axes.has_data() for axes in figure.axes), name
    scores = figures["scores"].axes[0]
    assert len(scores.get_yticks()) == len(stack.models) + len(stack.methods)
    curve = figures["roc"].axes[0].lines[0]
    area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
    pooled = roc_auc_score(stack.data.targets, stack.fit.out_of_fold)
    assert area == pytest.approx(pooled, abs=1e-3)  # of a curve that is drawn by 2,000 points
    with pytest.raises(UserError, match="'boosting' has no weights"):
        stack_plots.plot_weights(stack, "boosting")
