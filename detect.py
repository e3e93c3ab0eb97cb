"""Search real strain for mergers with a trained network.

    python detect.py --config Demo --strain H1=H-H1_….hdf5 L1=L-L1_….hdf5
    python detect.py --config Demo --event GW150914          # fetched from gwosc.org

Takes GWOSC's HDF5 and GWF files; several files of one detector are joined. Slides the window of the
networks over the time that all detectors have in common and writes into --out:
`scores.csv` (score against time), `candidates.csv` (the loudest triggers, with false-alarm rates
from time slides), `detection.json` (settings, live times, counts) and `detection.png`. A search
that was interrupted is resumed with --resume. A folder that holds another search is only used
with --overwrite, which moves the old results aside.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging, format_seconds, progress
from runtime.errors import UserError, is_out_of_memory
from runtime.files import atomic_path, write_json

if TYPE_CHECKING:
    from configuration.config_class import ConfigMeta
    from data.recording import Recording
    from search.search import Search
    from search.settings import SearchSettings
    from search.window_scorer import WindowScorer


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to search")
    what.add_argument(
        "--strain",
        nargs="+",
        action="extend",
        default=[],
        metavar="DETECTOR=FILE",
        help="H1=FILE L1=FILE V1=FILE, or whichever detectors the config observes: HDF5 or GWF "
        "files of GWOSC; a detector may be missing, or be named again with its next file",
    )
    what.add_argument("--event", help="fetch the open strain around an event, e.g. GW150914")
    what.add_argument(
        "--channel",
        nargs="+",
        action="extend",
        default=[],
        metavar="DETECTOR=NAME",
        help="channels of GWF files that have several",
    )
    network = parser.add_argument_group("with which networks")
    network.add_argument("--config", required=True, help="class name of an experiment")
    network.add_argument(
        "--set",
        nargs="+",
        action="extend",
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
    add("--step", type=float, default=0.1, help="seconds between windows (%(default)g)")
    add(
        "--stretch",
        type=float,
        default=512,
        help="seconds of strain in a segment with one PSD (%(default)g)",
    )
    add(
        "--cluster",
        type=float,
        help="seconds within which only the loudest window is a trigger (a window's length)",
    )
    add("--slides", type=int, default=20, help="time slides of each segment (%(default)d; 0: none)")
    add(
        "--shift",
        type=float,
        default=1,
        help="seconds of shift of the first time slide (%(default)g)",
    )
    add(
        "--exclude",
        type=int,
        default=0,
        metavar="N",
        help="keep the N loudest triggers out of the time slides (%(default)d)",
    )
    add("--top", type=int, default=20, help="triggers in the table (%(default)d)")
    add("--maps", type=int, default=3, help="triggers in the figure (%(default)d)")
    add("--batch_size", type=int, default=256, help="windows scored at once (%(default)d)")
    add(
        "--seed",
        type=int,
        default=2021,
        help="of the noise that fills the channel of a missing detector",
    )
    add("--out", type=Path, help="where to write (default: <results>/<name>/detect)")
    add("--resume", action="store_true", help="continue this search where it was interrupted")
    add(
        "--overwrite",
        action="store_true",
        help="move the results of another search in the folder aside",
    )
    add(
        "--progress_bar",
        action="store_true",
        help="show progress bars even if stderr is not a terminal",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    if bool(args.strain) == bool(args.event):
        raise UserError("give either --strain H1=FILE L1=FILE or --event NAME")
    configure_logging()
    from data.strain_files import open_recordings
    from experiments.building import observation_of
    from search.folder import RECORD, SearchFolder
    from search.open_data import fetch_event
    from search.result_files import format_summary, make_search_record, write_figure, write_triggers

    started = time.monotonic()
    # The networks first: without them it is not worth downloading strain.
    config, scorer, unfinished = load_networks(args)
    observation = observation_of(config)
    recordings = (
        fetch_event(args.event, observation=observation)
        if args.event
        else open_recordings(args.strain, args.channel, observation=observation)
    )
    search = make_search(args, config, scorer, recordings)
    missing = [name for name in observation.detectors if name not in recordings]
    filler = format_filler_note(missing, search.settings.zeros)
    LOGGER.info(
        f"{config.__name__}, {len(scorer.networks)} folds: {search.grid.count} windows of "
        f"{', '.join(search.detectors)} in {format_seconds(search.end - search.start)} from GPS "
        f"{search.start:.0f}"
    )
    if filler:
        LOGGER.info(filler)
    if unfinished:
        LOGGER.warning(f"the training of fold {', '.join(map(str, unfinished))} has not ended")
    out = args.out or args.results / config.name / "detect"
    folder = SearchFolder(out, identify_search(config, scorer, search))
    done = f"{out} holds the results of this very search: nothing to do."
    if folder.finished():  # before the lock: the folder may be read-only by now
        print(done)
        return 0
    with folder.locked():
        if folder.finished():  # meanwhile by another process, or by completing one that was killed
            print(done)
            return 0
        search.store = folder.begin(args.resume, args.overwrite)
        # All results are written beside one another and only then moved up into the folder.
        with explains_full_memory(search.settings):
            run_search(search, folder.unfinished, True if args.progress_bar else None)
        result = search.result
        write_triggers(folder.unfinished / "candidates.csv", result)
        write_figure(folder.unfinished / "detection.png", result, config)
        record = make_search_record(args.strain or args.event, config, search, filler)
        record |= {"unfinished_folds": unfinished, "identity": folder.identity}
        write_json(folder.unfinished / RECORD, record)
        folder.finish()
    print(
        f"\n{format_summary(result)}\n"
        f"Written to {out} in {format_seconds(time.monotonic() - started)}."
    )
    return 0


def identify_search(config: ConfigMeta, scorer: WindowScorer, search: Search) -> dict[str, Any]:
    """Return all that decides the results of a search, with digests for content."""
    from dataclasses import asdict

    from configuration.json_types import to_plain
    from search.window_scorer import differences_from_competition, scoring_settings

    settings = asdict(search.settings)
    del settings["batch_size"]  # how many windows are scored at once changes no score
    return {
        "networks": scorer.digests,
        "network settings": scoring_settings(to_plain(config)),
        "views": scorer.view_names,
        "strain": {
            name: recording.content_digests() for name, recording in search.recordings.items()
        },
        "settings": settings,
        **differences_from_competition(search.grid),
    }


def load_networks(args: argparse.Namespace) -> tuple[ConfigMeta, WindowScorer, list[int]]:
    """Return the config, its networks, and the folds whose training has not ended.

    Raises:
        UserError: there are no weights, or they are unfinished or of other settings.
    """
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override
    from experiments.fold_record import check_finished, read_fold
    from search.window_scorer import WindowScorer, find_weights
    from train import choose_device

    config = override(load_config(args.config), args.set)
    weights = find_weights(args.results / config.name, config)
    records = [read_fold(path) for path in weights]
    advice = "train it to its end with --resume, or use it as it is with --allow_unfinished"
    check_finished(records, args.allow_unfinished, advice)
    unfinished = [
        int(record.path.stem.removeprefix("fold"))
        for record in records
        if record.is_known and not record.finished
    ]
    views = config.views if args.tta else ("identity",)
    return config, WindowScorer(config, weights, choose_device(args.gpu), views), unfinished


def make_search(
    args: argparse.Namespace,
    config: ConfigMeta,
    scorer: WindowScorer,
    recordings: dict[str, Recording],
) -> Search:
    from experiments.building import observation_of, population_of
    from search.search import Search
    from search.settings import SearchSettings
    from search.window_scorer import trains_with_zeroed_detectors

    observation = observation_of(config)
    # Windows that overlap show the same merger. detection.json has whole seconds as integers.
    window = int(observation.window) if observation.window.is_integer() else observation.window
    settings = SearchSettings(
        step=args.step,
        stretch=args.stretch,
        slides=args.slides,
        shift=args.shift,
        cluster=window if args.cluster is None else args.cluster,
        top=args.top,
        exclude=args.exclude,
        maps=args.maps,
        batch_size=args.batch_size,
        zeros=trains_with_zeroed_detectors(config),
        seed=args.seed,
    )
    return Search(
        recordings, scorer, settings, observation=observation, population=population_of(config)
    )


def format_filler_note(missing: list[str], zeros: bool) -> str:
    """Return a sentence on what fills the channels of missing detectors, empty if none is."""
    if not missing:
        return ""
    what = (
        "zeros, which the network knows from DropChannel"
        if zeros
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


def run_search(search: Search, out: Path, show: bool | None) -> None:
    """Run both passes of a search and write scores.csv segment by segment."""
    result = search.result
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "scores.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["gps", "score"])
        # Row by row: a long search never holds all of its scores in memory.
        for times, scores in progress(
            search.search_zero_lag(),
            total=result.segments,
            desc="search",
            unit="segment",
            show=show,
        ):
            writer.writerows(
                [f"{at:.4f}", f"{score:.4f}"] for at, score in zip(times, scores, strict=True)
            )
    skipped = result.windows - result.scored
    if skipped:
        of_each = ", ".join(f"{count} in {name}" for name, count in result.gaps.items())
        LOGGER.info(
            f"{skipped} of {result.windows} windows skipped: they lie within a second of a gap or "
            f"of an end of the strain, or in segments without a PSD ({of_each or 'all'})"
        )
    if len(search.detectors) < 2 and search.settings.slides:
        LOGGER.info("one detector cannot be slid against another: no false-alarm rates")
    elif missing := format_missing_slides(search):
        LOGGER.warning(missing)
    # The generator does the work; what it yields only moves the bar.
    for _ in progress(
        search.measure_background(),
        total=result.segments,
        desc="time slides",
        unit="segment",
        show=show,
    ):
        pass


def format_missing_slides(search: Search) -> str:
    """Return a sentence on time slides that do not fit into their segments, empty if all do."""
    settings, made = search.settings, search.count_time_slides()
    if min(made) == settings.slides:
        return ""
    fewest = min(made)
    few = str(fewest) if fewest == max(made) else f"{fewest} to {max(made)}"
    shift = settings.shift_windows * settings.step
    return (
        f"{few} of {settings.slides} time slides fit into a segment, as the shifts are multiples "
        f"of {shift:g} s{'' if max(made) else ': there will be no false-alarm rates'}; a smaller "
        f"--shift, or longer strain, makes room for more"
    )


if __name__ == "__main__":
    run_command(main)
