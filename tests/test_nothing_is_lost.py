"""Nothing finished is lost: each command line again, with other settings, with a file removed.

For every line of the table a finished run is copied, something is done to it, and a command line is
typed. Afterwards each file that was finished is there with the same bytes, in the run or in a
directory that was moved aside; or the command was refused with exit code 2, and nothing changed.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from child_processes import kill_when, start
from pipeline_runs import run_job
from small_run import SMALL, command, make_data, run_here

import train
from experiments.moved_aside import is_moved_aside
from experiments.pipeline import make_plan

# What a start writes about itself, or what is the same in every run.
NOT_RESULTS = ("run.json", "config.json", "history.csv")


@dataclass(frozen=True)
class Case:
    """A command line over a finished run.

    Attributes:
        name: of the test.
        arguments: of train.py, or of train_pseudo.py for the run pseudo_demo.
        settings: of --set.
        code: the expected exit code.
        spoil: what is done to the run first.
        run: the run directory that it is about.
        says: part of what is printed.
    """

    name: str
    arguments: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    code: int = 2
    spoil: Callable[[Path], None] = lambda folder: None
    run: str = "demo"
    says: str = ""


def remove(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def mark_unfinished(folder: Path) -> None:
    """Leave what a training leaves that is killed in its first epoch, over older weights."""
    path = folder / "fold1.json"
    path.write_text(path.read_text().replace('"finished": true', '"finished": false'))


def foreign_weights(folder: Path) -> None:
    shutil.copy(folder / "fold1.pt", folder / "fold0.pt")


def remember_no_epochs(folder: Path) -> None:
    """Leave the records of an older run, which do not say how many epochs were asked for."""
    for path in folder.glob("fold?.json"):
        state = json.loads(path.read_text())
        del state["adjusted"]
        path.write_text(json.dumps(state))


def ask_for_more_epochs(folder: Path) -> None:
    """Leave what a start with more epochs leaves that is killed before its first epoch."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_epochs": 3}))


OTHER_TEST = ("test_path=@new/test.csv",)
FINISHED = "holds finished work"
CASES = [
    Case("again", says=FINISHED),
    Case("again with other settings", settings=("cv=4", "seed=5"), says=FINISHED),
    Case("a fold again", ("--limit_fold", "0"), says=FINISHED),
    Case("pseudo again", run="pseudo_demo", says=FINISHED),
    Case("resumed", ("--resume",), code=0, says="up to date"),
    Case("pseudo resumed", ("--resume",), code=0, run="pseudo_demo", says="up to date"),
    Case("a fold resumed", ("--resume", "--limit_fold", "0"), code=0, says="Fold 0 of demo"),
    Case("resumed with another seed", ("--resume",), ("seed=5",), says="in seed"),
    Case("resumed with fewer folds", ("--resume",), ("cv=3",), says="in cv"),
    Case("resumed with fewer epochs", ("--resume",), ("num_epochs=1",), says="not fewer"),
    Case("resumed with more epochs", ("--resume",), ("num_epochs=3",), code=0, says="copied"),
    Case("resumed with another batch", ("--resume",), ("batch_size=8",), code=0),
    Case(
        "more epochs of another batch",
        ("--resume",),
        ("num_epochs=3", "batch_size=8"),
        says="accumulate=2 keeps them",
    ),
    Case("overwritten", ("--overwrite",), code=0, says="moved"),
    Case("overwritten with cv=3", ("--overwrite",), ("cv=3",), code=0, says="moved"),
    Case("a fold overwritten", ("--overwrite", "--limit_fold", "1"), code=0, says="moved"),
    Case("pseudo overwritten", ("--overwrite",), code=0, run="pseudo_demo", says="moved"),
    Case("skipped", ("--skip_existing",), code=0, says="exists, skipped"),
    Case("no checkpoint to resume", ("--resume",), code=0, spoil=remove("fold0_last.pt")),
    Case("no record", ("--resume",), code=0, spoil=remove("fold0.json")),
    Case("no config", ("--resume",), code=0, spoil=remove("config.json"), says="up to date"),
    Case(
        "no config and another seed",
        ("--resume",),
        ("seed=5",),
        spoil=remove("config.json"),
        says="config.json is missing, and fold 0 was trained with other settings",
    ),
    Case(
        "predicted with no config and another seed",
        ("--inference",),
        ("seed=5",),
        spoil=remove("config.json"),
        says="config.json is missing, and fold 0 was trained with other settings",
    ),
    Case(
        "an older run resumed with more epochs",
        ("--resume",),
        ("num_epochs=3",),
        code=0,
        spoil=remember_no_epochs,
        says="epoch 3/3",
    ),
    Case(
        "predicted with folds that lack epochs",
        ("--inference",),
        spoil=ask_for_more_epochs,
        says="2 of the 3 epochs",
    ),
    Case("started over folds that lack epochs", spoil=ask_for_more_epochs, says=FINISHED),
    Case("no weights", ("--resume",), spoil=remove("fold0.pt"), says="restore it"),
    # The weights themselves say that they are of the last epoch.
    Case("nothing but weights", ("--resume",), code=0, spoil=remove("fold0.json", "fold0_last.pt")),
    Case("other weights", ("--resume",), spoil=foreign_weights, says="is not the file that"),
    Case("no logits", ("--resume",), code=0, spoil=remove("predictions.npy")),
    Case("no stamp", ("--resume",), code=0, spoil=remove("predictions.json")),
    Case("predicted again", ("--inference",), code=0, says="up to date"),
    Case("predicted anew", ("--inference", "--overwrite"), code=0, says="moved"),
    Case("other test samples", ("--inference",), OTHER_TEST, says="of other test samples"),
    Case("resumed for other test samples", ("--resume",), OTHER_TEST, says="of other test samples"),
    Case("other test samples aside", ("--inference", "--overwrite"), OTHER_TEST, code=0),
    Case("views", ("--inference", "--tta"), code=0),
    Case("predicted without weights", ("--inference",), spoil=remove("fold0.pt")),
    Case(
        "predicted without weights all the same",
        ("--inference", "--allow_unfinished"),
        spoil=remove("fold0.pt"),
    ),
    Case(
        "predicted while a fold is trained",
        ("--inference",),
        spoil=mark_unfinished,
        says="has not ended",
    ),
    Case(
        "pseudo-labels of an unfinished fold",
        ("--overwrite",),
        run="pseudo_demo",
        spoil=lambda folder: mark_unfinished_stamp(folder.parent / "demo"),
        says="finished",
    ),
]


def mark_unfinished_stamp(folder: Path) -> None:
    path = folder / "predictions.json"
    path.write_text(path.read_text().replace('"finished": true', '"finished": false', 1))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_data(root / "new", 4, 5, seed=9)
    return make_data(root / "input", 48, 12)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo and PseudoDemo, trained and predicted."""
    results = tmp_path_factory.mktemp("finished")
    run_here(data, results)
    run_here(data, results, config="PseudoDemo", script="train_pseudo.py")
    return results


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "results", ignore=shutil.ignore_patterns(".*"))
    return tmp_path / "results"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".log"
    }


def lost(before: dict[str, bytes], results: Path, run: str) -> Iterator[str]:
    """Yield the files that are neither in the run nor in what was moved aside of it."""
    places = [results / run, *(p for p in results.glob(f"{run}.*") if is_moved_aside(p))]
    after = [contents(place) for place in places]
    for name, content in before.items():
        if name not in NOT_RESULTS and content not in [found.get(name) for found in after]:
            yield name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_finished_is_lost(case: Case, data: Path, results: Path) -> None:
    case.spoil(results / case.run)
    before = {name: contents(results / name) for name in ("demo", "pseudo_demo")}
    pseudo = {"config": "PseudoDemo", "script": "train_pseudo.py"}
    settings = tuple(text.replace("@", f"{data.parent}/") for text in case.settings)
    done = run_here(
        data,
        results,
        *case.arguments,
        settings=settings,
        code=case.code,
        **(pseudo if case.run == "pseudo_demo" else {}),
    )
    assert case.says in done.stdout + done.stderr
    assert done.stderr.count("\n") == (case.code == 2)
    if case.code == 2:
        assert {name: contents(results / name) for name in before} == before
        assert not [path for path in results.iterdir() if is_moved_aside(path)]
        return
    for run, files in before.items():
        assert list(lost(files, results, run)) == []
    # Exit code 0 promises predictions without a gap, unless only a fold was trained.
    if "--limit_fold" not in case.arguments:
        assert np.isfinite(np.load(results / case.run / "predictions.npy")).all()


@dataclass(frozen=True)
class Kill:
    """A command line that is killed just before a file gets a name, and repeated.

    Attributes:
        name: of the test.
        arguments, settings: of train.py.
        at: how the path ends that the file is given.
        repeat: the arguments of the second start.
    """

    name: str
    arguments: tuple[str, ...]
    at: str
    repeat: tuple[str, ...] = ("--resume",)
    settings: tuple[str, ...] = ()


ANEW = ("--inference", "--overwrite")
KILLS = [
    Kill("as the old run moves aside", ("--overwrite",), "/fold1.pt"),
    Kill("in the new run", ("--overwrite",), "/demo/fold1_last.pt"),
    Kill("as it predicts", ("--overwrite",), "/demo/outoffolds.npy"),
    Kill("in a fold anew", ("--overwrite", "--limit_fold", "1"), "/demo/fold1.pt"),
    Kill("in more epochs", ("--resume",), "/demo/fold0.json", settings=("num_epochs=3",)),
    Kill(
        "as predictions move", ("--inference", "--overwrite"), "/submission.csv", ("--inference",)
    ),
    Kill(
        "as it predicts anew",
        ("--inference", "--overwrite"),
        "/demo/predictions.npy",
        ("--resume",),
    ),
    Kill("as it predicts views", ("--inference", "--tta"), "predictions_tta.json"),
]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_nothing_finished_is_lost_by_a_kill(
    kill: Kill, data: Path, results: Path, tmp_path: Path
) -> None:
    """A process of its own is ended by SIGKILL between two files, and the command repeated."""
    before = contents(results / "demo")
    line = command(data, results, *kill.arguments, settings=kill.settings)[2:]

    def before_it() -> None:
        kill_when("os.rename", lambda path: path.endswith(kill.at))

    code, said = start(train.main, line, tmp_path / "output", before_it).wait()
    assert code == -signal.SIGKILL, said
    assert list(lost(before, results, "demo")) == []
    run_here(data, results, *kill.repeat, settings=kill.settings)
    assert list(lost(before, results, "demo")) == []
    assert np.isfinite(np.load(results / "demo" / "predictions.npy")).all()
    assert not [path for path in (results / "demo").iterdir() if ".tmp" in path.name]


def test_a_missing_config_is_written_as_the_folds_were_trained(data: Path, results: Path) -> None:
    """Asked for more epochs, a prediction leaves no config that calls finished folds unfinished."""
    path = results / "demo" / "config.json"
    before = json.loads(path.read_text())
    path.unlink()
    run_here(data, results, "--inference", "--tta", settings=("num_epochs=3", "batch_size=8"))
    after = json.loads(path.read_text())
    assert {key: after[key] for key in ("num_epochs", "batch_size")} == {
        key: before[key] for key in ("num_epochs", "batch_size")
    }
    done = run_here(data, results, "--inference")
    assert "up to date" in done.stdout
    path.unlink()
    done = run_here(data, results, "--resume", settings=("num_epochs=1",), code=2)
    assert "the record of a fold says 2: a run may be given more epochs, not fewer" in done.stderr
    assert not path.exists()


def test_a_few_replaced_files_are_noticed(data: Path, results: Path, tmp_path: Path) -> None:
    """The files of all samples are compared, not those of a few that stand for the others."""
    changed = tmp_path / "data"
    shutil.copytree(data, changed)
    run_here(changed, results, "--resume")  # moved, and otherwise the same
    before = contents(results)
    for split, word in (("test", "other test samples of the same ids"), ("train", "the strain of")):
        path = changed / f"{split}0x1.npy"
        content = path.read_bytes()
        np.save(path, np.full((3, 4096), 1e-21))
        done = run_here(changed, results, "--resume", code=2)
        assert word in done.stderr
        path.write_bytes(content)
    assert {name: content for name, content in before.items() if "run.json" not in name} == {
        name: content for name, content in contents(results).items() if "run.json" not in name
    }


def test_a_child_notices_that_its_parent_was_trained_again(data: Path, results: Path) -> None:
    child = ("name=child", f"weight_path={results / 'demo'}", "num_epochs=1")
    run_here(data, results, settings=child)
    run_here(data, results, "--resume", settings=child)
    run_here(data, results, "--overwrite", settings=("num_epochs=1",))
    before = contents(results / "child")
    done = run_here(data, results, "--resume", settings=child, code=2)
    assert "it began with other weights" in done.stderr
    assert contents(results / "child") == before
    run_here(data, results, "--overwrite", settings=child)
    assert list(lost(before, results, "child")) == []


def test_remains_of_an_older_run_do_not_stand_beside_the_new_one(data: Path, results: Path) -> None:
    run_here(data, results, "--overwrite", settings=("cv=3", "num_epochs=1"))
    assert (results / "demo" / "fold2.pt").exists()
    run_here(data, results, "--overwrite", settings=("cv=2", "num_epochs=1"))
    names = {path.name for path in (results / "demo").rglob("*")}
    assert not {"fold2", "fold2.pt", "fold2.json", "fold2_last.pt"} & names
    assert sum(is_moved_aside(path) for path in results.iterdir()) == 2


def test_jobs_of_the_pipeline_lose_nothing(data: Path, results: Path) -> None:
    """Its source was trained again: a run is trained anew, and what was there is kept."""
    before = contents(results / "pseudo_demo")
    run_here(data, results, "--overwrite", settings=("num_epochs=1",))
    words = (*SMALL, f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}")
    plan = make_plan("PseudoDemo", str(results), shlex.join(words))
    for fold in (0, 1):
        run_job(results, f"pseudo_demo/fold{fold}.done", plan.train("pseudo_demo", fold))
    run_job(results, "pseudo_demo/predictions.done", plan.predict("pseudo_demo"))
    assert list(lost(before, results, "pseudo_demo")) == []
    assert contents(results / "pseudo_demo")["fold0.pt"] != before["fold0.pt"]
    assert np.isfinite(np.load(results / "pseudo_demo" / "predictions.npy")).all()
    # With nothing changed since, the same jobs find their results up to date.
    before = contents(results / "pseudo_demo")
    run_job(results, "pseudo_demo/fold0.done", plan.train("pseudo_demo", 0))
    run_job(results, "pseudo_demo/predictions.done", plan.predict("pseudo_demo"))
    assert list(lost(before, results, "pseudo_demo")) == []
    assert sum(path.name.startswith("pseudo_demo.") for path in results.iterdir()) == 1
