"""Small things that every other file may use: errors, files, seeds, progress, logging, notices."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import difflib
import errno
import hashlib
import importlib
import json
import logging
import os
import platform
import random
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from runtime.interruption import Interrupted

LOGGER = logging.getLogger("g2net")

# Threads of a network meet thousands of times a second. Those that wait should sleep soon: spinning
# for milliseconds, as is the rule otherwise, makes a step twenty times slower when another job has
# one of the cores. Spinning for a moment (GNU's libgomp counts turns) spares the operations of a
# tenth of a millisecond the wait for a thread to wake. Read once, when torch is imported, which is
# after this file.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h

TEMPORARY = r"\.[0-9a-f]{12}\.tmp(\..+)?"  # how names end while `atomic_path` has a file written

# Errors that a file or folder is to blame for, and not the program.
OF_A_PATH = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EROFS,
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EDQUOT,
}  # fmt: skip


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one sentence that names the file, key or id, what was expected, and what to do.
    A command line prints it without a traceback and exits with code 2.
    """


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main`; a `UserError` becomes one line on stderr and exit code 2."""
    try:
        code = main()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        code = stop.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `train.py --list | head`: the reader has gone, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if error.errno not in OF_A_PATH:
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"error: {what}: name another file or folder", file=sys.stderr)
        code = 2
    sys.exit(code or 0)


class CommandLine(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: `python {self.prog} --help` shows what there is")


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra of pyproject.toml brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that is there but misses a part of its own is another fault: let it be seen.
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise UserError(
            f"the package {module.split('.')[0]!r} is needed here and not installed: "
            f"install it with `pip install -e '.[{extra}]'`"
        ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean X?)' for the known name closest to `name`, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


# --- files -----------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it.

    Whatever happens inside, `path` holds either its old content or the whole new one.

    Args:
        size: the bytes to come, where they are known.

    Raises:
        UserError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: numpy and matplotlib choose or append the format by it.
    # Containers that share a folder may have the same process numbers.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{path} could not be written ({error.strerror}): free "
            f"{'some space' if size is None else f'{size:,} bytes'} on its disk and start again "
            f"with --resume; what was there before is untouched"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a JSON file ({error}): restore or remove it") from error


# --- randomness ------------------------------------------------------------------------------


def counted_seed(*counters: int | str) -> int:
    """Return a 63-bit seed that depends on every counter, e.g. (seed, fold, epoch, step, rank).

    Randomness is counted, not carried: a run that was killed and resumed draws what the
    unbroken run would have drawn, and a fold trained alone equals that fold of a full run.
    """
    digest = hashlib.blake2b(repr(counters).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_everything(*counters: int | str) -> int:
    """Seed Python, numpy and torch (all devices) from `counters`; return the seed."""
    import numpy as np
    import torch

    seed = counted_seed(*counters)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - timm and others draw from the global generator
    torch.manual_seed(seed)
    return seed


# --- the machine -----------------------------------------------------------------------------


def num_cores() -> int:
    """Return how many cores this process may use (a container often has fewer than the host)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_use(device: Any) -> str:
    """Return the most memory this process has held so far, and on its GPU where it has one."""
    import resource

    # Linux counts in KiB, macOS in bytes.
    unit = 2**30 if sys.platform == "darwin" else 2**20
    text = f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.1f} GiB"
    if device.type == "cuda":
        import torch

        text += f", on the GPU {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
    return text


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next step instead of handing it back.

    glibc maps each large block anew and the kernel clears it, gigabytes of it in every step of a
    network on a CPU. The peak of memory stays the same. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("torch", "timm", "nnAudio", "numpy", "pandas", "scikit-learn", "scipy"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def git_revision() -> str | None:
    """Return the revision of the checkout, '+' appended where files are changed; None outside."""
    here = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return revision + ("+" if changed else "")


# --- what a person sees ----------------------------------------------------------------------


def person_watches() -> bool:
    """Whether stderr is a terminal, so that bars are drawn for a person and not into a file."""
    return sys.stderr.isatty()


def progress(
    iterable: Iterable[Any] | None = None, *, total: int | None = None, desc: str = "",
    unit: str = "it", show: bool | None = None, leave: bool = False,
) -> Any:  # fmt: skip
    """Return a tqdm bar; shown when a person watches, unless `show` says otherwise."""
    from tqdm import tqdm

    show = person_watches() if show is None else show
    return tqdm(
        iterable, total=total, desc=desc, unit=unit, disable=not show, leave=leave,
        dynamic_ncols=True, smoothing=0.1,
    )  # fmt: skip


def configure_logging(file: str | os.PathLike[str] | None = None) -> logging.Logger:
    """Send the log to stdout and, where named, to `file` as well, which also takes the details."""
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    for handler in list(LOGGER.handlers):
        handler.close()
        LOGGER.removeHandler(handler)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    handlers[0].setLevel(logging.INFO)
    if file is not None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        LOGGER.addHandler(handler)
    return LOGGER


def format_seconds(seconds: float) -> str:
    """Return a duration as a person would say it: '42 s', '3 min 05 s', '2 h 10 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def notify(title: str, body: str) -> None:
    """Send a notice to the URLs in G2NET_NOTIFY (apprise syntax, separated by spaces).

    Does nothing where the variable is unset. A notice that cannot be delivered is logged and
    never stops a run.

    Raises:
        UserError: the variable is set and apprise is not installed.
    """
    urls = os.environ.get("G2NET_NOTIFY", "").split()
    if not urls:
        return
    sender = require("apprise", "notify").Apprise()
    added = [sender.add(url) for url in urls]  # every one, also after one that fails
    if not all(added) or not sender.notify(body=body, title=title):
        LOGGER.warning("the notice %r could not be delivered to every URL of G2NET_NOTIFY", title)


# --- configurations as text ------------------------------------------------------------------


def to_plain(value: Any) -> Any:
    """Return `value` in JSON's own types: classes by name, mappings as dicts, tuples as lists."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "to_plain"):
        return value.to_plain()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, type) or callable(value):
        return value.__name__
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} has no plain form")


def format_config(plain: Mapping[str, Any], indent: str = "") -> str:
    """Return a resolved configuration, in JSON's own types, as text: a setting a line."""
    lines = []
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}:", format_config(value, indent + "    ")]
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            parts = ["  ".join(f"{k}={v}" for k, v in part.items()) for part in value]
            lines += [f"{indent}{key}:", *(f"{indent}    - {part}" for part in parts)]
        else:
            lines.append(f"{indent}{key} = {value}")
    return "\n".join(lines)
