"""Every code block of README and docs is run, by this file or by a test it names, or says why not.

Blocks that are not run are read all the same: each command must be one that its program accepts.
"""

from __future__ import annotations

import argparse
import doctest
import functools
import importlib
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from code_blocks import FENCE, Block, read_blocks, shell_commands
from command_here import run_main
from paths import ROOT
from test_docs import MODULES_OF_OTHERS, PAGES, page_name

import configs
import metrics
import physics.distance_laws
import physics.mass_laws
import physics.spin_laws
import train
import transforms
from configuration.config_class import ConfigMeta
from physics.observation import Observation
from physics.population import Population
from runtime.command_line import CommandLine
from runtime.errors import UserError
from simulation.glitch_noise import Glitches
from simulation.real_strain import RealStrain

BLOCKS = [block for page in PAGES for block in read_blocks(page)]
# Pictures and what programs print; nothing to run.
NOT_CODE = {"", "text", "mermaid", "json", "yaml", "toml", "csv"}
# Programs of others that pages use, and words of a shell.
OTHERS = {
    *(
        "ls",
        "cd",
        "cp",
        "docker",
        "diff",
        "echo",
        "export",
        "git",
        "mkdir",
        "test",
        "wait",
        "unzip",
        "touch",
        "lscpu",
    ),
    *(
        "for",
        "done",
        "check()",
        "check",
        "{",
        "}",
        "if",
        "fi",
        ".",
        "source",
        "kaggle",
        "tensorboard",
    ),
    *(
        "ruff",
        "pytest",
        "snakemake",
        "sbatch",
        "scontrol",
        "conda",
        "uv",
        "mlflow",
        "optuna-dashboard",
    ),
}


def block_name(block: Block) -> str:
    return f"{page_name(block.page)}:{block.line}"


def test_every_block_is_code_that_is_run_or_says_why_not() -> None:
    languages = {"sh", "python", "pycon"} | NOT_CODE
    unknown = [block_name(block) for block in BLOCKS if block.language not in languages]
    assert not unknown
    absent = [
        block_name(block) for block in BLOCKS if block.test and not (ROOT / block.test).is_file()
    ]
    assert not absent
    assert len(BLOCKS) > 60  # the pattern finds them


def test_every_fence_is_found() -> None:
    """A fence that is not closed, or indented by a tab, would hide blocks from these tests."""
    for page in PAGES:
        fences = re.findall(r"^[ \t]*```", page.read_text(), re.MULTILINE)
        assert len(fences) == 2 * len(list(read_blocks(page))), page_name(page)


# --- commands that are read ------------------------------------------------------------------


class Accepted(Exception):
    """The parser of a command has accepted its arguments."""


@pytest.fixture
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command end once its arguments are parsed."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: CommandLine, args: Any = None, namespace: Any = None) -> NoReturn:
        parse(self, args, namespace)
        raise Accepted

    monkeypatch.setattr(CommandLine, "parse_args", parse_and_stop)


def check_python(words: Sequence[str]) -> None:
    """Let the parser of `python ...` read its arguments, or raise what it raises."""
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
        return
    if words[0] == "-m":
        module, arguments = words[1], list(words[2:])
        if module == "pip":
            check_pip(arguments)
        if module.split(".")[0] in MODULES_OF_OTHERS:
            return
        if (ROOT.joinpath(*module.split(".")) / "__main__.py").is_file():
            module += ".__main__"
    else:
        path = ROOT / words[0]
        assert path.is_file(), f"{words[0]} does not exist"
        if path.parent != ROOT:  # a tool of the tests
            return
        module, arguments = path.stem, list(words[1:])
    program = importlib.import_module("train" if module == "train_pseudo" else module)
    with pytest.raises((Accepted, SystemExit)) as end:
        program.main(arguments)
    assert end.type is Accepted or end.value.code == 0  # 0: --help


@functools.cache
def extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["optional-dependencies"])


def check_pip(words: Sequence[str]) -> None:
    """Check that the extras that pip is to install exist."""
    for word in words:
        if match := re.fullmatch(r"\.\[([\w,]+)\]", word):
            assert {*match[1].split(",")} <= extras(), word


@functools.cache
def make_words() -> set[str]:
    """Return the targets of the Makefile and the variables that it lets a caller set."""
    text = (ROOT / "Makefile").read_text()
    return {
        *re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE),
        *re.findall(r"^(\w+) \?=", text, re.MULTILINE),
    }


def check_command(words: list[str]) -> None:
    """Check one command line of a page.

    Raises:
        AssertionError, UserError: it would not be accepted.
    """
    program, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "torchrun":
        script = next(place for place, word in enumerate(arguments) if word.endswith(".py"))
        check_python(arguments[script:])
    elif program in ("python", "python3"):
        check_python(arguments)
    elif program == "make":
        unknown = {word.partition("=")[0] for word in arguments} - make_words()
        assert not unknown, f"make {unknown}"
    elif program == "pip":
        check_pip(arguments)
    else:
        assert program in OTHERS, f"{program} is not known: add it to OTHERS if it is not ours"


@pytest.mark.usefixtures("only_parse")
def test_every_command_is_accepted_by_its_parser() -> None:
    wrong, count = [], 0
    for block in BLOCKS:
        if block.language != "sh":
            continue
        for words in shell_commands(block.body):
            if "..." in " ".join(words).split():  # a placeholder for further arguments
                continue
            count += 1
            try:
                check_command(words)
            except (Exception, pytest.fail.Exception) as error:
                wrong.append(f"{block_name(block)}: {' '.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)
    assert count > 60


@pytest.mark.usefixtures("only_parse")
def test_every_command_within_a_sentence_is_accepted() -> None:
    """`python train.py --list` and the like; not those with a gap (…) or a placeholder."""
    wrong, count = [], 0
    for page in PAGES:
        prose = FENCE.sub("", page.read_text())
        for line in re.findall(r"(?<!`)`((?:python|torchrun|make|pip) [^`]+)`(?!`)", prose):
            if "…" in line or "..." in line or re.search(r"\b[A-Z]{2,}\b", line):
                continue
            for words in shell_commands(line.replace("\n", " ")):
                count += 1
                try:
                    check_command(words)
                except (Exception, pytest.fail.Exception) as error:
                    wrong.append(f"{page_name(page)}: {line}: {error}")
    assert not wrong, "\n".join(wrong)
    assert count > 40


@pytest.mark.usefixtures("only_parse")
@pytest.mark.parametrize(
    "line",
    [
        "python train.py --config Demo --no_such_flag",
        "python train.py --checkpoint_every soon",
        "torchrun --nproc_per_node 2 train.py --no_such_flag",
        "python no_such_file.py",
        "python -m benchmarks.no_such_module",
        "python -m benchmarks.mdc --no_such_flag",
        "make no_such_target",
        "pip install -e '.[no_such_extra]'",
        "no_such_program",
        "for fold in 0 1; do python train.py --no_such_flag",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    *_, words = shell_commands(line)
    with pytest.raises((AssertionError, ImportError, UserError, pytest.fail.Exception)):
        check_command(words)


# --- blocks that are run ----------------------------------------------------------------------


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A reader's folder to start commands in; experiments that it defines are forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ConfigMeta, "registry", dict(ConfigMeta.registry))
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def names_in_configs() -> dict[str, Any]:
    """Return what a class of configs.py sees, and the laws and noises that pages say to import."""
    laws = (physics.distance_laws, physics.mass_laws, physics.spin_laws)
    more = (Observation, Population, Glitches, RealStrain)
    return {
        **vars(transforms),
        **{name: value for module in laws for name, value in vars(module).items()},
        **{value.__name__: value for value in more},
        "torch": importlib.import_module("torch"),
        "Tensor": importlib.import_module("torch").Tensor,
        **vars(configs),
        "__name__": "page",
    }


HERE = [block for block in BLOCKS if block.is_run_here and block.language not in NOT_CODE]


@pytest.mark.parametrize(
    "block", [block for block in HERE if block.language == "python"], ids=block_name
)
def test_python_blocks_run(block: Block, reader: Path) -> None:
    exec(compile(block.body, block_name(block), "exec"), names_in_configs())


@pytest.mark.parametrize(
    "block", [block for block in HERE if block.language == "pycon"], ids=block_name
)
def test_examples_of_the_interpreter_give_what_they_show(block: Block) -> None:
    example = doctest.DocTestParser().get_doctest(
        block.body + "\n", {**vars(metrics)}, block_name(block), None, 0
    )
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0


@pytest.mark.parametrize(
    "block", [block for block in HERE if block.language == "sh"], ids=block_name
)
def test_shell_blocks_run(block: Block, reader: Path) -> None:
    """Blocks of train.py alone, one command after the other, in a folder without data."""
    for words in shell_commands(block.body):
        assert words[:2] == ["python", "train.py"], (
            f"{' '.join(words)}: only train.py is run here: write <!-- not run: why --> or "
            f"<!-- run by tests/... --> above the block"
        )
        done = run_main(train.main, words[2:])
        assert done.returncode == 0, done.stderr
