"""Index, check, cache or simulate a data set.

    python prep_data.py --root_dir input --cache          # the Kaggle data: index, then cache
    python prep_data.py --root_dir input --check          # read every file first, report bad ones
    python prep_data.py --simulate 1000 --cache           # a data set of our own in input/simulated
    python prep_data.py --simulate_strain 24 --config Wave07    # a day of continuous strain
    python prep_data.py --root_dir et --export_dir et --cache --set observation.detectors=[ET1,ET2]

Reads `training_labels.csv`, `sample_submission.csv` and `{train,test}/a/b/c/abc....npy` below
--root_dir. Writes to --export_dir: `train.csv` and `test.csv` (id, target, path; paths are
relative to the folder of the CSV, so that data and index can move together) and, with --cache,
`train_cache.f32` and `test_cache.f32`. Files that are finished are left alone, and a cache that
was interrupted is resumed. Finished files of other samples are only replaced with --overwrite,
which moves them aside.

Samples are the competition's (H1, L1 and V1, 2 s at 2,048 Hz; target 0 or 1) unless --config or
--set say what else is observed and predicted, as they do for train.py. What is observed is then
written beside the tables (`observation.json`) and into the caches; targets are checked by their own
rules (`targets` of the config).
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command_line import CommandLine, run_command
from runtime.console import format_seconds
from runtime.errors import UserError
from runtime.files import atomic_path, move_aside, remove_temporaries
from runtime.locks import hold
from runtime.machine import num_cores

if TYPE_CHECKING:
    import pandas as pd

    from configuration.config_class import ConfigMeta
    from data.sample_checks import Fault
    from physics.observation import Sampling

SPLITS = {"train": "training_labels.csv", "test": "sample_submission.csv"}
REPORT = "check_report.csv"
EXIT_BAD_DATA = 2


def parse_count(text: str) -> int:
    """Return a command-line number of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def parse_spacing(text: str) -> tuple[float, ...]:
    """Return the shortest and longest time between injections, s; () for 'none'."""
    if text == "none":
        return ()
    low, dash, high = text.partition("-")
    try:
        return float(low), float(high if dash else low)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time in seconds such as 25, a range such as 24-30, or none"
        ) from error


def parse_hours(text: str) -> float:
    """Return a command-line number of hours, more than none."""
    hours = float(text)
    if not 0 < hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of hours above 0")
    return hours


def parse_device(text: str) -> str:
    """Return a command-line name of a torch device."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text} is not cpu, cuda or cuda:N")
    return text


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--root_dir", type=Path, help="where the raw data are (default: input)")
    add("--export_dir", type=Path, help="where to write (default: input; with --simulate: --out)")
    add("--cache", action="store_true", help="write each split into one memory-mapped file")
    add(
        "--check",
        action="store_true",
        help="first read every file, and compare targets with parameters.csv where that is; write "
        f"what is wrong to {REPORT} and stop with exit code 2",
    )
    add(
        "--overwrite",
        action="store_true",
        help="move tables, caches and simulations of other samples aside and write new ones",
    )
    add(
        "--num_workers",
        type=parse_count,
        default=num_cores(),
        metavar="N",
        help="processes that read files (default: every core)",
    )
    observed = parser.add_argument_group("what is observed (default: as in the competition)")
    add = observed.add_argument
    add("--config", metavar="NAME", help="as this experiment of configs.py says (and what merges)")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change its settings, e.g. --set observation.detectors=[H1,L1] observation.window=4",
    )
    simulation = parser.add_argument_group("simulated data in place of the Kaggle data")
    add = simulation.add_argument
    add("--simulate", type=parse_count, metavar="N", help="make N training samples")
    add("--test", type=parse_count, metavar="M", help="and M test samples (default: 2 N / 5)")
    add("--out", type=Path, help="into this folder (default: input/simulated)")
    add("--seed", type=int, help="the seed of the simulation (default: 2021)")
    add("--device", type=parse_device, help="where to compute: cpu (default), cuda or cuda:N")
    strain = parser.add_argument_group("continuous strain, for searches")
    add = strain.add_argument
    add(
        "--simulate_strain",
        type=parse_hours,
        metavar="HOURS",
        help="write so much background and foreground into --out (default: input/strain)",
    )
    add(
        "--injections",
        type=parse_spacing,
        metavar="EVERY",
        help="seconds from one to the next: 25, a range (default: 24-30), or none: no foreground",
    )
    add("--segment", type=parse_count, metavar="S", help="s, no file is longer (default: 4096)")
    add("--gap", type=int, metavar="S", help="between two segments, s (default: 64)")
    add("--gps_start", type=int, metavar="GPS", help="of the first segment (default: 1126259462)")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser()
    options = parser.parse_args(arguments)
    check_combination(parser, options)
    return options


def check_combination(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse options that have no effect together.

    Raises:
        UserError: the message names the option.
    """
    # A number may be 0, and is given all the same.
    given = {name for name, value in vars(options).items() if value is not None and value != []}
    given -= {name for name in given if getattr(options, name) is False}
    if options.simulate_strain is not None:
        for name in ("simulate", "test", "device", "root_dir", "export_dir", "cache", "check"):
            if name in given:
                parser.error(f"--{name} does not go with --simulate_strain")
        return
    for name in ("injections", "segment", "gap", "gps_start"):
        if name in given:
            parser.error(f"--{name} only goes with --simulate_strain")
    if options.simulate is None:
        for name in ("test", "out", "seed", "device"):
            if name in given:
                parser.error(f"--{name} only goes with --simulate")
    elif options.root_dir is not None:
        parser.error("--root_dir is for data that exist; simulated data go to --out")


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    config = chosen_config(options)
    if options.simulate_strain is not None:
        simulate_strain(options, config)
        return 0
    sampling = sampling_of(config)
    root = options.root_dir or Path("input")
    export = options.export_dir or Path("input")
    if options.simulate is not None:
        root = simulate(options, config)
        export = options.export_dir or root
    tables = {split: read_labels(root / name, split, config) for split, name in SPLITS.items()}
    if options.check:
        labelled = tables["train"] if predicts_signals(config) else None
        if not check_data(root, export, tables, options.num_workers, sampling, labelled):
            return EXIT_BAD_DATA
    indexes = [make_index(root, export, split, table) for split, table in tables.items()]
    write_indexes(export, indexes, options.overwrite, sampling)
    if options.cache:
        for split in SPLITS:
            cache_split(root, export, split, options.num_workers, options.overwrite, sampling)
    # A table may name files outside its own folder only where the config allows it.
    if not Path(os.path.realpath(root)).is_relative_to(os.path.realpath(export)):
        print(f"the samples lie outside {export}: train with --set data_root={root}")
    return 0


def chosen_config(options: argparse.Namespace) -> ConfigMeta | None:
    """Return the config that --config and --set choose, None where neither is given.

    Raises:
        UserError: there is no such config or setting.
    """
    if options.config is None and not options.set:
        return None
    # Only here: this imports torch, which takes seconds and which the Kaggle data do not need.
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override
    from experiments.settings import Config

    return override(Config if options.config is None else load_config(options.config), options.set)


def predicts_signals(config: ConfigMeta | None) -> bool:
    """Whether the target says if a sample holds a signal, as in the competition."""
    if config is None:
        return True
    from experiments.targets import BinaryTarget

    return config.targets.cls is BinaryTarget


def sampling_of(config: ConfigMeta | None) -> Sampling:
    """Return what the samples are: as a config says, or for None as in the competition.

    Raises:
        UserError: what the config says is not possible.
    """
    from physics.observation import COMPETITION

    if config is None:
        return COMPETITION.sampling
    from experiments.building import observation_of

    return observation_of(config).sampling


def simulate(options: argparse.Namespace, config: ConfigMeta | None) -> Path:
    """Simulate a data set in the Kaggle layout and return its folder.

    Args:
        options: of the command line.
        config: says what is observed and what merges; None is as in the competition.

    Raises:
        UserError: the folder holds another data set, there is no such device, or the window does
            not hold the signals.
    """
    from simulation.dataset_on_disk import simulate_dataset

    out = options.out or Path("input/simulated")
    n_test = options.test or max(1, options.simulate * 2 // 5)
    seed = 2021 if options.seed is None else options.seed
    device = options.device or "cpu"
    if device.startswith("cuda"):
        import torch

        # plain cuda is the first device
        at = int(device.partition(":")[2] or 0)
        if at >= torch.cuda.device_count():
            raise UserError(
                f"--device {device}: this machine has {torch.cuda.device_count()} CUDA devices "
                "that torch can use; leave it out to compute on the CPU"
            )
    laws = {}
    if config is not None:
        from experiments.building import observation_of, population_of

        laws = {"observation": observation_of(config), "population": population_of(config)}
    started = time.monotonic()
    summary = simulate_dataset(
        out,
        options.simulate,
        n_test,
        seed,
        device=device,
        workers=options.num_workers,
        overwrite=options.overwrite,
        **laws,
    )
    done = "up to date" if summary.get("done_before") else "simulated"
    print_done(f"{out}: {done}, {options.simulate} training and {n_test} test samples", started)
    return out


def simulate_strain(options: argparse.Namespace, config: ConfigMeta | None) -> None:
    """Write continuous strain with what --config and --set choose, else the competition's.

    Raises:
        UserError: the folder holds something else, or what is asked for is not possible.
    """
    from experiments.building import observation_of, population_of
    from experiments.settings import Config
    from runtime.console import configure_logging
    from simulation.continuous_strain import simulate_strain as write_strain
    from simulation.strain_settings import StrainSettings

    config = config or Config
    out = options.out or Path("input/strain")
    asked = {
        "longest_segment": options.segment,
        "gap": options.gap,
        "start": options.gps_start,
        "seed": options.seed,
    }
    chosen = {name: value for name, value in asked.items() if value is not None}
    if options.injections is not None:
        chosen["spacing"] = options.injections or None
    seconds = round(options.simulate_strain * 3600)
    settings = StrainSettings(seconds, observation_of(config), population_of(config), **chosen)
    started = time.monotonic()
    configure_logging()
    summary = write_strain(out, settings, options.num_workers, options.overwrite)
    done = f"{summary['written']} of {summary['segments']} segments were still to do"
    if not summary["written"]:
        done = f"up to date, {summary['segments']} segments"
    what = f"{settings.observation}, {seconds} s, {summary['injections']} injections"
    print_done(f"{out}: {what}; {done}", started)


def print_done(what: str, started: float) -> None:
    """Print what was done and how long it took."""
    print(f"{what} ({format_seconds(time.monotonic() - started)})", flush=True)


# --- index -----------------------------------------------------------------------------------


def read_labels(csv: Path, split: str, config: ConfigMeta | None = None) -> pd.DataFrame:
    """Return the competition's table of a split with the path of each file below the root.

    Args:
        csv: the table.
        split: 'train' or 'test'.
        config: says which columns are targets, and what they may hold; None has the competition's.

    Raises:
        UserError: there is no such table, or a row of it is wrong; see `sample_files.read_table`.
    """
    from data.sample_files import read_table

    if not csv.is_file():
        raise UserError(
            f"{csv} does not exist: put the competition's data (kaggle competitions download "
            "-c g2net-gravitational-wave-detection) into --root_dir, or use --simulate N"
        )
    if config is None:
        table, targets = read_table(csv, ("id", "target")), ["target"]
        check_competition_targets(csv, split, table)
    else:
        table, targets = read_targets(csv, split, config)
    short = table["id"].str.len() < 3
    if short.any():
        row = int(short.to_numpy().argmax())
        raise UserError(
            f"{csv}, row {row + 2}: the id {table['id'][row]!r} has fewer than 3 characters, "
            "which name the folders of its file"
        )
    if split == "train" and "target" in targets and table["target"].dtype.kind == "f":
        # written as 0 and 1, as the competition does, not as 0.0 and 1.0; soft labels as they are
        whole = table["target"].astype(int)
        if (whole == table["target"]).all():
            table["target"] = whole
    # The layout of the competition: folders named after the first three characters of the id.
    table["path"] = [f"{split}/{i[0]}/{i[1]}/{i[2]}/{i}.npy" for i in table["id"]]
    # Further columns are kept: a config may split, weigh or break down the score by them.
    first = ["id", *targets, "path"]
    return table[[*first, *(name for name in table.columns if name not in first)]]


def check_competition_targets(csv: Path, split: str, table: pd.DataFrame) -> None:
    """Refuse a target other than 0 and 1, or of the test samples one that is not from 0 to 1.

    Raises:
        UserError: there is one.
    """
    if split == "train":
        wrong = ~table["target"].isin([0, 1])
    else:
        wrong = ~table["target"].between(0, 1)
    # Row numbers as a text editor shows them: from 1, and the header is the first.
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        expected = "0 or 1" if split == "train" else "0 to 1"
        raise UserError(
            f"{csv}, row {row + 2}: the target of {table['id'][row]!r} is "
            f"{table['target'][row]:g}, expected {expected}"
        )


def read_targets(csv: Path, split: str, config: ConfigMeta) -> tuple[pd.DataFrame, list[str]]:
    """Return a table whose targets are as a config expects them, and its columns of targets.

    Test samples have no targets, but for the number that the competition has in their place.

    Raises:
        UserError: a column is missing, or a row is not as the config's `targets` say.
    """
    from data.sample_files import read_table
    from experiments.targets import check_columns_of_table, columns_of_tables

    target, needed = config.targets.build(), columns_of_tables(config)
    table = read_table(csv, needed)
    if split == "test":
        if "target" in needed:
            check_competition_targets(csv, split, table)
        return table, [name for name in ("target", *target.columns) if name in needed]
    check_columns_of_table(table, str(csv), target.columns)
    target.read(table, str(csv))
    target.read_learnt(table, str(csv))
    return table, list(target.columns)


@dataclass(frozen=True)
class Index:
    """The table `{split}.csv` that is to be written.

    Attributes:
        csv: its path.
        content: its text.
        samples: its rows.
        started: when work on it began, of the monotonic clock.
    """

    csv: Path
    content: bytes
    samples: int
    started: float

    @property
    def finished(self) -> bool:
        """Whether the file is there with this content."""
        return self.csv.is_file() and self.csv.read_bytes() == self.content

    def check(self, overwrite: bool) -> None:
        """Raise a `UserError` if the table of other samples is there, unless `overwrite`."""
        if os.path.lexists(self.csv) and not self.finished and not overwrite:
            raise UserError(
                f"{self.csv} is there with other samples, targets or paths: add --overwrite to "
                "move it aside, or choose another folder with --export_dir"
            )

    def write(self) -> None:
        """Write the table unless it is finished; one of other samples is moved aside."""
        if self.finished:
            print_done(f"{self.csv}: up to date, {self.samples} samples", self.started)
            return
        if os.path.lexists(self.csv):
            print(f"{self.csv}: moved aside to {move_aside(self.csv).name}")
        with atomic_path(self.csv) as temporary:
            temporary.write_bytes(self.content)
        print_done(f"{self.csv}: written, {self.samples} samples", self.started)


def make_index(root: Path, export: Path, split: str, table: pd.DataFrame) -> Index:
    """Return the table of a split with paths relative to the folder it is written to.

    Raises:
        UserError: files are missing.
    """
    from data.sample_files import list_sample_files

    started = time.monotonic()
    # Folders are listed: asking for each of 560,000 files by itself takes much longer.
    present = set(list_sample_files(root / split, split))
    missing = ~table["path"].isin(present)
    if missing.any():
        first = table["path"][int(missing.to_numpy().argmax())]
        raise UserError(
            f"{missing.sum()} of {len(table)} {split} files are missing, the first "
            f"{root / first}: restore them, or list all with --check"
        )
    # With a symbolic link on the way, '..' would lead somewhere else: take the real folders.
    base = os.path.relpath(os.path.realpath(root), os.path.realpath(export)).replace(os.sep, "/")
    if base != ".":
        table = table.assign(path=base + "/" + table["path"])
    content = table.to_csv(index=False, lineterminator="\n").encode()
    return Index(export / f"{split}.csv", content, len(table), started)


@contextlib.contextmanager
def locked_export(export: Path) -> Iterator[None]:
    """Hold the folder of tables and the report; remove what killed processes left half written."""
    with hold(export / ".prep_data.lock", wait=True):  # another process takes moments
        remove_temporaries(export, [*(f"{split}.csv" for split in SPLITS), REPORT])
        yield


def write_indexes(export: Path, indexes: list[Index], overwrite: bool, sampling: Sampling) -> None:
    """Write the tables of both splits, and what their samples are.

    Raises:
        UserError: tables of other samples or of another observation are there, and `overwrite` is
            False.
    """
    from data.table_sampling import write_sampling

    if all(index.finished for index in indexes) and not move_other_sampling(
        export, indexes, sampling, overwrite, only_check=True
    ):
        lock = contextlib.nullcontext()  # nothing is to be written: the folder may be read-only
    else:
        lock = locked_export(export)
    with lock:
        # Both are checked before either is written, so that a refusal changes nothing.
        for index in indexes:
            index.check(overwrite)
        # It goes first, so that a killed process never leaves tables that say nothing of it.
        if move_other_sampling(export, indexes, sampling, overwrite):
            write_sampling(export, sampling)
        for index in indexes:
            index.write()


def move_other_sampling(
    export: Path,
    indexes: list[Index],
    sampling: Sampling,
    overwrite: bool,
    only_check: bool = False,
) -> bool:
    """Move tables of another observation aside; return whether it must be written what these are.

    Args:
        export: the folder of the tables.
        indexes: the tables that are to lie there.
        sampling: what their samples are.
        overwrite: move tables of another observation aside.
        only_check: move nothing.

    Raises:
        UserError: tables of another observation are there, and `overwrite` is False.
    """
    from data.table_sampling import read_sampling, sampling_path

    found = read_sampling(export)
    if found == sampling:
        return False
    tables = [index.csv for index in indexes if os.path.lexists(index.csv)]
    if tables and not overwrite:
        raise UserError(
            f"{tables[0]} lists samples of {found} and this command is for {sampling}: name the "
            "config of its observation with --config or --set, add --overwrite to move it aside, "
            "or choose another folder with --export_dir"
        )
    record = sampling_path(export)
    if not only_check:
        for path in (*tables, *([record] if record.exists() else [])):
            print(f"{path}: moved aside to {move_aside(path).name}")
    return True


# --- cache -----------------------------------------------------------------------------------


def cache_split(
    root: Path, export: Path, split: str, processes: int, overwrite: bool, sampling: Sampling
) -> None:
    """Write the cache of a split from its index.

    Raises:
        UserError: see `write_cache`.
    """
    from data.cache_writer import write_cache
    from data.sample_files import load_index

    started = time.monotonic()
    index = load_index(export / f"{split}.csv", root, ("id",))  # whatever its targets are
    path = export / f"{split}_cache.f32"
    ids, paths = index["id"].tolist(), index["path"].tolist()
    read = write_cache(path, ids, paths, processes, overwrite=overwrite, sampling=sampling)
    size = f"{len(index)} samples, {path.stat().st_size / 2**30:.2f} GiB"
    if read == 0:
        print_done(f"{path}: up to date, {size}", started)
    elif read < len(index):
        print_done(f"{path}: finished, {size}, of which {read} were still to do", started)
    else:
        print_done(f"{path}: written, {size}", started)


# --- check -----------------------------------------------------------------------------------


def check_data(
    root: Path,
    export: Path,
    tables: dict[str, pd.DataFrame],
    processes: int,
    sampling: Sampling,
    labelled: pd.DataFrame | None,
) -> bool:
    """Read every file of both splits and return whether all of them are sound.

    Of `labelled`, the training table whose targets say what is a signal, these are compared with
    parameters.csv as well, where that lies beside it; None compares nothing.

    `check_report.csv` gets a line for each fault; data/sample_checks.py lists their kinds. The
    report of an earlier check that found something else is moved aside.
    """
    from data.sample_checks import find_contradicted, find_faults

    started = time.monotonic()
    faults, count = find_faults(root, tables, processes, sampling)
    if labelled is not None:
        faults += find_contradicted(root, "train", labelled)
    return write_check_report(export, faults, count, started)


def write_check_report(export: Path, faults: list[Fault], n: int, started: float) -> bool:
    """Write the report, print a summary of it, and return whether it is empty.

    An earlier report with other content is moved aside, as is any report if there are no faults.
    """
    from data.sample_checks import format_check_report

    path = export / REPORT
    if not faults:
        if os.path.lexists(path):
            with locked_export(export):
                move_earlier_report(path)
        print_done(f"check: {n} files read, all sound", started)
        return True
    content = format_check_report(faults)
    if not (path.is_file() and path.read_bytes() == content):
        with locked_export(export):
            move_earlier_report(path)
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
    problems = [fault.problem for fault in faults]
    tally = ", ".join(f"{problems.count(p)} {p}" for p in sorted(set(problems)))
    print_done(f"check: {n} files read, faults: {tally}; all are listed in {path}", started)
    return False


def move_earlier_report(path: Path) -> None:
    """Move the report of an earlier check aside, if there is one, and say so."""
    if os.path.lexists(path):
        print(f"{path}: moved aside to {move_aside(path).name}")


if __name__ == "__main__":
    run_command(main)
