"""Strain around an event: fetched for the detectors that have it, or refused."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from physics.observation import Observation
from runtime.errors import UserError
from search import open_data
from search.open_data import fetch_event


class Fetched:
    """What gwpy's open-data call would return."""

    def __init__(self, start: float) -> None:
        self.value = np.zeros(512 * 4096)
        self.sample_rate, self.t0 = Number(4096), Number(start)


class Number:
    def __init__(self, value: float) -> None:
        self.value = value


@pytest.fixture
def service(monkeypatch):
    """A stand-in of gwpy and gwosc, which need a network."""

    def fetch_open_data(detector, start, end, sample_rate):
        return Fetched(start)

    def gps(event):
        if event != "GW150914":
            raise ValueError(f"Event {event} not found")
        return 1126259462.4

    modules = {
        "gwpy.timeseries": types.SimpleNamespace(
            TimeSeries=types.SimpleNamespace(fetch_open_data=fetch_open_data)
        ),
        "gwosc.datasets": types.SimpleNamespace(
            event_gps=gps, event_detectors=lambda event: {"H1", "L1", "G1"}
        ),
    }
    monkeypatch.setattr(open_data, "require", lambda name, extra: modules[name])
    return modules


def test_fetches_an_event(service):
    found = fetch_event("GW150914")
    assert list(found) == ["H1", "L1"]
    assert (found["H1"].start, found["H1"].end) == (1126259206, 1126259206 + 512)


def test_fetches_what_is_observed_at_a_rate_that_suffices(service):
    asked = []

    def fetch_open_data(detector, start, end, sample_rate):
        asked.append((detector, sample_rate))
        fetched = Fetched(start)
        fetched.sample_rate = Number(sample_rate)
        return fetched

    service["gwpy.timeseries"].TimeSeries.fetch_open_data = fetch_open_data
    fetch_event("GW150914", observation=Observation(detectors=("L1", "H1"), sample_rate=1024))
    fetch_event("GW150914", observation=Observation(detectors=("L1",), sample_rate=8192))
    assert asked == [("L1", 4096), ("H1", 4096), ("L1", 16384)]
    with pytest.raises(UserError, match="no strain of V1"):
        fetch_event("GW150914", observation=Observation(detectors=("V1",)))


def test_events_that_cannot_be_fetched(service):
    with pytest.raises(UserError, match="check the name and the network"):
        fetch_event("GW150915")
    with pytest.raises(UserError, match="is no name of an event"):
        fetch_event("../GW150914")

    def offline(event):
        raise OSError("no route to host")

    service["gwosc.datasets"].event_gps = offline
    with pytest.raises(UserError, match="no route to host"):
        fetch_event("GW150914")


def test_says_which_extra_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gwpy.timeseries", None)
    with pytest.raises((UserError, ModuleNotFoundError)) as caught:
        fetch_event("GW150914")
    assert "gwpy" in str(caught.value)
