"""Trained runs as detectors: their scores and what their training took."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detection_examples import CPU

from benchmarks.detection import __main__ as detection
from benchmarks.detection import glitches
from benchmarks.detection import report as detection_report
from benchmarks.detection.networks import DECISIVE, InitialScorer, NetworkScorer
from configs import Demo, Wave01
from configuration.overrides import override
from experiments.building import build_model, build_preparation, observation_of
from runtime.command_line import run_command
from runtime.errors import UserError
from training.checkpoints import save_checkpoint
from training_extras import find_views, prepare_views

pytest.importorskip("lalsimulation")


def test_a_run_is_scored_by_the_mean_of_its_folds(holdout, runs) -> None:
    scorer = NetworkScorer(Demo, runs / "demo")
    assert [path.name for path in scorer.weights()] == ["fold0.pt", "fold1.pt"]
    both = scorer.compute(holdout, CPU)
    assert both.shape == (1, 24)
    digest = scorer.settings()["weights"]["fold1.pt"]
    (runs / "demo" / "fold1.pt").rename(runs / "fold1.pt")
    first = scorer.compute(holdout, CPU)
    (runs / "demo" / "fold0.pt").unlink()
    (runs / "fold1.pt").rename(runs / "demo" / "fold0.pt")
    second = scorer.compute(holdout, CPU)
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)
    assert scorer.settings()["weights"] == {"fold0.pt": digest}
    assert np.abs(first - second).max() > 1e-3


def test_a_network_without_training(holdout, runs) -> None:
    scorer = InitialScorer(Demo, runs / "nothing")
    assert scorer.name == "demo, untrained"
    torch.manual_seed(5)
    found = scorer.compute(holdout, CPU)
    torch.manual_seed(5)
    model = build_model(Demo, pretrained=True).eval()
    preparation = build_preparation(Demo, "test", CPU)
    views = find_views(("identity",), observation=observation_of(Demo))
    with torch.inference_mode():
        (batch,) = prepare_views(views, {"waveform": holdout.batch(0, 24)}, preparation)
        expected = Demo.hook.build().forward_test(model, batch)[:, 0]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_views_are_those_of_the_runs_observation(holdout, runs) -> None:
    config = override(Demo, ["observation.detectors=[H1,V1]"])
    with pytest.raises(UserError, match="swap_ligo"):
        NetworkScorer(config, runs / "demo", ("swap_ligo",)).compute(holdout, CPU)


def test_runs_that_are_not_there_or_another_network(runs) -> None:
    with pytest.raises(UserError, match=r"fold<k>\.pt to score Demo with"):
        NetworkScorer(Demo, runs / "nothing").weights()
    plain = Demo.to_plain() | {"model_params": {"other": 1}}
    (runs / "demo" / "config.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match="trained with another model_params"):
        NetworkScorer(Demo, runs / "demo").weights()


def test_unfinished_folds_are_scored_only_where_that_is_allowed_and_are_marked(runs) -> None:
    content = {"model": build_model(Demo).state_dict(), "state": {"epoch": 1, "finished": False}}
    save_checkpoint(runs / "demo" / "fold1.pt", content)
    (runs / "demo" / "fold1_last.pt").unlink()
    for command, line in (
        (detection.main, ["--near_optimal", "0", "--samples", "24"]),
        (glitches.main, ["--samples", "8"]),
    ):
        with pytest.raises(SystemExit) as exit_info:
            run_command(
                lambda c=command, w=line: c(["--config", "Demo", *w, "--results", str(runs)])
            )
        assert exit_info.value.code == 2
    words = r"fold1\.pt is of a training that has not ended .*with --allow_unfinished$"
    with pytest.raises(UserError, match=words):
        NetworkScorer(Demo, runs / "demo").weights()
    scorer = NetworkScorer(Demo, runs / "demo", allow_unfinished=True)
    assert [path.name for path in scorer.weights()] == ["fold0.pt", "fold1.pt"]
    assert scorer.name == "demo, unfinished"


def test_the_observation_and_the_population_decide_too(runs) -> None:
    """The strain is whitened by the curves of the observation, and banks know the arrival times."""
    (runs / "demo" / "config.json").write_text(json.dumps(Demo.to_plain()))
    assert NetworkScorer(Demo, runs / "demo").weights()
    for setting, key in (
        ("observation.curves=aLIGOZeroDetHighPower", "observation"),
        ("population.merger=[1.2,1.4]", "population"),
    ):
        other = override(Demo, [setting])
        with pytest.raises(UserError, match=f"trained with another {key}: score them"):
            NetworkScorer(other, runs / "demo").weights()
    # Scores of the competition's networks were kept under a digest without either.
    config = NetworkScorer(Demo, runs / "demo").settings()["config"]
    assert not config.keys() & {"observation", "population"}


def write_run(folder: Path, drawn: int | None = None, **changes: object) -> None:
    """Write the files of a run of two folds, of three, that say what it took."""
    np.save(folder / "folds.npy", np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]))
    lines = [
        "fold,epoch,train_seconds,valid_seconds",
        "0,1,10,1",
        "0,2,11,1",
        "1,1,12,1",
        "2,1,90,9",
    ]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    params = {} if drawn is None else {"samples_per_epoch": drawn}
    plain = Demo.to_plain() | {"dataset_params": params, "weight_path": "before"} | changes
    (folder / "config.json").write_text(json.dumps(plain))
    starts = [{"device": device, "threads": 2} for device in ("cpu", "cpu")]
    (folder / "run.json").write_text(json.dumps({"starts": starts}))


@pytest.mark.parametrize(
    ("config", "drawn", "seen"),
    [(Demo, None, 2 * 6 + 7), (Demo, 500, 3 * 500), (Wave01, None, 3 * 65_536)],
)
def test_the_budget_is_what_was_seen(runs, config, drawn, seen) -> None:
    folder, scorer = runs / "demo", NetworkScorer(config, runs / "demo")
    assert scorer.budget() is None
    write_run(folder, drawn)
    plain = json.loads((folder / "config.json").read_text())
    plain |= {key: config.to_plain()[key] for key in DECISIVE}
    (folder / "config.json").write_text(json.dumps(plain))
    budget = scorer.budget()
    assert budget == {
        "samples": seen,
        "folds": 2,
        "seconds": 36.0,
        "device": "cpu",
        "threads": 2,
        "from": "before",
    }
    results = {"detectors": {"demo": {"auc": 0.8, "budget": budget}, "known": {"auc": 0.9}}}
    lines = detection_report.format_budgets(results)
    assert f"| demo | {seen:,} | 2 | 36 s | CPU, 2 threads | before |" in lines


def test_budgets_that_are_not_known(runs) -> None:
    folder, scorer = runs / "demo", NetworkScorer(Demo, runs / "demo")
    write_run(folder, pseudo_labels={"source": "demo"})
    assert scorer.budget()["samples"] is None
    (folder / "run.json").write_text(json.dumps({"starts": []}))
    with pytest.raises(UserError, match="do not say what its training took"):
        scorer.budget()
