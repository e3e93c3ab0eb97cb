"""What a run says of a search: sensitive distances, shares found, false alarms, cost."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mdc.challenge_files import (
    injections_of_rows,
    write_events,
    write_injections,
    write_outline,
)
from benchmarks.mdc.run_folder import KindFindings, RunFolder, SearchFindings
from benchmarks.mdc.strain_sources import StrainSource
from physics.distance_laws import UniformChirpVolume
from physics.population import Population
from runtime.errors import UserError
from search.sensitivity import (
    MONTH,
    Events,
    FalseAlarms,
    Injections,
    VolumeLaw,
    distance_curve,
    match_events,
    sensitive_distance,
    shares_found,
    volume_law_of_population,
    volume_law_of_sample,
)
from simulation.continuous_strain_files import BACKGROUND, FOREGROUND

SNR_EDGES = np.array([0, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 1e4])
MOST_CURVE_POINTS = 200
MOST_CURVE_RATE = 3000.0  # a month
DISTANCE_RANGES = 11


@dataclass(frozen=True)
class RunFindings:
    """What a search found in all segments of a run.

    Attributes:
        foreground: its events in the strain with injections.
        background: those of strain without, time slides included.
        is_unslid: which of them are of no time slide, (n,) bool.
        seconds: of strain in background and foreground, each.
        live: s of background that were searched, without and with its time slides.
        injections: of all segments, in order of time.
        rows: the same by bilby's names.
        cost: CPU-seconds of conditioning and searching, and s that searching took.
    """

    foreground: Events
    background: Events
    is_unslid: np.ndarray
    seconds: float
    live: tuple[float, float]
    injections: Injections
    rows: list[dict[str, Any]]
    cost: dict[str, float]


def collect_findings(
    source: StrainSource, folder: RunFolder, findings: SearchFindings
) -> RunFindings:
    """Return what a search found, read from the files of all segments.

    Raises:
        UserError: a segment is missing or damaged.
    """
    rows: list[dict[str, Any]] = []
    parts: dict[str, list[KindFindings]] = {BACKGROUND: [], FOREGROUND: []}
    segments = source.segments()
    for segment in segments:
        strain = folder.read_strain(segment)
        if strain is None:
            raise UserError(f"{folder.path} lacks segment {segment.number}: run the command again")
        rows += strain.injections
        for kind, found in findings.read(segment, tuple(parts)).items():
            parts[kind].append(found)
    rows.sort(key=lambda row: row["geocent_time"])

    def joined(kind: str, name: str) -> np.ndarray:
        return np.concatenate([getattr(each.triggers, name) for each in parts[kind]])

    live = np.sum([each.live for each in parts[BACKGROUND]], axis=0)
    every = [each for kind in parts.values() for each in kind]
    names = ("condition", "search", "elapsed")
    cost = {name: sum(each.seconds[name] for each in every) for name in names}
    return RunFindings(
        Events(joined(FOREGROUND, "time"), joined(FOREGROUND, "score")),
        Events(joined(BACKGROUND, "time"), joined(BACKGROUND, "score")),
        joined(BACKGROUND, "slide") == 0,
        float(sum(segment.duration for segment in segments)),
        (float(live[0]), float(live.sum())),
        injections_of_rows(rows),
        rows,
        cost,
    )


def volume_laws(
    injections: Injections, population: Population | None
) -> dict[str, VolumeLaw | None]:
    """Return the law with the maxima of the sample, as the challenge has it, and of the population.

    Both are None for populations whose distances are not uniform in a volume. Of a population that
    is not known the challenge's is assumed, uniform in the volume of the chirp distance.
    """
    if not len(injections) or (population is not None and population.distance is None):
        return {"sample": None, "population": None}
    if population is None:
        return {"sample": volume_law_of_sample(injections, True), "population": None}
    law = volume_law_of_population(injections, population.distance)
    by_chirp_distance = isinstance(population.distance, UniformChirpVolume)
    sample = None if law is None else volume_law_of_sample(injections, by_chirp_distance)
    return {"sample": sample, "population": law}


def resolved_rates(rates: Sequence[float], seconds: float) -> list[float]:
    """Return rates, falling, and the lowest that a background resolves if it is another one."""
    lowest = MONTH / seconds if seconds else math.inf
    near = any(math.isclose(lowest, rate, rel_tol=0.02) for rate in rates)
    extra = [] if near or not min(rates) < lowest < math.inf else [lowest]
    return sorted({*rates, *extra}, reverse=True)


def figures_of_run(
    found: RunFindings, population: Population | None, least: float, rates: Sequence[float]
) -> dict[str, Any]:
    """Return all figures of a search in JSON's own types.

    Args:
        found: by the search.
        population: of the injections; None where it is not known.
        least: score of the quietest trigger that was kept.
        rates: false alarms a month.
    """
    injections = found.injections
    loudest, is_noise = match_events(injections, found.foreground)
    # As in the challenge a rate is that of the strain, the seconds at its edges included: a day of
    # it resolves 30 a month. Slides add as many times that as they add to what was searched.
    unslid, slid_too = found.live
    background_seconds = found.seconds * slid_too / unslid if unslid else 0.0
    alarms = FalseAlarms(found.background.score, background_seconds, least)
    laws = volume_laws(injections, population)
    noise = found.foreground.score[is_noise]
    body = []
    for rate in resolved_rates(rates, background_seconds):
        row: dict[str, Any] = {"rate": rate, "unresolved": alarms.why_unresolved(rate)}
        if row["unresolved"] is None:
            row |= figures_at_rate(injections, loudest, alarms, rate, laws, noise, found.seconds)
        body.append(row)
    curves = {
        name: curve_points(law, loudest, alarms) for name, law in laws.items() if law is not None
    }
    return {
        "strain_seconds": found.seconds,
        "live_seconds": unslid,
        "background_seconds": background_seconds,
        "injections": len(injections),
        "least": least,
        "background_events": len(found.background),
        "rows": body,
        "curves": curves,
        "seconds": {name: round(value, 1) for name, value in found.cost.items()},
    }


def figures_at_rate(
    injections: Injections,
    loudest: np.ndarray,
    alarms: FalseAlarms,
    rate: float,
    laws: dict[str, VolumeLaw | None],
    foreground_noise: np.ndarray,
    foreground_seconds: float,
) -> dict[str, Any]:
    """Return the figures at a rate that the background resolves."""
    threshold = alarms.threshold_of(alarms.allowed(rate))
    found = loudest > threshold
    row: dict[str, Any] = {
        "background_louder": alarms.allowed(rate),
        "threshold": threshold,
        "found": int(found.sum()),
        # of the foreground, searched blindly: what is louder and no injection
        "foreground_alarms": int((foreground_noise > threshold).sum()),
        "foreground_alarms_expected": rate * foreground_seconds / MONTH,
        "by_snr": [asdict(share) for share in shares_found(injections.snr, found, SNR_EDGES)],
    }
    row["by_snr"] = [share for share in row["by_snr"] if share["injections"]]
    for name, law in laws.items():
        row[name] = None
        if law is not None:
            row[name] = asdict(sensitive_distance(law, loudest, alarms, rate))
    if any(law is not None for law in laws.values()):
        distance = injections.chirp_distance
        edges = np.linspace(
            distance.min(), np.nextafter(distance.max(), np.inf), DISTANCE_RANGES + 1
        )
        shares = shares_found(distance, found, edges)
        row["by_chirp_distance"] = [asdict(share) for share in shares]
    return row


def curve_points(law: VolumeLaw, loudest: np.ndarray, alarms: FalseAlarms) -> list[list[float]]:
    """Return [rate, distance] at some of the rates that the background resolves, evenly by log."""
    rates, distances = distance_curve(law, loudest, alarms, MOST_CURVE_RATE)
    if not len(rates):
        return []
    wanted = np.geomspace(1, len(rates), min(MOST_CURVE_POINTS, len(rates)))
    chosen = len(rates) - np.unique(wanted.round().astype(int))
    return [[float(rates[place]), float(distances[place])] for place in chosen]


def write_challenge_files(folder: Path, source: StrainSource, found: RunFindings) -> None:
    """Write what the challenge's evaluate.py scores: events, injections and outline of strain."""
    write_events(folder / "foreground.hdf", found.foreground)
    # The script counts events in the duration of the strain; time slides would be too many.
    unslid = Events(found.background.time[found.is_unslid], found.background.score[found.is_unslid])
    write_events(folder / "background.hdf", unslid)
    write_injections(folder / "injections.hdf", found.rows)
    observation = source.observation
    write_outline(
        folder / "outline.hdf", source.segments(), observation.detectors, observation.sample_rate
    )


def peak_memory_mib() -> float:
    """Return the largest memory that this process has had, MiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10  # bytes there, KiB here
