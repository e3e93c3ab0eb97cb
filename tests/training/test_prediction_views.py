"""Test-time views: before the transforms or after them, and no transform more than needed."""

from __future__ import annotations

import torch
from toy import noise_batch

from datasets import Batch
from training.prediction_views import IDENTITY, View, distinct_views, prepare_views


class CountedSquare:
    """Transforms that square the strain, so that a change of sign before them disappears."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch: Batch) -> Batch:
        self.calls += 1
        return {**batch, "waveform": batch["waveform"].square()}


def test_a_view_acts_before_the_transforms_or_after_them() -> None:
    batch = noise_batch(4)
    views = [
        IDENTITY,
        View("flip", on_strain=torch.neg),
        View("flip after", on_waveform=torch.neg),
        View("both", on_strain=lambda x: 2 * x, on_waveform=torch.neg),
    ]
    square = batch["waveform"].square()
    found = [view["waveform"] for view in prepare_views(views, batch, CountedSquare())]
    for waveform, expected in zip(found, (square, square, -square, -4 * square), strict=True):
        torch.testing.assert_close(waveform, expected)


def test_views_of_the_same_strain_share_the_transforms() -> None:
    """Random test-time transforms would otherwise differ between these views."""
    preparation = CountedSquare()
    views = [View("first", on_waveform=torch.neg), IDENTITY, View("last", on_waveform=torch.abs)]
    assert len(list(prepare_views(views, noise_batch(4), preparation))) == 3
    assert preparation.calls == 1


def test_a_view_changes_both_inputs_and_neither_targets_nor_the_batch() -> None:
    batch = noise_batch(4) | {"waveform2": torch.ones(4, 3, 16)}
    strain = batch["waveform"].clone()
    (view,) = prepare_views([View("flip", on_strain=torch.neg)], batch, dict)
    assert torch.equal(view["waveform"], -strain)
    assert (view["waveform2"] == -1).all()
    assert view["target"] is batch["target"]
    assert torch.equal(batch["waveform"], strain)


class CountedDouble:
    """Odd transforms: twice the strain."""

    is_odd = True

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch: Batch) -> Batch:
        self.calls += 1
        return {**batch, "waveform": 2 * batch["waveform"]}


def test_views_of_either_sign_share_odd_transforms() -> None:
    batch, flip = noise_batch(4), View("flip", on_strain=torch.neg, turns_sign=True)
    views = [IDENTITY, flip, View("other", on_strain=torch.abs)]
    odd, any_other = CountedDouble(), CountedSquare()
    found = [view["waveform"] for view in prepare_views(views, batch, odd)]
    twice = 2 * batch["waveform"]
    for waveform, expected in zip(found, (twice, -twice, twice.abs()), strict=True):
        assert torch.equal(waveform, expected)
    assert odd.calls == 2
    found = [view["waveform"] for view in prepare_views(views, batch, any_other)]
    assert torch.equal(found[1], batch["waveform"].square())
    assert any_other.calls == 3


def test_views_that_a_network_tells_apart() -> None:
    flip = View("flip", on_strain=torch.neg, turns_sign=True)
    later = View("later", on_waveform=torch.abs)
    views = [IDENTITY, flip, later, View("twice", on_strain=torch.neg), IDENTITY]
    distinct, places = distinct_views(views, sign_is_ignored=True)
    assert [view.name for view in distinct] == ["identity", "later", "twice"]
    assert places == [0, 0, 1, 2, 0]
    distinct, places = distinct_views(views, sign_is_ignored=False)
    assert [view.name for view in distinct] == ["identity", "flip", "later"]
    assert places == [0, 1, 2, 1, 0]
