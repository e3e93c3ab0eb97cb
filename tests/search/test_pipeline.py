"""A search as a graph: its command lines, its marks, and Snakemake itself."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from small_run import SMALL

import configs  # noqa: F401 - registers the experiments
from configuration.config_class import find_config
from configuration.overrides import override
from experiments.building import build_model
from runtime.errors import UserError
from search.pipeline import asks_for_search, mark_names, outdated_marks, read_search_config
from training.checkpoints import save_checkpoint

needs_snakemake = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None, reason="needs pip install -e '.[pipeline]'"
)
DETECT = "--config Wave07 --strain 'H1=my data/' L1=l1/"


def test_command_lines_of_a_search() -> None:
    config = {"detect": DETECT, "out": "o3a", "parts": 3, "results": "runs", "settings": "cv=2"}
    plan = read_search_config(config | {"python": "python", "threads": 2, "gpus": 1})
    assert asks_for_search(config)
    assert not asks_for_search({"experiments": "Demo"})
    assert (plan.threads, plan.gpus, plan.marks) == (2, 1, None)
    common = (
        "python detect.py --config Wave07 --strain 'H1=my data/' L1=l1/ --results runs --set cv=2 "
        "--out o3a --resume"
    )
    assert plan.merge() == common
    assert [plan.part(name) for name in plan.part_names] == [
        f"{common} --part {number}/3" for number in (1, 2, 3)
    ]
    plan = read_search_config({"mdc": "--set 1 --duration 30d", "out": "m", "parts": "30"})
    line = shlex.split(plan.part("0030_of_0030"))
    assert line[1:3] == ["-m", "benchmarks.mdc"]
    assert line[-2:] == ["--part", "30/30"]
    assert "--resume" not in line
    assert len(mark_names(plan)) == 31


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"detect": DETECT, "parts": 3}, "--config out=…: name the folder of the search"),
        ({"detect": DETECT, "out": "o"}, "--config parts=: expected a whole number of 1 or more"),
        ({"detect": DETECT, "out": "o", "parts": 0}, "--config parts=0: expected a whole number"),
        ({"detect": DETECT, "mdc": "", "out": "o"}, "give one search at a time"),
        ({"detect": DETECT, "out": "o", "part": 3}, "no such key (did you mean 'parts'?)"),
        ({"detect": "--out x", "out": "o", "parts": 3}, "leave --out out; the pipeline gives it"),
        ({"mdc": "--part=1/2", "out": "o", "parts": 3}, "leave --part=1/2 out"),
        ({"mdc": "--set '1", "out": "o", "parts": 3}, "no closing quotation"),
    ],
)
def test_bad_searches(config: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_search_config(config)
    assert message in str(error.value)


def test_marks_without_results_are_outdated(tmp_path: Path) -> None:
    plan = read_search_config({"mdc": "--set 1", "out": str(tmp_path), "parts": 2})
    (tmp_path / ".parts" / "0001_of_0002").mkdir(parents=True)
    for name in mark_names(plan):
        (tmp_path / name).touch()
    (tmp_path / ".parts" / "0001_of_0002" / "finished.json").write_text("{}")
    assert list(outdated_marks(plan)) == [".parts/0002_of_0002.done", "search.done"]
    # the parts of a finished search may be removed
    (tmp_path / "sensitivity.json").write_text("{}")
    (tmp_path / ".parts" / "0001_of_0002" / "finished.json").unlink()
    assert outdated_marks(plan) == {}


# --- Snakemake -------------------------------------------------------------------------------


def snakemake(*arguments: str, code: int = 0) -> str:
    line = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


def job_counts(output: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)}


@needs_snakemake
def test_graph_of_a_month(tmp_path: Path) -> None:
    month = "mdc=--set 1 --duration 30d --config Mdc1 --untrained"
    line = ["-n", "-q", "rules", "--nolock", "--config", month]
    counts = job_counts(snakemake(*line, f"out={tmp_path / 'month'}", "parts=30"))
    assert counts == {"search_part": 30, "merge_search": 1, "all": 1, "total": 32}
    assert not (tmp_path / "month").exists()


@needs_snakemake
@pytest.mark.slow  # Snakemake starts a process for each job, and each imports torch
def test_snakemake_searches_in_parts(tmp_path: Path) -> None:
    from small_search import write_small_strain

    write_small_strain(tmp_path)
    weights = {"model": build_model(override(find_config("Demo"), SMALL)).state_dict()}
    save_checkpoint(tmp_path / "results" / "demo" / "fold0.pt", weights)
    strain = " ".join(f"{name}={tmp_path / name}.hdf5" for name in ("H1", "L1"))
    words = f"--config Demo --strain {strain} --step 1 --stretch 16 --slides 1 --maps 0"
    config = [f"detect={words}", f"out={tmp_path / 'out'}", "parts=2"]
    config += [f"results={tmp_path / 'results'}", f"settings={shlex.join(SMALL)}", "threads=1"]
    line = ["--cores", "2", "--nolock", "--config", *config]
    counts = job_counts(snakemake(*line))
    assert counts["search_part"] == 2
    assert json.loads((tmp_path / "out" / "detection.json").read_text())["stretches"] == 2
    assert "Nothing to be done" in snakemake(*line)
    (tmp_path / "out" / "detection.json").unlink()  # by hand
    output = snakemake("-n", *line)
    assert "search.done marks are missing: they are made again" in output
