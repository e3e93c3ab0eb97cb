"""Logits of a data set: in its own order, averaged over the views, stopped by a signal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from toy import noise_batch

from runtime import interruption
from runtime.interruption import Interrupted
from training.prediction import forward_rows
from training.prediction_views import IDENTITY, View


class MeanLogit(nn.Module):
    """The mean of each row; 100 more while training, so that a forgotten eval() shows."""

    def forward(self, x: Tensor) -> Tensor:
        # (B, 3, T) -> (B, 1)
        return x.mean((1, 2))[:, None] + 100 * self.training


def forward(model: nn.Module, batch: dict) -> Tensor:
    return model(batch["waveform"])


def split(batch: dict, *rows: list[int]) -> list[dict]:
    return [{key: value[part] for key, value in batch.items()} for part in rows]


def test_rows_come_in_the_order_of_the_data_set() -> None:
    batch = noise_batch(6)
    batches = split(batch, [4, 0], [5, 3, 1], [2])
    logits, targets = forward_rows(MeanLogit(), batches, forward, dict, dict, [IDENTITY])
    torch.testing.assert_close(logits, batch["waveform"].mean((1, 2))[:, None])
    assert torch.equal(targets, batch["target"])


def test_logits_are_averaged_over_the_views() -> None:
    batch = noise_batch(4)
    views = [
        IDENTITY,
        View("louder", on_strain=lambda x: 3 * x),
        View("one", None, torch.ones_like),
    ]
    logits, _ = forward_rows(MeanLogit(), [batch], forward, dict, dict, views)
    mean = batch["waveform"].mean((1, 2))[:, None]
    torch.testing.assert_close(logits, (mean + 3 * mean + 1) / 3)


def test_a_process_without_rows_returns_none() -> None:
    logits, targets = forward_rows(MeanLogit(), [], forward, dict, dict, [IDENTITY])
    assert logits.shape == targets.shape == (0, 1)


def test_a_signal_stops_between_two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = split(noise_batch(4), [0, 1], [2, 3])
    done = []

    def counted(model: nn.Module, batch: dict) -> Tensor:
        done.append(len(batch["index"]))
        monkeypatch.setattr(interruption, "requested", lambda: True)
        return forward(model, batch)

    with pytest.raises(Interrupted):
        forward_rows(MeanLogit(), batches, counted, dict, dict, [IDENTITY])
    assert done == [2]


class Odd:
    """Transforms that are odd, or do not say so."""

    def __init__(self, is_odd: bool) -> None:
        self.is_odd = is_odd

    def __call__(self, batch: dict) -> dict:
        return {**batch, "waveform": 3 * batch["waveform"]}


@pytest.mark.parametrize(("is_odd", "ignores_sign", "calls"), [(1, 1, 2), (1, 0, 3), (0, 1, 3)])
def test_views_of_either_sign_are_one_where_the_network_ignores_it(
    is_odd: bool, ignores_sign: bool, calls: int
) -> None:
    """Once instead of twice, with the same logits bit for bit."""
    views = [
        IDENTITY,
        View("flip", on_strain=torch.neg, turns_sign=True),
        View("first", on_strain=lambda x: x[:, :1]),
    ]
    done = []

    def forward_power(model: nn.Module, batch: dict) -> Tensor:
        done.append(len(batch["index"]))
        return model(batch["waveform"].square())

    batch = noise_batch(4)
    arguments = ([batch], forward_power, dict, Odd(is_odd), views, ignores_sign)
    logits, _ = forward_rows(MeanLogit(), *arguments)
    assert len(done) == calls
    plain, _ = forward_rows(MeanLogit(), [batch], forward_power, dict, Odd(False), views)
    assert torch.equal(logits, plain)
