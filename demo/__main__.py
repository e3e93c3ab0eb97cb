"""From nothing to a detector that finds GW150914: `make demo`, or `python -m demo`.

Runs four commands, shows each as one would type it, and ends with a picture and five sentences.
What is finished is not done again: started anew after an interruption, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from demo.time_left import Step, TimeLeft
from runtime.command_line import CommandLine, run_command
from runtime.interruption import Interrupted

if TYPE_CHECKING:
    from configuration.config_class import ConfigMeta

EXPERIMENT = "QuickDemo"
TRAIN, TEST = 4000, 6000  # samples
# s, on two cores without a GPU
STEPS = (
    Step("simulate samples", 30),
    Step("train over folds and predict", 160),
    Step("search the strain around GW150914", 10),
    Step("score the same samples by matched filters, and draw", 50),
)


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(
        prog="-m demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", type=int, metavar="N", help=f"training samples ({TRAIN}, or what is there)")
    add("--test", type=int, metavar="M", help=f"test samples ({TEST}, or what is there)")
    add(
        "--templates",
        type=int,
        default=60,
        help="matched filters to compare with (%(default)d; 0: none)",
    )
    add("--data", type=Path, default=Path("input/demo"), help="folder of the samples (%(default)s)")
    add("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change settings of QuickDemo, as for train.py",
    )
    return parser


def settings_of(args: argparse.Namespace) -> list[str]:
    """Return what follows `--set` in the commands: nothing, unless something is not as usual."""
    settings = []
    if args.data != build_parser().get_default("data"):
        for split in ("train", "test"):
            settings.append(f"{split}_path={args.data / split}.csv")
            settings.append(f"{split}_cache={args.data / split}_cache.f32")
    return [*settings, *args.set]


def sample_counts(args: argparse.Namespace) -> tuple[int, int]:
    """Return how many training and test samples: as asked for, else those there are, else ours.

    Raises:
        UserError: the folder of the samples holds something else.
    """
    from simulation.dataset_files import find_dataset

    _, there = find_dataset(args.data)
    train = there.get("n_train", TRAIN) if args.train is None else args.train
    test = there.get("n_test", TEST) if args.test is None else args.test
    return train, test


def commands_of(args: argparse.Namespace) -> list[list[str]]:
    """Return the command lines of the demo: each a file of the top level and its arguments."""
    from demo.event import strain_arguments

    settings = settings_of(args)
    chosen = ["--config", EXPERIMENT, *(["--set", *settings] if settings else [])]
    if args.results != build_parser().get_default("results"):
        chosen += ["--results", str(args.results)]
    train, test = sample_counts(args)
    counts = ["--simulate", str(train), "--test", str(test)]
    return [
        ["prep_data.py", *counts, "--out", str(args.data), "--cache"],
        ["train.py", *chosen, "--resume"],
        # Half a minute has no background to speak of: its time slides hold the event itself.
        ["detect.py", *chosen, "--strain", *strain_arguments(), "--slides", "0", "--resume"],
    ]


def run_here(command: Sequence[str]) -> None:
    """Run a command line of the top level in this process, after showing it.

    Raises:
        UserError: as the command does.
    """
    import importlib

    file, *arguments = command
    main: Callable[[list[str]], int] = importlib.import_module(file.removesuffix(".py")).main
    print(f"\n$ {shlex.join(['python', *command])}", flush=True)
    with command_line_is(command):
        code = main(arguments)
    if code:
        sys.exit(code)


@contextlib.contextmanager
def command_line_is(command: Sequence[str]) -> Iterator[None]:
    """Let records of a run name the command that leaves it, and not the demo."""
    before = sys.argv
    sys.argv = list(command)
    try:
        yield
    finally:
        sys.argv = before


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    chosen_experiment(args)  # a misspelt setting is reported now, and not when samples are there
    time_left = TimeLeft(STEPS)
    try:
        for number, command in enumerate(commands_of(args)):
            with time_left.step(number):
                run_here(command)
        with time_left.step(len(STEPS) - 1):
            sentences = finish(args)
    except (KeyboardInterrupt, Interrupted):
        print("\nmake demo goes on where it was stopped.", file=sys.stderr)
        raise
    print("", *sentences, sep="\n")
    return 0


def chosen_experiment(args: argparse.Namespace) -> ConfigMeta:
    """Return QuickDemo with the settings that the command line changes.

    Raises:
        UserError: there is no such setting, or it cannot have that value.
    """
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override

    return override(load_config(EXPERIMENT), settings_of(args))


def finish(args: argparse.Namespace) -> list[str]:
    """Compare, draw the picture, and return the five sentences.

    Raises:
        UserError: what the commands left is damaged.
    """
    from demo.comparison import compare
    from demo.event import read_finding, whitened_strain
    from demo.picture import draw_demo
    from demo.sentences import Places, format_sentences
    from experiments.building import observation_of

    config = chosen_experiment(args)
    run = args.results / config.name
    places = Places(args.data, run, run / "detect", run / "demo.png")
    comparison = compare(config, run, args.templates)
    finding = read_finding(places.search)
    observation = observation_of(config)
    whitened = whitened_strain(observation, finding.time)
    title = f"{EXPERIMENT}: a bank of matched filters as a network, trained for minutes"
    draw_demo(places.picture, title, comparison, finding, whitened, observation)
    return format_sentences(EXPERIMENT, config.cv, comparison, finding, places)


if __name__ == "__main__":
    run_command(main)
