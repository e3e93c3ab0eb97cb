"""Versions that are recorded with a result: those of the packages, and the revision of the code."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
import torch

from runtime.versions import git_revision, versions


def test_versions_are_those_that_are_running() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    version = metadata.version

    def without_timm(package: str) -> str:
        if package == "timm":
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(metadata, "version", without_timm)
    assert "timm" not in versions()
    assert "torch" in versions()


def answers(revision: str, status: str) -> Callable[..., subprocess.CompletedProcess]:
    def run(line: list[str], **_: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(line, 0, revision if "HEAD" in line else status, "")

    return run


@pytest.mark.parametrize(("status", "expected"), [("", "abc123"), (" M train.py\n", "abc123+")])
def test_uncommitted_changes_are_marked(monkeypatch, status: str, expected: str) -> None:
    monkeypatch.setattr(subprocess, "run", answers("abc123\n", status))
    assert git_revision() == expected


@pytest.mark.parametrize(
    "error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git")]
)
def test_without_git_or_a_checkout_there_is_no_revision(monkeypatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.delenv("G2NET_REVISION", raising=False)
    assert git_revision() is None
    monkeypatch.setenv("G2NET_REVISION", "")  # an image that was built without one
    assert git_revision() is None
    monkeypatch.setenv("G2NET_REVISION", "abc123+")
    assert git_revision() == "abc123+"
