"""Search real strain for mergers with a trained network.

    python detect.py --config Demo --strain H1=H-H1_….hdf5 L1=L-L1_….hdf5
    python detect.py --config Demo --event GW150914          # fetched from gwosc.org

Takes GWOSC's HDF5 and GWF files; several of one detector are joined. Slides the two-second window
of the networks over the time that all detectors share and writes into --out: `scores.csv` (score
against time), `candidates.csv` (the loudest, with false-alarm rates from time slides),
`detection.json` and `detection.png`.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging, format_seconds, progress
from runtime.errors import UserError
from runtime.files import atomic_path, write_json

if TYPE_CHECKING:
    from configuration.rules import ConfigMeta
    from search.search import Outcome, Search
    from search.strain_files import Recording
    from search.window_scorer import WindowScorer

HOUR = 3600.0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to search")
    what.add_argument(
        "--strain",
        nargs="+",
        action="extend",
        default=[],
        metavar="DETECTOR=FILE",
        help="H1=FILE L1=FILE V1=FILE: HDF5 or GWF of GWOSC; a detector may be missing, or come "
        "again with the next file",
    )
    what.add_argument("--event", help="fetch the open strain around an event, e.g. GW150914")
    what.add_argument(
        "--channel",
        nargs="+",
        action="extend",
        default=[],
        metavar="DETECTOR=NAME",
        help="channels of GWF files, where it is not clear",
    )
    network = parser.add_argument_group("with which networks")
    network.add_argument("--config", required=True, help="class name of an experiment")
    network.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings it was trained with, as of train.py",
    )
    network.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)"
    )
    network.add_argument("--tta", action="store_true", help="average over the config's views")
    network.add_argument("--gpu", default="", help="device id")
    how = parser.add_argument_group("how")
    add = how.add_argument
    add("--step", type=float, default=0.1, help="s between windows (%(default)g)")
    add("--stretch", type=float, default=512, help="s of strain with one PSD (%(default)g)")
    add("--cluster", type=float, default=2, help="s that a candidate has to itself (%(default)g)")
    add("--slides", type=int, default=20, help="time slides of each stretch (%(default)d; 0: none)")
    add("--shift", type=float, default=1, help="s of the first slide (%(default)g)")
    add(
        "--exclude",
        type=int,
        default=0,
        metavar="N",
        help="leave the N loudest candidates out of the slides (%(default)d)",
    )
    add("--top", type=int, default=20, help="candidates in the table (%(default)d)")
    add("--maps", type=int, default=3, help="candidates in the picture (%(default)d)")
    add("--batch_size", type=int, default=256, help="windows scored at once (%(default)d)")
    add("--seed", type=int, default=2021, help="of the noise in place of a missing detector")
    add("--out", type=Path, help="where to write (default: <results>/<name>/detect)")
    add("--progress_bar", action="store_true", help="draw bars even when nobody seems to watch")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    if bool(args.strain) == bool(args.event):
        raise UserError("give either --strain H1=FILE L1=FILE or --event NAME")
    configure_logging()
    from physics.constants import DETECTORS
    from search.strain_files import fetch_event, open_recordings

    started = time.monotonic()
    config, scorer = load_networks(args)
    recordings = (
        fetch_event(args.event) if args.event else open_recordings(args.strain, args.channel)
    )
    search = make_search(args, config, scorer, recordings)
    filler = describe_filler([n for n in DETECTORS if n not in recordings], search.options.zeros)
    LOGGER.info(
        f"{config.__name__}, {len(scorer.networks)} folds: {search.windows} windows of "
        f"{', '.join(search.present)} in {format_seconds(search.end - search.start)} from GPS "
        f"{search.start:.0f}"
    )
    if filler:
        LOGGER.info(filler)
    out = args.out or args.results / config.name / "detect"
    conduct(search, out, True if args.progress_bar else None)
    outcome = search.outcome
    write_candidates(out / "candidates.csv", outcome)
    write_json(out / "detection.json", describe(args, config, search, filler))
    draw_picture(out / "detection.png", outcome, config)
    print(
        f"\n{paragraph(outcome)}\nWritten to {out} in {format_seconds(time.monotonic() - started)}."
    )
    return 0


def load_networks(args: argparse.Namespace) -> tuple[ConfigMeta, WindowScorer]:
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.overrides import override
    from configuration.rules import find_config
    from search.window_scorer import WindowScorer, find_weights
    from train import choose_device

    config = override(find_config(args.config), args.set)
    weights = find_weights(args.results / config.name, config)
    views = config.views if args.tta else ("identity",)
    return config, WindowScorer(config, weights, choose_device(args.gpu), views)


def make_search(
    args: argparse.Namespace,
    config: ConfigMeta,
    scorer: WindowScorer,
    recordings: dict[str, Recording],
) -> Search:
    from search.search import Options, Search
    from search.window_scorer import sees_zeros

    options = Options(
        step=args.step,
        stretch=args.stretch,
        slides=args.slides,
        shift=args.shift,
        cluster=args.cluster,
        top=args.top,
        exclude=args.exclude,
        maps=args.maps,
        batch_size=args.batch_size,
        zeros=sees_zeros(config),
        seed=args.seed,
    )
    return Search(recordings, scorer, options)


def describe_filler(missing: list[str], zeros: bool) -> str:
    """Return a sentence on what stands in for the detectors that are missing."""
    if not missing:
        return ""
    what = (
        "silence, which its training knows from DropChannel"
        if zeros
        else "noise of its design curve, which the network knows as a detector that sees nothing"
    )
    return f"no strain of {', '.join(missing)}: its channel is filled with {what}"


def conduct(search: Search, out: Path, show: bool | None) -> None:
    """Run both passes; write the scores as they come."""
    outcome = search.outcome
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "scores.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["gps", "score"])
        for times, scores in progress(
            search.run(), total=outcome.stretches, desc="search", unit="stretch", show=show
        ):
            writer.writerows(
                [f"{at:.4f}", f"{score:.4f}"] for at, score in zip(times, scores, strict=True)
            )
    skipped = outcome.windows - outcome.scored
    if skipped:
        of_each = ", ".join(f"{count} in {name}" for name, count in outcome.gaps.items())
        LOGGER.info(
            f"{skipped} of {outcome.windows} windows skipped: they lie within a second of a gap or "
            f"of an end of the strain, or in stretches without a PSD ({of_each or 'all'})"
        )
    if len(search.present) < 2 and search.options.slides:
        LOGGER.info("one detector cannot be slid against another: no false-alarm rates")
    for _ in progress(
        search.count_false_alarms(),
        total=outcome.stretches,
        desc="slides",
        unit="stretch",
        show=show,
    ):
        pass


def write_candidates(path: Path, outcome: Outcome) -> None:
    """Write the table of candidates, the loudest first."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "rank",
                "gps",
                "score",
                "probability",
                "slid_as_loud",
                "false_alarms_per_hour",
                "false_alarm_probability",
            ]
        )
        for rank, one in enumerate(outcome.candidates, 1):
            known = math.isfinite(one.rate)
            chance = -math.expm1(-one.rate * outcome.live) if known else math.nan
            writer.writerow(
                [
                    rank,
                    f"{one.time:.3f}",
                    f"{one.score:.4f}",
                    f"{squashed(one.score):.6f}",
                    one.slid_as_loud if known else "",
                    f"{one.rate * HOUR:.4g}" if known else "",
                    f"{chance:.4g}" if known else "",
                ]
            )


def squashed(logit: float) -> float:
    """Return the logistic function of a score, without overflow."""
    return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))


def describe(
    args: argparse.Namespace, config: ConfigMeta, search: Search, filler: str
) -> dict[str, Any]:
    """Return what was searched and how, in JSON's own types."""
    from dataclasses import asdict

    outcome = search.outcome
    return {
        "command": sys.argv,
        "config": config.__name__,
        "name": config.name,
        "strain": args.strain or args.event,
        "detectors": list(outcome.detectors),
        "filled": filler,
        "gps_start": outcome.start,
        "gps_end": outcome.end,
        "options": asdict(search.options),
        "folds": len(search.scorer.networks),
        "windows": outcome.windows,
        "scored": outcome.scored,
        "spoilt_by_gaps": outcome.gaps,
        "stretches": outcome.stretches,
        "skipped_stretches": outcome.skipped_stretches,
        "live_seconds": round(outcome.live, 3),
        "candidates": outcome.clusters,
        "slid_windows": outcome.slid,
        "slid_live_seconds": round(outcome.slid_live, 3),
        "slid_candidates": outcome.slid_clusters,
        "slid_loudest": round(outcome.slid_loudest, 4) if outcome.slid_clusters else None,
    }


def draw_picture(path: Path, outcome: Outcome, config: ConfigMeta) -> None:
    from search.plots import draw

    title = (
        f"{config.__name__} on {', '.join(outcome.detectors)}, GPS {outcome.start:.0f} to "
        f"{outcome.end:.0f}"
    )
    with atomic_path(path) as temporary:
        draw(outcome, title).savefig(temporary, dpi=100)


def paragraph(outcome: Outcome) -> str:
    """Say in a few sentences what was found."""
    first = outcome.candidates[0]
    text = (
        f"Searched {format_seconds(outcome.live)} of {', '.join(outcome.detectors)}: "
        f"{outcome.clusters} candidates, the loudest at GPS {first.time:.2f} with a score of "
        f"{first.score:.2f}"
    )
    if len(outcome.candidates) > 1:
        text += f", the next {outcome.candidates[1].score:.2f}"
    text += "."
    if outcome.slid_live:
        count = first.slid_as_loud
        loudest = f", the loudest has {outcome.slid_loudest:.2f}" if outcome.slid_clusters else ""
        text += (
            f" Of {outcome.slid_clusters} slid candidates in {format_seconds(outcome.slid_live)} "
            f"{count or 'none'} {'was' if count < 2 else 'were'} as loud"
            f"{'' if count else loudest}: "
            f"{'' if count else 'at most '}{first.rate * HOUR:.2g} false alarms an hour."
        )
    return text


if __name__ == "__main__":
    run_command(main)
