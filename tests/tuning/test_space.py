"""The words of --space: what they draw, and what is refused before the first trial."""

from __future__ import annotations

import pytest

from configs import Demo
from configuration.overrides import override
from runtime.errors import UserError
from tuning.space import read_space

GOOD = {
    "lr=1e-4..1e-2:log": ("optimizer_params.lr", 1e-4, 1e-2, False),
    "model_params.dropout=0..1": ("model_params.dropout", 0.0, 1.0, False),
    "transforms.train.-1.p=.1..0.5:step=0.1": ("transforms.train.-1.p", 0.1, 0.5, False),
    "num_epochs=3..8": ("num_epochs", 3, 8, True),
    "batch_size=16..256:log": ("batch_size", 16, 256, True),
}


@pytest.mark.parametrize("word", GOOD)
def test_ranges(word: str) -> None:
    (dimension,) = read_space(Demo, [word])
    assert (dimension.key, dimension.low, dimension.high, dimension.whole) == GOOD[word]
    assert dimension.log == word.endswith(":log")
    # Both ends are values that the experiment takes, of the type that it wants.
    for value in dimension.examples():
        override(Demo, [dimension.setting(value)])


@pytest.mark.parametrize(
    ("word", "choices"),
    [
        ("model_params.widths=[(4,8),(8,16)]", ("(4, 8)", "(8, 16)")),
        ("criterion=[RankLoss,BCEWithLogitsLoss]", ("RankLoss", "BCEWithLogitsLoss")),
        ("clip_grad=[none,norm]", ("None", "norm")),
        ("num_epochs=[2,4,8]", ("2", "4", "8")),
    ],
)
def test_lists(word: str, choices: tuple[str, ...]) -> None:
    (dimension,) = read_space(Demo, [word])
    assert dimension.choices == choices
    for choice in choices:
        override(Demo, [dimension.setting(choice)])


def test_what_optuna_draws_is_within_the_space() -> None:
    optuna = pytest.importorskip("optuna")
    space = read_space(Demo, [*GOOD, "criterion=[RankLoss,BCEWithLogitsLoss]"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        drawn = study.ask({dimension.key: dimension.distribution() for dimension in space}).params
        for dimension in space:
            value = drawn[dimension.key]
            if dimension.choices:
                assert value in dimension.choices
            else:
                assert dimension.low <= value <= dimension.high
                assert isinstance(value, int) == dimension.whole
        override(Demo, [dimension.setting(drawn[dimension.key]) for dimension in space])


BAD = {
    "lr": "expected KEY=LOW..HIGH",
    "lr=1e-3": "expected LOW..HIGH or a list",
    "lr=1e-2..1e-4": "the range is empty",
    "lr=0..1e-2:log": "begins above 0",
    "lr=1e-4..1e-2:lin": "got ':lin'",
    "lr=1e-4..1e-2:log:step=1e-3": "has no steps",
    "lr=1e-4..1e-2:step=1": "within the range",
    "lr=1e-4..1e-2:step=a": "got ':step=a'",
    "num_epochs=2..9:step=0.5": "takes whole numbers",
    "num_epochs=2.0..9.5": "expected int",
    "num_epoch=2..9": "did you mean 'num_epochs'",
    "criterion=[RankLoss,BCE]": "there is no loss 'BCE'",
    "criterion=[RankLoss]": "two entries or more",
    "criterion=[RankLoss,RankLoss]": "is there twice",
    "criterion=[RankLoss,BCEWithLogitsLoss": "closed by ']'",
    "name=[a,b]": "name is not tuned",
    "splitter=[KFold,StratifiedKFold]": "cannot be compared",
    "eval_metric.x=1..2": "eval_metric is not tuned",
    "train_path=[a,b]": "the same samples",
    "model_params.depth=1..2": "did you mean 'depths'",
}


@pytest.mark.parametrize("word", BAD)
def test_what_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="--space") as error:
        read_space(Demo, [word])
    assert BAD[word] in str(error.value)


def test_a_space_has_settings_each_once() -> None:
    with pytest.raises(UserError, match="names no setting"):
        read_space(Demo, [])
    with pytest.raises(UserError, match=r"optimizer_params\.lr is there twice"):
        read_space(Demo, ["lr=1e-4..1e-2", "optimizer_params.lr=1e-4..1e-2"])
