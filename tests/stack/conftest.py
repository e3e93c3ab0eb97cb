"""One finished stack of three models, which no test changes, for the tests of the stack wing."""

from __future__ import annotations

from pathlib import Path

import pytest
from stack_runs import make_stack, write_results

import configs  # noqa: F401 - registers the experiments
from stack.blend import StackResult, StackSettings, blend_runs


@pytest.fixture(scope="session")
def stack_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, truth = make_stack()
    return write_results(tmp_path_factory.mktemp("stack"), data, truth)


@pytest.fixture(scope="session")
def stack(stack_results: Path) -> StackResult:
    return blend_runs(stack_results, StackSettings(resamples=200))
