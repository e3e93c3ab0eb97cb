"""Stretches as they are searched: real strain with faults, levels that change, combinations."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from real_strain import START, coloured_noise

from data.gates import Gate
from data.recording import Recording, StrainInMemory
from data.strain_conditioning import condition_strain
from data.strain_files import open_recordings
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from search.conditioned_stretch import (
    ConditionedStretch,
    ConditioningSettings,
    MissingStrain,
    divide_by_detectors,
    find_missing,
    load_stretch,
)
from search.stretches import Stretch, edge_seconds, plan_stretches

RATE, N = COMPETITION.sample_rate, COMPETITION.num_samples
RAW = 4096  # Hz, of the strain as recorded
EVENT = 1126259462.42  # GPS, s: GW150914 in the middle between the detectors


def hold(values: np.ndarray, detector: str = "H1", start: float = START) -> Recording:
    return Recording(detector, [StrainInMemory(detector, values, RAW, start)])


def load_first(recordings, **options) -> ConditionedStretch | None:
    """Return the first stretch of recordings as it is loaded."""
    allowed = options.get("allowed") or {}
    stretches = plan_stretches(recordings, allowed, COMPETITION, longest=4096)
    return load_stretch(recordings, stretches[0], COMPETITION, **options)


@pytest.fixture(scope="module")
def gw150914(shared: Path) -> dict[str, np.ndarray]:
    """The 32 s of Hanford and Livingston around GW150914, as recorded; skipped where absent."""
    folder = shared / "data" / "gwosc"
    found = {name: sorted(folder.glob(f"*{name}_*32.hdf5")) for name in ("H1", "L1")}
    if not all(found.values()):
        pytest.skip(f"{folder} lacks the strain of GW150914")
    words = [f"{name}={paths[0]}" for name, paths in found.items()]
    recordings = open_recordings(words, observation=COMPETITION)
    return {name: item.read(item.start, 32 * RAW) for name, item in recordings.items()}


def hold_event(strain: dict[str, np.ndarray]) -> dict[str, Recording]:
    return {name: hold(values, name, 1126259446.0) for name, values in strain.items()}


def find_loudest(conditioned: ConditionedStretch, name: str) -> tuple[float, float, float]:
    """Return time, magnitude, and magnitude elsewhere, of the loudest usable whitened sample."""
    white = np.abs(conditioned.whitened(name)) * conditioned.usable[name]
    times = conditioned.stretch.start + np.arange(len(white)) / RATE
    event = np.abs(times - EVENT) < 0.1
    loudest = int(np.argmax(white))
    return times[loudest], float(white[event].max()), float(white[~event].max())


def test_real_strain_is_white_to_its_ends(gw150914) -> None:
    conditioned = load_first(hold_event(gw150914))
    assert conditioned.gates == []
    for name in ("H1", "L1"):
        assert conditioned.usable[name].all()
        white = conditioned.whitened(name)
        for part in (white, white[:RATE], white[-RATE:]):
            assert part.std() == pytest.approx(1, abs=0.06)
        time, loudest, elsewhere = find_loudest(conditioned, name)
        assert abs(time - EVENT) < 0.05
        assert loudest > elsewhere


FAULTS = {
    "half a second of zeros": (slice(20 * RAW, 20 * RAW + RAW // 2), 0.0),
    "half a second of zeros a little before": (slice(14 * RAW, 14 * RAW + RAW // 2), 0.0),
    "half a second of a constant": (slice(24 * RAW, 24 * RAW + RAW // 2), 3e-19),
    "half a second saturated": (slice(20 * RAW, 20 * RAW + RAW // 2), None),
    "thirteen seconds of zeros": (slice(19 * RAW, 32 * RAW), 0.0),
    "twelve seconds of a constant": (slice(0, 12 * RAW), 1e-19),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_gw150914_beside_a_drop_out(gw150914, fault) -> None:
    """It stays the loudest sample of Hanford's strain, and nothing else becomes loud."""
    where, value = FAULTS[fault]
    strain = {name: values.copy() for name, values in gw150914.items()}
    part = strain["H1"][where]
    limit = 0.2 * np.abs(part).max()
    strain["H1"][where] = part.clip(-limit, limit) if value is None else value
    conditioned = load_first(hold_event(strain))
    assert conditioned.stretch.detectors == ("H1", "L1")
    assert conditioned.gates == []
    first = round((1126259446 + where.start / RAW - conditioned.stretch.start) * RATE)
    last = round((1126259446 + where.stop / RAW - conditioned.stretch.start) * RATE)
    usable = conditioned.usable["H1"]
    assert not usable[max(first, 0) + 60 : last - 60].any()
    time, loudest, elsewhere = find_loudest(conditioned, "H1")
    assert abs(time - EVENT) < 0.05
    assert loudest > 4.5
    assert elsewhere < 4.8
    assert conditioned.whitened("H1")[usable].std() == pytest.approx(1, abs=0.03)


def test_fifteen_seconds_of_zeros_beside_gw150914_in_a_longer_recording(gw150914) -> None:
    """15 s of zeros begin 2.6 s after the event, and then the recording goes on."""
    strain = {}
    for name, values in gw150914.items():
        strain[name] = np.concatenate([values[: 19 * RAW], np.zeros(15 * RAW), values[19 * RAW :]])
    conditioned = load_first(hold_event(strain))
    for name in ("H1", "L1"):
        time, loudest, elsewhere = find_loudest(conditioned, name)
        assert abs(time - EVENT) < 0.05
        assert loudest > elsewhere


def test_gw150914_is_not_gated_and_a_blip_beside_it_is(gw150914) -> None:
    strain = {name: values.copy() for name, values in gw150914.items()}
    time = np.arange(len(strain["H1"])) / RAW - 20
    strain["H1"] += 2e-20 * np.exp(-0.5 * (time / 0.01) ** 2) * np.sin(2 * np.pi * 150 * time)
    conditioned = load_first(hold_event(strain))
    (gate,) = conditioned.gates
    assert gate.detector == "H1"
    assert gate.start < 1126259466 < gate.end
    assert gate.end - gate.start < 1
    assert gate.snr > 150
    found, _, elsewhere = find_loudest(conditioned, "H1")
    assert abs(found - EVENT) < 0.05
    assert elsewhere < 4.8
    # the PSD is that of the strain without the blip, but for pieces that were left out
    clean = load_first(hold_event(gw150914))
    quotient = conditioned.psds["H1"][0].power / clean.psds["H1"][0].power
    assert np.median(quotient[40:4000]) == pytest.approx(1, abs=0.05)
    ungated = load_first(hold_event(strain), settings=ConditioningSettings(gate_snr=0))
    assert ungated.gates == []
    assert find_loudest(ungated, "H1")[2] > 40


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_the_level_of_noise_is_followed(factor) -> None:
    strain = coloured_noise("H1", 256)
    strain[: 64 * RAW] *= factor
    conditioned = load_first({"H1": hold(strain)})
    white = conditioned.whitened("H1")
    assert white[RATE : 58 * RATE].std() == pytest.approx(1, abs=0.06)
    assert white[70 * RATE : 250 * RATE].std() == pytest.approx(1, abs=0.06)


def test_strain_is_that_of_the_recording_and_margins_join_it() -> None:
    recordings = {
        "H1": hold(coloured_noise("H1", 200)),
        "L1": hold(coloured_noise("L1", 200), "L1"),
    }
    first, second = plan_stretches(recordings, {}, COMPETITION, longest=101)
    one = load_stretch(recordings, first, COMPETITION)
    two = load_stretch(recordings, second, COMPETITION)
    assert one.stretch == first
    for name in ("H1", "L1"):
        expected = condition_strain(recordings[name], first.start, len(one.strain[name]))
        assert np.allclose(one.strain[name], expected, rtol=0, atol=1e-5 * expected.std())
        assert one.strain[name].dtype == np.float32
        # The stretches share a window, and each knows the windows beside it.
        shared = one.with_margins(name)[-3 * N :], two.with_margins(name)[: 3 * N]
        assert np.allclose(*shared, rtol=0, atol=1e-4 * expected.std())
        assert (one.psds[name][0].start, one.psds[name][-1].end) == (first.start, first.end)


def test_a_short_stretch_is_measured_with_the_strain_beside_it() -> None:
    recordings = {"H1": hold(coloured_noise("H1", 200))}
    short = load_stretch(recordings, Stretch(0, START + 100.0, START + 104.0, ("H1",)), COMPETITION)
    assert len(short.strain["H1"]) == 4 * RATE
    whole = load_first(recordings)
    quotient = short.psds["H1"][0].power[60:3500] / whole.psds["H1"][2].power[60:3500]
    assert np.median(quotient) == pytest.approx(1, abs=0.03)
    assert quotient.std() < 0.1


def test_excluded_times_are_gaps() -> None:
    recordings = {"H1": hold(coloured_noise("H1", 100))}
    allowed = {"H1": [(START, START + 40.0), (START + 45.0, START + 100.0)]}
    conditioned = load_first(recordings, allowed=allowed)
    usable = conditioned.usable["H1"]
    lost = edge_seconds(RAW, COMPETITION)
    first = round((START + 40 - lost - conditioned.stretch.start) * RATE)
    last = round((START + 45 + lost - conditioned.stretch.start) * RATE)
    assert not usable[first + 2 : last - 2].any()
    assert usable[: first - 2].all()
    assert usable[last + 2 :].all()
    assert conditioned.seconds_lost["H1"] == pytest.approx(5 + 2 * lost, abs=0.01)
    (missing,) = find_missing(conditioned.stretch, conditioned)
    assert missing.detector == "H1"
    assert missing.start == pytest.approx(START + 40 - lost, abs=2 / RATE)
    assert missing.end == pytest.approx(START + 45 + lost, abs=2 / RATE)
    # A gate in the midst of it is none of it, and one of another detector changes nothing.
    times = {"H1": (START + 42.0, START + 43.0), "L1": (START + 41.0, START + 44.0)}
    gates = [Gate(name, *time, 60, 80) for name, time in times.items()]
    gated = dataclasses.replace(conditioned, gates=gates)
    first, second = find_missing(conditioned.stretch, gated)
    assert (first.start, second.end) == (missing.start, missing.end)
    assert (first.end, second.start) == (START + 42.0, START + 43.0)


def test_a_detector_without_clean_strain_leaves_the_others(caplog) -> None:
    caplog.set_level(logging.INFO)
    noise = coloured_noise("H1", 60)
    recordings = {"H1": hold(noise), "L1": hold(np.zeros(60 * RAW), "L1")}
    conditioned = load_first(recordings)
    assert conditioned.stretch.detectors == ("H1",)
    assert set(conditioned.strain) == {"H1"}
    assert "searched without L1, of which too little is clean for a PSD" in caplog.text
    planned = dataclasses.replace(conditioned.stretch, detectors=("H1", "L1"))
    whole = (planned.start, planned.end)
    assert find_missing(planned, conditioned) == [MissingStrain("L1", *whole)]
    assert [each.detector for each in find_missing(planned, None)] == ["H1", "L1"]
    assert load_first({"L1": recordings["L1"]}) is None
    broken = noise.copy()
    broken[30 * RAW : 31 * RAW] = 0
    load_first({"H1": hold(broken)})
    assert "3.1 s of H1 are missing, excluded or equal samples" in caplog.text


def search_combinations(parts: list[ConditionedStretch]) -> dict[str, float]:
    """Return how many seconds windows begin at that each combination can search."""
    seconds: dict[str, float] = {}
    for part in parts:
        whole = np.ones(len(part.strain[part.stretch.detectors[0]]) - N + 1, bool)
        for usable in part.usable.values():
            bad = np.concatenate([[0], np.cumsum(~usable)])
            whole &= bad[N:] == bad[:-N]
        name = part.stretch.combination
        seconds[name] = seconds.get(name, 0.0) + whole.sum() / RATE
    return seconds


def test_each_combination_has_its_own_seconds() -> None:
    """H1 and L1 for 300 s, Virgo for 64 s, a drop-out of half a second in Hanford."""
    strain = {name: coloured_noise(name, 300, seed=seed) for seed, name in enumerate(("H1", "L1"))}
    strain["H1"][40 * RAW : 40 * RAW + RAW // 2] = 0
    recordings = {name: hold(values, name) for name, values in strain.items()}
    recordings["V1"] = hold(coloured_noise("V1", 64, seed=2), "V1", START + 100)
    seconds: dict[str, float] = {}
    for stretch in plan_stretches(recordings, {}, COMPETITION, longest=4096):
        conditioned = load_stretch(recordings, stretch, COMPETITION)
        for name, more in search_combinations(divide_by_detectors(conditioned)).items():
            seconds[name] = seconds.get(name, 0.0) + more
    lost, window = edge_seconds(RAW, COMPETITION), COMPETITION.window
    assert seconds.keys() == {"H1L1", "H1L1V1", "L1"}
    assert seconds["H1L1V1"] == pytest.approx(64 - 2 * lost - window, abs=0.01)
    assert seconds["L1"] == pytest.approx(0.5 + 2 * lost + window, abs=0.01)
    total = 300 - 2 * lost - window
    assert sum(seconds.values()) == pytest.approx(total, abs=0.02)


def test_parts_are_cut_with_what_lies_beside_them() -> None:
    strain = {name: coloured_noise(name, 100, seed=seed) for seed, name in enumerate(("H1", "L1"))}
    strain["H1"][50 * RAW : 50 * RAW + RAW // 2] = 0
    conditioned = load_first({name: hold(values, name) for name, values in strain.items()})
    whole, part = divide_by_detectors(conditioned)
    assert whole is conditioned
    assert (part.stretch.number, part.stretch.detectors) == (whole.stretch.number, ("L1",))
    assert (part.stretch.start * RATE).is_integer()
    first = round((part.stretch.start - whole.stretch.start) * RATE)
    last = first + len(part.strain["L1"])
    assert part.stretch.seconds == pytest.approx((last - first) / RATE)
    # the same whitened strain, to the ends of the part
    assert np.allclose(part.whitened("L1"), whole.whitened("L1")[first:last], atol=1e-3)
    clean = load_first({"L1": hold(strain["L1"], "L1")})
    assert divide_by_detectors(clean) == [clean]


def test_other_observations_are_conditioned() -> None:
    observation = Observation(detectors=("L1",), sample_rate=1024, window=4.0, min_frequency=20.0)
    recordings = {"L1": hold(coloured_noise("L1", 100), "L1")}
    (stretch,) = plan_stretches(recordings, {}, observation, longest=512)
    conditioned = load_stretch(recordings, stretch, observation)
    assert conditioned.rate == 1024
    assert conditioned.whitened("L1").std() == pytest.approx(1, abs=0.05)
    assert conditioned.psds["L1"][0].power.shape == (4097,)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="--psd-every 1: expected 4 s or more"):
        ConditioningSettings(psd_every=1)
    with pytest.raises(UserError, match="--gate-snr -1: expected an SNR, or 0"):
        ConditioningSettings(gate_snr=-1)
