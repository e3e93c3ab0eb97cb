"""All trackers of one part together: each epoch goes to every one, once."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.console import LOGGER
from runtime.errors import UserError, nearest
from runtime.files import read_json_object, write_json
from runtime.optional_packages import require
from tracking.tracked_part import Point, TrackedPart, Tracker

# The file and class of each, so that nothing is imported that no config names.
CLASSES = {
    "tensorboard": "tracking.tensorboard_tracker:TensorBoardTracker",
    "csv": "tracking.csv_tracker:CsvTracker",
    "mlflow": "tracking.mlflow_tracker:MlflowTracker",
    "wandb": "tracking.wandb_tracker:WandbTracker",
}
# They may be far away: what fails there does not end a training of hours.
REMOTE = ("mlflow", "wandb")


def read_tracker_names(tracker: str | tuple) -> tuple[str, ...]:
    """Return the trackers that a config names, one or several.

    Raises:
        UserError: there is no such tracker, or its package is not installed.
    """
    names = (tracker,) if isinstance(tracker, str) else tuple(tracker)
    for name in names:
        if name not in CLASSES:
            raise UserError(
                f"tracker = {name!r}: there is no such tracker{nearest(str(name), CLASSES)}; there "
                f"are {', '.join(CLASSES)}, or several of them: --set tracker=[tensorboard,csv]"
            )
        if name in REMOTE:
            require(name, name)
    return tuple(dict.fromkeys(names))


class Trackers:
    """The trackers of one part. What they call their runs is kept in tracking/<part>/runs.json.

    Args:
        names: as `read_tracker_names` returns them.
        part: what is tracked.

    Raises:
        UserError: one of them cannot begin, or continue the run that it began.
    """

    def __init__(self, names: Sequence[str], part: TrackedPart) -> None:
        self.part = part
        self.record = read_runs(self.record_path)
        self.trackers: dict[str, Tracker] = {}
        self.sent: dict[str, int] = {}  # epochs, by tracker
        for name in names:
            known = self.record.get(name, {})
            self.trackers[name] = find_class(name)(part, known.get("run"))
            # Files know what they have: what was there at the start was written by that process.
            self.sent[name] = known.get("epochs", 0) if name in REMOTE else part.epochs
            if name in REMOTE:
                self.note(name)  # at once, so that a run that is killed now is continued
                verb = "continues" if known else "begins"
                LOGGER.info(f"{part.name} {verb} the {name} run {self.trackers[name].run}")

    @property
    def record_path(self) -> Path:
        return self.part.folder / "runs.json"

    def note(self, name: str) -> None:
        """Keep the run of a tracker, and how many epochs it has."""
        self.part.folder.mkdir(parents=True, exist_ok=True)
        self.record[name] = {"run": self.trackers[name].run, "epochs": self.sent[name]}
        write_json(self.record_path, self.record)

    def log_history(
        self, history: Sequence[Mapping[str, float]], points: Sequence[Point] = ()
    ) -> None:
        """Send the epochs that each tracker does not have yet.

        Args:
            history: the scores of each epoch.
            points: the training loss by step, of all epochs.
        """
        for name, tracker in self.trackers.items():
            first = self.sent[name]
            if self.succeeds(name, lambda t=tracker, n=first: t.log_epochs(history, n, points)):
                self.sent[name] = len(history)
                if name in REMOTE:
                    self.note(name)

    def log_result(self, figures: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
        """Send what came out in the end; see `Tracker.log_result`."""
        there = [file for file in files if file.is_file()]
        for name, tracker in self.trackers.items():
            self.succeeds(name, lambda t=tracker: t.log_result(figures, there))

    def close(self, finished: bool) -> None:
        for name, tracker in self.trackers.items():
            self.succeeds(name, lambda t=tracker: t.close(finished))

    def succeeds(self, name: str, send: Callable[[], None]) -> bool:
        """Return whether a tracker took what it was sent; warn where a distant one did not."""
        if name not in REMOTE:
            send()
            return True
        try:
            send()
        except Exception as error:  # a client of a server may raise anything
            LOGGER.warning(
                f"{self.part.name}: {name} did not take the newest scores "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): they are sent "
                f"with those of the next epoch, and training goes on"
            )
            return False
        return True


def find_class(name: str) -> Callable[..., Tracker]:
    module, cls = CLASSES[name].split(":")
    return getattr(importlib.import_module(module), cls)


def read_runs(path: Path) -> dict[str, dict[str, Any]]:
    """Return what each tracker calls its run, and how many epochs it has; {} without a file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return {}
    runs = read_json_object(path)
    for name, run in runs.items():
        known = isinstance(run, dict) and isinstance(run.get("run"), str)
        if not known or not isinstance(run.get("epochs"), int):
            raise UserError(
                f"{path} does not say which run of {name} to continue: remove it, and another "
                f"tracked run begins"
            )
    return runs
