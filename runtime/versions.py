"""Which versions of this project and of its packages made a result."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from pathlib import Path


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("torch", "timm", "nnAudio", "numpy", "pandas", "scikit-learn", "scipy"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def git_revision() -> str | None:
    """Return the git revision of the checkout.

    A '+' follows if tracked files have changed since. Outside of a checkout, as in a container, it
    is what G2NET_REVISION says, or None.
    """
    here = Path(__file__).parent.parent
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return os.environ.get("G2NET_REVISION") or None
    return revision + ("+" if changed else "")
