"""The files that a stack leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from runtime.errors import UserError
from stack.files import write_submission


def test_a_submission_that_is_not_finite_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    table = pd.DataFrame({"id": ["a", "b"], "target": [0.25, 0.75]})
    write_submission(path, table)
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
    with pytest.raises(UserError, match="gives b no finite target"):
        write_submission(path, table.assign(target=[0.25, np.nan]))
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
