"""What one tracked run is of: a fold of an experiment, or all of them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ALL_FOLDS = "all_folds"
# Of the training loss by step: `epoch` done, with its part, `step` since the fit began, and
# `train_loss`.
Point = Mapping[str, float]
BY_STEP = "train_loss_by_step"  # what trackers call this curve


@dataclass(frozen=True)
class TrackedPart:
    """A fold, or the result of all folds.

    Attributes:
        experiment: the name of the experiment.
        part: 'fold0' and so on, or 'all_folds'.
        run_folder: results/<name>.
        config: the resolved config in JSON's own types.
        epochs: how many the history has when the tracker is opened.
    """

    experiment: str
    part: str
    run_folder: Path
    config: Mapping[str, Any]
    epochs: int = 0

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.part}"

    @property
    def folder(self) -> Path:
        """Where trackers keep files of this part."""
        return self.run_folder / "tracking" / self.part


class Tracker(Protocol):
    """One place that scores go to.

    Attributes:
        run: what the tracker calls this run, to continue it; None where files say that themselves.
    """

    run: str | None

    def log_epochs(
        self, history: Sequence[Mapping[str, float]], first: int, points: Sequence[Point] = ()
    ) -> None:
        """Send the epochs of a history from position `first` on, from 0.

        Args:
            history: the scores of each epoch.
            points: the training loss by step, of all epochs; see `points_after`.
        """
        ...

    def log_result(self, figures: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Send what came out in the end: numbers, texts such as digests, and files."""
        ...

    def close(self, finished: bool) -> None:
        """End the run, or leave it to be continued."""
        ...


def points_after(points: Sequence[Point], first: int) -> list[Point]:
    """Return the points of a loss by step that lie after the first epochs."""
    return [point for point in points if point["epoch"] > first]


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested values with their paths, as 'model_params.spec_params.stride'."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value:
        for position, inner in enumerate(value):
            yield from flatten(inner, f"{path}.{position}")
    else:
        yield path, value
