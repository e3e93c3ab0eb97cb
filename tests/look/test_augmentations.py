"""Each augmentation is drawn alone, on what validation makes of the sample."""

from __future__ import annotations

import pytest
import torch

import configs
from configuration.class_with_arguments import Part
from configuration.overrides import override
from look.augmentations import apply_each, augmentations_of, draw_augmentations, surely
from look.network_input import prepare
from look.samples import read_samples
from runtime.errors import UserError
from transforms import TimeShift


def test_augmentations_are_what_validation_lacks() -> None:
    names = [part.cls.__name__ for part in augmentations_of(configs.Demo)]
    assert names == ["SwapChannel", "FlipWave", "TimeShift"]
    assert [part.cls.__name__ for part in augmentations_of(configs.Nspec16)] == ["GaussianNoiseSNR"]


def test_a_draw_is_made_sure() -> None:
    assert surely(Part(TimeShift, max_shift=3, p=0.1)).params["always_apply"] is True
    assert surely(Part(TimeShift, max_shift=3)).params["max_shift"] == 3


def test_each_is_applied_alone(tables) -> None:
    config = override(configs.Demo, tables)
    samples = read_samples(config, 2)
    plain = prepare(config, samples).plain.waveforms[0]
    made = dict(apply_each(config, samples))
    assert list(made) == ["SwapChannel", "FlipWave", "TimeShift"]
    torch.testing.assert_close(made["FlipWave"], -plain)
    torch.testing.assert_close(made["SwapChannel"], plain[:, [1, 0, 2]])
    assert not torch.equal(made["TimeShift"], plain)


def test_the_picture_has_a_row_for_each_and_the_span(tables) -> None:
    config = override(configs.Demo, tables)
    figure = draw_augmentations(config, read_samples(config, 1), 0, span=(1.4, 1.9))
    assert len(figure.axes) == (3 + 2) * 3
    rows = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert rows == ["SwapChannel", "FlipWave", "TimeShift", "all, draw 1", "all, draw 2"]
    assert figure.axes[-1].get_xlim() == pytest.approx((1.4, 1.9))


def test_an_experiment_without_augmentations_is_told_so(tables) -> None:
    config = override(configs.Demo, [*tables, "transforms.train=[]"])
    with pytest.raises(UserError, match="Demo has no augmentations of the waveform"):
        draw_augmentations(config, read_samples(config, 1), 0)
