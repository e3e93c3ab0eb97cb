"""Nothing finished is lost by prep_data.py, stacking.py, report.py and detect.py.

As `test_nothing_is_lost.py` for train.py: for every line of the table what a command has finished
is copied, something is done to it, and a command line is typed: again, with other settings, with a
file removed, or killed by SIGKILL between two files and repeated. Afterwards every file that was
finished is there with the same bytes, in its place or moved aside; or the exit code is 2, and
nothing has changed.
"""

from __future__ import annotations

import functools
import importlib
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from child_processes import kill_when, start
from kaggle_data import files_of, make_data, write_samples
from quick_commands import quick_commands
from small_search import Excess, search_line, write_small_strain
from stack_runs import make_stack, write_results

from experiments.npy_files import load_array, save_array
from runtime.errors import UserError
from search.window_scorer import WindowScorer
from training.checkpoints import save_checkpoint

# Written anew from the same content by every start, with its date and durations.
DESCRIPTIONS = ("stack.json", "stack.csv", "detection.json")
# Not a result: a page that shows the runs as they are now, and is written from them again.
RENDERED = ("index.html",)


@dataclass(frozen=True)
class Case:
    """A command line in a folder with finished work.

    Attributes:
        name: of the test.
        program: prep_data, stacking, report or detect.
        arguments: of the command line, in one string.
        world: which finished work is there.
        code: the expected exit code.
        spoil: what is done in the folder first.
        says: part of what is printed.
        killed_at: the process is killed just before a file gets this name; then the line is
            repeated, with --resume where the program has it.
        reports_faults: exit code 2 is that of a report of bad data, which is written.
    """

    name: str
    program: str
    arguments: str = ""
    world: str = ""
    code: int = 0
    spoil: Callable[[Path], None] = lambda folder: None
    says: str = ""
    killed_at: str = ""
    reports_faults: bool = False


def remove(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def remove_a_sample(split: str, folder: str = "raw") -> Callable[[Path], None]:
    return lambda world: files_of(world / folder, split)[0].unlink()


def change_a_sample(split: str) -> Callable[[Path], None]:
    return lambda world: np.save(files_of(world / "raw", split)[0], np.full((3, 4096), 3e-20))


def silence(number: int) -> Callable[[Path], None]:
    return lambda world: np.save(files_of(world / "unsound", "train")[number], np.zeros((3, 4096)))


def mend_sample(world: Path) -> None:
    sample = files_of(world / "unsound", "train")[0]
    np.save(sample, np.random.default_rng(5).normal(0, 1e-20, (3, 4096)))


def predict_otherwise(world: Path) -> None:
    path = world / "results" / "pseudo_16" / "predictions.npy"
    save_array(path, load_array(path) + 1)


def train_otherwise(world: Path) -> None:
    model = Excess()
    model.unused.data += 1
    save_checkpoint(world / "results" / "demo" / "fold0.pt", {"model": model.state_dict()})


INDEX = "--root_dir raw --export_dir out --num_workers 1"
OTHER = "--root_dir other --export_dir out --num_workers 1"
BAD = "--root_dir unsound --export_dir bad --num_workers 1 --check"
SIMULATE = "--simulate 6 --test 3 --out sim --num_workers 1"
STACK = "--results results --method mean --resamples 20"
DETECT = "detect"
CASES = [
    Case("indexed again", "prep_data", INDEX, "prepared", says="up to date"),
    Case("cached again", "prep_data", f"{INDEX} --cache", "prepared", says="up to date"),
    Case("checked, indexed", "prep_data", f"{INDEX} --check", "prepared", says="all sound"),
    Case("other samples", "prep_data", OTHER, "prepared", 2, says="add --overwrite"),
    Case("other samples cached", "prep_data", f"{OTHER} --cache", "prepared", 2, says="is there"),
    Case("others overwrite", "prep_data", f"{OTHER} --cache --overwrite", "prepared", says="moved"),
    Case("no table", "prep_data", INDEX, "prepared", spoil=remove("out/train.csv")),
    Case(
        "no cache", "prep_data", f"{INDEX} --cache", "prepared", spoil=remove("out/test_cache.f32")
    ),
    Case("no sample", "prep_data", INDEX, "prepared", 2, remove_a_sample("train"), "are missing"),
    Case(
        "a changed sample",
        "prep_data",
        f"{INDEX} --cache",
        "prepared",
        2,
        change_a_sample("test"),
        "finished cache of other samples",
    ),
    Case(
        "a changed sample overwrites",
        "prep_data",
        f"{INDEX} --cache --overwrite",
        "prepared",
        spoil=change_a_sample("test"),
    ),
    Case("indexing killed", "prep_data", f"{OTHER} --overwrite", "prepared", killed_at="test.csv"),
    Case(
        "caching killed",
        "prep_data",
        f"{INDEX} --cache",
        "prepared",
        spoil=remove("out/test_cache.f32", "out/train_cache.f32"),
        killed_at="test_cache.f32",
    ),
    Case(
        "overwriting a cache killed",
        "prep_data",
        f"{OTHER} --cache --overwrite",
        "prepared",
        killed_at="test_cache.f32",
    ),
    Case("checked again", "prep_data", BAD, "prepared", 2, reports_faults=True, says="1 silent"),
    Case(
        "checked with another fault",
        "prep_data",
        BAD,
        "prepared",
        2,
        silence(3),
        "moved aside to check_report.2",
        reports_faults=True,
    ),
    Case("checked when mended", "prep_data", BAD, "prepared", spoil=mend_sample, says="moved"),
    Case(
        "checking killed",
        "prep_data",
        BAD,
        "prepared",
        2,
        silence(3),
        killed_at="check_report.csv",
        reports_faults=True,
    ),
    Case("simulated again", "prep_data", SIMULATE, "simulated", says="up to date"),
    Case("another seed", "prep_data", f"{SIMULATE} --seed 3", "simulated", 2, says="seed = "),
    Case(
        "another seed overwrites",
        "prep_data",
        f"{SIMULATE} --seed 3 --overwrite",
        "simulated",
        says="simulated, 6 training",
    ),
    Case("cached", "prep_data", f"{SIMULATE} --cache", "simulated", says="written"),
    Case(
        "a simulated sample removed",
        "prep_data",
        SIMULATE,
        "simulated",
        spoil=remove_a_sample("train", "sim"),
    ),
    Case("truth removed", "prep_data", SIMULATE, "simulated", spoil=remove("sim/test_labels.csv")),
    Case(
        "its record removed",
        "prep_data",
        SIMULATE,
        "simulated",
        2,
        remove("sim/simulation.json"),
        "is not empty and holds no simulation",
    ),
    Case(
        "overwriting a simulation killed",
        "prep_data",
        f"{SIMULATE} --seed 3 --overwrite",
        "simulated",
        killed_at="test_labels.csv",
    ),
    Case("stacked again", "stacking", STACK, "stacked"),
    Case("another method", "stacking", f"{STACK} --method mean_logit", "stacked", says="is now in"),
    Case("fewer runs", "stacking", f"{STACK} --experiments pseudo_14 pseudo_16", "stacked"),
    Case("without views", "stacking", f"{STACK} --no_tta", "stacked"),
    Case("over a run", "stacking", f"{STACK} --out results/pseudo_14", "stacked", 2, says="is a r"),
    Case("no such run", "stacking", f"{STACK} --experiments pseudo_99", "stacked", 2),
    Case("no record of it", "stacking", STACK, "stacked", spoil=remove("results/stack.json")),
    Case("a run changed", "stacking", STACK, "stacked", spoil=predict_otherwise, says="is now in"),
    Case(
        "a run damaged",
        "stacking",
        f"{STACK} --experiments pseudo_14 pseudo_16 pseudo_07",
        "stacked",
        2,
        remove("results/pseudo_16/predictions.npy"),
    ),
    Case(
        "killed as the old moves",
        "stacking",
        f"{STACK} --method mean_logit",
        "stacked",
        killed_at="stack.csv",
    ),
    Case(
        "killed as it writes",
        "stacking",
        f"{STACK} --method mean_logit",
        "stacked",
        killed_at="stack_ids.npy",
    ),
    Case("reported again", "report", "--results results", "stacked"),
    Case("others reported", "report", "--results other --out results/index.html", "stacked"),
    Case(
        "reported over a file",
        "report",
        "--results results --out results/submission.csv",
        "stacked",
        2,
        says="is not a page",
    ),
    Case(
        "reported without a stack",
        "report",
        "--results results",
        "stacked",
        spoil=remove("results/stack.json"),
    ),
    Case(
        "reporting killed",
        "report",
        "--results other --out results/index.html",
        "stacked",
        killed_at="index.html",
    ),
    Case("searched again", "detect", DETECT, "searched", says="nothing to do"),
    Case("searched otherwise", "detect", f"{DETECT} --cluster 4", "searched", 2, says="--overwr"),
    Case("resumed otherwise", "detect", f"{DETECT} --cluster 4 --resume", "searched", 2),
    Case("another search", "detect", f"{DETECT} --cluster 4 --overwrite", "searched"),
    Case("other weights", "detect", DETECT, "searched", 2, train_otherwise, "other networks"),
    Case("no scores", "detect", DETECT, "searched", 2, remove("out/triggers.hdf5"), "are missing"),
    Case("no facts", "detect", DETECT, "searched", 2, remove("out/detection.json"), "is missing"),
    *(
        Case(
            f"another search killed at {name}",
            "detect",
            f"{DETECT} --cluster 4 --overwrite",
            "searched",
            killed_at=name,
        )
        # While results are written, as the old ones move aside, and as the new ones move up.
        for name in (
            ".unfinished/triggers.hdf5",
            ".unfinished/candidates.csv",
            ".unfinished/detection.png",
            ".unfinished/detection.json",
            "out/candidates.csv",
            "out/detection.json",
        )
    ),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, tables and caches of the first, and a report of a bad sample."""
    world = tmp_path_factory.mktemp("prepared")
    make_data(world / "raw")
    write_samples(make_data(world / "other"), "test", ["zzz"], [0.5], seed=2)
    make_data(world / "unsound")
    run_here("prep_data", f"{INDEX} --cache", world)
    silence(0)(world)
    run_here("prep_data", BAD, world)
    return world


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("lalsimulation")
    world = tmp_path_factory.mktemp("simulated")
    run_here("prep_data", SIMULATE, world)
    return world


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = tmp_path_factory.mktemp("stacked")
    data, truth = make_stack(n=120, m=40)
    write_results(world, data, truth)
    shutil.copytree(world / "results", world / "other")
    run_here("stacking", STACK, world)
    run_here("report", "--results results", world)
    return world


@pytest.fixture(scope="module")
def strain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("h5py")
    return write_small_strain(tmp_path_factory.mktemp("strain"))


@pytest.fixture(scope="module")
def searched(strain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = tmp_path_factory.mktemp("searched")
    save_checkpoint(world / "results" / "demo" / "fold0.pt", {"model": Excess().state_dict()})
    run_here("detect", DETECT, world, strain)
    return world


@pytest.fixture(scope="module", autouse=True)
def _quick(tmp_path_factory: pytest.TempPathFactory):
    with quick_commands(tmp_path_factory.mktemp("cache")):
        yield


def command_of(program: str, arguments: str, strain: Path | None) -> tuple[Callable, list[str]]:
    """Return the `main` of a program, and a line of the table as it would be typed."""
    words = arguments.split()
    if program == "detect":
        words = [*search_line(strain), *words[1:]]
    return importlib.import_module(program).main, words


def run_here(
    program: str, arguments: str, world: Path, strain: Path | None = None
) -> tuple[int, str]:
    """Run a command line in a folder; return its exit code and the message of a refusal."""
    main, words = command_of(program, arguments, strain)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)
        try:
            return main(words), ""
        except UserError as refused:
            return 2, str(refused)


def kill_there(case: Case, world: Path, strain: Path | None, output: Path) -> None:
    """Run a case's command line in a process of its own until it is killed."""
    main, words = command_of(case.program, case.arguments, strain)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)
        at = functools.partial(kill_when, "os.rename", lambda path: path.endswith(case.killed_at))
        code, said = start(main, words, output, before=at).wait()
    assert code == -signal.SIGKILL, said


def contents(world: Path) -> dict[str, bytes]:
    """Return the content of every file but locks, by its path in the world."""
    return {
        path.relative_to(world).as_posix(): path.read_bytes()
        for path in sorted(world.rglob("*"))
        if path.is_file() and not path.name.endswith((".lock", ".part"))
    }


def lost_files(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Return the files whose content is nowhere any more under their name, or with a time in it."""
    lost = []
    for name, content in before.items():
        stem, suffix = Path(name).stem, Path(name).suffix
        there = [
            c for n, c in after.items() if Path(n).name.startswith(stem) and n.endswith(suffix)
        ]
        if content not in there and Path(name).name not in (*DESCRIPTIONS, *RENDERED):
            lost.append(name)
    return lost


def results_of(world: Path) -> dict[str, bytes]:
    """Return the results of a world that are the same whenever they are made again."""
    return {
        name: content
        for name, content in contents(world).items()
        if Path(name).name not in (*DESCRIPTIONS, *RENDERED) and ".2" not in name
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.program}: {case.name}")
def test_nothing_finished_is_lost(
    case: Case, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture
) -> None:
    strain = request.getfixturevalue("strain") if case.program == "detect" else None
    world = tmp_path / "world"
    shutil.copytree(request.getfixturevalue(case.world), world)
    case.spoil(world)
    before = contents(world)
    arguments = case.arguments
    if case.killed_at:
        kill_there(case, world, strain, tmp_path / "output")
        assert lost_files(before, contents(world)) == []  # nor is anything lost meanwhile
        if case.program == "detect":
            arguments = arguments.replace("--overwrite", "--resume --overwrite")
    capsys.readouterr()
    code, refusal = run_here(case.program, arguments, world, strain)
    said = capsys.readouterr()
    assert code == case.code, refusal
    assert case.says in said.out + said.err + refusal
    after = contents(world)
    if case.code == 2 and not case.reports_faults:
        assert after == before
        return
    assert lost_files(before, after) == []
    if case.killed_at:  # what is there now is what is there where nothing was killed
        assert not [name for name in after if ".tmp" in name]
        shutil.copytree(request.getfixturevalue(case.world), tmp_path / "alone")
        case.spoil(tmp_path / "alone")
        assert run_here(case.program, case.arguments, tmp_path / "alone", strain)[0] == code
        assert results_of(world) == results_of(tmp_path / "alone")


def test_a_full_memory_says_how_a_search_continues(
    strain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    save_checkpoint(tmp_path / "results" / "demo" / "fold0.pt", {"model": Excess().state_dict()})
    score = WindowScorer.score_conditioned

    def greedy(scorer: WindowScorer, batch: dict[str, torch.Tensor]) -> np.ndarray:
        if len(batch["waveform"]) > 4:
            torch.empty(2**47, dtype=torch.uint8)  # more than a process can address
        return score(scorer, batch)

    monkeypatch.setattr(WindowScorer, "score_conditioned", greedy)
    code, refusal = run_here("detect", f"{DETECT} --batch_size 8", tmp_path, strain)
    assert code == 2
    assert "does not hold batches of 8 windows" in refusal
    assert "\n" not in refusal
    (advice,) = re.findall("continue with (--resume --batch_size 4)", refusal)
    assert run_here("detect", f"{DETECT} {advice}", tmp_path, strain) == (0, "")
