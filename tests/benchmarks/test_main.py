"""Every benchmark runs and writes what it promises. No time is ever asserted."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_examples import run_quick
from paths import ROOT

from benchmarks import BENCHMARKS
from benchmarks.data import reading, startup
from benchmarks.experiments import tta
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.result_files import load_results
from benchmarks.models1d import grouped_convolution, matched_filter
from benchmarks.runtime import command_line
from benchmarks.search import engine, windowed
from benchmarks.signal_transforms import preparation
from benchmarks.simulation import continuous_strain, simulating, training_noise
from benchmarks.spectrograms import cqt, cwt, cwt_width
from benchmarks.training import first_step, mixed_precision, profile_step, training_step

MODULES = {
    "cwt": cwt,
    "cwt_width": cwt_width,
    "matched_filter": matched_filter,
    "grouped_convolution": grouped_convolution,
    "cqt": cqt,
    "preparation": preparation,
    "reading": reading,
    "training_step": training_step,
    "tta": tta,
    "startup": startup,
    "first_step": first_step,
    "command_line": command_line,
    "profile_step": profile_step,
    "simulating": simulating,
    "training_noise": training_noise,
    "continuous_strain": continuous_strain,
    "engine": engine,
    "windowed": windowed,
    "mixed_precision": mixed_precision,
}

KEYS = {
    "cwt": ["cwt.nspec_16", "cwt.multi_instance_04"],
    "cwt_width": ["cwt_width.nspec_16"],
    "matched_filter": [
        "matched_filter.wave07",
        "matched_filter.wave06",
        "matched_filter.mdc3",
        "matched_filter.wave07_bf16",
    ],
    "grouped_convolution": [
        f"grouped_convolution.{stage}.{form}"
        for stage in ("first", "third")
        for form in ("four", "innermost", "frames", "taps")
    ],
    "cqt": ["cqt.baseline"],
    "preparation": ["preparation.nspec_16"],
    "simulating": [
        "simulating.files",
        "simulating.once",
        "simulating.published",
        "simulating.rate",
    ],
    "training_noise": [
        "training_noise.family",
        "training_noise.glitches",
        "training_noise.real_strain",
        "training_noise.fresh",
        "training_noise.distances",
        "training_noise.higher_modes",
    ],
    "continuous_strain": ["continuous_strain.rate", "continuous_strain.noise"],
    "engine": ["engine.zero_lag", "engine.slide"],
    "windowed": [
        f"windowed.{name}.{kind}"
        for name in ("branches", "cnn1d")
        for kind in ("zero_lag", "slide")
    ],
    "mixed_precision": [
        f"mixed_precision.{name}"
        for name in (
            "wave_01",
            "wave_06",
            "spec_01",
            "spec_02",
            "demo",
            "demo_spec",
            "seq_03_aug_3",
            "nspec_16",
        )
    ],
    "reading": ["reading.warm", "reading.cold"],
    "training_step": [
        "training_step.nspec_16",
        "training_step.seq_03_aug_3",
        "training_step.seq_12_arch_4",
    ],
    "tta": ["tta.nspec_16", "tta.nspec_16_shared"],
    "startup": ["startup.seconds.1", "startup.memory.1"],
    "first_step": ["first_step.demo.cache.warm"],
    "command_line": ["command_line.help", "command_line.list"],
    "profile_step": [],
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_runs_quickly_and_writes_what_it_promises(name: str, tmp_path: Path, capsys) -> None:
    entry = run_quick(MODULES[name], tmp_path, name)
    assert entry["quick"] is True
    for key in ("date", "git_revision", "versions", "threads", "load"):
        assert key in entry
    assert entry["load"]["load_average_before"] is None or len(entry["load"]["load_average_before"])
    rows = [Measurement.from_plain(row) for row in entry["rows"]]
    assert [row.key for row in rows] == KEYS[name]
    for row in rows:
        assert math.isfinite(row.figure.median)
        assert row.figure.lower <= row.figure.median <= row.figure.upper
        assert row.ours.median > 0
        assert row.theirs.median > 0
        assert {"cpu", "cuda"} >= set(row.targets)
        assert row.extra["rounds"] == row.figure.count
    printed = capsys.readouterr().out
    assert all(row.what in printed for row in rows)
    (markdown,) = tmp_path.glob("*.md")
    assert "Made with `--quick`" in markdown.read_text()


def test_every_benchmark_is_tested_here() -> None:
    assert set(MODULES) == set(KEYS) == set(BENCHMARKS)


def test_all_together_in_processes_of_their_own(tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        "benchmarks",
        "cqt",
        "--quick",
        "--device",
        "cpu",
        "--repeats",
        "3",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.json")
    entry = load_results(path)["benchmarks"]["cqt"]
    assert entry["threads"] == 1
    assert entry["rows"][0]["extra"]["rounds"] == 3
    assert str(path.with_suffix(".md")) in done.stdout
