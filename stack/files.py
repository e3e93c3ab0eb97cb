"""The files of a stack: submission.csv, its scores, and its out-of-fold predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.predictions import align, save_array
from runtime.errors import UserError
from runtime.files import atomic_path, write_json
from stack.blend import StackResult
from stack.report import score_frame, stack_record

if TYPE_CHECKING:
    import pandas as pd


def submission_frame(stack: StackResult) -> pd.DataFrame:
    """Return the table (id, target) of the chosen method, in the order of sample_submission.csv."""
    import pandas as pd

    order = stack.inputs.order
    rows = align(stack.data.test_ids, order, "the test set")
    return pd.DataFrame({"id": order, "target": stack.fit.test[rows]})


def write_stack(stack: StackResult, out: Path) -> pd.DataFrame:
    """Write submission.csv and the files that describe it into `out`; return the submission.

    Raises:
        UserError: a target is not finite.
    """
    table, out = submission_frame(stack), Path(out)
    write_submission(out / "submission.csv", table)
    save_array(out / "stack_ids.npy", stack.data.train_ids)
    save_array(out / "stack_outoffolds.npy", stack.fit.out_of_fold[:, None])  # (n,) -> (n, 1)
    with atomic_path(out / "stack.csv") as temporary:
        score_frame(stack).to_csv(temporary, index=False)
    write_json(out / "stack.json", stack_record(stack))
    return table


def write_submission(path: Path, table: pd.DataFrame) -> None:
    """Write a table (id, target) in Kaggle's format, whole or not at all.

    Raises:
        UserError: a target is not finite.
    """
    bad = ~np.isfinite(table["target"].to_numpy())
    if bad.any():
        raise UserError(
            f"the stack gives {table['id'].iloc[bad.argmax()]} no finite target, so {path} is not "
            f"written: choose another --method"
        )
    with atomic_path(path) as temporary:
        table[["id", "target"]].to_csv(temporary, index=False)
