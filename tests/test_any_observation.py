"""Every command for observations that no experiment here has: the way from files to a report.

One detector; two at another rate in a longer window; the three of the Einstein Telescope.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from small_run import SMALL

import prep_data
import report
import stacking
import train
from data.strain_cache import StrainCache
from datasets import load_index
from experiments.run_records import read_run_config
from physics.observation import COMPETITION, Observation
from simulation import dataset_on_disk

# Exact whitening of a window of 16,384 samples takes minutes to be computed, once. So the two long
# windows are whitened by their own spectra, at the full rate.
BY_SPECTRUM = ("transforms.train.0=WhitenTorch", "transforms.test.0=WhitenTorch")
OBSERVATIONS = {
    "one detector": (Observation(("V1",)), ("transforms.train.1=FlipWave",), 1024),
    "two at 4,096 Hz": (Observation(("H1", "L1"), 4096, 4.0), BY_SPECTRUM, 4096),
    "a triangle, 8 s": (Observation(("ET1", "ET2", "ET3"), 2048, 8.0), BY_SPECTRUM, 2048),
}


def state(observation: Observation) -> list[str]:
    """Return the words of `--set` that state an observation."""
    return [
        f"observation.detectors=[{','.join(observation.detectors)}]",
        f"observation.sample_rate={observation.sample_rate}",
        f"observation.window={observation.window}",
    ]


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_from_files_to_a_report(name: str, tmp_path: Path, capsys, monkeypatch) -> None:
    """Simulate, check, cache; train and predict with views; stack; report: all through `main`."""
    observation, settings, rate = OBSERVATIONS[name]
    raw, data, results = tmp_path / "raw", tmp_path / "data", tmp_path / "results"
    # Seconds instead of the minute that 8,000 waveforms take.
    few = functools.partial(
        dataset_on_disk.simulate_dataset, bank_size=64, cache_dir=tmp_path / "bank", workers=1
    )
    monkeypatch.setattr(
        dataset_on_disk, "simulate_dataset", lambda *args, workers, **rest: few(*args, **rest)
    )
    simulation = ["--simulate", "20", "--test", "8", "--out", str(raw), "--export_dir", str(data)]
    prepare = [*simulation, "--check", "--cache"]
    assert prep_data.main([*prepare, "--set", *state(observation)]) == 0
    cache = StrainCache(data / "train_cache.f32", observation.sampling)
    assert cache.data.shape == (20, *observation.shape)
    table = load_index(data / "train.csv", raw)
    assert np.array_equal(cache.read([3])[0], np.load(table["path"][3]).astype(np.float32))
    written = json.loads((data / "observation.json").read_text())
    assert tuple(written["detectors"]) == observation.detectors
    # repeated, everything is found finished
    assert prep_data.main([*prepare, "--set", *state(observation)]) == 0
    assert "train_cache.f32: up to date" in capsys.readouterr().out

    tables = [f"{split}_path={data}/{split}.csv" for split in ("train", "test")]
    caches = [f"{split}_cache={data}/{split}_cache.f32" for split in ("train", "test")]
    common = [*state(observation), *settings, *tables, *caches, f"data_root={raw}"]
    views = "[identity,flip]" if observation.num_detectors == 1 else "[identity,flip,swap_alike]"
    common += ["cv=2", "num_epochs=1", "batch_size=5", f"views={views}"]
    widths = [word for word in SMALL if word.startswith("model_params.")]
    wavelets = [f"model_params.spec_params.{word}" for word in (f"fs={rate}", "stride=64")]
    for config, own in (("Demo", widths), ("DemoSpec", wavelets)):
        line = ["--config", config, "--results", str(results), "--set", *common, *own]
        assert train.main(line) == 0
        assert train.main([*line, "--inference", "--tta"]) == 0
        recorded = read_run_config(results / config_name(config))["observation"]
        assert recorded["digest"] == observation.digest
        assert Observation.from_plain({k: v for k, v in recorded.items() if k != "digest"})

    stack = ["--results", str(results), "--experiments", "demo", "demo_spec", "--resamples", "20"]
    assert stacking.main(stack) == 0
    assert report.main(["--results", str(results)]) == 0
    submission = (results / "submission.csv").read_text().splitlines()
    assert len(submission) == 9
    assert "demo_spec" in (results / "index.html").read_text()
    assert np.isfinite(np.load(results / "demo" / "predictions_tta.npy")).all()


def config_name(config: str) -> str:
    return {"Demo": "demo", "DemoSpec": "demo_spec"}[config]


def test_a_dry_run_needs_no_data(tmp_path: Path, monkeypatch) -> None:
    """Noise is invented as the observation says, again where another one's was before."""
    monkeypatch.chdir(tmp_path)
    widths = [word for word in SMALL if word.startswith("model_params.")]
    for observation in (Observation(("H1", "V1"), 1024, 1.0), COMPETITION):
        words = [*state(observation), "transforms.train.0=WhitenTorch"]
        words += ["transforms.test.0=WhitenTorch", "transforms.train.1=FlipWave", *widths]
        assert train.main(["--config", "Demo", "--dry_run", "--set", *words]) == 0
        noise = np.load("results/dry_run/invented_noise/train_0.npy")
        assert noise.shape == observation.shape
    assert not Path("results/dry_run/invented_noise/observation.json").exists()
