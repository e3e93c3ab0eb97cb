"""Every command line of README and docs that writes something is in a table of what may be lost."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator

import pytest
import test_commands_lose_nothing
import test_nothing_is_lost
import timm.optim
from test_docs import PAGES, page_name

import configs  # noqa: F401 - importing it registers the experiments
from configuration.config_class import ConfigMeta
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.building import observation_of, population_of
from experiments.settings import Config
from physics import prior_files
from runtime.errors import UserError

Command = tuple[str, frozenset[str]]  # the program, and the flags that decide what it writes

# Flags that only say with what, how fast, or where.
NEUTRAL = {
    *("--config", "--set", "--results", "--no_pretrained", "--weights", "--out", "--num_workers"),
    *("--gpu", "--root_dir", "--export_dir", "--test", "--nproc_per_node", "--experiments"),
    *("--method", "--resamples", "--step", "--slides", "--maps", "--event", "--strain"),
    *(
        "--background",
        "--inject",
        "--every",
        "--batch_size",
        "--cluster",
        "--no_tta",
        "--seed",
        "--stretch",
        "--shift",
        "--debug",
    ),
}
# Command lines that are not in the tables, and why.
ELSEWHERE = {
    ("train", frozenset({"--list"})): "prints",
    ("train", frozenset({"--show"})): "prints",
    ("train", frozenset({"--help"})): "prints",
    (
        "train",
        frozenset({"--dry_run"}),
    ): "writes into dry_run/, which no command reads and the next "
    "dry run may delete: tests/experiments/test_dry_run.py",
}
ELSEWHERE |= dict.fromkeys(
    (
        ("prep_data", frozenset({"--simulate_strain"})),
        ("prep_data", frozenset({"--simulate_strain", "--segment"})),
    ),
    "repeated and refused in tests/test_prep_data.py, killed in "
    "tests/simulation/test_continuous_strain.py",
)
ELSEWHERE |= {
    ("train", frozenset({"--limit_samples"})): "writes what a run without it does: refused and "
    "resumed in tests/experiments/test_sample_table.py",
    ("train", frozenset({"--new", "--from"})): "refuses a file that is there: "
    "tests/experiments/test_new_experiment.py",
    ("train", frozenset({"--resume", "--allow_changed_code"})): "refused without the flag, and "
    "continued with it: tests/experiments/test_own_code.py",
    ("detect", frozenset({"--resume"})): "killed and resumed in tests/chaos_search.py",
    ("detect", frozenset({"--resume", "--part"})): "interrupted and repeated in "
    "tests/search/test_part_search.py and tests/test_detect.py",
    ("predict", frozenset({"--run", "--data"})): "interrupted, repeated, refused and moved aside "
    "in tests/test_predict.py",
    ("predict", frozenset({"--data"})): "with --weights, whose file is opened in "
    "tests/experiments/test_weight_files.py; what is written is as with --run",
    ("export", frozenset({"--run", "--format"})): "refused and moved aside in tests/test_export.py",
}
# `python -m ...`, `make` and `snakemake` start the programs of the tables, or benchmarks:
# tests/experiments/test_pipeline*.py and tests/benchmarks/ have what they leave. Studies are
# killed, interrupted, repeated and continued in tests/tuning/test___main__.py.
LINE = re.compile(r"(?:python|torchrun[^`\n]*?) (\w+)\.py([^`#|\n]*)")


def documented_commands() -> Iterator[tuple[str, Command]]:
    """Yield the page and the command of each command line in README and docs."""
    for page in PAGES:
        # A line that ends with a backslash goes on in the next.
        for program, rest in LINE.findall(page.read_text().replace("\\\n", " ")):
            flags = frozenset(re.findall(r"(?<=\s)--\w+", rest))
            yield page_name(page), (program, flags - NEUTRAL)


def commands_of_the_tables() -> set[Command]:
    """Return the commands of both tables."""
    found = set()
    for case in test_nothing_is_lost.CASES:
        program = "train_pseudo" if case.run == "pseudo_demo" else "train"
        found.add((program, frozenset(word for word in case.arguments if word[:2] == "--")))
    for case in test_commands_lose_nothing.CASES:
        flags = frozenset(word for word in case.arguments.split() if word[:2] == "--")
        found.add((case.program, flags - NEUTRAL))
    return found


def test_every_documented_command_line_is_in_a_table() -> None:
    tested = commands_of_the_tables()
    missing = [
        f"{page}: {program}.py {' '.join(sorted(flags))}"
        for page, (program, flags) in documented_commands()
        if (program, flags) not in tested and (program, flags) not in ELSEWHERE
    ]
    assert not missing


def test_no_exception_is_out_of_date() -> None:
    documented = {command for _, command in documented_commands()}
    assert {command for command in ELSEWHERE if "--help" not in command[1]} <= documented
    assert len(documented) > 12  # the pattern finds them


def test_every_program_is_killed_and_repeated() -> None:
    killed = {case.program for case in test_commands_lose_nothing.CASES if case.killed_at}
    assert killed == {"prep_data", "stacking", "report", "detect"}
    assert test_nothing_is_lost.KILLS


def settings_in_docs() -> Iterator[tuple[str, str | None, list[str]]]:
    """Yield the page, the config and the words after --set of each command line that has some."""
    for page in PAGES:
        for _, rest in LINE.findall(page.read_text().replace("\\\n", " ")):
            if "--set" not in rest:
                continue
            words = shlex.split(rest)
            after = words[words.index("--set") + 1 :]
            settings = list(itertools.takewhile(lambda word: not word.startswith("--"), after))
            settings = [word for word in settings if "$" not in word]  # no variables of a shell
            config = words[words.index("--config") + 1] if "--config" in words else None
            yield page_name(page), config, settings


def test_every_documented_setting_fits_its_config(monkeypatch) -> None:
    """What stands after --set in README and docs is accepted, and can be observed and drawn."""
    found = list(settings_in_docs())
    assert len(found) > 8  # the pattern finds them
    prior = {"chirp_mass": "Uniform(minimum=15, maximum=40)", "mass_ratio": "Uniform(0.25, 1)"}
    monkeypatch.setattr(prior_files, "read_prior_file", lambda path: prior)
    for page, name, settings in found:
        if name is not None and name not in ConfigMeta.registry:
            continue  # a placeholder, or an experiment of a reader's own file
        if "optimizer=Muon" in settings and not hasattr(timm.optim, "Muon"):
            continue  # of a later timm than the oldest that is allowed
        try:
            config = override(Config if name is None else load_config(name), settings)
            observation_of(config)
            population_of(config)
        except UserError as error:
            pytest.fail(f"{page}: --set {' '.join(settings)}: {error}")
