"""Strain in GWF frame files, which gwpy reads in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.gwf_reading_process import EXTRA, call_in_reading_process, describe_frames, read_frames
from data.recording import check_rate, file_digest
from data.time_segments import TimeSegments
from physics.observation import COMPETITION
from runtime.errors import UserError
from runtime.optional_packages import require


class GWFStrain:
    """Strain of a GWF frame file. Only the frames that a read touches are read from disk.

    Args:
        path: the file.
        detector: whose strain to read.
        channel: its channel; None takes the only one of the detector with "STRAIN" in its name.
        lowest_rate: Hz, that the networks need.

    Raises:
        UserError: gwpy or its reader of frames is missing, the file is damaged, the channel is of
            another detector, or several channels fit.
    """

    def __init__(
        self,
        path: Path,
        detector: str,
        channel: str | None = None,
        lowest_rate: int = COMPETITION.sample_rate,
    ) -> None:
        if channel is not None:
            check_channel(channel, detector)
        require("gwpy", EXTRA)
        self.path, self.name = path, str(path)
        self.channel, rate, self.start, self.end = call_in_reading_process(
            describe_frames, path, detector, channel
        )
        self.rate = check_rate(rate, self.name, lowest_rate)
        self.size = round((self.end - self.start) * self.rate)

    def read(self, first: int, last: int) -> np.ndarray:
        # One sample more on either side, so that the way gwpy rounds times does not matter.
        start = max(self.start + (first - 1) / self.rate, self.start)
        end = min(self.start + (last + 1) / self.rate, self.end)
        origin, part = call_in_reading_process(read_frames, self.path, self.channel, start, end)
        skip = first - round((origin - self.start) * self.rate)
        if skip not in (0, 1) or len(part) < skip + last - first:
            raise UserError(
                f"{self.path} is damaged: samples {first} to {last} are not there; download it "
                f"again"
            )
        return part[skip : skip + last - first]

    def content_digest(self) -> str:
        # one file may hold several channels
        return f"{file_digest(self.path)} {self.channel}"

    def data_segments(self) -> TimeSegments:
        return [(self.start, self.start + self.size / self.rate)]

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        return {}


def check_channel(channel: str, detector: str) -> None:
    """Check that a channel is one of a detector's: their names begin as in "L1:GDS-CALIB_STRAIN".

    Raises:
        UserError: it is not.
    """
    prefix, colon, _ = channel.partition(":")
    if not colon or prefix.upper() != detector:
        raise UserError(
            f"--channel {detector}={channel}: the name of a channel of {detector} begins with "
            f"{detector}: and this one is {f'of {prefix}' if colon else 'of no detector'}"
        )
