"""The packages of pyproject.toml: which versions are installed, and what missing extras give."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What each extra of pyproject.toml is for, in a few words.
GIVES = {
    "sim": "simulated data",
    "gwosc": "recorded strain, GWOSC's archive, GWF files",
    "stack": "CMA-ES in stacks",
    "export": "ONNX files (export.py)",
    "tune": "searches for settings (python -m tuning)",
    "parquet": "scores as Parquet",
    "notebook": "the notebooks",
    "pipeline": "the pipeline, SLURM, Kubernetes",
    "notify": "notifications",
    "bench": "the comparisons with other packages (python -m benchmarks.rivals)",
    "docs": "the site of the documentation",
    "mlflow": "MLflow's tracker",
    "wandb": "the tracker of Weights & Biases",
    "dev": "the tests and the linter",
}


@dataclass(frozen=True)
class Extra:
    """An extra of pyproject.toml.

    Attributes:
        name: as `pip install -e '.[name]'` takes it.
        missing: its packages that are not installed.
    """

    name: str
    missing: tuple[str, ...]


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def package_name(requirement: str) -> str:
    """Return the package of a requirement such as 'torch>=2.6'."""
    return re.split(r"[\s<>=!~;\[]", requirement.strip(), maxsplit=1)[0]


def read_project(path: Path = ROOT / "pyproject.toml") -> Mapping:
    """Return the table `project` of pyproject.toml."""
    return tomllib.loads(path.read_text())["project"]


def core_versions(project: Mapping) -> dict[str, str | None]:
    """Return the version of each package that every run needs, None where it is missing."""
    names = [package_name(line) for line in project["dependencies"]]
    return {name: installed_version(name) for name in names}


def find_extras(project: Mapping) -> list[Extra]:
    """Return all extras, each with the packages that it lacks."""
    return [
        Extra(name, tuple(p for p in map(package_name, lines) if installed_version(p) is None))
        for name, lines in project["optional-dependencies"].items()
    ]


def describe_missing(extras: Sequence[Extra]) -> str:
    """Return which extras are missing, what each would give, and how to install one."""
    missing = [extra for extra in extras if extra.missing]
    if not missing:
        return "none"
    words = ", ".join(
        f"{extra.name} ({GIVES.get(extra.name, 'see pyproject.toml')})" for extra in missing
    )
    return f"{words}: pip install -e '.[{missing[0].name}]'"
