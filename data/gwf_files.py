"""Strain in GWF frame files, with gaps between frames, and the data-quality channels beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.gwf_reading_process import (
    FrameFile,
    call_in_reading_process,
    read_bits,
    read_contents,
    read_frames,
    read_rate,
)
from data.quality_bits import QualityMask, bits_of_channel, bits_of_unit, times_excluded_by_bits
from data.recording import StrainRequest, check_rate, explain_wrong_detector, file_digest
from data.strain_paths import calibration_of_name
from data.time_segments import TimeSegments, merge_segments
from runtime.errors import UserError, nearest

OWN_CHANNEL = re.compile(r"([A-Z]\d):")


class GWFStrain:
    """Strain of a GWF frame file. Only the frames that a read touches are unpacked.

    Args:
        path: the file.
        request: what is wanted of it. Without a channel, the only one of the detector with
            "STRAIN" in its name is taken.
        known_rates: Hz, by channel, from files that were opened before. To learn the rate, a frame
            of a channel that is not known is unpacked; that of the others is checked when they are
            read. The rate of this file is added.

    Raises:
        UserError: the reader of frames is missing, the file is damaged, the channel is of another
            detector, several channels fit, or a data-quality bit that is asked for is missing.
    """

    def __init__(
        self, path: Path, request: StrainRequest, known_rates: dict[str, int] | None = None
    ) -> None:
        if request.channel is not None:
            check_channel(request.channel, request.detector)
        self.path, self.name = path, str(path)
        contents: FrameFile = call_in_reading_process(read_contents, path)
        self.channel = choose_channel(contents, path, request)
        self.frames = contents.frames
        if not self.frames:
            raise UserError(f"{path} holds no frames: download it again")
        known_rates = {} if known_rates is None else known_rates
        if self.channel not in known_rates:
            rate = call_in_reading_process(read_rate, path, self.channel, self.frames[0].number)
            lowest = request.observation.sample_rate
            known_rates[self.channel] = check_rate(rate, self.name, lowest)
        self.rate = known_rates[self.channel]
        self.start = self.frames[0].start
        self.end = max(frame.start + frame.duration for frame in self.frames)
        self.size = round((self.end - self.start) * self.rate)
        # The channel of GWOSC's first releases has the same name in all of them.
        without_detector = self.channel.partition(":")[2]
        by_name = calibration_of_name(path)
        self.calibration = by_name if by_name.startswith("LOSC") else without_detector
        wanted = request.data_quality
        masks = [] if wanted == () else self.read_masks(contents, request.detector)
        self.excluded = times_excluded_by_bits(masks, wanted, path)

    def read_masks(self, contents: FrameFile, detector: str) -> list[QualityMask]:
        """Return the data-quality and injection bits of the file."""
        masks = []
        for channel in contents.channels:
            standard = bits_of_channel(channel)
            if standard is None or not channel.upper().startswith(f"{detector}:"):
                continue
            numbers = [frame.number for frame in self.frames]
            masks += [
                QualityMask(
                    bits_of_unit(series.unit) or standard,
                    series.values,
                    series.start,
                    series.spacing,
                )
                for series in call_in_reading_process(read_bits, self.path, channel, numbers)
            ]
        return masks

    def read(self, first: int, last: int) -> np.ndarray:
        start, end = (self.start + edge / self.rate for edge in (first, last))
        touched = [
            frame
            for frame in self.frames
            if frame.start < end and start < frame.start + frame.duration
        ]
        return call_in_reading_process(
            read_frames, self.path, self.channel, touched, start, self.rate, last - first
        )

    def content_digest(self) -> str:
        # one file may hold several channels
        return f"{file_digest(self.path)} {self.channel}"

    def data_segments(self) -> TimeSegments:
        return merge_segments((frame.start, frame.start + frame.duration) for frame in self.frames)

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        return self.excluded


def choose_channel(contents: FrameFile, path: Path, request: StrainRequest) -> str:
    """Return the channel of strain that is wanted of a frame file.

    Raises:
        UserError: the file has none of the detector, or several, or not the one that is named.
    """
    detector, channel = request.detector, request.channel
    own = [name for name in contents.channels if name.upper().startswith(f"{detector}:")]
    strain = [name for name in own if "STRAIN" in name.upper()]
    if not own:
        others = {
            match[1]
            for name in contents.channels
            if "STRAIN" in name.upper() and (match := OWN_CHANNEL.match(name.upper()))
        }
        if len(others) == 1:
            raise UserError(explain_wrong_detector(str(path), others.pop(), request))
        raise UserError(
            f"{path} has no strain channels of {detector}, only "
            f"{', '.join(contents.channels[:6]) or 'none'}: give a file of {detector}"
        )
    if channel is not None:
        # As for detectors, lower case is accepted.
        named = [name for name in own if name.upper() == channel.upper()]
        if not named:
            raise UserError(
                f"{path} has no channel {channel!r}{nearest(channel, own)}: choose from "
                f"{', '.join((strain or own)[:6])}"
            )
        return channel if channel in named else named[0]
    if len(strain) != 1:
        raise UserError(
            f"{path} has {len(strain) or 'no'} strain channels of {detector}: name one with "
            f"--channel {detector}=NAME out of {', '.join((strain or own)[:6])}"
        )
    return strain[0]


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
