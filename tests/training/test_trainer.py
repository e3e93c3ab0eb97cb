"""The loop: it learns, resumes bit for bit, accumulates, clips, stops on NaN, and runs in parts."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toy import Toy, make_trainer

from runtime import interruption
from runtime.errors import UserError
from runtime.interruption import Interrupted
from train import build_parser
from training import distributed
from training.checkpoints import load_checkpoint
from training_extras import EarlyStopping, KeepLast, TrainHook, WeightAverage, find_views


def weights(trainer) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}


def assert_same_weights(first, second) -> None:
    for key, value in weights(first).items():
        assert torch.equal(value, second.model.state_dict()[key]), key


def test_fit_learns_and_keeps_the_best(tmp_path) -> None:
    trainer = make_trainer(tmp_path)
    state = trainer.fit(Toy(400), Toy(200, seed=1))
    scores = [row["valid_metric"] for row in state.history]
    assert len(scores) == 3
    # Half a sigma in each of 24 values: the best AUC is Phi(0.5 sqrt(24) / sqrt(2)) = 0.958.
    assert max(scores) > 0.9
    assert state.history[-1]["train_loss"] < state.history[0]["train_loss"]
    assert state.best_score == max(scores)
    best = load_checkpoint(tmp_path / "fold0.pt", ("model", "state"))
    assert best["state"]["best_epoch"] == int(np.argmax(scores)) + 1


def test_the_last_epoch_is_kept_where_that_is_asked_for(tmp_path) -> None:
    trainer = make_trainer(tmp_path, callbacks=[KeepLast()], num_epochs=4)
    state = trainer.fit(Toy(400), Toy(200, seed=1))
    kept = load_checkpoint(tmp_path / "fold0.pt", ("model", "state"))
    assert kept["state"]["best_epoch"] == 4
    assert kept["state"]["best_score"] == state.history[-1]["valid_metric"]
    for key, value in weights(trainer).items():
        assert torch.equal(kept["model"][key], value), key


class Killed(Exception):
    pass


def killed_after(trainer, steps: int) -> None:
    """Let the trainer die at the start of a step, after a given number of them."""
    step, count = trainer.train_step, iter(range(10_000))

    def dying(*args, **kwargs):
        if next(count) == steps:
            raise Killed
        step(*args, **kwargs)

    trainer.train_step = dying


@pytest.mark.parametrize("steps", [3, 13, 14, 26, 38])
@pytest.mark.parametrize("ema", [False, True])
def test_killed_and_resumed_equals_unbroken(tmp_path, steps: int, ema: bool) -> None:
    def fresh(folder: Path):
        trainer = make_trainer(folder, checkpoint_every=0)  # save after every batch
        trainer.ema = WeightAverage(trainer.model, 0.9) if ema else None
        return trainer

    whole = fresh(tmp_path / "whole")
    whole.fit(Toy(200), Toy(64, seed=1))
    broken = fresh(tmp_path / "broken")
    killed_after(broken, steps)
    with pytest.raises(Killed):
        broken.fit(Toy(200), Toy(64, seed=1))
    again = fresh(tmp_path / "broken")
    assert again.resume()
    again.fit(Toy(200), Toy(64, seed=1))
    assert_same_weights(whole, again)
    for first, second in zip(whole.state.history, again.state.history, strict=True):
        for key in first:
            if not key.endswith(("_seconds", "_per_second")):
                assert first[key] == second[key], key
    for name in ("fold0.pt", "fold0_last.pt"):
        one, two = (load_checkpoint(tmp_path / run / name)["model"] for run in ("whole", "broken"))
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_signal_in_validation_and_in_a_prediction(tmp_path, monkeypatch) -> None:
    data = Toy(200), Toy(64, seed=1)
    whole, broken, again = (make_trainer(tmp_path / name) for name in ("whole", "broken", "broken"))
    whole.fit(*data)
    monkeypatch.setattr(interruption, "noted", [])
    forward = broken.forward_all

    def signalled(*args, **kwargs):
        interruption.noted.append(signal.SIGTERM)
        return forward(*args, **kwargs)

    monkeypatch.setattr(broken, "forward_all", signalled)
    with pytest.raises(Interrupted, match=r"stopped by SIGTERM: the state is saved in .*_last\.pt"):
        broken.fit(*data)
    with pytest.raises(Interrupted, match="nothing was under way"):
        broken.predict(data[1])
    interruption.noted.clear()
    assert again.resume()
    assert (again.state.epoch, again.state.step) == (0, 13)  # the training of an epoch is done
    again.fit(*data)
    assert_same_weights(whole, again)


def test_the_scale_of_a_scaler_is_resumed(tmp_path) -> None:
    def fresh(folder: Path):
        trainer = make_trainer(folder, checkpoint_every=0)
        # As on a GPU in fp16: it doubles after every fourth good step.
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=4)
        return trainer

    whole, broken, again = (fresh(tmp_path / name) for name in ("whole", "broken", "broken"))
    whole.fit(Toy(200), Toy(64, seed=1))
    killed_after(broken, 18)
    with pytest.raises(Killed):
        broken.fit(Toy(200), Toy(64, seed=1))
    assert again.resume()
    assert again.scaler.state_dict()["scale"] == 1024 * 2**4
    assert again.scaler.state_dict()["_growth_tracker"] == 2  # on its way to the next doubling
    again.fit(Toy(200), Toy(64, seed=1))
    assert again.scaler.state_dict() == whole.scaler.state_dict()
    assert_same_weights(whole, again)


def test_the_state_is_saved_by_the_clock_and_after_each_epoch(tmp_path, monkeypatch) -> None:
    assert build_parser().parse_args([]).checkpoint_every == 10
    saved, minutes = [], iter(range(0, 10_000, 60))
    trainer = make_trainer(tmp_path, checkpoint_every=10, num_epochs=2)
    step, save = trainer.train_step, trainer.save_last
    now = [0.0]

    def slow_step(*args, **kwargs):
        now[0] = next(minutes)
        step(*args, **kwargs)

    def noted_save():
        saved.append((trainer.state.epoch, trainer.state.step))
        save()

    monkeypatch.setattr(trainer, "train_step", slow_step)
    monkeypatch.setattr(trainer, "save_last", noted_save)
    monkeypatch.setattr("training.trainer.time.monotonic", lambda: now[0])
    trainer.fit(Toy(400), Toy(64, seed=1))  # 25 steps of a minute
    assert saved == [(0, 12), (0, 23), (1, 0), (1, 11), (1, 22), (2, 0)]


def test_resume_without_a_checkpoint_or_with_a_foreign_one(tmp_path) -> None:
    trainer = make_trainer(tmp_path)
    assert not trainer.resume()
    torch.save(
        {"model": {"x": torch.zeros(1)}, "optimizer": {}, "state": {}, "of_ranks": [()]},
        tmp_path / "fold0_last.pt",
    )
    with pytest.raises(UserError, match="belongs to another network"):
        trainer.resume()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"callbacks": [EarlyStopping(target="valid_metrik")]}, "did you mean 'valid_metric'"),
        ({"scheduler_target": "loss"}, "scheduler_target: there is no score 'loss'"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"num_epochs": 0}, "num_epochs = 0"),
        ({"accumulate": 0}, "accumulate = 0"),
        ({"max_bad_losses": 0}, "max_bad_losses = 0"),
        ({"clip_grad": "norm", "max_grad_norm": -1.0}, "max_grad_norm = -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(tmp_path, options, message) -> None:
    with pytest.raises(UserError, match=message):
        make_trainer(tmp_path, **options)


def test_accumulation_equals_a_larger_batch(tmp_path) -> None:
    # Same rows in a step, mean of equal halves: equal up to the rounding of float32 sums.
    small = make_trainer(tmp_path / "a", jitter=False, batch_size=8, accumulate=2, num_epochs=1)
    large = make_trainer(tmp_path / "b", jitter=False, batch_size=16, num_epochs=1)
    for trainer in (small, large):
        trainer.fit(Toy(64), Toy(16, seed=1))
    for key, value in large.model.state_dict().items():
        torch.testing.assert_close(small.model.state_dict()[key], value, rtol=1e-4, atol=1e-6)


def test_last_partial_accumulation_is_used(tmp_path) -> None:
    trainer = make_trainer(tmp_path, accumulate=100, num_epochs=1)
    before = weights(trainer)
    trainer.fit(Toy(64), Toy(16, seed=1))
    assert any(not torch.equal(before[key], value) for key, value in weights(trainer).items())


def test_schedule_by_epoch_and_by_batch(tmp_path) -> None:
    by_epoch = make_trainer(tmp_path / "a")
    rates = [row["learning_rate"] for row in by_epoch.fit(Toy(64), Toy(16, seed=1)).history]
    expected = [1e-2 * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in range(3)]
    assert rates == pytest.approx(expected)
    by_batch = make_trainer(tmp_path / "b", batch_scheduler=True, num_epochs=1)
    by_batch.fit(Toy(32), Toy(16, seed=1))
    assert by_batch.optimizer.param_groups[0]["lr"] == pytest.approx(expected[2])


class PoisonHook(TrainHook):
    """Makes the loss of chosen steps NaN."""

    def __init__(self, bad: set[int]) -> None:
        self.bad, self.count = bad, -1

    def forward_train(self, model, batch, criterion):
        self.count += 1
        loss, logits, target = super().forward_train(model, batch, criterion)
        return (loss * float("nan") if self.count in self.bad else loss), logits, target


def test_single_bad_losses_are_skipped(tmp_path) -> None:
    trainer = make_trainer(tmp_path, hook=PoisonHook({2, 4, 5}))
    trainer.fit(Toy(200), Toy(64, seed=1))
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


def test_bad_losses_in_a_row_end_the_fit(tmp_path) -> None:
    trainer = make_trainer(tmp_path, hook=PoisonHook(set(range(20, 40))), max_bad_losses=4)
    with pytest.raises(UserError) as error:
        trainer.fit(Toy(200), Toy(64, seed=1))
    message = str(error.value)
    assert "4 times in a row" in message
    assert "epoch 2, step 11" in message  # 13 steps an epoch: steps 20 to 23 from 0
    assert "fold0_last.pt" in message
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


class Root(torch.autograd.Function):
    """What it is given; its gradient is NaN, as that of a root of nothing times nothing."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * torch.nan


class RootHook(PoisonHook):
    """Leaves the loss of chosen steps as it is and makes its gradient NaN."""

    def forward_train(self, model, batch, criterion):
        self.count += 1
        loss, logits, target = TrainHook.forward_train(self, model, batch, criterion)
        return (Root.apply(loss) if self.count in self.bad else loss), logits, target


def test_bad_gradients_of_good_losses_are_skipped_and_end_the_fit(tmp_path) -> None:
    data = Toy(200), Toy(64, seed=1)
    trainer = make_trainer(tmp_path, hook=RootHook({2, 4, 5}), max_bad_losses=3)
    assert max(row["valid_metric"] for row in trainer.fit(*data).history) > 0.9
    trainer = make_trainer(
        tmp_path, hook=RootHook(set(range(9, 99))), max_bad_losses=3, accumulate=2
    )
    with pytest.raises(UserError, match=r"the gradient of fold0 .* 3 times in a row, .* step 13,"):
        trainer.fit(*data)
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


class SpoiltHook(TrainHook):
    """Gives the network one row of NaN in chosen steps."""

    def __init__(self, bad: set[int]) -> None:
        self.bad, self.count = bad, 0

    def forward_train(self, model, batch, criterion):
        self.count += 1
        if self.count in self.bad:
            batch = batch | {"waveform": batch["waveform"].index_fill(0, torch.tensor([1]), np.nan)}
        return super().forward_train(model, batch, criterion)


def make_normed(folder, **options):
    """A trainer of a network with batch norm and averaged weights."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 16), nn.BatchNorm1d(16), nn.Linear(16, 1))
    return make_trainer(
        folder,
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
        scheduler=None,
        ema=WeightAverage(model, 0.9),
        **options,
    )


def test_a_bad_batch_leaves_batch_norm_as_it_was(tmp_path) -> None:
    trainer = make_normed(tmp_path, hook=SpoiltHook({2, 9, 25, 26}), num_epochs=2)
    state = trainer.fit(Toy(200), Toy(64, seed=1))
    for model in (trainer.model, trainer.ema.model):
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert state.history[-1]["valid_metric"] > 0.8
    for row in state.history:  # of the batches that were learnt from
        assert 0 < row["train_loss"] < 1
        assert row["train_metric"] > 0.6


def test_statistics_go_back_to_the_last_good_look_on_a_gpu(tmp_path) -> None:
    trainer = make_normed(tmp_path, log_every=2)
    trainer.bad_numbers.device = torch.device("cuda")  # nothing is computed there
    mean, losses = trainer.model[2].running_mean, []
    for step, (value, loss) in enumerate([(1, 0.5), (2, 0.5), (3, torch.nan), (torch.nan, 0.5)]):
        mean.fill_(value)
        trainer.state.step = step
        losses.append(torch.tensor(loss))
        trainer.bad_numbers.loss_is_usable(losses, trainer.state, last=False)
    assert (mean == 2).all()


def test_a_bad_loss_of_another_process_counts_on_a_gpu_too(tmp_path, monkeypatch) -> None:
    """Or the process that counted alone would end alone, and the others would wait for it."""
    trainer = make_normed(tmp_path, log_every=2)
    trainer.bad_numbers.device = torch.device("cuda")  # nothing is computed there
    # The other process has bad losses in all but the first step.
    monkeypatch.setattr(
        distributed, "any_of", lambda flags, device: [False, *[True] * (len(flags) - 1)]
    )
    mean, losses = trainer.model[2].running_mean, []
    before = mean.clone()
    for step in range(4):
        mean.fill_(step)
        trainer.state.step = step
        losses.append(torch.tensor(0.5))
        trainer.bad_numbers.loss_is_usable(losses, trainer.state, last=False)
    assert trainer.state.bad_losses == 1
    assert torch.equal(mean, before)


def test_losses_on_a_gpu_are_looked_at_now_and_then(tmp_path) -> None:
    trainer = make_trainer(tmp_path, max_bad_losses=7, log_every=5)
    trainer.bad_numbers.device, trainer.train_set = torch.device("cuda"), Toy(8)
    state, is_usable = trainer.state, trainer.bad_numbers.loss_is_usable
    good, bad, batch = torch.tensor(1.0), torch.tensor(torch.nan), {"index": torch.tensor([3])}
    counts, losses = [], []
    for step, loss in enumerate([good, bad, good, good, bad, bad, bad, bad]):
        state.step = step
        losses.append(loss)
        assert is_usable(losses, state, last=step == 7)  # the scaler decides about the step
        counts.append(state.bad_losses)
    assert counts == [0, 0, 0, 0, 1, 1, 1, 4]  # looked at after 5 steps, and in the last one
    # An epoch shorter than the interval is looked at too, and a bad row goes on into it.
    state.epoch, losses = 1, []
    for step in range(2):
        state.step = step
        losses.append(bad)
        is_usable(losses, state, last=step == 1)
        trainer.end_if_too_many("loss", state.bad_losses, batch)
    assert state.bad_losses == 6
    state.step = 0
    is_usable([bad], state, last=True)
    with pytest.raises(UserError, match="the loss of fold0 was NaN or infinite 7 times"):
        trainer.end_if_too_many("loss", state.bad_losses, batch)


def test_prediction_keeps_the_order_and_averages_views(tmp_path) -> None:
    trainer, data = make_trainer(tmp_path), Toy(37)
    with torch.no_grad():
        plain, flipped = trainer.model(data.x), trainer.model(-data.x)
    np.testing.assert_allclose(trainer.predict(data), plain.numpy(), rtol=1e-5, atol=1e-6)
    both = trainer.predict(data, find_views(["identity", "flip"]))
    np.testing.assert_allclose(both, ((plain + flipped) / 2).numpy(), rtol=1e-5, atol=1e-6)
    assert both.dtype == np.float32
    assert both.shape == (37, 1)


def test_workers_change_nothing(tmp_path) -> None:
    without, with_two = (
        make_trainer(tmp_path / str(n), num_workers=n, num_epochs=2) for n in (0, 2)
    )
    for trainer in (without, with_two):
        trainer.fit(Toy(100), Toy(40, seed=1))
    assert_same_weights(without, with_two)


def test_a_checkpoint_of_another_precision_is_resumed(tmp_path) -> None:
    data = Toy(64), Toy(16, seed=1)
    make_trainer(tmp_path, num_epochs=1).fit(*data)
    half = make_trainer(tmp_path, amp="bf16", num_epochs=2)
    assert half.resume()
    assert len(half.fit(*data).history) == 2
    gpu = make_trainer(tmp_path)
    gpu.scaler = torch.amp.GradScaler("cpu")  # as on a GPU, where even float32 has a scaler
    assert gpu.resume()
    assert len(gpu.fit(*data).history) == 3


def test_bf16_on_a_cpu_learns(tmp_path) -> None:
    trainer = make_trainer(tmp_path, amp="bf16")
    state = trainer.fit(Toy(400), Toy(200, seed=1))
    assert max(row["valid_metric"] for row in state.history) > 0.9
    assert all(value.dtype == torch.float32 for value in weights(trainer).values())
