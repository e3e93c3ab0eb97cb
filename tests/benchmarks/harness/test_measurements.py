"""A measurement as JSON and as text."""

from __future__ import annotations

import json

from benchmark_examples import some_measurement

from benchmarks.harness.measurements import Measurement, format_duration, format_significant
from benchmarks.harness.timing import Spread


def test_rows_come_back_from_json() -> None:
    row = some_measurement(extra={"spread": Spread(1, 1, 1, 1)})
    again = Measurement.from_plain(json.loads(json.dumps(row.to_plain())))
    assert again.figure == row.figure
    assert again.cells("cpu") == row.cells("cpu")


def test_numbers_as_text() -> None:
    assert [format_significant(x) for x in (0.01234, 1.234, 12.34, 1234.0, -0.5)] == [
        "0.012",
        "1.23",
        "12.3",
        "1234",
        "-0.500",
    ]
    assert [format_duration(x) for x in (2.5, 0.0123, 4.5e-5)] == ["2.50 s", "12.3 ms", "45.0 µs"]
