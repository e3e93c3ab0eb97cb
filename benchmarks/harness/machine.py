"""The machine that figures are measured on, and how much other processes used it meanwhile."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from runtime.errors import UserError
from runtime.machine import keep_freed_memory, num_cores
from runtime.versions import git_revision, versions

BUSY = 0.1  # of the cores: taken by others meanwhile, so much disturbs the figures
LOADED = 0.35  # load average a core before the start, from which others are likely to do so


# --- the device ------------------------------------------------------------------------------


def find_device(name: str | None) -> torch.device:
    """Return the device of that name; without one, the GPU where there is one and else the CPU.

    Raises:
        UserError: it is neither 'cpu' nor 'cuda', or is not there.
    """
    count = torch.cuda.device_count()
    if name is None:
        name = "cuda" if count else "cpu"
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)
    if not match:
        raise UserError(f"--device {name!r}: expected cpu, cuda or cuda:N")
    if name == "cpu":
        keep_freed_memory()  # as training does
        return torch.device("cpu")
    index = int(match[1] or 0)
    if index >= count:
        raise UserError(f"--device {name}: torch sees {count or 'no'} GPUs here: try --device cpu")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def processor_name() -> str:
    """Return the CPU's name as it calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return name, slug (for file names), cores and memory of a device."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
        extra = {"processor": processor_name()}
    else:
        name, extra = processor_name(), {}
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # "Intel(R) Xeon(R) CPU @ 2.20GHz" becomes intel-xeon: a name for files.
    plain = re.sub(r"\((?:R|TM|C)\)|\bCPU\b|@.*", " ", name)
    slug = "-".join(re.findall(r"[a-z0-9]+", plain.lower())) or device.type
    if device.type == "cpu":
        slug = f"cpu-{slug}-{num_cores()}-cores"
    return {
        "kind": device.type,
        "name": name,
        "slug": slug,
        "cores": num_cores(),
        "memory_gib": round(memory / 2**30, 1),
        **extra,
    }


def device_versions(device: torch.device) -> dict[str, str]:
    """Return the versions that decide a figure, the device's own among them."""
    found = versions()
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())
    return found


# --- who else was there ----------------------------------------------------------------------


def busy_seconds() -> float | None:
    """Return the processor seconds that all processes of this machine have used; None if unknown.

    Time stolen by another guest of the same host counts, time waiting for a disk does not.
    """
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    # ticks -> seconds
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Neighbours:
    """Measures how many cores other processes kept busy while a benchmark ran.

    The load average of the start counts this machine's past minute, the cores count what other
    processes used of the processor during the run itself.
    """

    def __enter__(self) -> Neighbours:
        self.load_before = load_average()
        self.started, self.busy, self.own = time.monotonic(), busy_seconds(), own_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self.started
        self.load_after = load_average()
        busy = busy_seconds()
        self.others = None
        if busy is not None and self.busy is not None and self.seconds > 0:
            # What the machine used, less what this process and its ended children did.
            taken = (busy - self.busy) - (own_seconds() - self.own)
            self.others = max(round(taken / self.seconds, 3), 0.0)

    @property
    def disturbed(self) -> bool:
        """Whether other processes took so much time that the figures should be measured again."""
        if self.others is not None:
            return self.others > BUSY * num_cores()
        return is_loaded(self.load_before)

    def to_plain(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 1),
            "load_average_before": self.load_before,
            "load_average_after": self.load_after,
            "cores_used_by_others": self.others,
            "disturbed": self.disturbed,
        }


def load_average() -> list[float] | None:
    """Return the load averages of 1, 5 and 15 minutes, None where the system keeps none."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        return None


def is_loaded(load: list[float] | None) -> bool:
    return load is not None and load[0] > LOADED * num_cores()


def warn_if_busy() -> None:
    """Print a warning if other jobs use this machine already."""
    load = load_average()
    if is_loaded(load):
        print(
            f"warning: the load average is {load[0]:.2f} on {num_cores()} cores: figures taken "
            "beside other jobs are marked as disturbed",
            file=sys.stderr,
        )


# --- the conditions of a run -----------------------------------------------------------------


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads while the block runs; None leaves it its own number."""
    before = torch.get_num_threads()  # put back, for whatever else runs in this process
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_conditions(device: torch.device) -> dict[str, Any]:
    """Return date, git revision, versions and threads of a run."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git_revision": git_revision(),
        "versions": device_versions(device),
        "threads": torch.get_num_threads(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }
