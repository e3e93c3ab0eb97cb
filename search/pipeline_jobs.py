"""A job of a long search: `python -m search.pipeline_jobs MARK python detect.py ... --part 3/30`.

It runs the command line, and then writes the mark by which Snakemake knows that it is finished. The
command itself decides what is to be done: it resumes, finds everything finished, or refuses.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from runtime.command_line import run_command
from runtime.errors import UserError
from runtime.files import atomic_path
from search.parts import PARTS, Part
from search.pipeline import PROGRAMS, SEARCHED, result_of_mark


def parse_command(command: list[str]) -> tuple[str, Path, str]:
    """Return the kind of search, its folder and the name of the mark of a command line.

    Raises:
        UserError: it is none that `pipeline.SearchPlan` writes.
    """
    for kind, program in PROGRAMS.items():
        if tuple(command[1 : 1 + len(program)]) == program and "--out" in command[:-1]:
            out = Path(command[command.index("--out") + 1])
            if "--part" not in command[:-1]:
                return kind, out, SEARCHED
            part = Part.parse(command[command.index("--part") + 1])
            return kind, out, f"{PARTS}/{part.name}.done"
    raise UserError(f"{' '.join(command[:3])}: a job of a search runs detect.py or benchmarks.mdc")


def main(argv: list[str] | None = None) -> int:
    """Run a job.

    Args:
        argv: the path of the mark, the interpreter, and the arguments of the command line.

    Raises:
        UserError: the command is no search, or what it is to make is not there afterwards.
    """
    mark, *command = sys.argv[1:] if argv is None else argv
    kind, out, name = parse_command(command)
    code = subprocess.run(command, check=False).returncode
    if code:
        return code if code > 0 else 128 - code  # of a signal, as a shell has it
    result = result_of_mark(kind, out, name)
    if result is None:
        raise UserError(f"{out}: the search has ended and its results are missing")
    with atomic_path(Path(mark)) as temporary:
        temporary.write_text(f"{hashlib.sha256(result.read_bytes()).hexdigest()}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
