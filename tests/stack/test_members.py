"""Which runs are stacked, and which of their logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from stack_runs import NAMES, make_stack, write_results, write_run

from configs import Demo
from configuration.overrides import override
from experiments.npy_files import load_array, save_array
from experiments.observation_record import plain_config
from experiments.prediction_stamp import samples_digest
from runtime.errors import UserError
from stack.blend import StackSettings, read_stack_inputs
from stack.inputs import StackData, join_runs
from stack.members import final_experiments, find_member_runs, label_source, read_members
from stack.tables import read_training_targets


@pytest.fixture
def data() -> StackData:
    return make_stack(n=60, m=20)[0]


@pytest.fixture
def results(tmp_path: Path, data: StackData) -> Path:
    return write_results(tmp_path, data)


def read(results: Path, tta: bool = True, **options) -> StackData:
    folders = find_member_runs(results, (), final_experiments())
    runs = read_members(folders, named=True, tta=tta, **options).runs
    return join_runs(runs, read_training_targets(folders, runs[0].train_ids)[1])


def test_the_published_stack_has_twenty_columns_in_order() -> None:
    finals = final_experiments()
    assert [final.column for final in finals] == list(range(20))
    assert (finals[0].name, finals[1].name, finals[-1].name) == (
        "pseudo_12",
        "pseudo_seq_04",
        "pseudo_06",
    )
    assert sum(final.tta for final in finals) == 13


def test_which_runs_are_found(results: Path) -> None:
    finals = final_experiments()

    def found(*experiments: str) -> list[str]:
        return [folder.name for folder in find_member_runs(results, experiments, finals)]

    for name in ("nspec_16", "dry_run", "demo"):
        write_run(results / name, make_stack(n=60, m=20)[0], 0)
    (results / "notes").mkdir()
    assert found() == list(NAMES)  # by column, and no parents of theirs
    assert found("demo", "pseudo_07", "Pseudo14") == ["pseudo_14", "pseudo_07", "demo"]
    for name in NAMES:
        (results / name / "outoffolds.npy").unlink()
    assert found() == ["demo", "nspec_16"]


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        (["pseudo_15"], "there is no folder"),
        (["psuedo_14"], "did you mean 'pseudo_14'"),
        (["Pseudo15"], "pseudo_15"),
    ],
)
def test_a_run_that_is_not_there(results: Path, experiments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_member_runs(results, experiments, final_experiments())


def test_no_runs_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        find_member_runs(tmp_path / "absent", (), [])
    with pytest.raises(UserError, match="holds no run"):
        find_member_runs(tmp_path, (), [])


def test_views_are_preferred_where_they_are(results: Path, data: StackData) -> None:
    other = make_stack(n=60, m=20, seed=5)[0]
    write_run(results / NAMES[1], other, 1, "_tta", shuffle=1)
    joined = read(results)
    assert joined.suffixes == ("", "_tta", "")
    np.testing.assert_array_equal(joined.out_of_fold[:, 1], other.out_of_fold[:, 1])
    np.testing.assert_array_equal(joined.test[..., 1], other.test[..., 1])
    plain = read(results, tta=False)
    assert plain.suffixes == ("", "", "")
    np.testing.assert_array_equal(plain.out_of_fold, data.out_of_fold)


def test_views_of_other_weights_are_refused(results: Path, data: StackData) -> None:
    write_run(results / NAMES[1], data, 1, "_tta", shuffle=1)
    digest = samples_digest(
        *(
            load_array(results / NAMES[1] / f"{name}.npy")
            for name in ("ids_train", "ids_test", "folds")
        )
    )
    for suffix in ("", "_tta"):
        stamp = {"weights": {"0": ["a", 1, 2]}, "samples": digest, "views": [suffix]}
        (results / NAMES[1] / f"predictions{suffix}.json").write_text(json.dumps(stamp))
    read(results)
    stamp["weights"] = {"0": ["a", 1, 3]}
    (results / NAMES[1] / "predictions.json").write_text(json.dumps(stamp))
    with pytest.raises(UserError, match=r"predictions_tta\.npy is not known to be of the same"):
        read(results)


def write_stamps(folder: Path, plain: str = "w", tta: str = "w", finished: bool = True) -> None:
    """Write predictions.json and predictions_tta.json as inference does, of these weights."""
    names = ("ids_train", "ids_test", "folds")
    digest = samples_digest(*(load_array(folder / f"{name}.npy") for name in names))
    for suffix, weights, views, cache in (
        ("", plain, ["identity"], "train.f32"),
        ("_tta", tta, ["identity", "flip", "swap_ligo"], "/elsewhere/train.f32"),
    ):
        entry = {"weights": weights, "finished": finished, "epoch": 2, "own": True, "file": cache}
        stamp = {
            "folds": {str(fold): entry for fold in range(3)},
            "samples": digest,
            "strain": {},
            "settings": "s",
            "views": views,
            "config": {"views": views, "train_cache": cache, "train_path": cache},
        }
        (folder / f"predictions{suffix}.json").write_text(json.dumps(stamp))


def test_views_paths_and_caches_do_not_make_other_networks(results: Path, data: StackData) -> None:
    """Digests of weights, settings and samples decide; the rest only describes."""
    write_run(results / NAMES[1], data, 1, "_tta", shuffle=1)
    write_stamps(results / NAMES[1])
    assert read(results).suffixes == ("", "_tta", "")
    write_stamps(results / NAMES[1], tta="other")
    with pytest.raises(UserError, match=r"aside, and again with --inference --tta"):
        read(results)
    assert read(results, tta=False).suffixes == ("", "", "")


def test_unfinished_folds_need_the_flag(results: Path) -> None:
    write_stamps(results / NAMES[2], finished=False)
    with pytest.raises(UserError, match=rf"{NAMES[2]}: the logits of fold 0 .*--allow_unfinished"):
        read(results)
    assert read(results, allow_unfinished=True).names == NAMES
    folders = [results / name for name in NAMES]
    members = read_members(folders, named=True, allow_unfinished=True)
    assert list(members.unfinished) == [NAMES[2]]
    assert sorted(members.unfinished[NAMES[2]]) == [0, 1, 2]


def make_unfinished(folder: Path) -> None:
    write_stamps(folder, finished=False)


def make_foreign(folder: Path) -> None:
    write_run(folder, make_stack(n=54, m=20)[0], 2)


def refold(folder: Path) -> None:
    save_array(folder / "folds.npy", (load_array(folder / "folds.npy") + 1) % 3)


def cut_short(folder: Path) -> None:
    (folder / "predictions.npy").write_bytes(b"")


@pytest.mark.parametrize("harm", [make_unfinished, make_foreign, refold, cut_short])
@pytest.mark.parametrize("place", [0, 2])
def test_one_bad_run_is_left_out_unless_it_was_named(results: Path, harm, place: int) -> None:
    """Also if it is the first, by which the others would otherwise be measured."""
    harm(results / NAMES[place])
    folders = [results / name for name in NAMES]
    members = read_members(folders, named=False)
    assert list(members.left_out) == [NAMES[place]]
    assert [run.name for run in members.runs] == [n for n in NAMES if n != NAMES[place]]
    with pytest.raises(UserError):
        join_runs(read_members(folders, named=True).runs, np.arange(60) // 3 % 2)


def being_trained(folder: Path) -> None:
    folder.mkdir()
    (folder / "fold0_last.pt").touch()


def half_predicted(folder: Path) -> None:
    write_run(folder, make_stack(n=60, m=20)[0], 0)
    (folder / "predictions.npy").unlink()


@pytest.mark.parametrize("state", [being_trained, half_predicted])
def test_a_run_without_predictions_is_left_out_with_a_word(results: Path, state) -> None:
    """Also in stack.json, whose `left_out` these are."""
    state(results / "pseudo_12")  # of the published stack
    state(results / "demo")  # would not be stacked beside those anyway
    left_out = read_stack_inputs(results, StackSettings()).members.left_out
    assert list(left_out) == ["pseudo_12"]
    assert "--resume" in left_out["pseudo_12"]
    named = StackSettings(experiments=(NAMES[0],))
    assert not read_stack_inputs(results, named).members.left_out
    for name in NAMES[1:]:
        shutil.rmtree(results / name)
    (results / NAMES[0]).rename(results / "other")
    left_out = read_stack_inputs(results, StackSettings()).members.left_out
    assert sorted(left_out) == ["demo", "pseudo_12"]


def test_views_without_the_record_of_the_plain_logits(results: Path, data: StackData) -> None:
    """Whether a lost predictions.json was of the same networks cannot be known."""
    write_run(results / NAMES[1], data, 1, "_tta", shuffle=1)
    write_stamps(results / NAMES[1])
    (results / NAMES[1] / "predictions.json").unlink()
    with pytest.raises(UserError, match="not known to be of the same networks"):
        read(results)


def test_a_fold_that_learnt_from_pseudo_labels_says_so_itself(results: Path) -> None:
    """Where config.json and predictions.json are lost."""
    folder = results / "labelled"
    folder.mkdir()
    (folder / "fold0.json").write_text(json.dumps({"trained_from": {"pseudo_labels": None}}))
    assert label_source(folder) is None
    (folder / "fold1.json").write_text(json.dumps({"trained_from": {"pseudo_labels": "digest"}}))
    assert label_source(folder) == "another run"


def test_no_run_is_left(results: Path) -> None:
    for name in NAMES:
        make_unfinished(results / name)
    with pytest.raises(UserError, match="no run is left to stack"):
        read_members([results / name for name in NAMES], named=False)


def test_who_was_trained_on_the_test_samples(results: Path, tmp_path: Path) -> None:
    """A pseudo-label run, and a run that begins with its weights; by name, folder and file."""
    labels = {"class": "PseudoLabels", "source": "nspec_16"}
    for name, config in (
        ("labelled", {"pseudo_labels": labels}),
        ("child", {"pseudo_labels": None, "weight_path": "labelled"}),
        ("grandchild", {"weight_path": str(results / "child")}),
        ("of_a_file", {"weight_path": str(results / "child" / "fold0.pt")}),
        ("plain", {"pseudo_labels": None, "weight_path": None}),
        ("circle", {"weight_path": "circle"}),
    ):
        (results / name).mkdir()
        (results / name / "config.json").write_text(json.dumps(config))
        (results / name / "fold0.pt").touch()
    for name in ("labelled", "child", "grandchild", "of_a_file"):
        assert label_source(results / name) == "nspec_16", name
    for name in ("plain", "circle", "absent"):
        assert label_source(results / name) is None, name
    entry = {"weights": "w", "finished": True, "pseudo_labelled_test_samples": 20}
    stamp = {"folds": {"0": entry}, "samples": "s", "views": ["identity"]}
    (results / "plain" / "predictions.json").write_text(json.dumps(stamp))
    assert label_source(results / "plain") == "another run"
    figures = {"samples": 20, "unfinished_folds": {"1": "killed"}}
    (results / "labelled" / "pseudo_labels.json").write_text(json.dumps(figures))
    assert label_source(results / "child") == "nspec_16, whose fold 1 was not finished"


def test_runs_are_named_as_train_py_names_experiments(results: Path, tmp_path: Path) -> None:
    """By a class of a file of one's own, and by the record of a run, as by class and folder."""
    own = tmp_path / "own_members.py"
    own.write_text(
        'from configs import Demo\n\n\nclass OwnMember(Demo):\n    name = "own_member"\n'
    )
    record = tmp_path / "config.json"
    record.write_text(json.dumps(plain_config(override(Demo, ["name=noted"]))))
    for name in ("own_member", "noted"):
        shutil.copytree(results / NAMES[0], results / name)
    named = [f"{own}:OwnMember", str(own), str(record), "Pseudo07", NAMES[0]]
    found = find_member_runs(results, named, final_experiments())
    assert {folder.name for folder in found} == {"own_member", "noted", "pseudo_07", NAMES[0]}
    with pytest.raises(UserError, match="it defines no such experiment"):
        find_member_runs(results, [f"{own}:Another"], ())
