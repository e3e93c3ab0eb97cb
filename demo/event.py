"""What the search of the strain around GW150914 has found."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.recording import Recording
from data.strain_files import open_recordings
from physics.observation import Observation
from runtime.errors import UserError
from runtime.files import read_json_object
from search.conditioned_stretch import ConditioningSettings, load_stretch
from search.result import WhitenedStrain
from search.stretches import plan_stretches
from search.trigger_maps import whiten_around

STRAIN = Path(__file__).parents[1] / "examples" / "gw150914"
DETECTORS = ("H1", "L1")
# GPS, s, at the centre of the Earth: Abbott et al., Physical Review Letters 116, 061102 (2016).
MERGER = 1_126_259_462.4
NEAR = 0.1  # s; a trigger that is as near is the event, which lasts 0.2 s


@dataclass(frozen=True)
class SearchFinding:
    """The triggers of a search, the loudest first.

    Attributes:
        times: (n,) GPS, s.
        scores: (n,) mean logits: of a filter bank the log-likelihood ratio.
        start, end: GPS of the strain, s.
    """

    times: np.ndarray
    scores: np.ndarray
    start: float
    end: float

    @property
    def time(self) -> float:
        """GPS of the loudest trigger, s; that of the merger where there is none."""
        return float(self.times[0]) if len(self.times) else MERGER

    @property
    def is_found(self) -> bool:
        """Whether the loudest trigger is GW150914."""
        return bool(len(self.times)) and abs(self.time - MERGER) <= NEAR


def read_finding(folder: Path) -> SearchFinding:
    """Read the results that `detect.py` has written.

    Raises:
        UserError: a file is missing or damaged.
    """
    record, path = read_json_object(folder / "detection.json"), folder / "candidates.csv"
    try:
        with open(path, newline="") as file:
            rows = [(float(row["gps"]), float(row["score"])) for row in csv.DictReader(file)]
        table = np.array(rows, float).reshape(-1, 2)
        return SearchFinding(
            table[:, 0], table[:, 1], float(record["gps_start"]), float(record["gps_end"])
        )
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} or detection.json beside it is damaged ({error!r}): move {folder} away and "
            f"search again with `make demo`"
        ) from error


def whitened_strain(observation: Observation, time: float) -> WhitenedStrain:
    """Return the whitened strain of both detectors around a time, as the search saw it.

    Args:
        observation: of the network.
        time: GPS, s.

    Raises:
        UserError: the strain of examples/gw150914 is missing.
    """
    recordings: dict[str, Recording] = open_recordings(strain_arguments(), observation=observation)
    (stretch,) = plan_stretches(recordings, {}, observation, 512.0)
    conditioned = load_stretch(recordings, stretch, observation, ConditioningSettings(), {})
    if conditioned is None:
        raise UserError(f"{STRAIN} holds no strain that can be searched: restore it with git")
    return whiten_around(conditioned, time)


def strain_arguments() -> list[str]:
    """Return what follows `--strain` in the command of `detect.py`."""
    folder = STRAIN
    if STRAIN.is_relative_to(Path.cwd()):  # what one would type
        folder = STRAIN.relative_to(Path.cwd())
    return [f"{name}={folder}" for name in DETECTORS]
