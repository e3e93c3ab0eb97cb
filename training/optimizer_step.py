"""One step of the optimiser: frozen parts left out, gradients clipped, weights averaged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from training.bad_numbers import BadNumbers
from training.fit_state import FitParts, TrainerState
from training.gradient_record import GradientSize, gradient_norm
from training.precision import clip_gradients
from training.schedules import step_after_update
from training.settings import Precision, Schedule


def step_optimizer(
    parts: FitParts,
    schedule: Schedule,
    precision: Precision,
    state: TrainerState,
    bad_numbers: BadNumbers,
    accumulate: int,
) -> GradientSize | None:
    """Unscale, check and clip the gradients, then step the optimiser, the average, the rate.

    Args:
        parts: with gradients, which are dropped afterwards.
        schedule: how the learning rate changes, and what is frozen.
        precision: how gradients are clipped.
        state: its counts and its learning rate are updated.
        bad_numbers: looks for gradients that are NaN or infinite.
        accumulate: batches of a step.

    Returns:
        How large the gradients were before clipping; None where they are bad and no step was made.
    """
    model, optimizer = parts.model, parts.optimizer
    if schedule.freeze is not None:
        schedule.freeze.drop_gradients(model, state.epoch)
    # Before clipping: the limit is meant for the true gradients.
    parts.scaler.unscale_(optimizer)
    # Each look at all gradients costs a large network a twentieth of its step on a CPU: one norm
    # serves the search for NaN, the clipping and the record.
    norm = gradient_norm(model.parameters())
    if not bad_numbers.gradients_are_usable(model.parameters(), norm, state, accumulate):
        optimizer.zero_grad(set_to_none=True)
        return None
    limit = precision.max_grad_norm
    on_cpu = bad_numbers.device.type == "cpu"
    size = clip_gradients(model.parameters(), precision.clip_grad, limit, norm, may_read=on_cpu)
    with warmed_up(optimizer, schedule.warmup_steps, state.updates or 0):
        parts.scaler.step(optimizer)
        state.learning_rate = float(optimizer.param_groups[0]["lr"])
    parts.scaler.update()
    optimizer.zero_grad(set_to_none=True)
    # Also where the scaler has skipped the step: the weights then are averaged once more.
    if parts.ema is not None:
        parts.ema.update(model)
    state.updates = (state.updates or 0) + 1
    step_after_update(parts.scheduler, schedule, state.updates)
    return size


@contextlib.contextmanager
def warmed_up(optimizer: torch.optim.Optimizer, steps: int, done: int) -> Iterator[None]:
    """Lower the learning rates during the first steps of a fit; put them back afterwards.

    Step n, from 0, of W takes the share (n + 1) / (W + 1) of what the schedule says. Schedules of
    torch compute each rate from the last one, so that they must not see the lowered one.

    Args:
        steps: W; 0 lowers nothing.
        done: n.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    if done < steps:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * ((done + 1) / (steps + 1))
    try:
        yield
    finally:
        if done < steps:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
