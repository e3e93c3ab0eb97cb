"""The Dockerfile agrees with pyproject.toml, the Makefile and the Kubernetes profile.

Docker itself is not needed: the file is parsed, and its shell steps are run in order in a clean
folder that holds what a build would copy, all but those that download packages.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_FOR_RUNS = {"dev", "docs", "notebook"}  # extras that no command of the project needs


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with what follows them, in one line each."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def argument(name: str) -> str:
    """Return the default of a build argument."""
    (value,) = (
        text.partition("=")[2]
        for word, text in instructions()
        if word == "ARG" and text.startswith(f"{name}=")
    )
    return value


def test_it_has_known_instructions_in_an_order_that_builds() -> None:
    words = [word for word, _ in instructions()]
    assert set(words) <= {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "CMD"}
    assert words.count("FROM") == 1
    assert set(words[: words.index("FROM")]) == {"ARG"}  # nothing else may stand before it
    # Code is copied after the packages were installed, so that it does not install them anew.
    steps = [f"{word} {text}" for word, text in instructions()]
    installed = next(n for n, step in enumerate(steps) if "pip install" in step)
    assert steps.index("COPY . .") > installed


def test_it_has_the_python_and_the_extras_of_the_project() -> None:
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    major, minor = argument("PYTHON").split(".")
    assert (major, int(low) <= int(minor) < int(high)) == ("3", True)
    extras = set(argument("EXTRAS").split(","))
    assert extras <= set(PROJECT["optional-dependencies"])
    makefile = re.search(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(makefile[1].split(",")) - NOT_FOR_RUNS <= extras


def test_every_file_that_is_copied_is_there_and_reaches_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = [text.split()[:-1] for word, text in instructions() if word == "COPY"]
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists()
        assert name not in ignored
    # What git ignores is ignored here too, for it can be large: data, results, environments.
    for line in (ROOT / ".gitignore").read_text().splitlines():
        name = line.strip("/")
        if name and not line.startswith("#") and "*" not in name and "benchmarks" not in name:
            assert {name, f"**/{name}"} & set(ignored) or name == ".ipynb_checkpoints", name


@pytest.mark.parametrize("step", [text for word, text in instructions() if word == "RUN"])
def test_every_step_is_shell(step: str) -> None:
    done = subprocess.run(["sh", "-n", "-c", step], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", "--index-url https://download.pytorch.org/whl/cpu torch>=2.6 torchvision"),
        ("cuda", "--index-url https://pypi.org/simple torch>=2.6 torchvision"),
        ("tpu", "DEVICE=tpu: expected cpu or cuda"),
    ],
)
def test_the_device_chooses_the_wheels(device: str, expected: str) -> None:
    """The step itself, with a `python -m pip` that says what it was asked for."""
    (step,) = (text for word, text in instructions() if word == "RUN" and "pip install" in text)
    says = f'python() {{ if [ "$1" = -m ]; then echo "$@"; else {sys.executable} "$@"; fi; }}'
    done = subprocess.run(
        ["sh", "-c", f"{says}; {step}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"DEVICE": device, "EXTRAS": argument("EXTRAS"), "PATH": "/usr/bin:/bin"},
    )
    assert expected in done.stdout + done.stderr
    assert done.returncode == (1 if device == "tpu" else 0)
    assert ("[sim,gwosc" in done.stdout) == (device != "tpu")


def copy_context(folder: Path) -> Path:
    """Copy what `docker build` sends and `COPY . .` copies."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in patterns if line and not line.startswith("#")]
    everywhere = shutil.ignore_patterns(*(p[3:] for p in patterns if p.startswith("**/")))
    at_the_top = shutil.ignore_patterns(*(p for p in patterns if not p.startswith("**/")))

    def ignored(place: str, names: list[str]) -> set[str]:
        found = everywhere(place, names)
        return found | at_the_top(place, names) if Path(place) == ROOT else found

    return shutil.copytree(ROOT, folder, ignore=ignored)


def test_the_steps_in_order_in_a_clean_folder(tmp_path: Path) -> None:
    """What follows the packages, with this interpreter in the place of the image's own."""
    workdir, cache = copy_context(tmp_path / "opt" / "g2net"), tmp_path / "cache"
    assert not (workdir / ".git").exists()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "REVISION": "0123abc"}
    environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")

    def run(command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=workdir, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    steps = instructions()
    for word, text in steps[steps.index(("COPY", ". .")) + 1 :]:
        if word == "ENV":
            for entry in shlex.split(text):
                name, _, value = entry.partition("=")
                environment[name] = value.replace("${REVISION}", environment["REVISION"])
            if "G2NET_CACHE" in environment:
                environment["G2NET_CACHE"] = str(cache)
        elif word == "RUN":
            run(["sh", "-c", text])
        elif word == "CMD":
            assert run(json.loads(text)).startswith("usage: train.py")
    assert cache.is_dir()
    revision = "from runtime.versions import git_revision; print(git_revision())"
    assert run(["python", "-c", revision]).strip() == "0123abc"


def test_the_profile_and_the_makefile_use_it() -> None:
    profile = (ROOT / "profiles" / "kubernetes" / "config.yaml").read_text()
    assert "--container-image" in profile
    assert "Dockerfile" in profile
    settings = (ROOT / "profiles" / "kubernetes" / "settings.yaml").read_text()
    assert "python: python" in settings  # the image has it on its path
    packages = next(text for word, text in instructions() if "apt-get install" in text)
    assert "rsync" in packages  # which Snakemake's storage copies with
    image = re.search(r"^image:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"--build-arg (\w+)=", image[1])) <= {
        text.partition("=")[0] for word, text in instructions() if word == "ARG"
    }
