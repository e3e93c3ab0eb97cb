"""The line that the log gets after each epoch."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.console import format_seconds
from training.fit_state import TrainerState


def format_epoch_line(
    name: str,
    state: TrainerState,
    num_epochs: int,
    scores: Mapping[str, float],
    is_best: bool,
    memory: str | None = None,
) -> str:
    """Return what an epoch did, how long it took, and how much of the fold is left.

    Args:
        name: of what is trained, e.g. 'fold0'.
        state: how far the fit is; the epoch is counted in.
        scores: the newest entry of its history.
        is_best: whether this epoch is the best so far.
        memory: the memory used, as text.
    """
    items = [f"{name} epoch {state.epoch}/{num_epochs}"]
    items += [
        f"{key}={scores[key]:.6f}"
        for key in scores
        if key.startswith(("train_", "valid_")) and not key.endswith("_seconds")
    ]
    items.append(f"lr={scores['learning_rate']:.2e}")
    # The share of the time that the loop waited for data: near 0 % the network is what is slow.
    data_share = scores["data_seconds"] / max(scores["train_seconds"], 1e-9)
    items.append(f"{format_seconds(scores['train_seconds'])} ({data_share:.0%} data)")
    if state.best_score is not None and not is_best:
        items.append(f"best={state.best_score:.6f} (epoch {state.best_epoch})")
    if not state.finished:
        seconds_left = state.seconds / state.epoch * (num_epochs - state.epoch)
        items.append(f"this fold: {format_seconds(seconds_left)} left")
    if memory is not None:
        items.append(memory)
    return " | ".join(items)
