"""What the samples of a table are: `observation.json` beside `train.csv` and `test.csv`.

A file of strain says how many channels and samples it has, and not which detectors at what rate:
H1 and L1 for 2 s at 2,048 Hz look like H1 and V1 for 1 s at 4,096 Hz. So prep_data.py writes it
beside the tables. Tables without that file are the competition's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from physics.observation import COMPETITION, Sampling
from runtime.errors import UserError
from runtime.files import read_json_object, write_json

FILE_NAME = "observation.json"


def sampling_path(folder: str | os.PathLike[str]) -> Path:
    """Return the file that says what the samples of the tables in a folder are."""
    return Path(folder) / FILE_NAME


def read_sampling(folder: str | os.PathLike[str]) -> Sampling:
    """Return what the samples of the tables in a folder are.

    Raises:
        UserError: the file that says so is damaged.
    """
    path = sampling_path(folder)
    if not path.exists():
        return COMPETITION.sampling
    try:
        return Sampling.from_plain(read_json_object(path))
    except UserError as error:
        raise UserError(
            f"{path}: {error}: restore it, or write the tables again with prep_data.py"
        ) from error


def write_sampling(folder: str | os.PathLike[str], sampling: Sampling) -> None:
    """Write what the samples of the tables in a folder are; nothing for the competition's."""
    if sampling != COMPETITION.sampling:
        write_json(sampling_path(folder), sampling.to_plain())


def check_sampling(what: Any, found: Sampling, expected: Sampling, advice: str) -> None:
    """Check that samples are those of the observation they are read for.

    Args:
        what: the file that holds them, or whatever else, to be named.
        found: what they are.
        expected: what they are read as.
        advice: what to do where they are others.

    Raises:
        UserError: they are others.
    """
    if found != expected:
        raise UserError(
            f"{what} holds {found} and the experiment expects {expected}: {advice}; or state "
            f"its observation with {format_setting(found)}"
        )


def format_setting(sampling: Sampling) -> str:
    """Return the words of `--set` that state detectors, sampling rate and window."""
    return (
        f"--set observation.detectors=[{','.join(sampling.detectors)}] "
        f"observation.sample_rate={sampling.sample_rate} observation.window={sampling.window:g}"
    )
