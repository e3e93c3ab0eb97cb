"""The benchmark of exported runs: a network as it is timed, and the table of what was found."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SMALL

from benchmarks.experiments import export as benchmark
from benchmarks.experiments.export import (
    BATCH,
    format_exported,
    make_predictor,
    measure_config,
    read_samples,
    settle_statistics,
)
from configs import Demo
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.export_check import Comparison
from experiments.export_files import random_strain
from runtime.errors import UserError

TINY = override(Demo, SMALL)


def test_batch_norms_have_the_statistics_of_noise(tmp_path: Path) -> None:
    predictor = make_predictor(TINY, tmp_path)
    (network,) = predictor.networks
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norms
    assert all(int(norm.num_batches_tracked) == 1 and norm.momentum == 0.1 for norm in norms)
    # In the first norm the outputs on the same noise are now standard ones.
    found = []
    norms[0].register_forward_hook(lambda module, args, output: found.append(args[0]))
    noise = predictor.preparation({"waveform": random_strain(predictor, 8)})
    with torch.no_grad():
        network(noise["waveform"])
    mean = found[0].mean(dim=(0, 2))
    torch.testing.assert_close(norms[0].running_mean, mean, atol=1e-4, rtol=1e-3)
    settle_statistics(predictor)  # a second time changes nothing
    torch.testing.assert_close(norms[0].running_mean, mean, atol=1e-4, rtol=1e-3)


@pytest.mark.skipif(
    importlib.util.find_spec("safetensors") is None, reason="needs pip install -e '.[export]'"
)
def test_what_is_measured_and_its_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "samples").mkdir()
    for number in range(3):
        np.save(tmp_path / "samples" / f"{number}.npy", rng.normal(0, 1e-20, (3, 4096)))
    found = measure_config(TINY, tmp_path, 2, tmp_path / "samples", kind="safetensors")
    # The same weights, in batches of other sizes.
    assert found.comparison.differences.keys() == {"noise", "samples"}
    assert found.comparison.is_near  # what export.py allows
    assert found.comparison.spread > 0
    assert found.row.extra["accepted"]
    assert found.row.extra["from_float64"] is None
    assert found.row.extra["rounds"] == 2
    assert found.row.settings["batch"] == BATCH
    table = "\n".join(format_exported([found], {"Other": "it has no graph"}))
    assert f"| Demo | {found.comparison.differences['noise']:.1e} |" in table
    assert "| - | taken |" in table
    assert "Other could not be exported: it has no graph." in table
    far = Comparison({"noise": 0.5}, 10.0, export_error=3e-4, run_error=1e-5)
    table = "\n".join(format_exported([dataclasses.replace(found, comparison=far)], {}))
    assert "| 3.0e-04, 1.0e-05 | refused |" in table


def test_figures_of_a_choice_are_not_recorded(tmp_path: Path, monkeypatch) -> None:
    for words in (["--configs", "Demo"], ["--set", "seed=1"]):
        with pytest.raises(UserError, match="leave one of them out"):
            benchmark.main([*words, "--out", str(tmp_path)])
    seen = []

    def stop(config: ConfigMeta, *_: object, **__: object) -> None:
        seen.append((config.__name__, config.seed))
        raise UserError("seen")

    monkeypatch.setattr(benchmark, "measure_config", stop)
    assert benchmark.main(["--configs", "Wave07", "Demo", "--set", "seed=1", "--quick"]) == 0
    assert seen == [("Wave07", 1), ("Demo", 1)]


def test_samples_of_another_shape_are_refused(tmp_path: Path) -> None:
    predictor = make_predictor(TINY, tmp_path)
    assert read_samples(None, predictor) is None
    np.save(tmp_path / "a.npy", np.zeros((2, 4096)))
    with pytest.raises(UserError, match=r"expected \.npy files of the shape \(3, 4096\)"):
        read_samples(tmp_path, predictor)
