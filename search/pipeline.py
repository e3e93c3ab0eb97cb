"""A long search as a graph, for the Snakefile: a job for each part, and one for the results.

    snakemake --config detect="--weights wave07 --strain H1=h1/ L1=l1/" out=results/o3a parts=30
    snakemake --config mdc="--set 1 --duration 30d --config Mdc1" out=results/month parts=30

A job searches its part into a folder below `out` (see parts.py). The job after all of them is the
same command without --part, which takes over what they found and writes the results.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.pipeline import share_of_cores, split_words
from runtime.errors import UserError, nearest
from search.parts import FINISHED, PARTS, Part

# What each key of --config runs, and the file of its results that is written last.
PROGRAMS = {"detect": ("detect.py",), "mdc": ("-m", "benchmarks.mdc")}
RECORDS = {"detect": "detection.json", "mdc": "sensitivity.json"}
SETTINGS = {"detect": "--set", "mdc": "--override"}  # the flag that takes `settings`
# Flags that the graph states itself.
OWN_FLAGS = ("--out", "--part", "--resume", "--overwrite")
KEYS = (*PROGRAMS, "out", "parts", "results", "settings", "threads", "gpus", "python", "marks")
SEARCHED = "search.done"


@dataclass(frozen=True)
class SearchPlan:
    """The jobs of a search.

    Attributes:
        kind: 'detect' or 'mdc'.
        words: the arguments of its command line.
        out: the folder of its results.
        parts: how many jobs search.
        threads: cores of a job.
        gpus: GPUs of a job, 0 or 1.
        marks: folder of the marks, None for `out`.
        python: the interpreter that runs them.
    """

    kind: str
    words: tuple[str, ...]
    out: str
    parts: int
    threads: int = 1
    gpus: int = 0
    marks: str | None = None
    python: str = "python"

    @property
    def part_names(self) -> list[str]:
        """The names of the parts, as their folders have them."""
        return [Part(number, self.parts).name for number in range(1, self.parts + 1)]

    def command(self, *further: str) -> str:
        """Return the command line of the search with further arguments."""
        return shlex.join(
            [self.python, *PROGRAMS[self.kind], *self.words, "--out", self.out, *further]
        )

    def part(self, name: str) -> str:
        """Return the command that searches the part of a name."""
        part = Part(1 + self.part_names.index(name), self.parts)
        return self.command(*self.resuming(), "--part", str(part))

    def merge(self) -> str:
        """Return the command that takes over what all parts found, and writes the results."""
        return self.command(*self.resuming())

    def resuming(self) -> tuple[str, ...]:
        """Return the flag that resumes; benchmarks.mdc always does."""
        return ("--resume",) if self.kind == "detect" else ()

    def job(self) -> str:
        """Return the beginning of a job's command line, before the mark and the command."""
        return shlex.join([self.python, "-m", "search.pipeline_jobs"])


def asks_for_search(config: Mapping[str, Any]) -> bool:
    """Return whether `--config` of Snakemake asks for a search and not for trained runs."""
    return any(kind in config for kind in PROGRAMS)


def read_search_config(config: Mapping[str, Any]) -> SearchPlan:
    """Return the search that `--config` asks for.

    Raises:
        UserError: an unknown key, two searches, no folder, or a number that is none.
    """
    # Snakemake accepts any key, so that a misspelt one would silently be ignored.
    for key in config:
        if key not in KEYS:
            raise UserError(
                f"--config {key}=…: a search has no such key{nearest(key, KEYS)}; there are "
                f"{', '.join(KEYS)}"
            )
    kinds = [kind for kind in PROGRAMS if kind in config]
    if len(kinds) != 1:
        raise UserError(f"--config {'=… '.join(kinds)}=…: give one search at a time")
    kind = kinds[0]
    words = split_words(kind, str(config[kind]))
    for word in words:
        if word.partition("=")[0] in OWN_FLAGS:
            raise UserError(
                f"{kind} = {config[kind]!r}: leave {word} out; the pipeline gives it, and out=… is "
                f"a key of --config"
            )
    if not str(config.get("out", "")):
        raise UserError("--config out=…: name the folder of the search")
    if "results" in config:
        words += ["--results", str(config["results"])]
    if settings := split_words("settings", str(config.get("settings", ""))):
        words += [SETTINGS[kind], *settings]
    return SearchPlan(
        kind,
        tuple(words),
        str(config["out"]),
        read_count(config, "parts", None, 1),
        read_count(config, "threads", share_of_cores(), 1),
        min(read_count(config, "gpus", 0, 0), 1),
        None if config.get("marks") is None else str(config["marks"]),
        str(config.get("python", sys.executable)),
    )


def read_count(config: Mapping[str, Any], key: str, default: int | None, least: int) -> int:
    """Return the whole number of a key.

    Raises:
        UserError: it is none, too small, or missing without a default.
    """
    value = config.get(key, default)
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) < least:
        given = "" if value is None else value
        raise UserError(f"--config {key}={given}: expected a whole number of {least} or more")
    return int(value)


def mark_names(plan: SearchPlan) -> list[str]:
    """Return the names of all marks of a search, below its folder."""
    return [*(f"{PARTS}/{name}.done" for name in plan.part_names), SEARCHED]


def result_of_mark(kind: str, out: Path, mark: str) -> Path | None:
    """Return the file by which one sees that what a mark stands for is finished; None if it is not.

    Args:
        kind: of the search.
        out: its folder.
        mark: its name below that.
    """
    record = out / RECORDS[kind]
    if mark == SEARCHED:
        return record if record.is_file() else None
    finished = out / PARTS / Path(mark).stem / FINISHED
    # A part that is taken over by a finished search need not be there any more.
    return next((path for path in (finished, record) if path.is_file()), None)


def outdated_marks(plan: SearchPlan) -> dict[str, str]:
    """Return the marks whose results are missing, each with a sentence; nothing is changed."""
    out = Path(plan.out)
    return {
        name: f"the results that {os.path.join(plan.out, name)} marks are missing: they are made "
        f"again"
        for name in mark_names(plan)
        if (out / name).is_file() and result_of_mark(plan.kind, out, name) is None
    }
