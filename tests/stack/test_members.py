"""Which runs are stacked, and which of their logits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stack_runs import NAMES, make_stack, write_results, write_run

from experiments.predictions import load_array, samples_digest
from runtime.errors import UserError
from stack.inputs import StackData, join_runs
from stack.members import final_experiments, find_member_runs, read_member_runs
from stack.tables import read_targets, training_table_path


@pytest.fixture
def data() -> StackData:
    return make_stack(n=60, m=20)[0]


@pytest.fixture
def results(tmp_path: Path, data: StackData) -> Path:
    return write_results(tmp_path, data)


def read(results: Path, tta: bool = True) -> StackData:
    folders = find_member_runs(results, (), final_experiments())
    runs = read_member_runs(folders, tta)
    return join_runs(runs, read_targets(training_table_path(folders), runs[0].train_ids))


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
    with pytest.raises(UserError, match=r"predictions_tta\.npy was made from other weights"):
        read(results)
