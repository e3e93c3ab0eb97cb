"""The report's section on the stack, from stack.json and stack.csv as stacking writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_runs import make, write_stack_record
from stack_runs import make_stack, write_results

import configs  # noqa: F401 - registers the experiments
from reporting.stack import read_stack
from stack.blend import StackSettings, blend_runs
from stack.files import write_stack


def test_the_stack_as_stacking_writes_it(results: Path) -> None:
    write_stack_record(results)
    page = make(results)
    words = page.words()
    for text in (
        "ridge_logit submitted 0.8820 ± 0.0028 0.8800 to 0.8840 +0.00500 −0.00410 to +0.00600 "
        "+0.00200 +0.00100 to +0.00300 0.8778",
        "against nspec_16",
        "against mean",
        "0.600",
        "0.500 to 0.700",
        "−0.150",
        "−0.200 to −0.100",
        "choice: optimism 0.00012",
        "choice: nested, mean 0.885",
        "skipped: boosting not installed",
        "missing seq_07, pseudo_06",
        "n_train 560000",
        "Stack, over the folds 0.8820",
    ):
        assert text in words
    assert page.text.count('<rect class="below"') == 1


def test_what_is_submitted_and_what_that_means(results: Path) -> None:
    record = write_stack_record(
        results,
        submitted={"kind": "model", "name": "nspec_16"},
        left_out={"seq_04": "its folds are unfinished"},
        models={
            "nspec_16": {"test_labelled_by": "nspec_12", "unfinished_folds": {"1": "killed"}},
            "seq_07": {"test_labelled_by": None, "unfinished_folds": {}},
        },
    )
    words = make(results).words()
    for text in (
        "The submission is the single run nspec_16",
        "nspec_16 was trained on the test samples with labels of nspec_12",
        "nspec_16 was stacked although fold 1 was not finished",
        "seq_04 was left out: its folds are unfinished",
    ):
        assert text in words
    assert "Stack, over the folds" not in words
    assert "ridge_logit submitted" not in words
    assert "seq_07 was" not in words
    (results / "stack.json").write_text(json.dumps(record | {"submitted": 3}))
    assert "shown as it stands" in make(results).words()


DAMAGE = {
    "no number": (("methods", "mean", "auc"), "0.88", "no methods.mean.auc that is a number"),
    "infinite": (("methods", "mean", "std"), float("inf"), "no methods.mean.std that is a number"),
    "no folds": (("methods", "mean", "folds"), [], "no methods.mean.folds that is a list"),
    "no object": (("methods", "ridge_logit"), None, "no methods.ridge_logit that is an object"),
    "methods in a list": (("methods",), [], "no methods that is an object"),
    "no difference": (("methods", "mean", "vs_best"), {}, "mean.vs_best.difference that is a"),
    "odd weights": (
        ("methods", "ridge_logit", "weights"),
        {"a": "b"},
        "no methods.ridge_logit.weights.a that is a list of numbers",
    ),
    "nothing chosen": (("method",), 3, "no method that is a text"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_another_format_is_shown_as_it_stands(results: Path, what: str) -> None:
    """It is not guessed at: the note names the key, and the page is written all the same."""
    where, value, message = DAMAGE[what]
    record = write_stack_record(results)
    inner = record
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    inner["by hand"] = "left in the file"
    (results / "stack.json").write_text(json.dumps(record))
    assert read_stack(results).methods == []
    words = make(results).words()
    assert message in words
    assert "shown as it stands" in words
    assert "left in the file" in words


def test_a_stack_that_is_not_json(results: Path) -> None:
    (results / "stack.json").write_text("{")
    assert "is not a JSON file" in make(results).words()


def test_the_table_of_scores(results: Path) -> None:
    (results / "stack.csv").write_text("kind,name,auc\nmethod,ridge,0.881234567\n")
    assert "ridge 0.881235" in make(results).words()
    # A submission of 226,000 rows by that name is not copied into the page.
    lines = "".join(f"sample{i},0.5\n" for i in range(5_000))
    (results / "stack.csv").write_text(f"id,target\n{lines}")
    page = make(results)
    assert "sample77" not in page.text
    assert "is no table of stacking scores" in page.words()


def test_the_reader_knows_the_format_of_the_writer(tmp_path: Path) -> None:
    """What stacking writes today, and not what this file believes that it writes."""
    data, truth = make_stack(n=120, m=40)
    runs = write_results(tmp_path, data, truth)
    stack = blend_runs(runs, StackSettings(method="ridge_rank", resamples=20))
    write_stack(stack, tmp_path / "out")
    summary = read_stack(tmp_path / "out")
    assert summary.notes == []
    assert [method.name for method in summary.methods] == ["mean", "ridge_rank"]
    method = summary.methods[1]
    assert method.mean == stack.submitted.score.mean
    assert method.folds == stack.submitted.score.folds
    assert method.test == stack.test_aucs["method"]["ridge_rank"]
    assert method.weights["pseudo_16"] == stack.fit.weights[:, 1].tolist()
    comparison = stack.submitted.difference_to(stack.plain_mean)
    assert method.differences["mean"] == (comparison.difference, comparison.low, comparison.high)
    assert summary.chosen == "ridge_rank"
    assert summary.table[0][:2] == ["kind", "name"]
