"""The files of a stack: submission.csv, its scores, and its out-of-fold predictions.

An earlier stack in the same folder is never overwritten by another one: it is moved aside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.moved_aside import new_name_beside
from experiments.npy_files import save_array
from experiments.predictions import align
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import atomic_path, read_json_object, remove_temporaries, write_json
from runtime.locks import hold
from stack.blend import StackResult
from stack.report import FILES, score_frame, stack_record

if TYPE_CHECKING:
    import pandas as pd

# What differs when the same stack is made again.
PROVENANCE = ("seconds", "command", "revision", "versions")


def check_output_folder(out: Path) -> None:
    """Refuse a folder in which the files of a stack would replace those of a run.

    Raises:
        UserError: it is no folder, or it is a run directory.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: expected a folder")
    if any((out / name).exists() for name in ("config.json", "run.json", "predictions.npy")):
        raise UserError(
            f"--out {out} is a run directory, whose own submission.csv would be replaced: name "
            f"another folder"
        )


def submission_frame(stack: StackResult) -> pd.DataFrame:
    """Return the table (id, target) to submit, in the order of sample_submission.csv."""
    import pandas as pd

    order = stack.inputs.order
    rows = align(stack.data.test_ids, order, "the test set")
    return pd.DataFrame({"id": order, "target": stack.submitted_probabilities()[1][rows]})


def write_stack(stack: StackResult, out: Path) -> pd.DataFrame:
    """Write submission.csv and the files that describe it into `out`; return the submission.

    The files of another stack that are there are moved into stack.<time>/ first; those of the same
    stack are replaced by the same content.

    Raises:
        UserError: a target is not finite, or `out` is a run directory.
    """
    table, out = submission_frame(stack), Path(out)
    check_output_folder(out)
    check_finite(table, out / "submission.csv")
    record = stack_record(stack)
    with hold(out / ".stack.lock", wait=True):
        remove_temporaries(out, FILES)  # of a killed process
        if not is_same_stack(out, record, table):
            move_earlier_stack(out)
        write_submission(out / "submission.csv", table)
        save_array(out / "stack_ids.npy", stack.data.train_ids)
        out_of_fold = stack.submitted_probabilities()[0]
        save_array(out / "stack_outoffolds.npy", out_of_fold[:, None])  # (n,) -> (n, 1)
        with atomic_path(out / "stack.csv") as temporary:
            score_frame(stack).to_csv(temporary, index=False)
        write_json(out / "stack.json", record)
    return table


def is_same_stack(out: Path, record: Mapping[str, Any], table: pd.DataFrame) -> bool:
    """Whether the stack in `out` has this content of stack.json and this submission."""
    if not all((out / name).is_file() for name in FILES):
        return False
    try:
        earlier = read_json_object(out / "stack.json")
    except UserError:
        return False
    same_record = without_provenance(earlier) == without_provenance(json.loads(json.dumps(record)))
    return same_record and (out / "submission.csv").read_text() == table.to_csv(index=False)


def without_provenance(value: Any) -> Any:
    """Return a value from JSON without the keys of `PROVENANCE`, at any depth."""
    if not isinstance(value, dict):
        return value
    return {k: without_provenance(v) for k, v in value.items() if k not in PROVENANCE}


def move_earlier_stack(out: Path) -> None:
    """Move the files of an earlier stack into out/stack.<time>/, if there are any."""
    there = [out / name for name in FILES if (out / name).exists()]
    if not there:
        return
    aside = new_name_beside(out / "stack")
    aside.mkdir()
    for path in there:
        path.rename(aside / path.name)
    LOGGER.info(f"the earlier stack in {out} is another one and is now in {aside}")


def check_finite(table: pd.DataFrame, path: Path) -> None:
    """Raise UserError if a target of the submission `path` is not finite."""
    bad = ~np.isfinite(table["target"].to_numpy())
    if bad.any():
        raise UserError(
            f"the stack gives {table['id'].iloc[bad.argmax()]} no finite target, so {path} is not "
            f"written: choose another --method"
        )


def write_submission(path: Path, table: pd.DataFrame) -> None:
    """Write a table (id, target) in Kaggle's format, whole or not at all.

    Raises:
        UserError: a target is not finite.
    """
    check_finite(table, path)
    with atomic_path(path) as temporary:
        table[["id", "target"]].to_csv(temporary, index=False)
