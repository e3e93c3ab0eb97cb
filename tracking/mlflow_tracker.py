"""Scores for MLflow, at the address that MLFLOW_TRACKING_URI names.

As MLflow's own programs do, it reads MLFLOW_TRACKING_URI (without it MLflow writes into a file of
the working directory) and MLFLOW_EXPERIMENT_NAME. Newer versions refuse a folder as a store
unless MLFLOW_ALLOW_FILE_STORE says otherwise; where the address names one, that is meant.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runtime.errors import UserError
from runtime.optional_packages import require
from tracking.tracked_part import BY_STEP, Point, TrackedPart, flatten, points_after

EXPERIMENT = "g2net-toolkit"
LONGEST_PARAM = 500  # characters; the shortest limit among MLflow's versions
PARAMS_AT_ONCE = 100  # MLflow's own limit


class MlflowTracker:
    """A run of MLflow for one part: config as parameters, scores as metrics by epoch.

    Args:
        run: the id of the run to continue; None begins one.

    Raises:
        UserError: MLflow is not installed, its store cannot be used or does not have the run.
    """

    def __init__(self, part: TrackedPart, run: str | None = None) -> None:
        mlflow = require("mlflow", "mlflow")
        address = os.environ.get("MLFLOW_TRACKING_URI", "")
        if is_folder(address):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self.entities = mlflow.entities
        try:
            self.client = mlflow.MlflowClient()
            self.run = self.begin(part) if run is None else self.continue_run(part, run)
            # As it is now: a resumed run may have other settings, and parameters cannot be changed.
            self.client.log_dict(self.run, dict(part.config), "config.json")
        except (mlflow.exceptions.MlflowException, OSError) as error:
            raise UserError(
                f"tracker = mlflow: the store {address or 'of the working directory'} cannot be "
                f"used ({' '.join(str(error).split())[:200]}): name another in "
                f"MLFLOW_TRACKING_URI, or leave this tracker out with --set tracker=csv"
            ) from error

    def begin(self, part: TrackedPart) -> str:
        """Begin a run and return its id."""
        tags = {"experiment": part.experiment, "part": part.part}
        run = self.client.create_run(self.find_experiment(), tags=tags, run_name=part.name)
        params = [
            self.entities.Param(key, str(value)[:LONGEST_PARAM])
            for key, value in flatten(part.config)
        ]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(run.info.run_id, params=params[start : start + PARAMS_AT_ONCE])
        return run.info.run_id

    def find_experiment(self) -> str:
        """Return the id of the experiment of MLflow, which is made where it is not there."""
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return self.client.create_experiment(name)
            except MlflowException:  # the process of another fold has made it meanwhile
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return found.experiment_id

    def continue_run(self, part: TrackedPart, run: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self.client.update_run(run, status="RUNNING")
        except MlflowException as error:
            raise UserError(
                f"{part.folder}/runs.json continues the MLflow run {run}, which the store of "
                f"MLFLOW_TRACKING_URI does not have ({error}): name the store that the run began "
                f"in, or remove that file to begin another"
            ) from error
        return run

    def log_epochs(
        self, history: Sequence[Mapping[str, float]], first: int, points: Sequence[Point] = ()
    ) -> None:
        now = int(time.time() * 1000)  # ms
        metrics = [
            self.entities.Metric(BY_STEP, float(point["train_loss"]), now, int(point["step"]))
            for point in points_after(points, first)
            if math.isfinite(point["train_loss"])
        ]
        metrics += [
            self.entities.Metric(key, float(value), now, int(scores["epoch"]))
            for scores in history[first:]
            for key, value in scores.items()
            # NaN, of a metric that is undefined, is no point of a curve
            if key != "epoch" and math.isfinite(value)
        ]
        for start in range(0, len(metrics), PARAMS_AT_ONCE):
            self.client.log_batch(self.run, metrics=metrics[start : start + PARAMS_AT_ONCE])

    def log_result(self, figures: Mapping[str, Any], files: Sequence[Path]) -> None:
        for key, value in flatten(figures):
            if isinstance(value, int | float) and not isinstance(value, bool):
                if math.isfinite(value):
                    self.client.log_metric(self.run, key, float(value))
            else:
                self.client.set_tag(self.run, key, str(value))
        for file in files:
            self.client.log_artifact(self.run, str(file))

    def close(self, finished: bool) -> None:
        self.client.set_terminated(self.run, status="FINISHED" if finished else "KILLED")


def is_folder(address: str) -> bool:
    """Whether an address of MLflow names a folder: a path, or file:."""
    return bool(address) and urlsplit(address).scheme in ("", "file")
