"""What is installed, read from pyproject.toml and from the environment."""

from __future__ import annotations

from importlib.metadata import version

from doctor import packages
from doctor.packages import (
    GIVES,
    Extra,
    core_versions,
    describe_missing,
    find_extras,
    package_name,
    read_project,
)


def test_every_extra_says_what_it_gives() -> None:
    assert set(GIVES) == set(read_project()["optional-dependencies"])


def test_names_of_requirements() -> None:
    lines = ("torch>=2.6", "numpy", "a [x] >= 1", "b; python_version > '3'", "mlflow-skinny~=2.1")
    assert [package_name(line) for line in lines] == ["torch", "numpy", "a", "b", "mlflow-skinny"]


def test_versions_and_missing_packages(monkeypatch) -> None:
    project = {
        "dependencies": ["numpy>=2", "no-such-package-here>=1"],
        "optional-dependencies": {
            "sim": ["numpy"],
            "tune": ["no-such-package-here", "numpy"],
            "own": ["no-such-package-here"],
        },
    }
    assert core_versions(project) == {"numpy": version("numpy"), "no-such-package-here": None}
    extras = find_extras(project)
    missing = ("no-such-package-here",)
    assert extras == [Extra("sim", ()), Extra("tune", missing), Extra("own", missing)]
    assert describe_missing(extras) == (
        f"tune ({packages.GIVES['tune']}), own (see pyproject.toml): pip install -e '.[tune]'"
    )
    assert describe_missing(extras[:1]) == "none"
