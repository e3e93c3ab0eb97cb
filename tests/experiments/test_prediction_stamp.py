"""Which predictions are of the same networks, and which folds were not finished."""

from __future__ import annotations

from pathlib import Path

import pytest
from prediction_files import write_prediction_files

from experiments.npy_files import load_array
from experiments.prediction_stamp import are_of_the_same_networks, samples_digest
from experiments.predictions import read_predictions
from runtime.errors import UserError
from runtime.files import write_json


def write_stamp(folder: Path, suffix: str = "", **changed) -> None:
    """Write predictions.json as inference does: two finished folds."""
    folds = {
        str(k): {"weights": f"w{k}", "finished": True, "epoch": 3, "own": True} for k in (0, 1)
    }
    stamp = {"folds": folds, "strain": {}, "settings": "s", "views": ["identity"]}
    ids = (load_array(folder / f"{name}.npy") for name in ("ids_train", "ids_test", "folds"))
    write_json(
        folder / f"predictions{suffix}.json", stamp | {"samples": samples_digest(*ids)} | changed
    )


def write_fold(folder: Path, fold: int, finished: bool, **changed) -> None:
    state = {"finished": finished, "epoch": 1, "weights": f"w{fold}"}
    write_json(folder / f"fold{fold}.json", state | changed)


def test_finished_folds_are_complete(tmp_path: Path) -> None:
    folder = write_prediction_files(tmp_path / "demo")
    write_stamp(folder)
    for fold in (0, 1):
        write_fold(folder, fold, finished=True)
    assert read_predictions(folder).unfinished == {}
    read_predictions(folder).check_complete("nothing")


def half_trained(folder: Path) -> None:
    """Its predictions were made while fold 1 was still being trained."""
    write_stamp(folder, folds={"1": {"weights": "w1", "finished": False, "epoch": 1, "own": True}})


def killed_after(folder: Path) -> None:
    """Fold 1 was trained again and killed, after the predictions were made."""
    write_stamp(folder)
    write_fold(folder, 1, finished=False, weights="other")


def retrained_after(folder: Path) -> None:
    """Fold 1 was trained again to its end, after the predictions were made."""
    write_stamp(folder)
    write_fold(folder, 1, finished=True, weights="other")


def old_run(folder: Path) -> None:
    """A run from before predictions.json recorded what is finished."""
    write_earlier_stamp(folder)
    write_fold(folder, 1, finished=False, weights=None)


def retrained_after_an_earlier_stamp(folder: Path) -> None:
    """Predictions without digests, and weights of fold 1 that were trained later, with one."""
    write_earlier_stamp(folder)
    (folder / "fold1.pt").write_bytes(b"trained again")
    write_fold(folder, 0, finished=True)  # fold0.pt is the file that the stamp names
    write_fold(folder, 1, finished=True)


def write_earlier_stamp(folder: Path) -> None:
    """Write predictions.json without digests: path, size and time of the weights."""
    weights = {}
    for fold in (0, 1):
        path = folder / f"fold{fold}.pt"
        path.write_bytes(b"weights")
        stat = path.stat()
        weights[str(fold)] = [str(path), stat.st_size, stat.st_mtime_ns]
    ids = (load_array(folder / f"{name}.npy") for name in ("ids_train", "ids_test", "folds"))
    stamp = {"views": ["identity"], "weights": weights, "samples": samples_digest(*ids)}
    write_json(folder / "predictions.json", stamp)


@pytest.mark.parametrize(
    "happened",
    [half_trained, killed_after, retrained_after, old_run, retrained_after_an_earlier_stamp],
)
def test_finite_logits_of_an_unfinished_fold_are_refused(tmp_path: Path, happened) -> None:
    folder = write_prediction_files(tmp_path / "demo")
    happened(folder)
    run = read_predictions(folder)
    assert list(run.unfinished) == [1]
    with pytest.raises(
        UserError, match=r"demo: the logits of fold 1 are not those of a finished.*x"
    ):
        run.check_complete("x")
    run.check_complete("x", allow_unfinished=True)


@pytest.mark.parametrize("evidence", ["run.json", "fold0.json", "fold1.pt", "fold0_last.pt"])
@pytest.mark.parametrize("suffix", ["", "_tta"])
def test_logits_whose_stamp_is_lost_are_of_unknown_weights(
    tmp_path: Path, evidence: str, suffix: str
) -> None:
    """A missing predictions.json is no sign of an older version: all of them wrote one."""
    folder = write_prediction_files(tmp_path / "demo", suffix=suffix)
    assert read_predictions(folder, suffix).unfinished == {}  # bare arrays of another origin
    write_json(folder / evidence, {"finished": True})
    run = read_predictions(folder, suffix)
    assert list(run.unfinished) == [0, 1]
    with pytest.raises(UserError, match=rf"predictions{suffix}\.json is missing, so"):
        run.check_complete("x")
    write_stamp(folder, suffix)
    assert read_predictions(folder, suffix).unfinished == {}


def test_an_earlier_stamp_of_the_weights_that_are_there(tmp_path: Path) -> None:
    folder = write_prediction_files(tmp_path / "demo")
    write_earlier_stamp(folder)
    write_fold(folder, 0, finished=True)
    write_fold(folder, 1, finished=True, weights=None)
    assert read_predictions(folder).unfinished == {}


def test_weights_of_another_run_are_no_retrained_ones(tmp_path: Path) -> None:
    folder = write_prediction_files(tmp_path / "demo")
    other = {"weights": "theirs", "finished": True, "epoch": 3, "own": False}
    write_stamp(folder, folds={"0": other, "1": other})
    write_fold(folder, 0, finished=True)
    assert read_predictions(folder).unfinished == {}


def test_a_damaged_stamp_is_named(tmp_path: Path) -> None:
    folder = write_prediction_files(tmp_path / "demo")
    for content in ([1], {"folds": [2]}, {"folds": {"0": 3}}):
        write_json(folder / "predictions.json", content)
        with pytest.raises(UserError, match=r"demo/predictions\.json"):
            read_predictions(folder)


def test_predictions_from_before_digests_are_compared_by_their_files() -> None:
    config = {"views": ["identity", "flip", "flip_ligo"], "test_cache": None}
    one = {
        "weights": {"0": ["results/demo/fold0.pt", 4, 8]},
        "samples": "s",
        "views": ["identity"],
        "config": config,
    }
    tta = one | {
        "weights": {"0": ["/home/me/results/demo/fold0.pt", 4, 8]},
        "views": ["identity", "flip", "swap_ligo"],
        "config": {"views": ["identity", "flip", "swap_ligo"], "test_cache": "test.f32"},
    }
    assert are_of_the_same_networks(one, tta)
    assert not are_of_the_same_networks(one, tta | {"weights": {"0": ["fold0.pt", 4, 9]}})
    assert not are_of_the_same_networks(one, tta | {"samples": "t"})


def test_what_makes_two_predictions_those_of_the_same_networks() -> None:
    """Digests of weights, samples and settings; not views, paths or the text of the config."""
    entry = {"weights": "a", "finished": True, "file": "results/demo/fold0.pt"}
    one = {"folds": {"0": entry}, "samples": "s", "strain": {}, "settings": "d", "views": ["x"]}
    moved = one | {
        "folds": {"0": entry | {"file": "/elsewhere/fold0.pt"}},
        "views": ["identity", "flip"],
        "config": {"views": ["identity", "flip"], "test_cache": "other.f32"},
    }
    assert are_of_the_same_networks(one, moved)
    for key, value in (
        ("folds", {"0": entry | {"weights": "b"}}),
        ("samples", "t"),
        ("settings", "e"),
        ("strain", {"test": {"a": "1"}}),
    ):
        assert not are_of_the_same_networks(one, moved | {key: value})
    # Logits from before the strain was recorded
    assert are_of_the_same_networks(one, moved | {"strain": None})
    assert not are_of_the_same_networks(one, moved | {"strain": None, "samples": "t"})
    # and from before the targets were.
    assert are_of_the_same_networks(one | {"labelled": "l"}, moved | {"labelled": None})
    assert not are_of_the_same_networks(one | {"labelled": "l"}, moved | {"labelled": "m"})


def test_digests_of_fewer_samples_are_compared_as_far_as_they_go() -> None:
    """Older contents of predictions.json digest 8 samples of a table; newer ones more."""
    entry = {"weights": "a", "finished": True, "file": "results/demo/fold0.pt"}
    one = {"folds": {"0": entry}, "samples": "s", "strain": {}, "settings": "d"}

    def are_same(strain: dict, other: dict) -> bool:
        return are_of_the_same_networks(
            one | {"strain": {"test": strain}}, one | {"strain": {"test": other}}
        )

    assert are_same({"a": "1", "b": "2"}, {"b": "2", "c": "3"})
    assert not are_same({"a": "1", "b": "2"}, {"b": "3", "c": "3"})
    assert not are_same({"a": "1"}, {"c": "1"})
    assert not are_same({"a": "1"}, {})
    assert are_same({}, {})
