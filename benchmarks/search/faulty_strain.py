"""Is an event still first in its strain beside a blip, a drop-out and another level of the noise?

    python -m benchmarks.search.faulty_strain --event 1126259462.42 \\
        --strain H1=examples/gw150914/H-H1_LOSC_4_V2-1126259446-32.hdf5 \\
        L1=examples/gw150914/L-L1_LOSC_4_V2-1126259446-32.hdf5

Recorded strain is searched as it is, with each fault added, and with faults of every kind at once,
by the filter banks of experiments as they begin, without training. The table says which place the
event has among all triggers, its score in each detector and its chi-squared, and the loudest other
trigger.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness.measurements import markdown_table
from benchmarks.mdc.search_run import LONGEST_STRETCH
from configuration.config_class import find_config
from data.recording import Recording, StrainInMemory
from data.strain_files import open_recordings
from experiments.building import observation_of
from physics.constants import STRAIN_UNIT
from physics.observation import Observation
from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging
from runtime.errors import UserError
from runtime.files import atomic_path
from search.conditioned_stretch import ConditioningSettings, load_stretch
from search.peaks import StretchScorer
from search.result import SearchResult
from search.scorers import make_scorer
from search.search import Search
from search.search_file import read_search_file
from search.settings import SearchSettings
from search.stretches import plan_stretches
from search.trigger_table import format_cell

BLIP_SNR, BLIP_FREQUENCY, BLIP_QUALITY = 24.0, 150.0, 3.0  # Hz; a few cycles
BLIP_AFTER, DROP_OUT_AFTER = 6.0, 3.6  # s after the event
DROP_OUT = 0.5  # s of zeros
LEVEL, LEVEL_BEFORE = 3.0, 8.0  # times as loud or quiet until so many seconds before the event
RAMP = 0.5  # s in which the level changes
TOLERANCE = 0.1  # s, between the event and its trigger

# All detectors' strain, (samples,) float64 each, at one rate; the rate in Hz; the event in s from
# the first sample. A fault changes the strain in place.
Fault = Callable[[Mapping[str, np.ndarray], float, float], None]


@dataclass(frozen=True)
class Faults:
    """The faults that are added to strain.

    Args:
        detector: that has the blip and the drop-out.
        blip: (samples,) the blip, as it is to be added.
    """

    detector: str
    blip: np.ndarray

    def add_blip(self, strain: Mapping[str, np.ndarray], rate: float, event: float) -> None:
        strain[self.detector][:] += self.blip

    def drop_out(self, strain: Mapping[str, np.ndarray], rate: float, event: float) -> None:
        first = round((event + DROP_OUT_AFTER) * rate)
        strain[self.detector][first : first + round(DROP_OUT * rate)] = 0

    def begin_louder(self, strain: Mapping[str, np.ndarray], rate: float, event: float) -> None:
        scale_beginning(strain, rate, event, LEVEL)

    def begin_quieter(self, strain: Mapping[str, np.ndarray], rate: float, event: float) -> None:
        scale_beginning(strain, rate, event, 1 / LEVEL)

    def cases(self) -> dict[str, tuple[Fault, ...]]:
        """Return the faults of each row of the table by its name."""
        before = f"until {LEVEL_BEFORE:g} s before the event"
        return {
            "as recorded": (),
            f"blip of SNR {BLIP_SNR:g} in {self.detector}": (self.add_blip,),
            f"{DROP_OUT:g} s of zeros in {self.detector}": (self.drop_out,),
            f"{LEVEL:g} times as loud {before}": (self.begin_louder,),
            f"{LEVEL:g} times as quiet {before}": (self.begin_quieter,),
            # Zeros last: a level would not change them, and a blip would end them.
            "blip, quiet beginning and zeros": (self.add_blip, self.begin_quieter, self.drop_out),
        }


def scale_beginning(
    strain: Mapping[str, np.ndarray], rate: float, event: float, factor: float
) -> None:
    """Multiply all detectors' strain by a factor up to some seconds before the event."""
    for values in strain.values():
        time = np.arange(len(values)) / rate - (event - LEVEL_BEFORE)
        # The logarithm of the level falls to zero within the ramp, without a step of the strain.
        share = 0.5 - 0.5 * np.sin(np.pi * np.clip(time / RAMP, -0.5, 0.5))
        values *= factor**share


def make_blip(time: np.ndarray) -> np.ndarray:
    """Return a sine-Gaussian of unit amplitude at times in s from its centre."""
    width = BLIP_QUALITY / (2 * np.pi * BLIP_FREQUENCY)
    return np.exp(-0.5 * (time / width) ** 2) * np.sin(2 * np.pi * BLIP_FREQUENCY * time)


def hold(strain: Mapping[str, np.ndarray], rate: int, start: float) -> dict[str, Recording]:
    """Return recordings of strain in memory."""
    return {
        name: Recording(name, [StrainInMemory(name, values, rate, start)])
        for name, values in strain.items()
    }


def whitened(
    recordings: Mapping[str, Recording], detector: str, observation: Observation
) -> np.ndarray:
    """Return a detector's whitened strain of unit variance, with nothing gated.

    Raises:
        UserError: there is too little strain.
    """
    (stretch, *_) = plan_stretches(recordings, {}, observation, LONGEST_STRETCH)
    loaded = load_stretch(recordings, stretch, observation, ConditioningSettings(gate_snr=0))
    if loaded is None:
        raise UserError("--strain: too little strain to measure its PSD: give longer files")
    return loaded.whitened(detector)


def scale_blip(
    strain: Mapping[str, np.ndarray],
    rate: int,
    start: float,
    event: float,
    detector: str,
    observation: Observation,
) -> np.ndarray:
    """Return a blip of `BLIP_SNR` in the measured noise of a detector, (samples,).

    In whitened strain of unit variance the optimal SNR is the norm of what was added.
    """
    values = strain[detector]
    blip = make_blip(np.arange(len(values)) / rate - event - BLIP_AFTER) * STRAIN_UNIT
    before = whitened(hold(strain, rate, start), detector, observation)
    after = whitened(hold({**strain, detector: values + blip}, rate, start), detector, observation)
    return blip * BLIP_SNR / np.linalg.norm((after - before).astype(np.float64))


def search_strain(
    recordings: Mapping[str, Recording],
    scorer: StretchScorer,
    observation: Observation,
    slides: int = 0,
) -> SearchResult:
    """Return what detect.py finds with its own settings and so many time slides."""
    settings = SearchSettings(slides=slides, maps=0, cluster=observation.window)
    search = Search(recordings, scorer, settings, observation=observation)
    search.search_stretches(show_bar=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "triggers.hdf5"
        search.write_triggers(path, {})
        return search.rate(read_search_file(path))


def format_row(result: SearchResult, event: float) -> list[str]:
    """Return the cells of a search: the event's place, scores and chi-squared, and the next.

    With time slides the rate of false alarms follows the place.

    Args:
        result: of a search.
        event: GPS time, s.
    """
    triggers, detectors = result.triggers, result.detectors
    columns = [result.observation.detectors.index(name) for name in detectors]
    near = np.flatnonzero(np.abs(triggers.time - event) <= TOLERANCE)
    cells = ["-"] * (2 + (result.slides > 0) + 2 * len(detectors))
    others = np.delete(np.arange(len(triggers)), near)
    if len(near):
        row = int(near[0])  # the loudest, as triggers are in order of their score
        cells = [
            str(row + 1),
            *([format_hourly_rate(result, row)] if result.slides else []),
            f"{triggers.score[row]:.1f}",
            *(f"{triggers.detector_scores[row, column]:.1f}" for column in columns),
            *(format_cell(triggers.chi_squared[row, column], 2) or "-" for column in columns),
        ]
    loudest = "-"
    if len(others):
        row = int(others[0])
        loudest = f"{triggers.score[row]:.1f} at {triggers.time[row] - event:+.1f} s"
    return [*cells, loudest, str(len(result.gates))]


def format_hourly_rate(result: SearchResult, row: int) -> str:
    """Return the false alarms an hour of a trigger, marked where they are only a limit."""
    limit = "< " if result.significance.is_limit[row] else ""
    return f"{limit}{3600 * result.significance.rate[row]:.1f}"


def measure_faults(
    recordings: Mapping[str, Recording],
    event: float,
    scorers: Mapping[str, tuple[StretchScorer, Observation]],
    slides: int = 0,
) -> list[str]:
    """Return the table of all cases and scorers.

    Args:
        recordings: of two detectors or more, with the event in all.
        event: GPS time, s.
        scorers: with what they observe, by name.
        slides: time slides of each search.

    Raises:
        UserError: the recordings have different rates or times, or the event lies too near their
            ends.
    """
    kinds = {(each.rate, each.start, each.end) for each in recordings.values()}
    if len(kinds) > 1:
        raise UserError("--strain: the detectors have different rates or times: give the same")
    ((rate, start, end),) = kinds
    needed = LEVEL_BEFORE + RAMP, BLIP_AFTER + DROP_OUT
    if not start + needed[0] <= event <= end - needed[1]:
        raise UserError(
            f"--event {event:.2f}: GPS {start:.0f} to {end:.0f} lacks {needed[0]:g} s before it or "
            f"{needed[1]:g} s after it: give longer files"
        )
    count = round((end - start) * rate)
    strain = {name: each.read(start, count) for name, each in recordings.items()}
    detector = next(iter(strain))
    body = []
    for name, (scorer, observation) in scorers.items():
        blip = scale_blip(strain, rate, start, event - start, detector, observation)
        for case, faults in Faults(detector, blip).cases().items():
            LOGGER.info(f"{name}: {case}")
            changed = {key: values.copy() for key, values in strain.items()}
            for fault in faults:
                fault(changed, rate, event - start)
            result = search_strain(hold(changed, rate, start), scorer, observation, slides)
            body.append([name, case, *format_row(result, event)])
    names = list(strain)
    rate = ["false alarms an hour"] if slides else []
    head = ["network", "strain", "place", *rate, "score", *names, *(f"χ² {name}" for name in names)]
    return markdown_table([*head, "loudest other trigger", "gates"], body)


def make_parser() -> CommandLine:
    parser = CommandLine(
        prog="-m benchmarks.search.faulty_strain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--strain", nargs="+", required=True, metavar="DETECTOR=FILE", help="as of detect.py")
    add("--event", type=float, required=True, metavar="GPS", help="time of the event, s")
    add(
        "--config",
        nargs="+",
        default=["Wave07", "Wave09"],
        metavar="NAME",
        help="experiments whose filter banks search, untrained (default: Wave07 Wave09)",
    )
    add("--slides", type=int, default=0, metavar="N", help="time slides, for rates (default: 0)")
    add("--out", type=Path, metavar="FILE", help="write the table there as well")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    configure_logging()
    import configs  # noqa: F401 - importing it registers the experiments

    scorers, recordings = {}, None
    for name in args.config:
        config = find_config(name)
        observation = observation_of(config)
        scorers[name] = (make_scorer(config), observation)
        # The rate of what was recorded, at least that of every network
        recordings = recordings or open_recordings(args.strain, observation=observation)
    lines = measure_faults(recordings, args.event, scorers, args.slides)
    print("\n".join(lines))
    if args.out is not None:
        with atomic_path(args.out) as temporary:
            temporary.write_text("\n".join(lines) + "\n")
        print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
