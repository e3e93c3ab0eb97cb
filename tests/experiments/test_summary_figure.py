"""The figure of a run: its panels, also with little to show, and without a warning."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import summary_figure
from experiments.signal_quantities import CHIRP_MASS, NETWORK_SNR
from experiments.strain_maps import COLUMNS, ROWS, Sample, StrainMaps
from experiments.summary_figure import (
    FALSE_ALARMS,
    SummaryPicture,
    draw_curves,
    draw_efficiency,
    draw_histogram,
    draw_maps,
    draw_summary,
    has_efficiency,
)
from physics.observation import COMPETITION
from training.guessing import Guessing

HISTORY = [
    {"fold": fold, "epoch": epoch, "valid_metric": 0.6 + 0.1 * epoch, "train_metric": 0.9}
    for fold in (0, 1)
    for epoch in (1, 2)
]
POINTS = [
    {"fold": fold, "epoch": part / 4, "step": 10 * part, "train_loss": 0.7 - 0.02 * part}
    for fold in (0, 1)
    for part in range(1, 9)
]
NO_MAPS = StrainMaps("run", note="the strain of its samples is not at hand")


def make_maps(signals: int = 4) -> StrainMaps:
    """Return maps of noise and of so many signals; each detector's is as loud as its number."""
    values = np.ones((3, ROWS, COLUMNS)) * np.arange(3)[:, None, None]
    noise = [(Sample(f"noise{k}", 3.5 - k, 0), values) for k in range(4)]
    quiet = [(Sample(f"$signal{k}", k - 2.25, 1, 6.5), values) for k in range(signals)]
    return StrainMaps("run", noise, quiet, COMPETITION.sampling)


def make_logits(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, logits and SNRs of n samples, noise and signals in turn."""
    targets = np.arange(n) % 2.0
    logits = np.random.default_rng(5).normal(size=n) + targets
    snr = np.where(targets == 1, 8 + np.arange(n) / 10, np.nan)
    return targets, logits, snr


@pytest.fixture
def axis() -> Axes:
    return Figure().subplots()


@pytest.mark.parametrize("known", ["all", "too few noise samples", "of no signal", "none"])
@pytest.mark.parametrize("history", [HISTORY, []])
def test_the_figure_warns_of_nothing(tmp_path: Path, known: str, history: list[dict]) -> None:
    """For example of a legend without a curve, when no threshold could be set."""
    targets, logits, snr = make_logits(240 if known == "all" else 60)
    if known == "of no signal":
        snr[:] = np.nan
    result = {"oof_auc": 0.7, "oof_auc_error": 0.05}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of matplotlib 3.9 with a later pyparsing, and not of the figure.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        picture = SummaryPicture(
            tmp_path / "summary.png",
            "costs $5, not a formula",
            history,
            "auc",
            points=POINTS if history else (),
            matched=0.87,
        )
        quantities = {} if known == "none" else {NETWORK_SNR: snr, CHIRP_MASS: 3 * snr}
        maps = make_maps() if known == "all" else NO_MAPS
        draw_summary(picture, targets, logits, quantities, result, maps)
    assert (tmp_path / "summary.png").stat().st_size > 10_000


def test_one_class_only_has_no_roc(tmp_path: Path) -> None:
    _, logits, _ = make_logits(60)
    picture = SummaryPicture(tmp_path / "summary.png", "noise", [], "auc")
    draw_summary(picture, np.zeros(60), logits, {}, {}, make_maps(signals=0))
    assert (tmp_path / "summary.png").stat().st_size > 10_000


def test_maps_stand_below_their_names_the_first_detector_on_top() -> None:
    figure = Figure(figsize=(20, 13))
    draw_maps(figure, make_maps())
    assert len(figure.axes) == 8
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "noise0\nlogit 3.50"
    assert titles[4] == "$signal0\nlogit -2.25, SNR 6.5"
    assert figure.axes[0].texts[0].get_text().startswith("Noise that scores")
    (picture,) = figure.axes[0].images
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    drawn = dict(zip(names, picture.get_array()[ROWS // 2 :: ROWS, 0], strict=True))
    assert drawn == {"H1": 0.0, "L1": 1.0, "V1": 2.0}
    assert figure.axes[0].get_xlim() == (0.0, COMPETITION.window)


def test_the_lines_of_chance_and_of_matched_filters_are_named(axis: Axes) -> None:
    draw_curves(axis, HISTORY, "auc", Guessing(0.6931, 0.5, 0.01), 0.8691)
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names[2:] == ["guessing: 0.500", "matched filters: 0.869"]
    assert [line.get_ydata()[0] for line in axis.lines[-2:]] == [0.5, 0.8691]


def test_each_fold_has_a_curve_for_validation_and_one_for_training(axis: Axes) -> None:
    draw_curves(axis, HISTORY, "log_loss")
    assert axis.get_ylabel() == "log loss"
    assert [line.get_ydata().tolist() for line in axis.lines] == [
        pytest.approx([0.7, 0.8]),
        [0.9, 0.9],
    ] * 2
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["fold 0", "fold 1"]


def test_a_single_epoch_has_one_tick(axis: Axes) -> None:
    draw_curves(axis, HISTORY[:1], "auc")
    low, high = axis.get_xlim()
    assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1.0]


def test_long_tails_of_scores_are_seen(axis: Axes) -> None:
    targets, logits, _ = make_logits(2000)
    draw_histogram(axis, targets, logits)
    assert axis.get_yscale() == "linear"
    axis.clear()
    draw_histogram(axis, targets, np.where(targets == 1, np.exp(3 * logits), logits))
    assert axis.get_yscale() == "log"


def test_no_text_of_the_figure_lies_on_another(tmp_path: Path, monkeypatch) -> None:
    targets, logits, snr = make_logits(2400)
    drawn = []
    monkeypatch.setattr(summary_figure, "save_figure", lambda figure, path: drawn.append(figure))
    picture = SummaryPicture(tmp_path / "x.png", "run", HISTORY, "auc", points=POINTS)
    quantities = {NETWORK_SNR: snr, CHIRP_MASS: 3 * snr}
    draw_summary(picture, targets, logits, quantities, {"oof_auc": 0.7}, make_maps())
    (figure,) = drawn
    figure.canvas.draw()
    boxes = [
        text.get_window_extent()
        for axis in figure.axes
        for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)
        if text.get_text()
    ]
    assert len(boxes) > 40
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)


def test_a_threshold_needs_noise_above_it() -> None:
    targets, _, snr = make_logits(100)
    assert has_efficiency(targets, snr)  # 50 noise samples: 5 above the threshold of 0.1
    assert not has_efficiency(targets[:98], snr[:98])
    assert not has_efficiency(targets, np.full(100, np.nan))


def test_efficiencies_are_shares_of_the_signals_in_a_bin(axis: Axes) -> None:
    targets, logits, snr = make_logits(2400)
    # Signals above SNR 100 are all louder than the noise, those below all quieter.
    logits[targets == 1] = np.where(snr[targets == 1] > 100, 50.0, -50.0)
    draw_efficiency(axis, targets, logits, snr)
    curves = [container.lines[0] for container in axis.containers]
    assert len(curves) == 2  # 1,200 noise samples give 120 and 12 above, and 1 for the last
    assert len(FALSE_ALARMS) == 3
    for curve in curves:
        centres, shares = curve.get_data()
        assert (np.diff(centres) > 0).all()
        bins = np.abs(centres - 100) > 12  # the bin in the middle holds both kinds
        np.testing.assert_array_equal(shares[bins], (centres > 100)[bins])
