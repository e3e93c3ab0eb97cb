"""Search strain for mergers with a trained network.

    python detect.py --config Demo --strain H1=H-H1_….hdf5 L1=L-L1_….hdf5
    python detect.py --config Demo --event GW150914          # fetched from gwosc.org
    python detect.py --weights wave07 --strain H1=… L1=…     # shipped weights: no training

Takes files, folders, lists and frame caches of each detector. Every second is searched with the
detectors that have data, stretch by stretch, as it was recorded and with the detectors shifted
against one another in time slides, which give the background. Writes into --out:
`candidates.csv` (all triggers that were kept, with false-alarm rates), `triggers.hdf5` (the same
and those of the time slides; the background of another search with --background), `excluded.csv`
(what was not searched), `detection.json` (settings, live times, counts), `detection.png` and
`detection.html`; with --inject also `injections.csv` and `sensitivity.csv`. They appear together,
when all are finished. A search that was interrupted is resumed with --resume. A folder that holds
another search is only used with --overwrite, which moves the old results aside.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging, format_seconds
from runtime.errors import UserError, is_out_of_memory

if TYPE_CHECKING:
    from configuration.config_class import ConfigMeta
    from physics.observation import Observation
    from search.injections import InjectionSettings
    from search.search import Search
    from search.settings import SearchSettings


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to search")
    what.add_argument(
        "--strain",
        nargs="+",
        default=[],
        metavar="DETECTOR=FILE",
        help="H1=FILE L1=FILE V1=FILE, or whichever detectors the config observes: files of GWOSC, "
        "gwpy, PyCBC or the MLGWSC-1 challenge, frames, globs, folders, lists and frame caches; a "
        "detector may be missing, or be named again",
    )
    what.add_argument("--event", help="fetch the open strain around an event, e.g. GW150914")
    what.add_argument(
        "--channel",
        nargs="+",
        default=[],
        metavar="DETECTOR=NAME",
        help="channels of GWF files that have several",
    )
    for name, text in (
        ("--segments", "search only within the GPS segments of these files"),
        ("--veto", "do not search within the GPS segments of these files"),
    ):
        what.add_argument(
            name,
            nargs="+",
            default=[],
            metavar="FILE",
            help=f"{text}; DETECTOR=FILE for one detector",
        )
    what.add_argument(
        "--data_quality",
        nargs="+",
        metavar="BIT",
        help="data-quality bits that must be set where strain is searched; none: ignore them",
    )
    network = parser.add_argument_group("with which networks")
    network.add_argument("--config", help="class name of an experiment")
    network.add_argument(
        "--weights",
        help="instead of --config: weights that are shipped in weights/, such as wave07, or a file "
        "that export.py --format safetensors wrote",
    )
    network.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="the settings that it was trained with, as for train.py",
    )
    network.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)"
    )
    network.add_argument(
        "--allow_unfinished", action="store_true", help="use folds whose training has not ended"
    )
    network.add_argument("--tta", action="store_true", help="average over the config's views")
    network.add_argument("--gpu", default="", help="device id")
    how = parser.add_argument_group("how")
    add = how.add_argument
    add(
        "--stretch",
        type=float,
        default=512,
        help="longest stretch of strain that is searched as one, s (%(default)g)",
    )
    add("--shortest", type=float, default=0, help="leave shorter stretches out, s (%(default)g)")
    add(
        "--psd_every",
        "--psd-every",
        type=float,
        default=32,
        help="seconds, about, for which one PSD is valid (%(default)g)",
    )
    add(
        "--gate_snr",
        "--gate-snr",
        type=float,
        help="take glitches with a larger SNR in one detector out of the strain (125; 0: none)",
    )
    add(
        "--cluster",
        type=float,
        help="seconds within which only the loudest trigger is kept (a window's length)",
    )
    add(
        "--least",
        type=float,
        help="keep no triggers with a lower score (chosen, so that noise leaves some 50 an hour; "
        "of windows in a single stretch all are kept)",
    )
    add("--maps", type=int, default=3, help="triggers with maps in the figure (%(default)d)")
    add(
        "--step",
        type=float,
        default=0.1,
        help="seconds between windows, of networks that score windows (%(default)g); rounded by a "
        "tenth at most where the first layers run over whole stretches",
    )
    add("--batch_size", type=int, default=256, help="windows scored at once (%(default)d)")
    add(
        "--seed",
        type=int,
        default=2021,
        help="of injections, and of the noise that fills the channel of a missing detector",
    )
    background = parser.add_argument_group("background and sensitivity")
    add = background.add_argument
    add("--slides", type=int, default=20, help="time slides of each stretch (%(default)d; 0: none)")
    add(
        "--shift",
        type=float,
        help="seconds of shift of the first time slide (1, or less where there is no room)",
    )
    add(
        "--background",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="add the time slides in the triggers.hdf5 of other searches with these networks",
    )
    add(
        "--inject",
        metavar="CONFIG",
        help="search once more with signals of this experiment's population in the strain",
    )
    add("--every", type=float, default=25, help="mean seconds between injections (%(default)g)")
    writing = parser.add_argument_group("results")
    add = writing.add_argument
    add("--out", type=Path, help="where to write (default: <results>/<name>/detect)")
    add("--resume", action="store_true", help="continue this search where it was interrupted")
    add(
        "--overwrite",
        action="store_true",
        help="move the results of another search in the folder aside",
    )
    add(
        "--part",
        metavar="K/N",
        help="search only part K of N, beside others; the same command without --part then writes "
        "the results of all",
    )
    add(
        "--progress_bar",
        action="store_true",
        help="show progress bars even if stderr is not a terminal",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if bool(args.strain) == bool(args.event):
        raise UserError("give either --strain H1=FILE L1=FILE or --event NAME")
    if (args.config is None) == (args.weights is None):
        raise UserError("give either --config NAME or --weights NAME")
    if args.weights is not None and args.set:
        raise UserError(f"--set {args.set[0]}: --weights {args.weights} brings its own settings")
    configure_logging()
    from data.data_quality import allowed_segments, format_excluded_times
    from data.quality_bits import parse_bits
    from data.strain_files import open_recordings
    from experiments.building import observation_of
    from search.background_files import read_background_files
    from search.folder import SearchFolder
    from search.open_data import fetch_event
    from search.part_search import adopt_parts, open_part
    from search.parts import Part
    from search.result_files import format_summary
    from search.run_search import SearchJob, run_search, search_part
    from search.scorers import make_scorer
    from search.search import Search
    from train import choose_device

    started = time.monotonic()
    part = None if args.part is None else Part.parse(args.part)
    # The networks first: without them it is not worth downloading strain.
    config, weights, unfinished = find_networks(args)
    observation = observation_of(config)
    recordings = (
        fetch_event(args.event, observation=observation)
        if args.event
        else open_recordings(
            args.strain,
            args.channel,
            observation=observation,
            data_quality=None if args.data_quality is None else parse_bits(args.data_quality),
        )
    )
    allowed, excluded = allowed_segments(recordings, args.segments, args.veto)
    settings = make_settings(args, config, observation)
    injections = make_injections(args)
    views = config.views if args.tta else ("identity",)
    scorer = make_scorer(
        config,
        weights,
        choose_device(args.gpu),
        views,
        step=settings.step,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    search = Search(
        recordings, scorer, settings, observation=observation, allowed=allowed, excluded=excluded
    )
    identity = identify_search(args, config, weights, views, search, injections)
    others = read_background_files(args.background, identity, settings.slides)
    say_what_is_searched(config, search, len(weights), unfinished)
    for line in format_excluded_times(excluded):
        LOGGER.info(f"not searched: {line}")
    out = args.out or args.results / config.name / "detect"
    folder = SearchFolder(out, identity)
    job = SearchJob(
        title=f"{config.__name__} on {', '.join(search.detectors)}, GPS "
        f"{search.stretches[0].start:.0f} to {search.stretches[-1].end:.0f}",
        further={
            "config": config.__name__,
            "name": config.name,
            "strain": args.strain or args.event,
            "folds": len(weights),
            "unfinished_folds": unfinished,
            "background": [str(path) for path in args.background],
            "filled": format_filler_note(search),
        },
        others=others,
        injections=injections,
        show_bar=True if args.progress_bar else None,
    )
    done = f"{out} holds the results of this very search: nothing to do."
    if folder.finished():  # before the lock: the folder may be read-only by now
        print(done)
        return 0
    if part is not None:
        with open_part(folder, part, args.resume) as search.store, explains_full_memory(settings):
            search_part(search, job, part)
        print(f"Part {part} is searched; the same command without --part writes the results.")
        return 0
    with folder.locked():
        if folder.finished():  # meanwhile by another process, or by completing one that was killed
            print(done)
            return 0
        search.store = folder.begin(args.resume, args.overwrite)
        adopt_parts(folder, search.store)
        # All results are written beside one another and only then moved up into the folder.
        with explains_full_memory(settings):
            result = run_search(search, job, folder)
        folder.finish()
    print(
        f"\n{format_summary(result)}\n"
        f"Written to {out} in {format_seconds(time.monotonic() - started)}: open "
        f"{out / 'detection.html'}"
    )
    return 0


def identify_search(
    args: argparse.Namespace,
    config: ConfigMeta,
    weights: list[Path],
    views: tuple[str, ...],
    search: Search,
    injections: InjectionSettings | None,
) -> dict[str, Any]:
    """Return all that decides the results of a search, with digests for content."""
    from dataclasses import asdict

    from configuration.json_types import to_plain
    from experiments.building import population_of
    from experiments.targets import without_default_targets
    from search.background_files import digest_background_files
    from search.window_scorer import (
        SCORING,
        differences_from_competition,
        digest_weights,
        scoring_settings,
        select_targets,
    )

    settings = asdict(search.settings)
    del settings["batch_size"]  # how many windows are scored at once changes no score
    arrival = population_of(config).middle_arrival(search.observation.window)
    identity = {
        "scoring": SCORING,
        # A front that the device decides on may have rounded it.
        "window step": getattr(search.scorer, "step", None),
        "networks": digest_weights(config, weights),
        "network settings": scoring_settings(to_plain(config)),
        "views": list(views),
        "strain": {
            name: recording.content_digests() for name, recording in search.recordings.items()
        },
        "segments": {name: list(pairs) for name, pairs in search.allowed.items()},
        "settings": settings,
        **without_default_targets(select_targets(to_plain(config))),
        **differences_from_competition(search.observation, arrival),
    }
    if args.background:
        identity["background"] = digest_background_files(args.background)
    if injections is not None:
        identity["injections"] = {
            "population": injections.population.to_plain(),
            "every": injections.every,
        }
    return identity


def find_networks(args: argparse.Namespace) -> tuple[ConfigMeta, list[Path], list[int]]:
    """Return the config, the weights of its folds, and the folds whose training has not ended.

    Raises:
        UserError: there are no weights, or they are unfinished or of other settings.
    """
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override
    from experiments.fold_record import check_finished, read_fold
    from experiments.weight_files import find_weight_file, unpack_weights
    from search.window_scorer import find_weights

    if args.weights is not None:
        folder = unpack_weights(find_weight_file(args.weights))
        config = load_config(str(folder / "config.json"))
    else:
        config = override(load_config(args.config), args.set)
        folder = args.results / config.name
    weights = find_weights(folder, config)
    records = [read_fold(path) for path in weights]
    check_finished(records, args.allow_unfinished)
    unfinished = [
        int(record.path.stem.removeprefix("fold")) for record in records if record.is_unfinished
    ]
    return config, weights, unfinished


def make_settings(
    args: argparse.Namespace, config: ConfigMeta, observation: Observation
) -> SearchSettings:
    """Return the settings of the search that the command line states."""
    from data.gates import GATE_SNR
    from search.settings import SearchSettings, check_settings
    from search.window_scorer import trains_with_zeroed_detectors

    # Windows that overlap show the same merger. detection.json has whole seconds as integers.
    window = int(observation.window) if observation.window.is_integer() else observation.window
    settings = SearchSettings(
        step=args.step,
        stretch=args.stretch,
        shortest=args.shortest,
        slides=args.slides,
        shift=args.shift,
        cluster=window if args.cluster is None else args.cluster,
        least=args.least,
        maps=args.maps,
        batch_size=args.batch_size,
        zeros=trains_with_zeroed_detectors(config),
        seed=args.seed,
        psd_every=args.psd_every,
        gate_snr=GATE_SNR if args.gate_snr is None else args.gate_snr,
    )
    check_settings(settings, observation)
    return settings


def make_injections(args: argparse.Namespace) -> InjectionSettings | None:
    """Return what to inject, None for nothing.

    Raises:
        UserError: there is no such experiment, or injections follow one another too quickly.
    """
    from configuration.config_references import load_config
    from experiments.building import population_of
    from search.injections import InjectionSettings

    if args.inject is None:
        return None
    if not args.every >= 2:
        raise UserError(
            f"--every {args.every:g}: injections would overlap: give 2 s or more between them"
        )
    return InjectionSettings(population_of(load_config(args.inject)), args.every, args.seed)


def say_what_is_searched(
    config: ConfigMeta, search: Search, folds: int, unfinished: list[int]
) -> None:
    """Log what is about to be searched, and with what."""
    seconds = sum(stretch.end - stretch.start for stretch in search.stretches)
    LOGGER.info(
        f"{config.__name__}, {folds} fold{'s' * (folds > 1)}: "
        f"{len(search.stretches)} stretch{'es' * (len(search.stretches) > 1)} of "
        f"{', '.join(search.detectors)}, {format_seconds(seconds)} from GPS "
        f"{search.stretches[0].start:.0f}"
    )
    if filler := format_filler_note(search):
        LOGGER.info(filler)
    if unfinished:
        LOGGER.warning(f"the training of fold {', '.join(map(str, unfinished))} has not ended")


def format_filler_note(search: Search) -> str:
    """Return a sentence on what fills the channels of missing detectors, empty if none is."""
    missing = [name for name in search.observation.detectors if name not in search.recordings]
    if not missing or not hasattr(search.scorer, "zeros"):
        return ""  # a filter bank leaves a detector without strain out
    what = (
        "zeros, which the network knows from DropChannel"
        if search.settings.zeros
        else "noise of its design curve, which the network knows as a detector that sees nothing"
    )
    return f"no strain of {', '.join(missing)}: its channel is filled with {what}"


@contextlib.contextmanager
def explains_full_memory(settings: SearchSettings) -> Iterator[None]:
    """Turn an error of a full memory into a sentence that says how to continue.

    Raises:
        UserError: the memory of the machine or of the GPU was full.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        from training.checkpoints import first_line

        size = settings.batch_size
        advice = "use a machine with more memory"
        if size > 1:
            advice = f"continue with --resume --batch_size {size // 2}, which changes no score"
        raise UserError(
            f"the memory does not hold batches of {size} windows ({first_line(error)}): {advice}"
        ) from error


if __name__ == "__main__":
    run_command(main)
