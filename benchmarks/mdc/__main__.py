"""How far does a search see at a false-alarm rate? The measure of the MLGWSC-1 challenge.

Strain is simulated segment by segment and never written: noise, and the same noise with injections
every 24 to 30 s. Both are searched whole. What the search reports in the noise gives thresholds,
and the injections that are louder give the sensitive distance. Triggers are kept by segment: a run
that was interrupted resumes, and a longer one continues a shorter one.

    python -m benchmarks.mdc --set 1 --duration 1d --config Mdc1
    python -m benchmarks.mdc --set 1 --duration 4d --config Mdc1 --untrained --glitches

The challenge's own files are searched with --background, --foreground and --injections. Of either,
the folder of each search holds the files that the challenge's evaluate.py scores:

    evaluate.py --injection-file injections.hdf --foreground-events foreground.hdf
        --background-events background.hdf --foreground-files outline.hdf --output-file out.hdf
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import RESULTS
from benchmarks.harness.machine import describe_device, find_device, torch_threads
from benchmarks.mdc.challenge_sets import EXPERIMENTS, PUBLISHED, find_strain_set
from benchmarks.mdc.figures_of_merit import (
    RunFindings,
    collect_findings,
    figures_of_run,
    peak_memory_mib,
    write_challenge_files,
)
from benchmarks.mdc.part_runs import adopt_parts, run_part
from benchmarks.mdc.plots import draw_found_and_missed, draw_sensitivity, row_to_draw
from benchmarks.mdc.report import PAGE, format_strain, record_run, strain_name, update_page
from benchmarks.mdc.run_folder import RunFolder
from benchmarks.mdc.search_run import Search, open_findings, run_searches
from benchmarks.mdc.searches import SearchChoice, find_searches
from benchmarks.mdc.strain_sources import ChallengeStrain, SimulatedStrain, StrainSource
from runtime.command_line import CommandLine, run_command
from runtime.console import configure_logging
from runtime.errors import UserError
from runtime.files import atomic_path, write_json
from runtime.versions import git_revision, versions
from search.conditioned_stretch import ConditioningSettings
from search.parts import Part
from search.sensitivity import RATES, match_events
from simulation.strain_glitches import GlitchRate
from simulation.strain_settings import StrainSettings

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SEGMENT = 3600  # s
RECORD_SECONDS = 86_400  # that figures of the record are made from, at least


def read_duration(text: str) -> int:
    """Return the seconds of '90m', '6h' or '1.5d'; a number alone is in seconds.

    Raises:
        UserError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip().lower())
    seconds = float(match[1]) * UNITS[match[2] or "s"] if match else 0.0
    if seconds < 1 or seconds != round(seconds):
        raise UserError(f"--duration {text!r}: expected a time such as 90m, 6h or 1d")
    return round(seconds)


def make_parser() -> CommandLine:
    parser = CommandLine(
        prog="-m benchmarks.mdc",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_strain_arguments(parser)
    add_search_arguments(parser)
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=list(RATES),
        metavar="R",
        help="false alarms a month to report at (default: 1000 100 10 1)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the run (default: results/mdc/<set>)"
    )
    parser.add_argument(
        "--part",
        metavar="K/N",
        help="search only part K of N of the segments, beside others; the same command without "
        "--part then gives the figures of all",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="put the figures into DIR/mdc.json (default: the record, of a day or more)",
    )
    parser.add_argument(
        "--page", action="store_true", help="only write the recorded figures into the page in docs/"
    )
    return parser


def add_strain_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which strain is searched."""
    strain = parser.add_argument_group("strain")
    strain.add_argument(
        "--set",
        default="1",
        metavar="SET",
        help=f"data set of the challenge, {' or '.join(EXPERIMENTS)}, or an experiment whose "
        "observation and population to simulate (default: 1)",
    )
    strain.add_argument(
        "--duration", default="1d", metavar="TIME", help="of the strain, e.g. 6h (default: 1d)"
    )
    strain.add_argument(
        "--segment",
        type=int,
        default=SEGMENT,
        metavar="S",
        help=f"seconds of strain without a gap (default: {SEGMENT})",
    )
    strain.add_argument("--seed", type=int, default=2021, metavar="N", help="default: 2021")
    strain.add_argument(
        "--glitches",
        type=float,
        nargs="?",
        const=GlitchRate().an_hour,
        metavar="N",
        help=f"glitches an hour in each detector, of SNR 8 to 200 (without a number: "
        f"{GlitchRate().an_hour:g})",
    )
    for name in ("background", "foreground", "injections"):
        strain.add_argument(
            f"--{name}", type=Path, metavar="FILE", help="of the challenge, in place of simulating"
        )
    strain.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that simulate while this one searches; 1 does both in turn (default)",
    )


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how the strain is searched."""
    search = parser.add_argument_group("searches")
    search.add_argument(
        "--config", nargs="+", default=[], metavar="NAME", help="experiments whose networks search"
    )
    search.add_argument(
        "--override",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the set's experiment and of all --config, as --set of train.py",
    )
    search.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="where their runs are (default: results)",
    )
    search.add_argument(
        "--untrained",
        action="store_true",
        help="take filter banks as they begin, with no weights of a run",
    )
    search.add_argument(
        "--allow_unfinished", action="store_true", help="use folds whose training has not ended"
    )
    search.add_argument("--tta", action="store_true", help="average over their test-time views")
    search.add_argument(
        "--no_plain",
        action="store_true",
        help="leave the plain matched filter of each filter bank out",
    )
    search.add_argument(
        "--slides",
        type=int,
        default=0,
        metavar="N",
        help="time slides of the background, which lower the rates that it resolves (default: 0)",
    )
    search.add_argument(
        "--least",
        type=float,
        metavar="X",
        help="keep triggers of this score and above (default: by the kind of search)",
    )
    search.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU, if there is one)")
    search.add_argument("--threads", type=int, metavar="N", help="of torch (default: its own)")


def check_arguments(args: argparse.Namespace) -> None:
    """Check what argparse cannot.

    Raises:
        UserError: a number out of range, or files that do not belong together.
    """
    numbers = {"segment": args.segment, "workers": args.workers, "threads": args.threads}
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: expected 1 or more")
    if args.slides < 0 or args.seed < 0:
        raise UserError(f"--slides {args.slides}, --seed {args.seed}: expected 0 or more")
    if not all(0 < rate < float("inf") for rate in args.rates):
        raise UserError(f"--rates {args.rates}: expected positive numbers")
    files = [args.background, args.foreground, args.injections]
    if any(files) and not all(files):
        raise UserError("--background, --foreground and --injections belong together: give all")
    if any(files) and args.glitches is not None:
        raise UserError("--glitches are added to simulated strain: leave them out with files")
    if not args.config and args.no_plain:
        raise UserError("nothing to search with: name an experiment with --config")


def find_source(args: argparse.Namespace) -> tuple[StrainSource, dict[str, Any]]:
    """Return the strain that the arguments ask for, and how the record describes it.

    Raises:
        UserError: there is no such set, or a file is missing.
    """
    chosen = find_strain_set(args.set, args.override)
    if args.background:
        source: StrainSource = ChallengeStrain(
            args.background,
            args.foreground,
            args.injections,
            chosen.observation,
            chosen.population,
            args.segment,
        )
        sentence = f"The challenge's files of set {chosen.name}: {chosen.observation}."
        return source, {"set": chosen.name, "glitches": None, "sentence": sentence}
    glitches = None if args.glitches is None else GlitchRate(args.glitches)
    settings = StrainSettings(
        read_duration(args.duration),
        chosen.observation,
        chosen.population,
        seed=args.seed,
        longest_segment=args.segment,
        glitches=glitches,
    )
    low, high = settings.spacing
    sentence = (
        f"Simulated strain, {chosen.observation}, seed {args.seed}: an injection every {low:g} to "
        f"{high:g} s."
    )
    if glitches is not None:
        sentence += (
            f" {glitches.an_hour:g} glitches an hour in each detector, of SNR {glitches.snr[0]:g} "
            f"to {glitches.snr[1]:g}, in background and foreground."
        )
    plain = None if glitches is None else asdict(glitches)
    described = {"set": chosen.name, "glitches": plain, "sentence": sentence}
    return SimulatedStrain(settings, args.workers), described


def run_folder_of(args: argparse.Namespace) -> Path:
    """Return the folder of the run: --out, or one that is named by set and kind of strain."""
    if args.out is not None:
        return args.out
    kind = "files_" if args.background else "glitches_" if args.glitches is not None else ""
    return Path("results") / "mdc" / f"{kind}set_{args.set}"


def write_search_results(
    folder: Path,
    source: StrainSource,
    search: Search,
    found: RunFindings,
    figures: Mapping[str, Any],
) -> None:
    """Write the challenge's files of a search, and its found and missed injections."""
    write_challenge_files(folder, source, found)
    row = row_to_draw(figures)
    # The challenge's files do not say how loud an injection is.
    if row is not None and np.isfinite(found.injections.snr).any():
        loudest, _ = match_events(found.injections, found.foreground)
        title = f"{search.name}, {row['rate']:,.0f} false alarms a month"
        draw_found_and_missed(
            found.injections, loudest > row["threshold"], title, folder / "found-missed.png"
        )


def figures_of_searches(
    args: argparse.Namespace, source: StrainSource, searches: Sequence[Search], device: torch.device
) -> dict[str, dict[str, Any]]:
    """Run what is missing, write the results of each search, and return figures by its name."""
    conditioning = ConditioningSettings()
    folder = RunFolder(run_folder_of(args), source.identity())
    results = {}
    with folder.locked():
        adopt_parts(folder, open_findings(folder, searches, conditioning))
        findings = run_searches(source, folder, searches, conditioning)
        for search in searches:
            found = collect_findings(source, folder, findings[search.key])
            figures = figures_of_run(found, source.population, search.events.least, args.rates)
            figures |= {
                "settings": search.identity(conditioning),
                "device": describe_device(device)["name"],
                "threads": torch.get_num_threads(),
                "peak_memory_mib": round(peak_memory_mib()),
                "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "git_revision": git_revision(),
                "versions": versions(),
            }
            write_search_results(findings[search.key].folder, source, search, found, figures)
            results[search.name] = figures
    return results


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    configure_logging()
    if args.page:
        print("\n".join(f"written: {path}" for path in update_page()))
        return 0
    check_arguments(args)
    part = None if args.part is None else Part.parse(args.part)
    source, described = find_source(args)
    device = find_device(args.device)
    with torch_threads(args.threads):
        choice = SearchChoice(
            tuple(args.config or [EXPERIMENTS.get(args.set, args.set)]),
            tuple(args.override),
            args.results,
            networks=bool(args.config),
            untrained=args.untrained,
            views=args.tta,
            plain=not args.no_plain,
            least=args.least,
            slides=args.slides,
            allow_unfinished=args.allow_unfinished,
        )
        searches = find_searches(choice, device)
        if part is not None:
            folder = RunFolder(run_folder_of(args), source.identity())
            run_part(source, folder, part, searches, ConditioningSettings())
            print(f"Part {part} is searched; the same command without --part gives the figures.")
            return 0
        results = figures_of_searches(args, source, searches, device)
    folder, lines = run_folder_of(args), format_strain(described, results)
    write_json(folder / "sensitivity.json", {"described": described, "searches": results})
    with atomic_path(folder / "sensitivity.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    published = PUBLISHED.get(described["set"], ())
    draw_sensitivity(results, published, folder / "sensitivity.png")
    print("\n".join(lines))
    print(f"written: {folder / 'sensitivity.json'}, .md and .png")
    record = args.record
    if record is None and all(
        each["strain_seconds"] >= RECORD_SECONDS for each in results.values()
    ):
        record = RESULTS
    if record is None:
        print("not recorded: name a folder with --record, or take a day or more")
        return 0
    print(f"written: {record_run(record, described, results)}")
    if record.resolve() == RESULTS and PAGE.exists():
        print("\n".join(f"written: {path}" for path in update_page()))
    elif record.resolve() != RESULTS:
        draw_sensitivity(
            results, published, record / f"{strain_name(described).replace(' ', '-')}.png"
        )
    return 0


if __name__ == "__main__":
    run_command(main)
