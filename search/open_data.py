"""Strain around an event, fetched from GWOSC's open-data service."""

from __future__ import annotations

import math
import re
import textwrap

from data.gwf_reading_process import EXTRA
from data.recording import GWOSC_RATES, Recording, StrainInMemory, check_rate
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from runtime.optional_packages import require

EVENT_SECONDS = 512  # fetched around an event


def fetch_event(
    event: str, seconds: float = EVENT_SECONDS, *, observation: Observation = COMPETITION
) -> dict[str, Recording]:
    """Return the open strain around an event of GWOSC's catalogues, of each detector that has it.

    Args:
        event: e.g. 'GW150914'.
        seconds: of strain, the event in the middle.
        observation: detectors that are wanted, and the rate that is needed.

    Raises:
        UserError: there is no network or no such event.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", event):
        raise UserError(f"--event {event!r} is no name of an event: expected e.g. GW150914")
    series = require("gwpy.timeseries", EXTRA).TimeSeries
    catalogue = require("gwosc.datasets", EXTRA)
    found, lowest = {}, observation.sample_rate
    sample_rate = GWOSC_RATES[0] if lowest <= GWOSC_RATES[0] else GWOSC_RATES[1]
    try:
        gps = catalogue.event_gps(event)
        start = math.floor(gps - seconds / 2)
        there = set(catalogue.event_detectors(event))
        for detector in (name for name in observation.detectors if name in there):
            part = series.fetch_open_data(detector, start, start + seconds, sample_rate=sample_rate)
            rate = check_rate(float(part.sample_rate.value), f"{event} of {detector}", lowest)
            held = StrainInMemory(f"{event} of {detector}", part.value, rate, float(part.t0.value))
            found[detector] = Recording(detector, [held])
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        why = textwrap.shorten(str(error) or type(error).__name__, 120)
        raise UserError(
            f"--event {event}: the strain cannot be fetched from gwosc.org ({why}): check the "
            f"name and the network, or download the files elsewhere and give them with --strain"
        ) from error
    if not found:
        names = ", ".join(observation.detectors)
        raise UserError(f"--event {event}: gwosc.org has no strain of {names}")
    return found
