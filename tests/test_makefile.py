"""`make install`: by uv, by pip where uv fails, and with the indexes that the user has set."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

EXTRAS = "sim,gwosc,stack,export,tune,parquet,mlflow,notebook,pipeline,docs,dev"
# Stands for python3, and for the interpreter of the environment that it makes: it writes down how
# it was called.
INTERPRETER = """#!{python}
import os, shutil, sys
words = sys.argv[1:]
indexes = [os.environ.get(name, "") for name in ("UV_DEFAULT_INDEX", "UV_INDEX")]
with open({log!r}, "a") as file:
    print(*indexes if words[:2] == ["-m", "uv"] else "", *words, file=file)
if words[:2] == ["-m", "venv"]:
    os.makedirs(words[2] + "/bin", exist_ok=True)
    shutil.copy(__file__, words[2] + "/bin/python")
fails = os.environ.get("FAILS", "nothing")
sys.exit(fails in " ".join(words))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    stub = tmp_path / "python-stub"
    stub.write_text(INTERPRETER.format(python=sys.executable, log=str(tmp_path / "log")))
    stub.chmod(0o755)
    return tmp_path


def install(checkout: Path, **variables: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Return how `make install` ended, and the calls of pip and uv."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
    done = subprocess.run(
        ["make", "install", "PYTHON=./python-stub"],
        cwd=checkout,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )
    calls = (checkout / "log").read_text().splitlines()
    return done, [call.strip() for call in calls if "install" in call]


def test_uv_installs_all_extras(checkout: Path) -> None:
    done, calls = install(checkout)
    assert done.returncode == 0, done.stderr
    assert [call.split(" install")[0] for call in calls] == [
        "-m pip",
        "https://pypi.org/simple  -m uv pip",
    ]
    assert calls[0].endswith(" uv")
    assert calls[1].endswith(
        " -e .[sim,gwosc,stack,export,tune,parquet,mlflow,notebook,pipeline,docs,dev]"
    )
    assert install(checkout)[1] == calls  # nothing is installed twice


def test_an_index_of_pip_is_used(checkout: Path) -> None:
    mirror = {"PIP_INDEX_URL": "https://mirror/simple", "PIP_EXTRA_INDEX_URL": "https://more"}
    _, calls = install(checkout, **mirror)
    assert calls[1].startswith("https://mirror/simple https://more -m uv")


@pytest.mark.parametrize("fails", ["-m uv", "disable-pip-version-check uv"])
def test_pip_installs_where_uv_fails(checkout: Path, fails: str) -> None:
    done, calls = install(checkout, FAILS=fails)
    assert done.returncode == 0, done.stderr
    assert "uv did not install the packages: pip does" in done.stderr
    assert calls[-1].startswith("-m pip install")
    assert calls[-1].endswith(
        " -e .[sim,gwosc,stack,export,tune,parquet,mlflow,notebook,pipeline,docs,dev]"
    )


def test_an_installation_that_fails_is_tried_again(checkout: Path) -> None:
    done, _ = install(checkout, FAILS="install")
    assert done.returncode
    assert not (checkout / ".venv" / ".installed").exists()
    done, _ = install(checkout)
    assert done.returncode == 0, done.stderr
