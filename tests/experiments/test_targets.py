"""What a network predicts: columns of a table to outputs and back, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit, softmax

import configs  # noqa: F401 - registers the experiments
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.observation_record import plain_config
from experiments.run_identity import deciding_settings
from experiments.targets import (
    BinaryTarget,
    ClassTarget,
    LabelTarget,
    Outputs,
    RegressionTarget,
    outputs_from_record,
    outputs_of,
)
from runtime.errors import UserError


@pytest.fixture
def table() -> pd.DataFrame:
    """Six samples, all of text as `read_table` returns columns that it does not know."""
    return pd.DataFrame(
        {
            "id": [f"s{k}" for k in range(6)],
            "target": ["0", "1", "0", "1", "1", "0"],
            "teacher": ["0.1", "0.9", "0.4", "0.5", "1", "0"],
            "kind": ["noise", "bbh", "glitch", "bbh", "noise", "glitch"],
            "glitch": ["0", "1", "1", "0", "1", "0"],
            "mass": ["10", "20", "30", "40", "50", "60"],
            "tilt": ["-1", "0", "1", "2", "3", "4"],
        }
    )


def demo(*settings: str):
    return override(load_config("Demo"), settings)


# --- reading ---------------------------------------------------------------------------------


def test_the_competition_has_one_logit(table: pd.DataFrame) -> None:
    outputs = outputs_of(demo())
    assert outputs == Outputs(BinaryTarget())
    assert (outputs.width, outputs.is_plain, outputs.target.signal) == (1, True, 0)
    assert outputs.target.read(table, "x").tolist() == [[0], [1], [0], [1], [1], [0]]
    assert outputs.target.strata(np.array([[0.0], [1.0]]), 5).tolist() == [0, 1]


def test_soft_labels(table: pd.DataFrame) -> None:
    wanted = [0.1, 0.9, 0.4, 0.5, 1, 0]
    soft = BinaryTarget("teacher", soft=True)
    assert soft.read(table, "x")[:, 0].tolist() == wanted
    taught = BinaryTarget(learn_from="teacher")
    assert taught.read(table, "x")[:, 0].tolist() == [0, 1, 0, 1, 1, 0]
    assert taught.read_learnt(table, "x")[:, 0].tolist() == wanted
    assert taught.columns == ("target", "teacher")
    with pytest.raises(UserError, match=r"x, row 2: the teacher of 's0' is 0.1, expected 0 or 1"):
        BinaryTarget("teacher").read(table, "x")


def test_classes(table: pd.DataFrame) -> None:
    target = ClassTarget(("noise", "bbh", "glitch"), column="kind", signal_class="bbh")
    found = target.read(table, "x")
    np.testing.assert_array_equal(found.argmax(1), [0, 1, 2, 1, 0, 2])
    np.testing.assert_array_equal(found.sum(1), 1)
    np.testing.assert_array_equal(target.strata(found, 2), [0, 1, 2, 1, 0, 2])
    assert target.signal == 1
    # a softmax, and log-odds that its probabilities have
    outputs = np.random.default_rng(0).normal(0, 3, (2, 5, 3))
    np.testing.assert_allclose(target.to_values(outputs), softmax(outputs, -1), atol=1e-14)
    np.testing.assert_allclose(
        target.to_log_odds(outputs), logit(softmax(outputs, -1)), rtol=1e-7, atol=1e-10
    )
    with pytest.raises(UserError, match="is 'glitch': expected one of noise, bbh"):
        ClassTarget(("noise", "bbh"), column="kind").read(table, "x")


def test_soft_classes_sum_to_one(table: pd.DataFrame) -> None:
    target = ClassTarget(("glitch", "other"), soft=True)
    assert target.columns == ("glitch", "other")
    shares = table.assign(glitch="0.25", other="0.75")
    np.testing.assert_array_equal(target.read(shares, "x")[0], [0.25, 0.75])
    with pytest.raises(UserError, match=r"row 2: the probabilities of glitch, other sum to 0\.5"):
        target.read(table.assign(glitch="0.25", other="0.25"), "x")


def test_labels_and_their_patterns(table: pd.DataFrame) -> None:
    target = LabelTarget(("target", "glitch"), signal_label="target")
    found = target.read(table, "x")
    np.testing.assert_array_equal(found[1], [1, 1])
    # patterns 00, 11, 01, 10, 11, 00: two are rare
    strata = target.strata(found, 2)
    assert strata[0] == strata[5] != strata[1] == strata[4]
    assert strata[2] == strata[3] == -1
    outputs = np.array([[[0.5, -2.0]]])
    np.testing.assert_allclose(target.to_values(outputs), expit(outputs))
    with pytest.raises(UserError, match="the mass of 's0' is 10, expected 0 or 1"):
        LabelTarget(("target", "mass")).read(table, "x")


def test_numbers_there_and_back(table: pd.DataFrame) -> None:
    target = RegressionTarget(("mass", "tilt"), center=(30.0, 1.0), scale=(10.0, 2.0))
    encoded = target.read(table, "x")
    np.testing.assert_allclose(encoded[:, 0], [-2, -1, 0, 1, 2, 3])
    np.testing.assert_allclose(target.to_values(encoded)[:, 1], [-1, 0, 1, 2, 3, 4])
    logarithm = RegressionTarget(("mass",), log=True, center=np.log(10.0), scale=0.5)
    np.testing.assert_allclose(logarithm.read(table, "x")[:, 0], np.log(np.arange(1, 7)) / 0.5)
    np.testing.assert_allclose(logarithm.to_values(logarithm.read(table, "x"))[2], [30])
    # strata of equal size, in the order of the first number
    assert target.strata(encoded, 3).tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UserError, match=r"row 2: the tilt is -1, which has no logarithm"):
        RegressionTarget(("tilt",), log=True).read(table, "x")
    with pytest.raises(UserError, match="the kind 'noise' is not a number"):
        RegressionTarget(("kind",)).read(table, "x")


# --- one of them is a signal -----------------------------------------------------------------


def test_the_output_of_a_signal() -> None:
    outputs = np.random.default_rng(1).normal(size=(4, 3))
    binary = Outputs(BinaryTarget(), outputs_of(demo("side_targets=[merger_time]")).sides)
    np.testing.assert_array_equal(binary.signal_logits(outputs[:, :2], "x"), outputs[:, 0])
    classes = Outputs(ClassTarget(("a", "b", "c"), signal_class="c"))
    np.testing.assert_allclose(
        expit(classes.signal_logits(outputs, "x")), softmax(outputs, 1)[:, 2], atol=1e-14
    )
    labels = Outputs(LabelTarget(("a", "b", "c"), signal_label="b"))
    np.testing.assert_array_equal(labels.signal_logits(outputs, "x"), outputs[:, 1])
    for target in (ClassTarget(("a", "b", "c")), LabelTarget(("a", "b", "c"))):
        with pytest.raises(UserError, match=r"results/x predicts a, b, c, and none of them"):
            Outputs(target).signal_logits(outputs, "results/x")
    with pytest.raises(UserError, match="only runs that tell signals from noise"):
        Outputs(RegressionTarget(("a",))).signal_logits(outputs[:, :1], "results/x")


# --- settings and records --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("targets=ClassTarget",), "ClassTarget: names = .*: expected 2 or more"),
        (("targets=ClassTarget", "targets.names=[a,a]"), "each only once"),
        (
            ("targets=ClassTarget", "targets.names=[noise,bbh]", "targets.signal_class=bhb"),
            "did you mean 'bbh'",
        ),
        (("targets=LabelTarget", "targets.names=[a]", "targets.signal_label=b"), "one of a"),
        (("targets=RegressionTarget", "targets.names=[a]", "targets.scale=0"), "scale above 0"),
        (
            ("targets=RegressionTarget", "targets.names=[a]", "targets.center=[1,2]"),
            "one for each of a",
        ),
        (("side_targets=[merger_time,merger_time]",), "'merger_time' is predicted twice"),
        (("side_targets=[3]",), "side_targets holds 3"),
        (
            ("side_targets+=SideTarget", "side_targets.0.name=a", "side_targets.0.weight=-1"),
            "expected 0 or more",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        outputs_of(demo(*settings))


def test_the_default_is_no_part_of_a_run_s_identity() -> None:
    """Records that are older than the settings must still match."""
    plain = plain_config(demo())
    assert plain["targets"] == {"class": "BinaryTarget"}
    older = {key: value for key, value in plain.items() if "targets" not in key}
    assert deciding_settings(plain) == deciding_settings(older)
    for setting in ("targets.soft=true", "side_targets=[merger_time]"):
        assert deciding_settings(plain_config(demo(setting))) != deciding_settings(plain)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("side_targets=[merger_time,chirp_mass]",),
        ("side_targets+=SideTarget", "side_targets.0.name=a", "side_targets.0.weight=2"),
        ("targets=ClassTarget", "targets.names=[noise,bbh]", "targets.signal_class=bbh"),
        ("targets=LabelTarget", "targets.names=[a,b]"),
        ("targets=RegressionTarget", "targets.names=[a,b]", "targets.center=[1,2]"),
    ],
)
def test_a_record_tells_what_a_run_predicts(settings: tuple[str, ...]) -> None:
    config = demo(*settings)
    found = outputs_from_record(plain_config(config), "config.json")
    wanted = outputs_of(config)
    assert found.width == wanted.width
    assert found.target.outputs == wanted.target.outputs
    assert found.target.signal == wanted.target.signal
    assert [side.name for side in found.sides] == [side.name for side in wanted.sides]


def test_a_damaged_record_is_an_error() -> None:
    assert outputs_from_record({}, "x") == Outputs(BinaryTarget())  # of an older run
    for damaged in ({"class": "Nothing"}, {}, 3, {"class": "BinaryTarget", "x": 1}):
        with pytest.raises(UserError, match=r"results/a/config.json describes no target"):
            outputs_from_record({"targets": damaged}, "results/a/config.json")
