"""Callbacks: which epoch is the best, and when the fit stops."""

from __future__ import annotations

import types

from training.callbacks import EarlyStopping, EpochVerdict, KeepLast


def run_callback(
    callback: EarlyStopping | KeepLast, scores: list[float]
) -> tuple[list[bool], int | None]:
    state = types.SimpleNamespace(epoch=0, best_score=None, best_epoch=None, history=[])
    best = []
    for score in scores:
        state.epoch += 1
        state.history.append({"valid_metric": score})
        verdict = callback.on_epoch_end(state)
        best.append(verdict.is_best)
        if verdict.stop_reason:
            return best, state.epoch
    return best, None


def test_early_stopping_counts_strict_improvements() -> None:
    best, stopped = run_callback(
        EarlyStopping(patience=2, maximize=True), [0.5, 0.6, 0.6, 0.7, 0.65, 0.7, 0.9]
    )
    assert best == [True, True, False, True, False, False]
    assert stopped == 6


def test_early_stopping_minimises_skips_and_survives_nan() -> None:
    best, stopped = run_callback(
        EarlyStopping(patience=2, skip_epoch=3), [float("nan"), 0.9, 1.0, 1.1, 1.2]
    )
    assert best == [False, True, False, False, False]
    assert stopped == 5


def test_keep_last_keeps_every_epoch_for_the_next_to_replace() -> None:
    state_of_best = []

    class Noted(KeepLast):
        def on_epoch_end(self, state) -> EpochVerdict:
            verdict = super().on_epoch_end(state)
            state_of_best.append((state.best_epoch, state.best_score))
            return verdict

    best, stopped = run_callback(Noted(), [0.5, 0.9, 0.6])
    assert (best, stopped) == ([True, True, True], None)
    assert state_of_best == [(1, 0.5), (2, 0.9), (3, 0.6)]


def test_early_stopping_resumes_its_count() -> None:
    first = EarlyStopping(patience=3, maximize=True)
    run_callback(first, [0.5, 0.4, 0.4])
    second = EarlyStopping(patience=3, maximize=True)
    second.load_state_dict(first.state_dict())
    assert second.counter == 2
