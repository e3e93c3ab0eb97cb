"""The files that a stack leaves, and what becomes of those of an earlier stack."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stack_runs import NAMES, make_stack, write_results

from runtime.errors import UserError
from stack.blend import StackSettings, blend_runs
from stack.files import check_output_folder, write_stack, write_submission
from stack.report import FILES

QUICK = StackSettings(method="mean", resamples=20)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    data, truth = make_stack(n=60, m=20)
    return write_results(tmp_path, data, truth)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def aside(out: Path) -> list[Path]:
    return sorted(out.glob("stack.*-*"))


def test_a_submission_that_is_not_finite_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    table = pd.DataFrame({"id": ["a", "b"], "target": [0.25, 0.75]})
    write_submission(path, table)
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
    with pytest.raises(UserError, match="gives b no finite target"):
        write_submission(path, table.assign(target=[0.25, np.nan]))
    pd.testing.assert_frame_equal(pd.read_csv(path), table)


def test_the_same_stack_again_changes_nothing(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_stack(blend_runs(results, QUICK), out)
    before = contents(out)
    write_stack(blend_runs(results, QUICK), out)
    after = contents(out)
    assert aside(out) == []
    for name in ("submission.csv", "stack_ids.npy", "stack_outoffolds.npy"):
        assert before[name] == after[name]


OTHERS = {
    "other members": replace(QUICK, experiments=NAMES[:2]),
    "another method": replace(QUICK, method="ridge_rank"),
    "other resamples": replace(QUICK, resamples=30),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_stack_is_moved_aside(results: Path, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    write_stack(blend_runs(results, QUICK), out)
    before = contents(out)
    write_stack(blend_runs(results, OTHERS[what]), out)
    (kept,) = aside(out)
    assert contents(kept) == before
    assert contents(out)["stack.json"] != before["stack.json"]
    write_stack(blend_runs(results, QUICK), out)  # within the same second as well
    assert len(aside(out)) == 2


def test_a_submission_of_unknown_origin_is_moved_aside(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "submission.csv").write_text("by hand")
    write_stack(blend_runs(results, QUICK), out)
    (kept,) = aside(out)
    assert (kept / "submission.csv").read_text() == "by hand"


def test_a_run_directory_is_no_place_for_a_stack(results: Path) -> None:
    run = results / NAMES[0]
    (run / "submission.csv").write_text("of the run")
    with pytest.raises(UserError, match="is a run directory"):
        check_output_folder(run)
    with pytest.raises(UserError, match="is a run directory"):
        write_stack(blend_runs(results, QUICK), run)
    assert (run / "submission.csv").read_text() == "of the run"


def test_stack_json_says_what_is_submitted(results: Path, tmp_path: Path) -> None:
    write_stack(blend_runs(results, QUICK), tmp_path / "out")
    record = json.loads((tmp_path / "out" / "stack.json").read_text())
    assert record["submitted"] == {"kind": "method", "name": "mean"}
    assert record["left_out"] == {}


def test_two_stacks_at_once_are_both_kept_whole(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stacks = [blend_runs(results, settings) for settings in (QUICK, OTHERS["another method"])]
    with ThreadPoolExecutor(2) as pool:
        tables = list(pool.map(lambda stack: write_stack(stack, out), stacks))
    (kept,) = aside(out)
    written = set()
    for folder in (out, kept):
        record = json.loads((folder / "stack.json").read_text())
        table = tables[["mean", "ridge_rank"].index(record["method"])]
        assert (folder / "submission.csv").read_text() == table.to_csv(index=False)
        written.add(record["method"])
    assert written == {"mean", "ridge_rank"}


def test_half_written_files_of_killed_processes_are_removed(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "stack"
    out.mkdir()
    half = out / f".submission.{'a1' * 6}.tmp.csv"
    half.write_text("id,tar")
    write_stack(blend_runs(results, QUICK), out)
    assert not half.exists()
    assert not list(out.glob(".*.tmp*"))


def test_killed_while_writing(results: Path, tmp_path: Path) -> None:
    """Whatever file it was at: the next stack moves what is there aside and is whole."""
    stack = blend_runs(results, QUICK)
    for count in range(1, len(FILES)):
        out = tmp_path / f"out{count}"
        write_stack(stack, out)
        for name in FILES[count:]:  # they are written in this order
            (out / name).unlink()
        left = {name: (out / name).read_bytes() for name in FILES[:count]}
        write_stack(stack, out)
        assert set(contents(out)) == set(FILES)
        (kept,) = aside(out)
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == left
