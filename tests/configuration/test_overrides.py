"""`--set`: values are checked and never run, classes are found by name."""

import logging

import pytest
from small_config import Root

import configs
import models1d
from architectures import SpectroCNN
from configuration.class_with_arguments import Part, freeze
from configuration.overrides import override
from loss_functions import RankLoss
from metrics import LogLoss, PartialAUC
from runtime.console import LOGGER
from runtime.errors import UserError
from spectrograms import CQT
from training_extras import EarlyStopping, KeepLast
from transforms import FlipWave, SpectralDropout


def test_override_sets_values_of_the_same_type() -> None:
    changed = override(
        Root,
        [
            "epochs=7",
            "steps.0.high=4",
            "inner.a.b.1=9",
            "name=2021",
            "amp=bf16",
            "path=x.pt",
            "optimizer_params.weight_decay=0.1",
        ],
    )
    assert (changed.epochs, changed.name, changed.amp, changed.path) == (7, "2021", "bf16", "x.pt")
    assert changed.steps[0].build().high == 4
    assert changed.steps[0].build().low == 0.5
    assert changed.inner["a"]["b"] == (1, 9)
    assert dict(changed.optimizer_params) == {"lr": 1e-3, "weight_decay": 0.1}
    assert Root.epochs == 3
    assert Root.inner["a"]["b"] == (1, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[H1,L1]", ("H1", "L1")),
        ("[H1, 'L 1',\"V1\"]", ("H1", "L 1", "V1")),
        ("[[H1,L1],[ET1]]", (["H1", "L1"], ["ET1"])),
        ("[./psds/a-b.txt,1.5,none,true]", ("./psds/a-b.txt", 1.5, None, True)),
        ("[1,2]", (1, 2)),
        ("[]", ()),
    ],
)
def test_words_of_a_list_need_no_quotes(text: str, value: tuple) -> None:
    assert override(Root, [f"inner.a.b={text}"]).inner["a"]["b"] == freeze(value)


@pytest.mark.parametrize("text", ["[H1,L1", "[a b]", "[', ']']", "[[a]"])
def test_what_is_no_list_stays_text(text: str) -> None:
    assert override(Root, [f"name={text}"]).name == text


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "expected key=value"),
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=three", "expected int"),
        ("epochs=none", "expected int"),
        ("steps.0.hihg=1", "did you mean 'high'"),
        ("steps.4.high=1", "is not a position"),
        ("steps.0.low=loud", "expected float"),
        ("inner.a.c=1", "no key 'c'"),
        ("epochs.x=1", "nothing below"),
        ("optimizer=SGD", "a class is chosen in configs.py"),
        ("optimizer_params.momentum=1", "no key 'momentum'"),
        ("name=none", "expected str"),
    ],
)
def test_override_refuses(setting: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        override(Root, [setting])
    assert message in str(error.value)


def test_override_runs_no_code(tmp_path) -> None:
    target = tmp_path / "made"
    changed = override(Root, [f"path=__import__('pathlib').Path({str(target)!r}).touch()"])
    assert changed.path.startswith("__import__")
    assert not target.exists()


def test_overriding_nothing_is_the_config_itself() -> None:
    assert override(configs.Demo, []) is configs.Demo


# --- the type of the target decides what a word means ------------------------------------------


def test_none_is_a_choice_where_the_argument_is_text() -> None:
    words = ["custom_classifier=none", "custom_attention=none", "resize_img=none", "weights=none"]
    changed = override(configs.Nspec16, [f"model_params.{word}" for word in words])
    assert changed.model_params["custom_classifier"] == "none"
    assert changed.model_params["custom_attention"] == "none"  # it is not stated in Nspec16
    assert changed.model_params["resize_img"] is None  # it was (128, 1024)
    assert changed.model_params["weights"] is None


@pytest.mark.parametrize(
    ("config", "setting", "value"),
    [
        (configs.Nspec16, "model_params.resize_img=256", 256),  # was a tuple
        (configs.Nspec16, "model_params.upsample=nearest", "nearest"),
        (configs.Nspec16, "model_params.spec_params.wavelet_width=2.5", 2.5),  # was an int
        (configs.DemoSpec, "model_params.spec_params.trainable_width=true", True),  # not stated
        (configs.Demo, "model_params.dropout=0", 0),
        (configs.Demo, "model_params.widths.1=9", 9),  # an entry of a default
        (configs.Demo, "splitter=2021", "2021"),
        (configs.Demo, "model_params.widths+=7", 7),
        (configs.Demo, "views+=swap_ligo", "swap_ligo"),
    ],
)
def test_what_an_argument_takes_is_taken(config, setting: str, value: object) -> None:
    path, _, _ = setting.partition("=")
    found = override(config, [setting]).to_plain()
    for key in path.removesuffix("+").split("."):
        found = found[int(key) if key.isdecimal() else key]
    assert (found[-1] if path.endswith("+") else found) == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model_params.dropout=high", "expected float as in 0.0"),
        ("model_params.widths=3", "expected Sequence as in (16, "),
        ("model_params.spec_params.x=3", "BranchedResNet1d takes no such argument"),
        ("optimizer_params.momentum=0.9", "AdamW takes no such argument"),
        ("seed+=3", "+= appends to a tuple, and here stands 2021"),
        ("transforms.train.-5.p=1", "'-5' is not a position from 0 to 3"),
        ("callbacks=KeepLast", "append one with callbacks+=KeepLast"),
        ("optimizer=AdamWW", "there is no optimizer 'AdamWW' (did you mean 'AdamW'?)"),
        ("optimizer=FlipWave", "there is no optimizer 'FlipWave'"),
        ("optimizer=torch.optim.SGD", "there is no optimizer"),
        ("model=Module", "there is no network 'Module'"),
        ("transforms.train.0=__import__('os')", "there is no transform"),
        ("scheduler=StepLR", "StepLR needs step_size: add scheduler_params.step_size=…"),
        ("optimizer=none", "there is no optimizer 'none'"),
    ],
)
def test_what_does_not_fit_is_refused(setting: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        override(configs.Demo, [setting])
    assert message in str(error.value)


# --- classes by name ---------------------------------------------------------------------------


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.WARNING)
    return caplog


def test_loss_optimizer_and_network_by_name(warnings) -> None:
    changed = override(configs.Nspec16, ["criterion=RankLoss", "optimizer=AdamW", "model=ResNet1d"])
    assert changed.criterion == Part(RankLoss)
    assert changed.optimizer.__name__ == "AdamW"
    assert changed.optimizer_params == configs.Nspec16.optimizer_params  # AdamW takes them all
    assert changed.model is models1d.ResNet1d
    assert changed.model_params == {}
    assert "ResNet1d does not take model_name" in warnings.text
    changed.model(**changed.model_params)
    changed.criterion.build()


def test_arguments_that_both_take_are_kept(warnings) -> None:
    changed = override(configs.Wave01, ["transforms.train.2=FlipWave", "callbacks.0=EarlyStopping"])
    assert changed.transforms["train"][2] == Part(FlipWave, p=0.5)
    assert changed.callbacks == (Part(EarlyStopping),)
    assert changed.transforms["test"] == configs.Wave01.transforms["test"]
    assert "FlipWave does not take max_shift of TimeShift: dropped; it keeps p=0.5" in warnings.text
    assert configs.Wave01.transforms["train"][2].params["max_shift"] == 24


def test_the_class_first_and_then_its_arguments() -> None:
    changed = override(
        configs.Demo,
        [
            "criterion=RankLoss",
            "criterion.rank=0.5",
            "model=SpectroCNN",
            "model_params.spectrogram=CQT",
            "model_params.spec_params.hop_length=64",
            "scheduler=StepLR",
            "scheduler_params.step_size=2",
        ],
    )
    assert changed.criterion == Part(RankLoss, rank=0.5)
    assert changed.model is SpectroCNN
    assert changed.model_params == {"spectrogram": CQT, "spec_params": {"hop_length": 64}}
    assert changed.scheduler_params == {"step_size": 2}


def test_a_front_end_brings_its_arguments() -> None:
    changed = override(
        configs.Spec02, ["model_params.spectrogram=CQT", "model_params.spec_params.sr=1024"]
    )
    assert changed.model_params["spec_params"] == {"sr": 1024}


def test_appending_by_name() -> None:
    changed = override(
        configs.Demo,
        [
            "transforms.train+=SpectralDropout",
            "transforms.train.-1.p=0.25",
            "callbacks+=KeepLast",
            "monitor_metrics+=AUC",
        ],
    )
    assert changed.transforms["train"][:-1] == configs.Demo.transforms["train"]
    assert changed.transforms["train"][-1] == Part(SpectralDropout, p=0.25)
    assert changed.callbacks[-1] == Part(KeepLast)
    assert len(changed.monitor_metrics) == 1
    assert override(configs.Baseline, ["transforms.train+=FlipWave"]).transforms["train"] == (
        Part(FlipWave),
    )


def test_a_list_of_classes() -> None:
    """In place of what is there; words that are no classes stay words."""
    changed = override(
        configs.Demo,
        [
            "monitor_metrics=[PartialAUC, LogLoss]",
            "monitor_metrics.0.max_fpr=0.01",
            "transforms.train=(FlipWave,)",
            "side_targets=[merger_time,chirp_mass]",
        ],
    )
    assert changed.monitor_metrics == (Part(PartialAUC, max_fpr=0.01), Part(LogLoss))
    assert changed.transforms["train"] == (Part(FlipWave),)
    assert changed.side_targets == ("merger_time", "chirp_mass")
    assert override(configs.Demo, ["monitor_metrics=[]"]).monitor_metrics == ()
    with pytest.raises(UserError, match=r"there is no metric 'LogLos' .did you mean 'LogLoss'"):
        override(configs.Demo, ["monitor_metrics=[AUC,LogLos]"])


def test_no_schedule_is_a_schedule() -> None:
    assert override(configs.Demo, ["scheduler=none"]).scheduler is None
    again = override(
        override(configs.Demo, ["scheduler=none"]),
        ["scheduler=CosineAnnealingLR", "scheduler_params.T_max=4"],
    )
    assert again.scheduler.__name__ == "CosineAnnealingLR"


@pytest.mark.parametrize(
    ("word", "places"),
    [
        ("lr=1", "optimizer_params.lr"),
        ("weight_decay=1", "optimizer_params.weight_decay"),
        ("pooling=gem", "model_params.pooling"),  # not stated, but an argument of its network
        ("max_shift=3", "transforms.train.3.max_shift"),
        ("patience=3", "callbacks.0.patience"),
        ("smoothing=0.1", "criterion.smoothing"),
    ],
)
def test_an_argument_that_is_named_alone_is_found(word: str, places: str) -> None:
    """`--set lr=1` is what a newcomer types first; a setting that is only alike is no answer."""
    key = word.partition("=")[0]
    with pytest.raises(UserError) as refused:
        override(configs.Demo, [word])
    message = f"--set {word!r}: no setting {key!r} (did you mean {places}?)"
    assert str(refused.value).startswith(message.removesuffix("?)"))
    first = places if places == "transforms.train.3.max_shift" else places.split(" or ")[0]
    assert override(configs.Demo, [f"{first}={word.partition('=')[2]}"])


def test_a_misspelt_setting_is_still_found() -> None:
    with pytest.raises(UserError, match=r"no setting 'num_epoch' \(did you mean 'num_epochs'\?\)"):
        override(configs.Demo, ["num_epoch=1"])
