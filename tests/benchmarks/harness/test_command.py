"""Bad arguments of benchmarks are one sentence."""

from __future__ import annotations

import pytest

from benchmarks import RESULTS, __main__
from benchmarks.spectrograms import cwt
from benchmarks.training import growth
from runtime.command_line import run_command


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (cwt.main, ["--repeats", "0"], "--repeats 0: expected 1 or more"),
        (cwt.main, ["--threads", "-1"], "--threads -1: expected 1 or more"),
        (cwt.main, ["--device", "tpu"], "--device 'tpu': expected cpu, cuda or cuda:N"),
        (cwt.main, ["--device", "cuda:99"], "try --device cpu"),
        (cwt.main, ["--folder", "/no/such/folder"], "is not a folder"),
        (cwt.main, ["--quick", "--out", str(RESULTS)], "too rough to stand in"),
        (__main__.main, ["cwtt"], "there is no benchmark 'cwtt' (did you mean 'cwt'?)"),
        (growth.main, ["--repeats", "0"], "expected 1 or more"),
    ],
)
def test_bad_arguments_are_one_sentence(main, arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as error:
        run_command(lambda: main(arguments))
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
