"""One finished pipeline of two experiments, which no test changes, for the pipeline's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pipeline_runs import run_all_jobs, small_plan
from small_run import make_data

from experiments.pipeline import Plan


@pytest.fixture(scope="session")
def pipeline_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("pipeline") / "input", 40, 10)


@pytest.fixture(scope="session")
def finished_pipeline(pipeline_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("finished_pipeline") / "results"
    run_all_jobs(small_plan(pipeline_data, results))
    return results


@pytest.fixture
def pipeline(finished_pipeline: Path, pipeline_data: Path, tmp_path: Path) -> Plan:
    """A copy of it, with the dates of its files, for a test to change."""
    results = tmp_path / "results"
    shutil.copytree(finished_pipeline, results, ignore=shutil.ignore_patterns(".*"))
    return small_plan(pipeline_data, results)
