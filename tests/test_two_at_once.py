"""Two real processes of each command at the same time: both finish, or one says who is at work.

Whatever they do, every file that is left is whole and is what one process alone leaves.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from child_processes import run_at_once
from kaggle_data import make_data as make_kaggle_data
from quick_commands import quick_commands
from small_run import command, make_data, run_here, same_arrays
from small_search import Excess, search_line, write_small_strain
from stack_runs import make_stack, write_results

import report
import stacking
import train
from search.folder import RESULTS
from training.checkpoints import content_digest, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input", 48, 12)


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbs."""
    results = tmp_path_factory.mktemp("alone")
    run_here(data, results)
    return results / "demo"


def train_at_once(
    data: Path, results: Path, lines: Sequence[Sequence[str]]
) -> list[tuple[int, str]]:
    """Run train.py at once with these arguments."""
    commands = [command(data, results, *line)[2:] for line in lines]
    return run_at_once(train.main, commands, results.with_name("outputs"))


def assert_one_is_refused(ended: list[tuple[int, str]], *words: str) -> None:
    """Check that one process has finished, and that the other finished too or was refused.

    Args:
        ended: exit code and last words of each.
        words: of which the refusal has one.
    """
    assert 0 in [code for code, _ in ended], ended
    for code, said in ended:
        refused = any(word in said.splitlines()[-1] for word in words)
        assert code == 0 or (code == 2 and refused), said
        assert "Traceback" not in said


def test_two_folds_of_a_run(data: Path, alone: Path, tmp_path: Path) -> None:
    lines = [("--limit_fold", "0"), ("--limit_fold", "1")]
    ended = train_at_once(data, tmp_path / "results", lines)
    assert [code for code, _ in ended] == [0, 0], ended
    run_here(data, tmp_path / "results", "--inference")
    assert same_arrays(tmp_path / "results" / "demo", alone)
    for fold in (0, 1):
        digests = [
            content_digest(load_checkpoint(folder / f"fold{fold}.pt")["model"])
            for folder in (tmp_path / "results" / "demo", alone)
        ]
        assert digests[0] == digests[1]


@pytest.mark.parametrize("arguments", [(), ("--limit_fold", "1")], ids=["a run", "a fold"])
def test_the_same_training_twice(
    arguments: tuple[str, ...], data: Path, alone: Path, tmp_path: Path
) -> None:
    ended = train_at_once(data, tmp_path / "results", [arguments, arguments])
    assert sorted(code for code, _ in ended) == [0, 2], ended
    # On a busy machine the first may have ended when the second asks.
    assert_one_is_refused(ended, "in use by another run", "holds finished work")
    run_here(data, tmp_path / "results", "--resume")
    assert same_arrays(tmp_path / "results" / "demo", alone)


def test_two_predictions(data: Path, alone: Path, tmp_path: Path) -> None:
    run_here(data, tmp_path / "results")
    ended = train_at_once(data, tmp_path / "results", [("--inference", "--tta")] * 2)
    assert_one_is_refused(ended, "in use by another run")
    logits = np.load(tmp_path / "results" / "demo" / "predictions_tta.npy")
    assert np.isfinite(logits).all()
    assert same_arrays(tmp_path / "results" / "demo", alone)


@pytest.fixture
def stack_runs(tmp_path: Path) -> Path:
    return write_results(tmp_path, *make_stack(n=120, m=40))


def stack_lines(results: Path, *methods: str) -> list[list[str]]:
    common = ["--results", str(results), "--resamples", "20", "--method"]
    return [[*common, method] for method in methods]


def test_two_stacks(stack_runs: Path, tmp_path: Path) -> None:
    """The same twice leaves one; of two methods, one is moved aside."""
    expected = {}
    for method in ("mean", "mean_logit"):
        (line,) = stack_lines(stack_runs, method)
        out = tmp_path / method
        assert stacking.main([*line, "--out", str(out)]) == 0
        names = ("submission.csv", "stack_outoffolds.npy")
        expected[method] = {name: (out / name).read_bytes() for name in names}

    def left(folder: Path) -> str | None:
        for method, files in expected.items():
            if all((folder / name).read_bytes() == content for name, content in files.items()):
                return (
                    json.loads((folder / "stack.json").read_text())["method"] == method and method
                )
        return None

    ended = run_at_once(stacking.main, stack_lines(stack_runs, "mean", "mean"), tmp_path / "first")
    assert [code for code, _ in ended] == [0, 0], ended
    assert left(stack_runs) == "mean"
    assert not list(stack_runs.glob("stack.2*"))
    lines = stack_lines(stack_runs, "mean", "mean_logit")
    ended = run_at_once(stacking.main, lines, tmp_path / "second")
    assert [code for code, _ in ended] == [0, 0], ended
    asides = list(stack_runs.glob("stack.2*"))
    assert {left(folder) for folder in (stack_runs, *asides)} == {"mean", "mean_logit"}


def test_two_reports(stack_runs: Path, tmp_path: Path) -> None:
    lines = [["--results", str(stack_runs)]] * 2
    ended = run_at_once(report.main, lines, tmp_path / "outputs")
    assert [code for code, _ in ended] == [0, 0], ended
    page = (stack_runs / "index.html").read_text()
    assert page.rstrip().endswith("</html>")
    assert "pseudo_16" in page


def test_two_indexings_and_cachings(tmp_path: Path) -> None:
    """`tests/test_prep_data.py` has the same with the command lines themselves."""
    import prep_data

    root = make_kaggle_data(tmp_path / "raw")

    def line(out: str) -> list[str]:
        return ["--root_dir", str(root), "--export_dir", str(tmp_path / out), "--cache"]

    assert prep_data.main(line("alone")) == 0
    ended = run_at_once(prep_data.main, [line("out")] * 2, tmp_path / "outputs")
    assert_one_is_refused(ended, "is being written by another process")
    for name in ("train.csv", "test.csv", "train_cache.f32", "test_cache.f32"):
        both = [(tmp_path / folder / name).read_bytes() for folder in ("alone", "out")]
        assert both[0] == both[1]


def test_two_simulations(tmp_path: Path) -> None:
    pytest.importorskip("lalsimulation")
    import prep_data

    def line(out: str) -> list[str]:
        return ["--simulate", "8", "--test", "4", "--out", str(tmp_path / out)]

    with quick_commands(tmp_path / "cache"):
        assert prep_data.main(line("alone")) == 0
        ended = run_at_once(prep_data.main, [line("out")] * 2, tmp_path / "outputs")
    assert_one_is_refused(ended, "in use by another run")
    contents = [
        {
            path.relative_to(tmp_path / folder): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file() and not path.name.endswith(".lock")
        }
        for folder in ("alone", "out")
    ]
    assert contents[0] == contents[1]


def test_two_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("h5py")
    detect = importlib.import_module("detect")
    line = search_line(write_small_strain(tmp_path))
    save_checkpoint(tmp_path / "results" / "demo" / "fold0.pt", {"model": Excess().state_dict()})
    monkeypatch.chdir(tmp_path)
    with quick_commands(tmp_path / "cache"):
        assert detect.main([*line, "--out", "alone"]) == 0
        ended = run_at_once(detect.main, [line, line], tmp_path / "outputs")
    assert_one_is_refused(ended, "is in use by another search")
    for name in ("triggers.hdf5", "candidates.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(RESULTS)
