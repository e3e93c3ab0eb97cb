"""The loop: fit, validate, predict, checkpoint, resume, in one process or several.

It knows nothing of gravitational waves. A batch is a dict of tensors; the hook knows which of
its fields the network takes, `transforms` prepare them on the device.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from data.batch_order import CountedBatchSampler
from datasets import collate
from runtime import interruption
from runtime.console import LOGGER, format_seconds, progress
from runtime.errors import UserError, nearest
from runtime.files import write_json
from runtime.interruption import Interrupted
from runtime.machine import memory_use
from runtime.seeds import seed_everything
from training import distributed
from training import state as trainer_state
from training.bad_numbers import BadNumbers
from training.checkpoints import content_digest, save_checkpoint
from training.precision import check_clipping, choose_amp_dtype, clip_gradients, make_scaler
from training.state import TrainerState
from training_extras import same

Batch = dict[str, Tensor]
SCORES = ("train_loss", "train_metric", "valid_loss", "valid_metric")  # of every epoch
ASK_EVERY = 10  # optimiser steps after which several processes agree on whether to save or to stop


class Trainer:
    """Trains one network on one fold.

    Args:
        model: the network; `hook` calls it.
        optimizer, scheduler: built for `model`; the scheduler is stepped each epoch, or each
            optimiser step with `batch_scheduler`, given the state entry `scheduler_target`
            where that is set.
        criterion: (logits, target) -> scalar loss.
        metric: (target, logits) -> float, on a whole epoch in float64.
        hook: turns a batch into logits and loss.
        transforms: 'train' and 'test', each a batch -> batch on the device.
        callbacks: objects with `on_epoch_end(trainer)`, `state_dict`, `load_state_dict`.
        folder, serial: checkpoints go to `folder/serial.pt` (best) and `folder/serial_last.pt`.
        counters: what all randomness is counted from, (seed, fold).
        amp: False, True (bf16 where the GPU has it, else fp16 with a scaler; float32 on a CPU),
            or 'bf16' / 'fp16' by name.
        clip_grad, max_grad_norm: None, 'value', 'norm' or 'agc', on unscaled gradients.
        accumulate: batches per optimiser step.
        sync_batch_norm: batch norm has statistics of the rows of all processes, not of its own.
        max_bad_losses: so many non-finite losses, or gradients, in a row end the fit.
        checkpoint_every: minutes between saves within an epoch.
        max_batches: end every epoch after so many batches (for dry runs).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        criterion: Callable | None = None,
        metric: Callable | None = None,
        hook: Any,
        transforms: Mapping[str, Callable[[Batch], Batch]],
        callbacks: Sequence[Any] = (),
        monitors: Sequence[Callable] = (),
        folder: Path,
        serial: str,
        device: torch.device,
        counters: tuple[int, int],
        batch_size: int,
        num_epochs: int = 1,
        num_workers: int = 0,
        amp: bool | str = False,
        clip_grad: str | None = None,
        max_grad_norm: float = 1.0,
        accumulate: int = 1,
        sync_batch_norm: bool = True,
        batch_scheduler: bool = False,
        scheduler_target: str | None = None,
        ema: Any = None,
        max_bad_losses: int = 10,
        checkpoint_every: float = 10.0,
        max_batches: int | None = None,
        show_progress: bool | None = None,
        log_every: int = 50,
        board: Any = None,
        show_memory: bool = False,
    ) -> None:
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.criterion, self.metric, self.hook = criterion, metric, hook
        self.transforms, self.callbacks, self.monitors = transforms, list(callbacks), monitors
        self.folder, self.serial, self.device = Path(folder), serial, device
        self.counters, self.batch_size, self.num_epochs = counters, batch_size, num_epochs
        self.num_workers, self.accumulate = num_workers, accumulate
        self.clip_grad, self.max_grad_norm = clip_grad, max_grad_norm
        self.batch_scheduler, self.scheduler_target = batch_scheduler, scheduler_target
        self.ema, self.checkpoint_every, self.max_batches = ema, checkpoint_every, max_batches
        self.show_progress, self.log_every, self.board = show_progress, log_every, board
        self.show_memory = show_memory

        if batch_scheduler and scheduler_target is not None:
            raise UserError("scheduler_target is known once an epoch: set batch_scheduler = False")
        for name, value in (
            ("batch_size", batch_size),
            ("num_epochs", num_epochs),
            ("accumulate", accumulate),
            ("max_bad_losses", max_bad_losses),
        ):
            if value < 1:
                raise UserError(f"{name} = {value}: expected 1 or more")
        check_clipping(clip_grad, max_grad_norm)
        for owner, target in (
            ("scheduler_target", scheduler_target),
            *((type(call).__name__, getattr(call, "target", None)) for call in callbacks),
        ):
            known = [*SCORES, *(f"valid_{monitor.name}" for monitor in monitors)]
            if target is not None and target not in known:
                raise UserError(
                    f"{owner}: there is no score {target!r}{nearest(target, known)}; there are "
                    f"{', '.join(known)}"
                )
        self.amp_dtype = choose_amp_dtype(amp, device)
        self.scaler = make_scaler(self.amp_dtype, device)
        self.wrapped = distributed.wrap(model, device, sync_batch_norm)
        self.state = TrainerState()
        self.is_best = False  # set by callbacks at the end of an epoch
        self.stop_reason: str | None = None
        self.bad_numbers = BadNumbers(max_bad_losses, log_every, model, ema and ema.model)
        self.epoch_losses: list[Tensor] = []
        self.epoch_outputs: list[tuple[Tensor, Tensor]] = []

    # --- the fit -----------------------------------------------------------------------------

    def fit(self, train_set: Dataset, valid_set: Dataset) -> TrainerState:
        """Train until the last epoch or until a callback stops; leave the best weights on disk.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
            UserError: the loss stayed NaN or infinite.
        """
        self.train_set = train_set
        # those taken up from a checkpoint, if any
        self.bad_numbers.statistics.keep_or_restore(good=True)
        train_loader = self.make_loader(train_set, shuffle=True)
        valid_loader = self.make_loader(valid_set, shuffle=False)
        while not self.state.finished:
            started = time.monotonic()
            data_seconds = self.train_epoch(train_loader)
            trained = time.monotonic()
            distributed.share_buffers(self.model)
            if self.ema is not None:
                distributed.share_buffers(self.ema.model)
            scores = self.end_of_training_pass() | self.validate(valid_loader)
            scores |= {
                "train_seconds": trained - started,
                "data_seconds": data_seconds,
                "valid_seconds": time.monotonic() - trained,
            }
            self.on_epoch_end(scores, started)
        return self.state

    def train_epoch(self, loader: DataLoader) -> float:
        """Run the rest of an epoch's batches; return the seconds spent waiting for data."""
        self.wrapped.train()
        epoch, sampler = self.state.epoch, loader.batch_sampler
        sampler.set_epoch(epoch, self.state.step)
        total = min(sampler.num_batches, self.max_batches or sampler.num_batches)
        waited, saved = 0.0, time.monotonic()
        bar = progress(
            total=total,
            desc=f"{self.serial} epoch {epoch + 1}/{self.num_epochs}",
            unit="batch",
            show=self.show_progress and distributed.is_main(),
        )
        bar.update(self.state.step)
        batches = iter(loader)
        with contextlib.closing(bar):
            while self.state.step < total:
                asked = time.monotonic()
                batch = next(batches)
                waited += time.monotonic() - asked
                seed_everything(*self.counters, epoch, self.state.step, distributed.rank())
                # DistributedDataParallel averages over processes, not rows: the parts of the
                # last step differ in size.
                share = len(batch["index"]) * distributed.world_size()
                share /= sampler.rows_of_step(self.state.step)
                self.train_step(
                    self.prepare(batch, "train"), share, last=self.state.step + 1 == total
                )
                self.state.step += 1
                bar.update()
                if self.state.step % self.log_every == 0:
                    bar.set_postfix(loss=f"{self.epoch_losses[-1].item():.4f}", refresh=False)
                # Between two optimiser steps there are gradients, which are not saved.
                if self.state.step % self.accumulate == 0 or self.state.step == total:
                    due = time.monotonic() - saved > 60 * self.checkpoint_every
                    due, stop = self.agree(due, interruption.requested())
                    if due or stop:
                        self.bad_numbers.before_saving(self)
                        self.save_last()
                        saved = time.monotonic()
                    if stop:
                        raise Interrupted(self.path("_last"))
        return waited

    def agree(self, *wishes: bool) -> list[bool]:
        """Return which wishes any process has; several processes ask one another now and then."""
        if distributed.world_size() == 1:
            return list(wishes)
        if self.state.step // self.accumulate % ASK_EVERY:
            return [False] * len(wishes)
        return distributed.any_of(wishes, self.device)

    def train_step(self, batch: Batch, share: float, last: bool) -> None:
        """Forward, backward and, every `accumulate` batches, unscale, check, clip and step."""
        with self.autocast():
            loss, output, target = self.hook.forward_train(self.wrapped, batch, self.criterion)
        loss = loss * share
        self.epoch_losses.append(loss.detach().float())
        if target is not None:
            self.epoch_outputs.append((output.detach().float(), target.detach()))
        if not self.bad_numbers.loss_is_finite(self, loss, batch, last):
            self.optimizer.zero_grad(set_to_none=True)
            return
        self.scaler.scale(loss / self.accumulate).backward()
        if (self.state.step + 1) % self.accumulate == 0 or last:
            self.scaler.unscale_(self.optimizer)
            if not self.bad_numbers.gradients_are_finite(self, batch):
                self.optimizer.zero_grad(set_to_none=True)
                return
            clip_gradients(self.model.parameters(), self.clip_grad, self.max_grad_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self.ema is not None:
                self.ema.update(self.model)
            if self.batch_scheduler:
                self.step_scheduler()

    def step_scheduler(self) -> None:
        if self.scheduler is None:
            return
        if self.scheduler_target is not None:
            self.scheduler.step(self.state.history[-1][self.scheduler_target])
        else:
            self.scheduler.step()

    # --- the end of an epoch -----------------------------------------------------------------

    def end_of_training_pass(self) -> dict[str, float]:
        """Return the mean training loss and, where targets were unmixed, the training score."""
        losses = torch.stack(self.epoch_losses)
        (losses,) = distributed.gather_rows(losses)
        # what was left out of the training is left out here
        scores = {"train_loss": losses[losses.isfinite()].mean().item(), "train_metric": math.nan}
        if self.epoch_outputs and self.metric is not None:
            outputs, targets = (torch.cat(part) for part in zip(*self.epoch_outputs, strict=True))
            outputs, targets = distributed.gather_rows(outputs, targets)
            finite = outputs.isfinite().flatten(1).all(1)  # (rows,)
            scores["train_metric"] = self.score(self.metric, targets[finite], outputs[finite])
        return scores

    def validate(self, loader: DataLoader) -> dict[str, float]:
        try:
            outputs, targets = self.forward_all(loader, desc="validation")
        except Interrupted:
            self.save_last()  # the epoch's training is done, and is not done again
            raise Interrupted(self.path("_last")) from None
        scores = {
            "valid_loss": self.criterion(outputs, targets).item(),
            "valid_metric": self.score(self.metric, targets, outputs),
        }
        for monitor in self.monitors:
            scores[f"valid_{monitor.name}"] = self.score(monitor, targets, outputs)
        return scores

    def score(self, metric: Callable, targets: Tensor, outputs: Tensor) -> float:
        """Return a metric; NaN, said in the log, where it is undefined (one class, NaN logits)."""
        try:
            return float(metric(targets, outputs))
        except UserError as error:
            LOGGER.warning(f"{self.serial}: {error}")
            return float("nan")

    def on_epoch_end(self, scores: dict[str, float], started: float) -> None:
        """Record the scores, step the schedule, ask the callbacks, save, and say it in a line."""
        state = self.state
        state.epoch, state.step = state.epoch + 1, 0
        self.epoch_losses, self.epoch_outputs = [], []
        scores = {
            "epoch": state.epoch,
            **scores,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        state.history.append(scores)
        if not self.batch_scheduler:
            self.step_scheduler()
        self.is_best, self.stop_reason = not self.callbacks, None
        for callback in self.callbacks:
            callback.on_epoch_end(self)
        if state.epoch >= self.num_epochs or self.stop_reason:
            state.finished = True
        state.seconds += time.monotonic() - started
        # What says that the epoch is done is written last: killed before, the resumed run repeats
        # it and writes the same again.
        if self.is_best or state.best_epoch is None:
            self.save_best()
        if distributed.is_main():
            write_json(self.folder / f"{self.serial}.json", asdict(state))
        self.save_last()
        self.report(scores)
        if self.agree(interruption.requested())[0] and not state.finished:
            raise Interrupted(self.path("_last"))

    def report(self, scores: Mapping[str, float]) -> None:
        if not distributed.is_main():
            return
        state = self.state
        left = state.seconds / state.epoch * (self.num_epochs - state.epoch)
        items = [f"{self.serial} epoch {state.epoch}/{self.num_epochs}"]
        items += [
            f"{key}={scores[key]:.6f}"
            for key in scores
            if key.startswith(("train_", "valid_")) and not key.endswith("_seconds")
        ]
        items.append(f"lr={scores['learning_rate']:.2e}")
        data_share = scores["data_seconds"] / max(scores["train_seconds"], 1e-9)
        items.append(f"{format_seconds(scores['train_seconds'])} ({data_share:.0%} data)")
        if state.best_score is not None and not self.is_best:
            items.append(f"best={state.best_score:.6f} (epoch {state.best_epoch})")
        if not state.finished:
            items.append(f"this fold: {format_seconds(left)} left")
        if self.show_memory:
            items.append(memory_use(self.device))
        LOGGER.info(" | ".join(items))
        if self.stop_reason:
            LOGGER.info(f"{self.serial}: {self.stop_reason}")
        if self.board is not None:
            for key, value in scores.items():
                self.board.add_scalar(key, value, state.epoch)
            self.board.flush()

    # --- prediction --------------------------------------------------------------------------

    def predict(
        self,
        dataset: Dataset,
        views: Sequence[Callable[[Batch], Batch]] | None = None,
        desc: str = "prediction",
    ) -> np.ndarray:
        """Return logits (n, 1) float32 in the order of the dataset, averaged over the views."""
        loader = self.make_loader(dataset, shuffle=False)
        outputs, _ = self.forward_all(loader, views, desc)
        return outputs.numpy().astype(np.float32)

    @torch.inference_mode()
    def forward_all(
        self,
        loader: DataLoader,
        views: Sequence[Callable[[Batch], Batch]] | None = None,
        desc: str = "",
    ) -> tuple[Tensor, Tensor]:
        """Return logits and targets of a data set, in float32 on the CPU, in its own order.

        With several processes each forwards its own rows and all get all of them; they cannot
        stop in between.

        Raises:
            Interrupted: a signal asked to stop.
        """
        model = self.model if self.ema is None else self.ema.model
        model.eval()
        outputs, targets, indices = [], [], []
        show = self.show_progress and distributed.is_main()
        bar = progress(loader, desc=f"{self.serial} {desc}", unit="batch", show=show)
        for number, batch in enumerate(bar):
            if self.max_batches is not None and number >= self.max_batches:
                break
            if interruption.requested() and distributed.world_size() == 1:
                raise Interrupted
            batch = self.prepare(batch, "test")
            logits = [
                self.hook.forward_test(model, view(batch)).float() for view in views or [same]
            ]
            outputs.append(torch.stack(logits).mean(0))
            targets.append(batch["target"])
            indices.append(batch["index"])
        if not outputs:  # more processes than rows
            outputs, targets = [torch.empty(0, 1)], [torch.empty(0, 1)]
            indices = [torch.empty(0, dtype=torch.long)]
        output, target, index = distributed.gather_rows(
            torch.cat(outputs), torch.cat(targets), torch.cat(indices)
        )
        order = index.argsort()
        return output[order], target[order]

    # --- data --------------------------------------------------------------------------------

    def make_loader(self, dataset: Dataset, shuffle: bool) -> DataLoader:
        sampler = CountedBatchSampler(
            len(dataset),
            self.batch_size,
            shuffle,
            counters=self.counters,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        on_device = getattr(dataset, "on_device", False)
        workers = 0 if on_device else self.num_workers
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=self.device.type == "cuda" and not on_device,
            # They may stay: the sampler sends all that an epoch needs with the indices.
            persistent_workers=workers > 0,
        )

    def prepare(self, batch: Batch, stage: str) -> Batch:
        """Move a batch to the device and transform it there."""
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        with torch.no_grad():
            return self.transforms[stage](batch)

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.amp_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.amp_dtype)

    # --- checkpoints -------------------------------------------------------------------------

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.serial}{suffix}.pt"

    def save_best(self) -> None:
        """Write the weights that predictions are made with."""
        if distributed.is_main():
            model = self.model if self.ema is None else self.ema.model
            weights = model.state_dict()
            self.state.weights = content_digest(weights)
            save_checkpoint(self.path(""), {"model": weights, "state": asdict(self.state)})

    def save_last(self) -> None:
        """Write all that the fit needs to go on as if it had never stopped; all call it at once."""
        content = trainer_state.pack(self)
        if distributed.is_main():
            save_checkpoint(self.path("_last"), content)

    def resume(self) -> bool:
        """Take up `serial_last.pt` where there is one; return whether there was."""
        if not self.path("_last").exists():
            return False
        trainer_state.unpack(self, self.path("_last"))
        return True
