"""The five sentences that the demo ends with."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from demo.comparison import Comparison
from demo.event import MERGER, SearchFinding


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Attributes:
        data: folder of the simulated samples.
        run: run directory of the trained network.
        search: folder of the search.
        picture: the picture of the demo.
    """

    data: Path
    run: Path
    search: Path
    picture: Path


def format_sentences(
    name: str, folds: int, comparison: Comparison, finding: SearchFinding, places: Places
) -> list[str]:
    """Return the five sentences; the three commands stand below the last of them.

    Args:
        name: of the experiment.
        folds: whose networks score together.
        comparison: of the test samples.
        finding: of the search.
        places: where things lie.
    """
    return [
        say_how_good(name, folds, comparison),
        say_beside_what(comparison),
        say_what_was_found(finding),
        say_where(places),
        say_what_next(name, places),
    ]


def say_how_good(name: str, folds: int, comparison: Comparison) -> str:
    figure = comparison.figure(comparison.network)
    return (
        f"{name}, a network for each of {folds} folds, tells mergers from noise with a test AUC of "
        f"{figure} on {figure.samples:,} simulated samples that it never saw."
    )


def say_beside_what(comparison: Comparison) -> str:
    """Compare with matched filters, and with the recorded optimum."""
    optimum = comparison.optimum
    other = (
        "no near-optimal figure is recorded for samples of this law"
        if optimum is None
        else f"the near-optimal statistic, which knows the laws of the signals, has {optimum} on "
        f"{optimum.samples:,} other samples of the same law (docs/explanation/detection.md)"
    )
    if comparison.matched_filter is None:
        return f"Matched filters were not asked for (--templates), and {other}."
    figure = comparison.figure(comparison.matched_filter)
    return (
        f"A bank of {comparison.templates} matched filters has {figure} on the same samples, and "
        f"{other}."
    )


def say_what_was_found(finding: SearchFinding) -> str:
    """Say whether the loudest trigger is GW150914, and how loud it is beside the next."""
    seconds = finding.end - finding.start
    where = f"{seconds:.0f} s of real strain of Hanford and Livingston"
    if not len(finding.times):
        return f"GW150914 was not found: {where} hold no candidate."
    time, score = finding.time, float(finding.scores[0])
    next_one = (
        f"the next candidate has {finding.scores[1]:.1f}"
        if len(finding.times) > 1
        else "there is no other candidate"
    )
    if finding.is_found:
        return (
            f"GW150914 is the loudest of {len(finding.times)} candidates in {where}, found at GPS "
            f"{time:.2f} (the merger was at {MERGER:.1f}) with a score of {score:.1f}: {next_one}."
        )
    return (
        f"GW150914, at GPS {MERGER:.1f}, was not the loudest of {len(finding.times)} candidates in "
        f"{where}: that is at GPS {time:.2f} with a score of {score:.1f}, and {next_one}."
    )


def say_where(places: Places) -> str:
    return (
        f"The picture of all this is {places.picture}; the weights and predictions lie in "
        f"{places.run}/, the search in {places.search}/ (open detection.html there), and the "
        f"samples in {places.data}/."
    )


def say_what_next(name: str, places: Places) -> str:
    """Say which three commands come next."""
    commands = "\n".join(f"    {line}" for line in next_commands(name, places))
    return (
        "Try next a page of every run, the same search with weights that were trained longer, and "
        f"a file for an experiment of your own:\n{commands}"
    )


def next_commands(name: str, places: Places) -> list[str]:
    """Return three commands that can be typed after the demo."""
    results = [] if places.run.parent == Path("results") else ["--results", str(places.run.parent)]
    strain = ["H1=examples/gw150914", "L1=examples/gw150914"]
    lines = [
        ["report.py", *results],
        ["detect.py", "--weights", "wave07", "--strain", *strain, *results],
        ["train.py", "--new", "mine.py", "--from", name],
    ]
    return [shlex.join([python_to_type(), *line]) for line in lines]


def python_to_type() -> str:
    """Return what to type for the Python that runs this: python, where that is the one."""
    this = Path(sys.executable)
    if shutil.which("python") == str(this):
        return "python"
    # Not resolved: in an environment it is a link, and what it links to is outside.
    return str(this.relative_to(Path.cwd()) if this.is_relative_to(Path.cwd()) else this)
