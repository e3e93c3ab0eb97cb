"""A quick run of a benchmark, and results as it would record them."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.harness.machine import describe_device
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.result_files import load_results
from benchmarks.harness.timing import Spread

CPU = torch.device("cpu")


def run_quick(module, out: Path, name: str) -> dict:
    """Run a benchmark's command line in quick mode and return its entry of the JSON file."""
    before = torch.get_num_threads()
    assert module.main(["--quick", "--device", "cpu", "--out", str(out), "--folder", str(out)]) == 0
    assert torch.get_num_threads() == before
    (path,) = out.glob("*.json")
    assert path.stem == describe_device(CPU)["slug"]
    assert path.with_suffix(".md").read_text().startswith("# Results on")
    assert [left for left in out.iterdir() if left.is_dir()] == []  # caches are cleared away
    return load_results(path)["benchmarks"][name]


def some_measurement(**changes) -> Measurement:
    values = {
        "key": "some.row",
        "what": "ours",
        "against": "theirs",
        "figure": Spread(4, 3, 6, 9),
        "unit": "×",
        "more_is_better": True,
        "targets": {"cpu": 5.0, "cuda": 3.0},
        "ours": Spread(0.001, 0.001, 0.001, 9),
        "theirs": Spread(0.004, 0.004, 0.004, 9),
    }
    return Measurement(**(values | changes))


def entry(rows: list[Measurement], disturbed: bool = False) -> dict:
    return {
        "quick": False,
        "date": "2025-01-02T03:04:05+0000",
        "git_revision": "0123456789ab+",
        "versions": {"torch": "2.6"},
        "threads": 2,
        "rows": [row.to_plain() for row in rows],
        "details": {},
        "load": {
            "seconds": 3.0,
            "load_average_before": [0.1, 0.1, 0.1],
            "load_average_after": [0.1, 0.1, 0.1],
            "cores_used_by_others": 0.0,
            "disturbed": disturbed,
        },
    }
