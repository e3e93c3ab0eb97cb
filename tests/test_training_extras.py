"""Test-time views of strain, before and after the transforms."""

from __future__ import annotations

import pytest
import torch
from toy import noise_batch

from experiments.settings import PEAKS
from physics.noise import NoiseGenerator
from runtime.errors import UserError
from training_extras import Preparation, TrainHook, find_views, make_shift, prepare_views
from transforms import AlignPhase, Compose, GetDiff, MinMaxScaler, Normalize, Whiten


def views_of(batch: dict, names: list[str], preparation=dict, **options) -> list[dict]:
    return list(prepare_views(find_views(names, **options), batch, preparation))


def test_views() -> None:
    batch = noise_batch(4)
    x = batch["waveform"]
    flip, swap, late, early = (
        view["waveform"] for view in views_of(batch, ["flip", "swap_ligo", "shift+5", "shift-5"])
    )
    assert torch.equal(flip, -x)
    assert torch.equal(swap[:, 0], x[:, 1])
    assert torch.equal(swap[:, 2], x[:, 2])
    assert torch.equal(late[..., 5:], x[..., :-5])
    assert not late[..., :5].any()
    assert torch.equal(early[..., :-5], x[..., 5:])
    assert not early[..., -5:].any()
    assert torch.equal(batch["waveform"], x)


@pytest.mark.parametrize(
    "transform", [GetDiff(), Normalize(PEAKS), AlignPhase(5), MinMaxScaler(), Whiten(decimate=2)]
)
def test_a_view_is_of_the_strain_and_not_of_what_transforms_make_of_it(transform) -> None:
    """The exchange of two channels after `GetDiff` is no exchange of detectors."""
    strain = 1e-20 * torch.randn(2, 3, 4096)
    preparation = Preparation(Compose([transform]))
    flip, swap = views_of({"waveform": strain}, ["flip", "swap_ligo"], preparation)
    for view, changed in ((flip, -strain), (swap, strain[:, [1, 0, 2]])):
        assert torch.equal(view["waveform"], preparation({"waveform": changed})["waveform"])


def test_a_shift_leaves_a_gap_of_silence_in_whitened_noise() -> None:
    strain = NoiseGenerator().sample(2, torch.Generator().manual_seed(0))
    preparation = Preparation(Whiten(decimate=2))
    (late,) = views_of({"waveform": strain}, ["shift+8"], preparation)
    whitened = preparation({"waveform": strain})["waveform"]
    assert torch.equal(late["waveform"][..., 8:], whitened[..., :-8])
    assert late["waveform"].abs().max() < 6
    # Done to the strain, the edge of the gap would be the loudest thing in the sample.
    assert preparation({"waveform": make_shift(8)(strain)})["waveform"].abs().max() > 30


def test_the_exchange_is_of_strain_also_where_the_data_set_has_divided_it() -> None:
    strain = 1e-20 * torch.randn(2, 3, 64)
    factor = torch.tensor(PEAKS)[:, None]
    (swap,) = views_of({"waveform": strain / factor}, ["swap_ligo"], norm_factor=PEAKS)
    torch.testing.assert_close(swap["waveform"], strain[:, [1, 0, 2]] / factor)


def test_views_of_the_same_strain_share_its_transforms() -> None:
    calls = []

    def preparation(batch: dict) -> dict:
        calls.append(1)
        return batch

    views = views_of(noise_batch(4), ["identity", "shift+1", "flip", "shift-1"], preparation)
    assert len(views) == 4
    assert len(calls) == 2  # of the strain, and of the strain turned over


def test_a_second_view_of_the_same_strain() -> None:
    batch = noise_batch(4)
    x = batch["waveform"]
    two = Preparation(lambda strain: 2 * strain, lambda strain: strain - 1)(batch)
    assert torch.equal(two["waveform"], 2 * x)
    assert torch.equal(two["waveform2"], x - 1)  # of the strain, not of the first view
    assert torch.equal(batch["waveform"], x)
    assert "waveform2" not in Preparation(torch.neg)(batch)
    first, second = TrainHook().inputs(two)
    assert torch.equal(first, 2 * x)
    assert torch.equal(second, x - 1)
    # A test-time view is of the strain that both are made of; a shift moves both.
    preparation = Preparation(lambda strain: 2 * strain, lambda strain: strain - 1)
    flip, late = views_of(batch, ["flip", "shift+3"], preparation)
    assert torch.equal(flip["waveform"], -2 * x)
    assert torch.equal(flip["waveform2"], -x - 1)
    for key in ("waveform", "waveform2"):
        assert torch.equal(late[key][..., 3:], two[key][..., :-3])


@pytest.mark.parametrize("name", ["flipp", "shift8", "shift+", "shift+x"])
def test_unknown_view(name: str) -> None:
    with pytest.raises(UserError, match="there is no view"):
        find_views([name])


def test_configs_find_every_part_here() -> None:
    """The classes are written in training/; configs and `--set` name those of this file."""
    from experiments.classes_by_name import callbacks, hooks

    assert set(hooks().classes) == {"TrainHook", "MixupTrain", "MixupTrain2"}
    assert set(callbacks().classes) == {"EarlyStopping", "KeepLast"}
