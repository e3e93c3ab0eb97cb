"""`python -m benchmarks.detection`: what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from benchmarks.detection import __main__ as detection
from benchmarks.detection import report as detection_report
from runtime.command_line import run_command

pytest.importorskip("lalsimulation")


@pytest.fixture
def own_cache(cache, monkeypatch) -> Path:
    """Let the command keep its samples and scores apart, but not compute the matrices again."""
    from benchmarks.detection import templates as detection_templates
    from physics import noise
    from physics.cache_folder import cache_folder

    original, home = noise.whitening_matrix, cache_folder()

    def matrix(detector: str, *args, **kwargs) -> np.ndarray:
        return original(detector, *args, **{**kwargs, "cache_dir": home})

    monkeypatch.setattr(noise, "whitening_matrix", matrix)
    monkeypatch.setattr(detection_templates, "whitening_matrix", matrix)
    monkeypatch.setenv("G2NET_CACHE", str(cache))
    return cache


RECORD = str(ROOT / "benchmarks" / "results")
QUICK = [
    "--samples",
    "24",
    "--bank",
    "2",
    "--templates",
    "2",
    "3",
    "--draws",
    "20",
    "--share",
    "0.1",
    "--device",
    "cpu",
]


def test_the_command_writes_table_plots_and_json(own_cache, runs, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    line = [*QUICK, "--out", str(out), "--results", str(runs)]
    assert detection.main(line) == 0
    before = {path: path.stat().st_mtime_ns for path in own_cache.glob("scores-*.npy")}
    assert detection.main([*line, "--config", "Demo", "--near_optimal", "0"]) == 0
    for path, when in before.items():  # adding a network computes nothing else again
        assert path.stat().st_mtime_ns == when
    results = detection_report.load_detection(out / "detection.json")
    assert set(results["detectors"]) == {
        "known waveform and time",
        "near-optimal, 2 templates",
        "near-optimal, 3 templates",
        "coherent maximum, 2 templates",
        "coherent maximum, 3 templates",
        "matched filter, maximum",
        "matched filter, log-mean-exp",
        "demo",
    }
    for entry in results["detectors"].values():
        assert 0 <= entry["auc"] <= 1
        assert entry["samples"] == 24
        assert set(entry["efficiencies"]) == {"0.1", "0.01", "0.001"}
    for name in ("detection.md", "detection-efficiency.png", "detection-roc.png"):
        assert (out / name).stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "| known waveform and time | 24 |" in printed
    assert f"written: {out / 'detection.json'}" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "3"], "--samples 3: expected 4 or more"),
        (["--samples", "24", "--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--near_optimal", "2"], "--near_optimal 2: expected 0 for none"),
        (["--bank", "0"], "--bank 0: expected 1 or more"),
        (["--share", "0"], "--share 0: expected above 0"),
        (["--templates", "0", "5"], "--templates 0: expected 1 or more"),
        (["--samples", "24", "--out", RECORD], "are too few to"),
        (["--samples", "24", "--config", "Demoo"], "there is no config 'Demoo'"),
        (["--samples", "24", "--config", "Demo", "--results", "/nowhere"], "holds no fold<k>.pt"),
        (["--samples", "24", "--tta"], "name some with --config"),
        (["--samples", "24", "--alarms", "x.json"], "--alarms: name the networks with --config"),
        (["--samples", "24", "--holdout_of", "Mdc9"], "there is no config 'Mdc9'"),
        (
            ["--samples", "5000", "--holdout_of", "Mdc1", "--out", RECORD],
            "holds figures of the competition's observation and population",
        ),
        (
            ["--samples", "24", "--config", "Demo", "Mdc1"],
            "Demo and Mdc1 have different observations or populations",
        ),
        (
            ["--samples", "24", "--config", "Mdc1", "--holdout_of", "Demo"],
            "Mdc1 is an experiment of H1 L1 at 2048 Hz, 2 s and the hold-out of --holdout_of Demo",
        ),
        (["--samples", "24", "--device", "tpu"], "expected cpu, cuda or cuda:N"),
        (["--sample"], "shows what there is"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as error:
        run_command(lambda: detection.main(arguments))
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_other_observations_and_populations_are_measured(own_cache, tmp_path, capsys) -> None:
    """Two detectors at another rate, and distances: through the command line to a table."""
    settings = [
        "observation.detectors=[H1,K1]",
        "observation.sample_rate=1024",
        "observation.window=1.0",
        "observation.curves=aLIGOZeroDetHighPower",
        "population.masses=LogUniformTotalMass",
        "population.masses.total=(120.0,180.0)",
        "population.distance=UniformVolume",
        "population.distance.low=300.0",
        "population.distance.high=2000.0",
    ]
    line = [*QUICK, "--holdout_of", "Demo", "--out", str(tmp_path), "--set", *settings]
    assert detection.main(line) == 0
    results = detection_report.load_detection(tmp_path / "detection.json")
    assert len(results["detectors"]) == 7
    known = results["detectors"]["known waveform and time"]
    for name in ("near-optimal, 3 templates", "matched filter, maximum"):
        assert 0.5 < results["detectors"][name]["auc"] <= known["auc"] + 0.1
    printed = capsys.readouterr().out
    assert "UniformVolume" in printed
    assert "in the noise of H1 K1 at 1024 Hz, 1 s" in printed
    assert "AUC elsewhere" not in printed  # there is no other measurement of this law
    assert detection.main([*QUICK, "--holdout_of", "Demo", "--set", *settings]) == 0
    assert "not recorded" in capsys.readouterr().out
