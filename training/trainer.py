"""The training loop: fit, validate, predict, checkpoint, resume, in one process or several.

It knows nothing of gravitational waves. A batch is a dict of tensors; the hook knows which of its
fields the network takes, and `transforms` prepare them on the device.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from data.batch_order import CountedBatchSampler
from datasets import Batch
from runtime import interruption
from runtime.console import progress
from runtime.errors import UserError
from runtime.files import write_json
from runtime.interruption import Interrupted
from runtime.seeds import seed_everything
from training import distributed
from training.bad_numbers import BadNumbers, advise_lower_rate, explain_bad_numbers, name_samples
from training.bad_run import facts_of
from training.checkpoint_average import EpochFiles, borrowed_weights
from training.checkpoints import content_digest, save_checkpoint
from training.checks_before_training import (
    check_optimizer,
    check_schedule,
    check_score_names,
    check_single_row,
)
from training.data_loading import (
    count_in_new_batches,
    explains_lost_readers,
    make_loader,
    read_batches,
    read_single_batch,
    weigh_batch,
)
from training.epoch_record import EpochRecord
from training.epoch_report import EpochReporter
from training.epoch_scores import score_training_pass, score_validation
from training.fit_state import (
    FitParts,
    TrainerState,
    pack_checkpoint,
    recorded_epochs,
    restore_checkpoint,
)
from training.hooks import TrainHook
from training.loss_by_step import add_epoch
from training.optimizer_step import step_optimizer
from training.precision import autocast, choose_amp_dtype, make_scaler
from training.prediction import forward_rows
from training.prediction_views import IDENTITY, View
from training.row_comparing_losses import check_mean_over_rows
from training.save_clock import SaveClock
from training.schedules import describe_beginning, step_after_epoch
from training.settings import Checkpointing, Loading, Objective, Precision, Reporting, Schedule


class Trainer:
    """Trains one network on one fold.

    Args:
        model: the network; the objective's hook calls it.
        objective: what is learnt, and how it is scored.
        transforms: 'train' and 'test', each a batch -> batch on the device.
        loading: how rows become batches.
        checkpointing: where the fit is saved, and how often.
        device: where the model is.
        counters: what all randomness is counted from, (seed, fold).
        optimizer: built for `model`; None for a trainer that only predicts.
        schedule: how many epochs, and how the learning rate changes.
        precision: the type that is computed in; clipping; what is done about NaN.
        reporting: what the fit logs on the way.
        callbacks: objects with `on_epoch_end(state) -> EpochVerdict`, `state_dict` and
            `load_state_dict`, e.g. `EarlyStopping`. Without any, every epoch is the best so far.
        ema: an average of the weights that is validated and saved in their place.
        sync_batch_norm: let batch norm use the rows of all processes instead of its own.

    Attributes:
        state: how far the fit is.
        reporter: says what every epoch gave; its `tracker` gets every score.

    Raises:
        UserError: an unknown score is asked for, or a setting makes no sense.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        objective: Objective,
        transforms: Mapping[str, Callable[[Batch], Batch]],
        loading: Loading,
        checkpointing: Checkpointing,
        device: torch.device,
        counters: tuple[int, int],
        optimizer: torch.optim.Optimizer | None = None,
        schedule: Schedule | None = None,
        precision: Precision | None = None,
        reporting: Reporting | None = None,
        callbacks: Sequence[Any] = (),
        ema: Any = None,
        sync_batch_norm: bool = True,
    ) -> None:
        self.schedule = schedule or Schedule()
        self.precision = precision or Precision()
        self.reporting = reporting or Reporting()
        self.loading, self.checkpointing = loading, checkpointing
        self.model, self.optimizer, self.ema = model, optimizer, ema
        self.scheduler, self.num_epochs = self.schedule.scheduler, self.schedule.num_epochs
        self.hook = objective.hook
        self.criterion = check_mean_over_rows(objective.criterion, self.hook, loading)
        # Of the steps: weights of classes would be copied in each, and the host would wait for it.
        # Validation has its rows on the CPU.
        self.step_criterion = self.criterion
        if device.type != "cpu" and isinstance(self.criterion, nn.Module):
            self.step_criterion = copy.deepcopy(self.criterion).to(device)
        self.metric, self.monitors = objective.metric, objective.monitors
        self.transforms, self.callbacks = transforms, list(callbacks)
        self.device, self.counters, self.name = device, counters, checkpointing.name
        self.max_batches = loading.max_batches
        self.beginning: str | None = None
        self.has_ended = False  # the last epoch is done, or a callback has stopped the fit
        if self.schedule.freeze is not None:
            self.schedule.freeze.check(model)
        followers = [*self.callbacks, checkpointing.average]
        check_score_names(self.schedule, followers, self.monitors)

        self.amp_dtype = choose_amp_dtype(self.precision.amp, device)
        self.scaler = make_scaler(self.amp_dtype, device)
        self.wrapped = distributed.wrap(model, device, sync_batch_norm)
        self.epoch_files = EpochFiles(checkpointing.average, checkpointing.best_path)
        self.state = TrainerState()
        self.record = EpochRecord()
        self.reporter = EpochReporter(self.name, device)
        self.clock = SaveClock(checkpointing.checkpoint_every, loading.accumulate, device)
        self.bad_numbers = BadNumbers(
            self.reporting.log_every, device, [model, None if ema is None else ema.model]
        )

    # --- the fit -----------------------------------------------------------------------------

    def fit(self, train_set: Dataset, valid_set: Dataset | None) -> TrainerState:
        """Train until the last epoch or until a callback stops; leave the best weights on disk.

        Args:
            train_set: what is trained on.
            valid_set: what every epoch is scored on; None scores none, and the history has no
                validation scores.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
            UserError: the loss stayed NaN or infinite.
        """
        self.train_set = train_set
        self.reporter.facts = facts_of(
            train_set, self.transforms["train"], self.model, self.precision.clip_grad
        )
        # The statistics of batch norm that the first bad batch goes back to may have come from a
        # checkpoint, after the guard was made.
        self.bad_numbers.statistics.keep_or_restore(good=True)
        train_loader = self.make_loader(train_set, shuffle=True)
        count_in_new_batches(
            self.state, train_loader.batch_sampler, self.loading, self.checkpointing.last_path
        )
        self.check_before_training(train_set, train_loader.batch_sampler)
        valid_loader = None if valid_set is None else self.make_loader(valid_set, shuffle=False)
        with explains_lost_readers(self.loading.num_workers):
            while not self.state.finished:
                self.fit_epoch(train_loader, valid_loader)
        return self.state

    def fit_epoch(self, train_loader: DataLoader, valid_loader: DataLoader | None) -> None:
        """Train what remains of an epoch, validate, and save; after the last one, average."""
        if self.has_ended and self.checkpointing.average is not None and not self.state.average:
            self.save_average(valid_loader)
            return
        started = time.monotonic()
        before = len(self.record.rows)
        data_seconds = self.train_epoch(train_loader)
        trained = time.monotonic()
        self.share_buffers()
        # of this process: a resumed epoch was trained in part before
        rows = sum(self.record.rows[before:]) * distributed.world_size()
        scores, by_step = score_training_pass(
            self.record, self.metric, self.name, in_part=self.max_batches is not None
        )
        scores |= self.validate(valid_loader)
        scores |= {
            "train_seconds": trained - started,
            "data_seconds": data_seconds,
            "valid_seconds": time.monotonic() - trained,
            "samples_per_second": rows / max(trained - started, 1e-9),
            **self.record.gradients.scores(),
        }
        self.end_epoch(scores, by_step, started)

    def check_before_training(self, train_set: Dataset, sampler: CountedBatchSampler) -> None:
        """Try what would otherwise fail after an epoch or later: schedule, optimiser, last batch.

        Nothing of it is left: all that is tried is put back.

        Raises:
            UserError: one of them does not work.
        """
        state = self.state
        if state.finished:
            return
        self.note_beginning()
        if state.epoch == state.step == 0:
            check_optimizer(self.optimizer)
        batches = min(sampler.num_batches, self.max_batches or sampler.num_batches)
        # rounded up: the last optimiser step of an epoch may have fewer batches
        updates_per_epoch = -(-batches // self.loading.accumulate)
        check_schedule(
            self.optimizer,
            self.scheduler,
            self.schedule,
            state.epoch,
            state.updates,
            updates_per_epoch,
        )
        # Batch norm cannot train on a single row, and the last batch may have no more.
        if sampler.rows_of_step(batches - 1) < 2 * distributed.world_size():
            batch = read_single_batch(
                train_set, self.loading, batches - 1, self.counters, self.device
            )
            with autocast(self.amp_dtype, self.device):
                batch = self.prepare_batch(batch, "train")
                check_single_row(self.model, self.hook, batch, self.loading.batch_size)

    def train_epoch(self, loader: DataLoader) -> float:
        """Run the remaining batches of an epoch; return the seconds spent waiting for data."""
        self.wrapped.train()
        if self.schedule.freeze is not None:
            self.schedule.freeze.apply(self.model, self.state.epoch)
        state, sampler, accumulate = self.state, loader.batch_sampler, self.loading.accumulate
        sampler.set_epoch(state.epoch, state.step)
        total = min(sampler.num_batches, self.max_batches or sampler.num_batches)
        waited = 0.0
        self.clock.restart()
        bar = progress(
            total=total,
            desc=f"{self.name} epoch {state.epoch + 1}/{self.num_epochs}",
            unit="batch",
            show=self.reporting.show_progress and distributed.is_main(),
        )
        bar.update(state.step)
        batches = read_batches(loader)
        with contextlib.closing(bar):
            while state.step < total:
                asked = time.monotonic()
                batch = next(batches)
                waited += time.monotonic() - asked
                # Each step is seeded anew, so that a resumed epoch draws what it would have drawn.
                seed_everything(*self.counters, state.epoch, state.step, distributed.rank())
                share = weigh_batch(len(batch["index"]), sampler, state.step, accumulate, total)
                batch = self.prepare_batch(batch, "train")
                self.train_step(batch, share, last=state.step + 1 == total)
                state.step += 1
                bar.update()
                if state.step % self.reporting.log_every == 0:
                    bar.set_postfix(loss=f"{self.record.losses[-1].item():.4f}", refresh=False)
                    if self.reporting.log_steps:
                        self.reporter.report_step(state, total, self.record)
                # Not in the middle of an accumulation: gradients are not saved.
                if state.step % accumulate == 0 or state.step == total:
                    self.save_or_stop()
        return waited

    def save_or_stop(self) -> None:
        """Save if it is time to, and stop if a signal asked to.

        Raises:
            Interrupted: it did; the state is saved.
        """
        due, stop = self.clock.ask(self.state.step)
        if due or stop:
            self.bad_numbers.check_before_saving(self.record.losses)
            self.save_last()
            self.clock.restart()
        if stop:
            raise Interrupted(self.checkpointing.last_path)

    def train_step(self, batch: Batch, share: float, last: bool) -> None:
        """Run a batch forward and backward and, every `accumulate` batches, step the optimiser.

        Args:
            batch: on the device, transformed.
            share: factor on its mean loss; see `weigh_batch`.
            last: whether it is the last batch of the epoch.
        """
        state = self.state
        with autocast(self.amp_dtype, self.device):
            loss, logits, target = self.hook.forward_train(self.wrapped, batch, self.step_criterion)
        self.record.add(loss, logits, target)
        usable = self.bad_numbers.loss_is_usable(self.record.losses, state, last)
        self.end_if_too_many("loss", state.bad_losses, batch)
        if not usable:
            self.optimizer.zero_grad(set_to_none=True)
            return
        # DDP averages gradients in here, in every backward pass, of accumulated batches too.
        self.scaler.scale(loss * share).backward()
        if (state.step + 1) % self.loading.accumulate == 0 or last:
            size = step_optimizer(
                self.parts,
                self.schedule,
                self.precision,
                state,
                self.bad_numbers,
                self.loading.accumulate,
            )
            self.end_if_too_many("gradient", state.bad_gradients, batch)
            if size is not None:
                self.record.gradients.add(size)

    def end_if_too_many(self, what: str, times: int, batch: Batch) -> None:
        """Raise a `UserError` if `what` (loss or gradient) was bad too often in a row."""
        if times < self.precision.max_bad_losses:
            return
        kept = self.checkpointing.last_path
        names = name_samples(self.train_set, batch["index"].tolist())
        raise UserError(
            explain_bad_numbers(what, times, self.name, self.state, names, kept)
            + advise_lower_rate(self.optimizer, self.amp_dtype)
        )

    # --- the end of an epoch -----------------------------------------------------------------

    def share_buffers(self) -> None:
        """Give every process the buffers that the first one saves, so that all score the same."""
        distributed.share_buffers(self.model)
        if self.ema is not None:
            distributed.share_buffers(self.ema.model)

    def validate(self, loader: DataLoader | None, save: bool = True) -> dict[str, float]:
        """Return the scores of the validation set; {} where there is none.

        Args:
            save: save the training pass if it is interrupted, so that it need not be repeated.

        Raises:
            Interrupted: a signal asked to stop.
        """
        if loader is None:
            return {}
        try:
            logits, targets = self.forward_all(loader, desc="validation")
        except Interrupted:
            if save:
                self.save_last()
            raise Interrupted(self.checkpointing.last_path) from None
        self.reporter.note_targets(targets, self.criterion, self.metric)
        return score_validation(
            logits,
            targets,
            self.criterion,
            self.metric,
            self.monitors,
            self.name,
            in_part=self.max_batches is not None,
        )

    def end_epoch(
        self, scores: dict[str, float], by_step: tuple[list[int], list[float]], started: float
    ) -> None:
        """Record the scores, step the schedule, ask the callbacks, save, and report.

        Args:
            scores: of this epoch.
            by_step: its training loss, as `group_losses` returns it.
            started: when it began, in seconds of the monotonic clock.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
        """
        state = self.state
        # Before the callbacks and the checkpoints, which must see the epoch as completed.
        state.epoch, state.step, self.record = state.epoch + 1, 0, EpochRecord()
        scores = {
            "epoch": state.epoch,
            **scores,
            # Of the last optimiser step; every step of the epoch may have been skipped.
            "learning_rate": state.learning_rate or self.optimizer.param_groups[0]["lr"],
        }
        state.history.append(scores)
        add_epoch(state.loss_by_step, state.epoch, *by_step)
        step_after_epoch(self.scheduler, self.schedule, state.epoch, scores)

        verdicts = [callback.on_epoch_end(state) for callback in self.callbacks]
        is_best = not verdicts or any(verdict.is_best for verdict in verdicts)
        stop_reasons = [verdict.stop_reason for verdict in verdicts if verdict.stop_reason]
        if self.reporting.watch is not None and (reason := self.reporting.watch(state)):
            stop_reasons.append(reason)
        self.has_ended = state.epoch >= self.num_epochs or bool(stop_reasons)
        # A fit whose weights are still to be averaged is not finished.
        average, state.average = self.checkpointing.average, None
        state.finished = self.has_ended and average is None
        state.seconds += time.monotonic() - started

        # If the process is killed before the checkpoint is written, the resumed run repeats the
        # epoch and writes the same again. The record comes last, since what it calls finished is
        # not trained again: the checkpoint of a finished fold must not be of an earlier step.
        if is_best or state.best_epoch is None:
            self.save_best()
        if distributed.is_main():
            self.epoch_files.keep_newest(state.history, self.scored_model)
        self.save_last()
        self.write_record()
        # Only now: until the checkpoint was written, the fit might have begun this epoch again.
        if distributed.is_main():
            self.epoch_files.remove_others(state.history)
        self.reporter.report(state, self.num_epochs, is_best, stop_reasons)
        if self.clock.agree(state.step, interruption.requested())[0] and not state.finished:
            raise Interrupted(self.checkpointing.last_path)

    def save_average(self, valid_loader: DataLoader | None) -> None:
        """Put the mean of the chosen epochs' weights in the place of the best, and end the fit.

        Raises:
            Interrupted: a signal asked to stop; resuming averages again.
        """
        distributed.barrier()  # the first process has written what all read
        epochs = self.checkpointing.average.choose(self.state.history)
        # A fit that is given more epochs continues with its own weights, those of the last one.
        with borrowed_weights(self.scored_model, self.epoch_files.mean(epochs)):
            scores = self.validate(valid_loader, save=False)
            self.state.average = {"epochs": epochs, **scores}
            self.state.finished = True
            self.save_best()
        self.save_last()
        self.write_record()
        self.reporter.report_average(self.state)

    # --- prediction --------------------------------------------------------------------------

    def predict(
        self, dataset: Dataset, views: Sequence[View] | None = None, desc: str = "prediction"
    ) -> np.ndarray:
        """Return logits (n, 1) float32 in the order of the data set, averaged over the views."""
        loader = self.make_loader(dataset, shuffle=False)
        with explains_lost_readers(self.loading.num_workers):
            logits, _ = self.forward_all(loader, views, desc)
        return logits.numpy().astype(np.float32)

    def forward_all(
        self, loader: DataLoader, views: Sequence[View] | None = None, desc: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Return logits and targets of a data set, (n, 1) each, on the CPU, in its own order.

        With several processes each forwards its own rows and all get all of them; they cannot
        stop in between.

        Raises:
            Interrupted: a signal asked to stop.
        """
        show = self.reporting.show_progress and distributed.is_main()
        bar = progress(loader, desc=f"{self.name} {desc}", unit="batch", show=show)
        return forward_rows(
            self.scored_model,
            # a dry run validates and predicts a few batches as well
            itertools.islice(read_batches(bar), self.max_batches),
            self.hook.forward_test,
            self.to_device,
            self.transforms["test"],
            views or [IDENTITY],
            # A hook of its own may do anything with a batch.
            type(self.hook).forward_test is TrainHook.forward_test
            and getattr(self.scored_model, "ignores_sign", False),
        )

    # --- data --------------------------------------------------------------------------------

    def make_loader(self, dataset: Dataset, shuffle: bool) -> DataLoader:
        return make_loader(
            dataset, self.loading, shuffle=shuffle, counters=self.counters, device=self.device
        )

    def prepare_batch(self, batch: Batch, stage: str) -> Batch:
        """Move a batch to the device and transform it there; `stage` is 'train' or 'test'."""
        # Transforms are no part of what is learnt, not even those that have parameters.
        with torch.no_grad():
            return self.transforms[stage](self.to_device(batch))

    def to_device(self, batch: Batch) -> Batch:
        # Copies from pinned memory overlap with the computation; elsewhere it makes no difference.
        return {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}

    # --- checkpoints -------------------------------------------------------------------------

    @property
    def scored_model(self) -> nn.Module:
        """The network that is validated and saved: the trained one, or its average."""
        # Not `self.wrapped`: DDP would put "module." before every name.
        return self.model if self.ema is None else self.ema.model

    @property
    def parts(self) -> FitParts:
        """What the fit changes, and a checkpoint keeps."""
        return FitParts(
            self.model,
            self.optimizer,
            self.scheduler,
            self.scaler,
            self.ema,
            self.callbacks,
            self.amp_dtype,
            self.beginning,
        )

    def note_beginning(self) -> None:
        """Note the optimiser's settings and the schedule while no step has changed them."""
        if self.beginning is None:
            self.beginning = describe_beginning(self.optimizer, self.scheduler)

    def save_best(self) -> None:
        """Write the weights that predictions are made with."""
        if distributed.is_main():
            weights = self.scored_model.state_dict()
            self.state.weights = content_digest(weights)
            content = {"model": weights, "state": asdict(self.state)}
            save_checkpoint(self.checkpointing.best_path, content)

    def write_record(self) -> None:
        """Write how far the fit is, for everything that does not read checkpoints."""
        if distributed.is_main():
            write_json(self.checkpointing.history_path, asdict(self.state))

    def save_last(self) -> None:
        """Write all that is needed to resume as if the fit had never stopped.

        All processes must call it at once: each adds what it recorded of the epoch.
        """
        # In every process, as it gathers what each has recorded; then only one writes.
        content = pack_checkpoint(self.parts, self.state, self.record)
        if distributed.is_main():
            save_checkpoint(self.checkpointing.last_path, content)

    def resume(self) -> bool:
        """Resume from the last checkpoint if there is one; return whether there was.

        Raises:
            UserError: it belongs to another network, optimiser or number of processes.
        """
        path = self.checkpointing.last_path
        if not path.exists():
            return False
        self.note_beginning()
        self.state, self.record = restore_checkpoint(path, self.parts, self.schedule, self.device)
        # Decided anew: the config may ask for more epochs than when this was saved.
        self.has_ended = self.state.epoch >= self.num_epochs or any(
            getattr(callback, "has_stopped", False) for callback in self.callbacks
        )
        is_averaged = self.checkpointing.average is None or self.state.average is not None
        self.state.finished = self.has_ended and is_averaged
        if self.state.epoch > recorded_epochs(self.checkpointing.history_path):
            self.write_record()  # the process was killed between the checkpoint and the record
        return True
