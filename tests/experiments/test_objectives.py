"""Loss and metrics of several outputs, against plain numpy; and what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score

import configs  # noqa: F401 - registers the experiments
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.objectives import SideError, build_objective, check_fits
from experiments.targets import outputs_of
from loss_functions import BCEWithLogitsLoss
from metrics import AUC
from runtime.errors import UserError

CLASSES = ("targets=ClassTarget", "targets.names=[noise,bbh,glitch]")
LOSS = "criterion=CrossEntropyLoss"
SMALLER = "callbacks.0.maximize=false"
PLATEAU = ("scheduler=ReduceLROnPlateau",)
AVERAGE = "checkpoint_average=CheckpointAverage"


def demo(*settings: str):
    """Demo without its shifts in time, so that a merger time may be learnt."""
    return override(load_config("Demo"), ["transforms.train.3.p=0.0", *settings])


def objective(*settings: str):
    return build_objective(demo(*settings), [])


def test_the_competition_s_objective_is_not_wrapped() -> None:
    found = objective()
    assert type(found.criterion) is BCEWithLogitsLoss
    assert type(found.metric) is AUC
    assert list(found.monitors) == []


def test_side_targets_add_their_share_of_the_loss(rng: np.random.Generator) -> None:
    found = objective(
        "side_targets+=SideTarget",
        "side_targets.0.name=merger_time",
        "side_targets.0.weight=0.3",
        "side_targets+=SideTarget",
        "side_targets.1.name=network_snr",
    )
    outputs = rng.normal(0, 2, (40, 3))
    targets = np.column_stack([rng.integers(0, 2, 40), rng.normal(size=(40, 2))])
    targets[targets[:, 0] == 0, 1:] = np.nan  # noise
    difference = np.abs(outputs - targets)[:, 1:]
    smooth = np.where(difference < 1, difference**2 / 2, difference - 0.5)
    expected = (np.log1p(np.exp(outputs[:, 0])) - targets[:, 0] * outputs[:, 0]).mean()
    expected += 0.3 * np.nansum(smooth[:, 0]) / 40 + 0.1 * np.nansum(smooth[:, 1]) / 40
    given = torch.tensor(outputs, requires_grad=True)
    loss = found.criterion(given, torch.tensor(targets))
    assert loss.item() == pytest.approx(expected, rel=1e-5)  # float32 inside
    loss.backward()
    assert given.grad.isfinite().all()
    assert (given.grad[torch.tensor(targets[:, 0]) == 0, 1:] == 0).all()
    # the mean over rows: halves of a batch may be averaged
    halves = [
        found.criterion(torch.tensor(outputs[part]), torch.tensor(targets[part])).item()
        for part in (slice(0, 20), slice(20, 40))
    ]
    assert np.mean(halves) == pytest.approx(expected, rel=1e-5)
    assert found.metric(targets, outputs) == AUC()(targets[:, 0], outputs[:, 0])
    assert [monitor.name for monitor in found.monitors] == [
        "merger_time_error",
        "network_snr_error",
    ]


def test_the_error_of_a_side_target_is_in_its_own_units() -> None:
    outputs = outputs_of(demo("side_targets=[merger_time]"))
    error = SideError(outputs, 0)
    scale = outputs.sides[0].quantity.scale  # s
    targets = np.array([[1, 0.5], [1, -1.0], [0, np.nan]])
    given = np.array([[0, 0.6], [0, -1.3], [0, 9.0]])
    assert error(targets, given) == pytest.approx(0.2 * scale)
    assert np.isnan(error(targets[2:], given[2:]))


def test_classes_are_scored_by_their_probabilities(rng: np.random.Generator) -> None:
    outputs, number = rng.normal(0, 2, (60, 3)), np.arange(60) % 3
    targets = np.eye(3)[number]
    found = objective(*CLASSES, LOSS, "eval_metric=ClassLogLoss", SMALLER)
    expected = -log_softmax(outputs, 1)[np.arange(60), number].mean()
    assert found.metric(targets, outputs) == pytest.approx(expected, abs=1e-12)
    loss = found.criterion(torch.tensor(outputs), torch.tensor(targets))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    found = objective(*CLASSES, LOSS, "targets.signal_class=bbh")  # the metric is the AUC
    assert found.metric(targets, outputs) == pytest.approx(
        roc_auc_score(number == 1, softmax(outputs, 1)[:, 1]), abs=1e-12
    )


def test_numbers_are_scored_in_the_units_of_the_table(rng: np.random.Generator) -> None:
    found = objective(
        "targets=RegressionTarget",
        "targets.names=[mass]",
        "targets.center=30",
        "targets.scale=10",
        "criterion=SmoothL1Loss",
        "eval_metric=MeanAbsoluteError",
        SMALLER,
    )
    outputs, targets = rng.normal(size=(20, 1)), rng.normal(size=(20, 1))
    expected = 10 * np.abs(outputs - targets).mean()
    assert found.metric(targets, outputs) == pytest.approx(expected, rel=1e-9)


def test_another_number_of_outputs_is_refused() -> None:
    found = objective(*CLASSES, LOSS, "eval_metric=MeanAUC")
    with pytest.raises(UserError, match=r"expected 3 outputs a sample \(noise, bbh, glitch\)"):
        found.criterion(torch.zeros(4, 1), torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (CLASSES, "criterion = BCEWithLogitsLoss is of no use .* --set criterion=CrossEntropyLoss"),
        ((*CLASSES, LOSS), "eval_metric = AUC is of no use for targets = ClassTarget: choose"),
        ((LOSS,), "criterion = CrossEntropyLoss is of no use for targets = BinaryTarget"),
        (("eval_metric=LogLoss",), "LogLoss is better when smaller: --set callbacks.0.maximize"),
        (
            ("eval_metric=LogLoss", SMALLER, AVERAGE),
            "LogLoss is better when smaller: --set checkpoint_average.maximize=false",
        ),
        (
            ("callbacks.0.target=valid_loss",),
            "valid_loss is better when smaller: --set callbacks.0.maximize=false",
        ),
        (
            ("monitor_metrics+=CalibrationError", "callbacks.0.target=valid_calibration_error"),
            "valid_calibration_error is better when smaller: --set callbacks.0.maximize=false",
        ),
        (
            (*PLATEAU, "scheduler_target=valid_metric"),
            "AUC is better when larger: --set scheduler_params.mode=max",
        ),
        (
            (*PLATEAU, "scheduler_target=valid_loss", "scheduler_params.mode=max"),
            "valid_loss is better when smaller: --set scheduler_params.mode=min",
        ),
        (
            (*CLASSES, LOSS, "eval_metric=MeanAUC", "monitor_metrics+=R2"),
            "monitor_metrics = R2 is of no use",
        ),
        (
            (*CLASSES, LOSS, "eval_metric=MeanAUC", "hook=MixupTrain2"),
            "MixupTrain2 with these arguments is for a single target",
        ),
        (
            ("side_targets=[merger_time]", "transforms.train+=TimeShift"),
            r"TimeShift of transforms.train moves signals .* --set transforms.train.4.p=0.0",
        ),
        (("side_targets=[merger_time]", "hook=MixupTrain"), "a mixture of two signals has no"),
        (("side_targets=[merger_time]", "dataset_params.mixup=true"), "mixup of the data set"),
        ((*CLASSES, LOSS, "eval_metric=MeanAUC", "pseudo_labels=PseudoLabels"), "pseudo_labels"),
    ],
)
def test_what_does_not_fit_is_refused(settings: tuple[str, ...], message: str) -> None:
    config = demo(*settings)
    outputs = outputs_of(config)
    with pytest.raises(UserError, match=message):
        check_fits(config, outputs)


@pytest.mark.parametrize(
    "settings",
    [
        (AVERAGE,),
        ("eval_metric=LogLoss", SMALLER, AVERAGE, "checkpoint_average.which=last"),
        ("callbacks.0.target=valid_loss", SMALLER),
        (*PLATEAU, "scheduler_target=valid_loss"),
        (*PLATEAU, "scheduler_target=valid_metric", "scheduler_params.mode=max"),
        ("eval_metric=LogLoss", SMALLER, *PLATEAU, "scheduler_target=valid_metric"),
    ],
)
def test_what_follows_a_score_in_its_direction_is_taken(settings: tuple[str, ...]) -> None:
    config = demo(*settings)
    check_fits(config, outputs_of(config))
