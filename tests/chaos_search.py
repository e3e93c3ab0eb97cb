"""Kill a search at random moments, resume it, and compare its results with an unbroken search's.

    python tests/chaos_search.py --kills 20 --hours 12

The search goes through the real command line in a process of its own and is ended by SIGKILL at a
moment drawn uniformly over the time that an unbroken search takes: while it starts, in a stretch,
as one is stored, as the results are written, as they move up. Then it is resumed, and killed again,
until all kills are used. All result files must be those of the unbroken search, bit by bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "helpers"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

START = 1_200_000_000  # GPS, s
RATE = 2048
RESULTS = (
    "candidates.csv",
    "triggers.hdf5",
    "excluded.csv",
    "detection.png",
    "detection.html",
    "detection.json",
)


def write_long_strain(folder: Path, seconds: int) -> list[str]:
    """Write noise of two detectors with an event in the middle and a gap; return --strain words."""
    import h5py
    import numpy as np

    words = []
    for number, name in enumerate(("H1", "L1")):
        rng = np.random.default_rng(number)
        path = folder / f"{name}.hdf5"
        with h5py.File(path, "w") as file:
            data = file.create_dataset("strain/Strain", (seconds * RATE,), "f4")
            for first in range(0, seconds, 64):
                count = min(64, seconds - first) * RATE
                part = rng.standard_normal(count) * 1e-21
                data[first * RATE : first * RATE + count] = part
            middle = seconds // 2 * RATE
            wave = np.sin(2 * np.pi * 100 * np.arange(400) / RATE) * np.hanning(400)
            data[middle : middle + 400] += 6e-21 * wave
            if number:
                data[middle // 2 : middle // 2 + 3 * RATE] = np.nan
            data.attrs["Xspacing"], data.attrs["Xstart"] = 1 / RATE, START
            file["meta/Detector"], file["meta/GPSstart"] = name, START
        words.append(f"{name}={path}")
    return words


def search(arguments: list[str]) -> int:
    """One search, in a process of its own: detect.py with a network that needs no training."""
    from quick_commands import quick_commands

    import detect

    with tempfile.TemporaryDirectory() as cache, quick_commands(Path(cache)):
        return detect.main(arguments)


def line_of(place: Path, words: Sequence[str], out: str, *extra: str) -> list[str]:
    return [
        *(sys.executable, __file__, "search", "--config", "Demo"),
        *("--results", str(place / "results"), "--strain", *words, "--out", str(place / out)),
        *("--step", "0.5", "--slides", "3", "--stretch", "64", "--maps", "1"),
        *extra,
    ]


def run_for(line: list[str], seconds: float | None) -> bool:
    """Run a command, kill it after some seconds; return whether it had to be killed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        _, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True
    if process.returncode:
        raise RuntimeError(f"{' '.join(line)} ended with {process.returncode}: {error}")
    return False


def find_differences(one: Path, other: Path) -> list[str]:
    """Return the result files of two searches that differ, but for the command line."""
    different = []
    for name in RESULTS:
        contents = [(folder / name).read_bytes() for folder in (one, other)]
        if name == "detection.json":
            contents = [
                json.dumps(json.loads(content) | {"command": None}).encode() for content in contents
            ]
        if contents[0] != contents[1]:
            different.append(name)
    leftovers = sorted(path.name for path in other.iterdir() if path.name not in RESULTS)
    return different + leftovers


def kill_and_resume(place: Path, seconds: int, kills: int, seed: int) -> tuple[int, list[str]]:
    """Search without a break, then with kills; return how many kills and what differs.

    Args:
        place: an empty folder.
        seconds: of strain.
        kills: how many; a search that is finished before is begun again in another folder.
        seed: of the moments.
    """
    from small_search import Excess

    from training.checkpoints import save_checkpoint

    save_checkpoint(place / "results" / "demo" / "fold0.pt", {"model": Excess().state_dict()})
    words = write_long_strain(place, seconds)
    began = time.monotonic()
    run_for(line_of(place, words, "whole"), None)
    whole = time.monotonic() - began
    draw, done, trial, different = random.Random(seed), 0, 0, []
    while done < kills:
        out = f"killed{trial}"
        while done < kills:
            if not run_for(line_of(place, words, out, "--resume"), draw.uniform(0, whole)):
                break
            done += 1
        run_for(line_of(place, words, out, "--resume"), None)
        found = find_differences(place / "whole", place / out)
        different += [f"{out}: {name}" for name in found]
        trial += 1
    return done, different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        done, different = kill_and_resume(
            Path(folder), round(3600 * args.hours), args.kills, args.seed
        )
    print(f"{done} kills: {', '.join(different) or 'all results are bit-identical'}")
    return bool(different)


if __name__ == "__main__":
    if sys.argv[1:2] == ["search"]:
        from runtime.command_line import run_command

        del sys.argv[1]
        run_command(lambda: search(sys.argv[1:]))
    else:
        sys.exit(main())
