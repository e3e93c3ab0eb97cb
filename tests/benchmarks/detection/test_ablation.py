"""What parts of an experiment are worth: the switches, the errors, the command line."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from command_here import run_main
from paths import ROOT

import configs
from benchmarks.detection import ablation
from configuration.overrides import override
from metrics import AUC, delong_error, paired_delong_error
from runtime.errors import UserError
from runtime.files import read_json


@pytest.mark.parametrize("part", [*ablation.SWITCHES, *ablation.OF_BANKS])
def test_every_switch_is_a_setting_that_changes_the_experiment(part) -> None:
    config = configs.Wave06 if part in ablation.OF_BANKS else configs.Wave01
    _, settings = ablation.find_switches([part])[part]
    changed = override(config, settings)
    assert changed.to_plain() != config.to_plain()
    params = dict(changed.model_params)
    params.pop("pretrained", None)  # a bank's waveforms take a while
    changed.model(**params)


def test_paired_error_equals_that_of_resampling(rng) -> None:
    targets = rng.integers(0, 2, 400)
    common = rng.normal(size=400) + targets
    first, second = (common + 0.3 * rng.normal(size=400) for _ in range(2))
    signals, noise = np.flatnonzero(targets == 1), np.flatnonzero(targets == 0)
    differences = []
    for _ in range(800):
        rows = np.concatenate([rng.choice(signals, len(signals)), rng.choice(noise, len(noise))])
        differences.append(AUC()(targets[rows], first[rows]) - AUC()(targets[rows], second[rows]))
    error = paired_delong_error(targets, first, second)
    # 800 resamplings know a standard deviation to 2.5 %
    assert error == pytest.approx(np.std(differences), rel=0.12)
    assert error < delong_error(targets, first)  # what both find hard does not count
    assert paired_delong_error(targets, first, first) == 0


@pytest.mark.parametrize("on", [True, False])
def test_worth_is_with_less_without(rng, on) -> None:
    targets = rng.integers(0, 2, 500)
    weak = [rng.normal(size=500) + targets for _ in range(2)]
    strong = [logits + targets for logits in weak]
    base, changed = (weak, strong) if on else (strong, weak)
    value, error = ablation.estimate_worth(targets, base, changed, on)
    expected = np.mean(
        [AUC()(targets, b) - AUC()(targets, a) for a, b in zip(weak, strong, strict=True)]
    )
    assert value == pytest.approx(expected)
    assert 0 < error < value


RESULTS = {
    "config": "X",
    "samples": 8,
    "seeds": 1,
    "holdout": 4,
    "device": {"name": "a"},
    "base": {"auc": 0.8, "error": 0.01, "seconds": 1.0},
    "switches": [
        {"part": p, "on": True, "settings": ["a=1"], "worth": w, "error": 0.01, "auc": 0.8}
        for p, w in (("small", 0.001), ("large", 0.1))
    ],
}


def test_figures_of_another_ablation_are_kept_aside(tmp_path) -> None:
    ablation.record_ablation(tmp_path, RESULTS)
    before = {path.read_bytes() for path in tmp_path.glob("ablation.*")}
    ablation.record_ablation(tmp_path, RESULTS)
    assert len(list(tmp_path.glob("ablation.*"))) == 2  # the same again
    ablation.record_ablation(tmp_path, {**RESULTS, "samples": 16})
    assert before < {path.read_bytes() for path in tmp_path.glob("ablation.*")}
    assert read_json(tmp_path / "ablation.json")["samples"] == 16


def test_page_and_unknown_switch(tmp_path) -> None:
    page, results = tmp_path / "page.md", RESULTS
    page.write_text("no marks")
    with pytest.raises(UserError, match="put them back"):
        ablation.update_ablation_page(results, page)
    page.write_text(f"before\n{ablation.BEGIN}\nold\n{ablation.END}\nafter\n")
    ablation.update_ablation_page(results, page)
    text = page.read_text()
    assert text.index("before") < text.index("large") < text.index("small") < text.index("after")
    assert "old" not in text
    with pytest.raises(UserError, match="did you mean 'CBAM'"):
        ablation.find_switches(["CBAN"])


def test_command_line(tmp_path) -> None:
    line = [
        "--samples",
        "64",
        "--seeds",
        "2",
        "--holdout",
        "40",
        "--switch",
        "CBAM",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
        "--set",
        "dataset_params.bank_size=32",
        "dataset_params.pool=8",
        "batch_size=8",
        "model_params.widths=(4,8,8,8)",
    ]
    start = [sys.executable, "-m", "benchmarks.detection.ablation"]
    done = subprocess.run([*start, *line], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    runs = [read_json(tmp_path / "out" / "ablation.json")]
    again = run_main(ablation.main, line)
    assert again.returncode == 0, again.stderr
    runs.append(read_json(tmp_path / "out" / "ablation.json"))
    assert "| CBAM |" in done.stdout
    assert "| CBAM |" in again.stdout
    assert runs[0] == runs[1]  # the second reads what the first has done
    assert [row["part"] for row in runs[0]["switches"]] == ["CBAM"]
    assert all(np.isfinite(row["error"]) for row in runs[0]["switches"])
