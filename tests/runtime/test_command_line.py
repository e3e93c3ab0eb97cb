"""Command lines: exit codes, one sentence on stderr, unsupported platforms."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from paths import ROOT

from runtime import command_line
from runtime.command_line import CommandLine


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("raise UserError('two\\n lines')", 2, "error: two lines\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        (
            "raise MemoryError",
            2,
            "error: the memory is full (MemoryError): close other programs, or use a machine with "
            "more memory\n",
        ),
        ("return 0", 0, ""),
        ("return 3", 3, ""),
    ],
)
def test_run_command(body: str, code: int, text: str) -> None:
    script = (
        "from runtime.command_line import run_command\n"
        "from runtime.errors import UserError\n"
        f"def main():\n    {body}\n"
        "run_command(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, text)


def test_a_list_that_is_given_twice_adds_up() -> None:
    parser = CommandLine()
    options = parser.add_argument_group("options")  # as in most commands
    options.add_argument("--set", nargs="+", default=[])
    options.add_argument("--folders", nargs="*", default=["results"])
    options.add_argument("--out", default="here")
    parser.add_argument("rest", nargs="*")
    args = parser.parse_args(
        [
            "--set",
            "a=1",
            "b=2",
            "--out",
            "x",
            "--folders",
            "p",
            "--set",
            "c=3",
            "--out",
            "y",
            "--folders",
            "q",
        ]
    )
    assert args.set == ["a=1", "b=2", "c=3"]
    assert args.folders == ["p", "q"]  # in place of the default
    assert (args.out, args.rest) == ("y", [])
    again = parser.parse_args(["one", "two"])  # defaults are as they were
    assert (again.set, again.folders, again.rest) == ([], ["results"], ["one", "two"])


@pytest.mark.parametrize(
    "body",
    [
        "import numpy; numpy.empty(2**47)",
        "import torch; torch.empty(2**47)",
        "raise OSError(12, 'Cannot allocate memory')",
    ],
)
def test_a_full_memory_is_one_sentence(body: str) -> None:
    """More is asked for than a process can address, so that the allocators fail for real."""
    script = (
        f"from runtime.command_line import run_command\ndef main():\n    {body}\nrun_command(main)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: the memory is full (")
    assert done.stderr.count("\n") == 1


WINDOWS = """
import os, runpy, signal, sys
import h5py, pandas, torch  # which know what they run on
for package in ("fcntl", "resource"):
    sys.modules[package] = None  # importing them raises ImportError
del signal.SIGUSR1, os.register_at_fork
sys.platform = "win32"
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("command", ["train.py", "prep_data.py", "detect.py"])
def test_windows_is_refused_in_one_sentence(command: str) -> None:
    line = [sys.executable, "-c", WINDOWS, command, "--help"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: Windows is not supported: use Linux, macOS or")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["train.py", "--config", "Demo"],
        ["predict.py", "--weights", "wave07", "--data", "x.npy", "--out", "x.csv"],
        ["detect.py", "--weights", "wave07", "--strain", "H1=x.hdf5"],
        ["-m", "demo"],
    ],
)
def test_a_python_without_the_packages_says_so_in_a_sentence(words: list[str]) -> None:
    # -S leaves out the folder of installed packages.
    line = [sys.executable, "-S", *words]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: {sys.executable} has no package ")


def test_a_missing_package_is_installed_or_another_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line, "__file__", str(tmp_path / "runtime" / "command_line.py"))
    text = command_line.format_missing_package("torch")
    assert text.startswith(f"{sys.executable} has no package torch: install all packages with")
    assert f"`make install` in {tmp_path}" in text
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert f": run {python} in place of it" in command_line.format_missing_package("torch")
    # This very environment lacks it, reached through a link as well.
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "link" / ".venv"))
    assert "install all packages with" in command_line.format_missing_package("torch")


def test_required_are_the_modules_of_the_projects_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[A-Za-z0-9-]+", line)[0] for line in project["dependencies"]}
    modules = {"scikit-learn": "sklearn", "pillow": "PIL"}
    assert {modules.get(name, name) for name in names} == command_line.REQUIRED


def test_a_module_of_no_package_is_missing_with_a_traceback() -> None:
    script = (
        "from runtime.command_line import run_command\n"
        "def main():\n    import no_such_module\n"
        "run_command(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
