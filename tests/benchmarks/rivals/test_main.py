"""Every comparison with another package runs in small, and its results agree."""

from __future__ import annotations

import json
import math

import pytest
from benchmark_examples import run_quick

from benchmarks.harness.measurements import Measurement
from benchmarks.rivals import __main__ as rivals
from benchmarks.rivals.comparison import why_not_usable
from runtime.command_line import run_command

KEYS = {
    "ml4gw": ["whitening", "spectral_density", "q_transform", "phenom_pv2", "snr"],
    "pycbc": ["fresh", "noise"],
    "bilby": ["fresh", "bank", "noise"],
    "torchaudio": ["filtfilt", "biquad"],
    "nnAudio": ["baseline", "resized_08_aug_4"],
    "timm": ["training_step"],
    "sklearn": ["auc"],
    "torch": ["loader.0"],
}


class OnePackage:
    """The command for one package, as `run_quick` calls a benchmark."""

    def __init__(self, name: str) -> None:
        self.name = name

    def main(self, argv: list[str]) -> int:
        return rivals.main([self.name, *argv])


@pytest.mark.parametrize("name", KEYS)
def test_each_package_in_small(name: str, tmp_path, capsys) -> None:
    reason = why_not_usable(rivals.RIVALS[name][0])
    if reason is not None:
        pytest.skip(reason)
    entry = run_quick(OnePackage(name), tmp_path, "rivals")
    rows = [Measurement.from_plain(row) for row in entry["rows"]]
    assert [row.key for row in rows] == [f"{name.lower()}.{key}" for key in KEYS[name]]
    for row in rows:
        assert math.isfinite(row.figure.median)
        assert row.ours.median > 0
        assert row.theirs.median > 0
        assert row.targets == {"cpu": 1.0, "cuda": 1.0}
        difference = row.extra["largest_difference"]
        # Either they agree, or the row says why they cannot be compared.
        if difference is None:
            assert row.settings["results"].startswith("not compared")
        else:
            assert 0 <= difference < 0.2
    assert list(entry["rivals"]) == [name]
    assert all(row.what in capsys.readouterr().out for row in rows[:1])


def test_a_package_that_is_not_there_is_left_out_with_the_reason(
    tmp_path, monkeypatch, capsys
) -> None:
    absent = (("no_such_package",), rivals.RIVALS["sklearn"][1])
    monkeypatch.setitem(rivals.RIVALS, "ml4gw", absent)
    line = ["ml4gw", "sklearn", "--quick", "--device", "cpu", "--out", str(tmp_path)]
    for _ in range(2):  # the second replaces the record of the first
        assert rivals.main(line) == 0
    said = capsys.readouterr()
    assert "ml4gw is left out: the package no_such_package is not installed" in said.err
    (path,) = tmp_path.glob("*.json")
    entry = json.loads(path.read_text())["benchmarks"]["rivals"]
    assert [row["key"] for row in entry["rows"]] == ["sklearn.auc"]
    assert "ml4gw: the package no_such_package" in path.with_suffix(".md").read_text()


def test_one_package_does_not_replace_the_record_of_several(tmp_path, capsys) -> None:
    small = ["--quick", "--device", "cpu", "--out", str(tmp_path)]
    assert rivals.main(["sklearn", "torch", *small]) == 0
    (path,) = tmp_path.glob("*.json")
    before = path.read_bytes()
    with pytest.raises(SystemExit) as error:
        run_command(lambda: rivals.main(["sklearn", *small]))
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert f"{path} holds rivals of sklearn, torch, which sklearn would replace" in said
    assert "leave --out out" in said
    assert path.read_bytes() == before
    assert rivals.main(["torch", "sklearn", *small]) == 0  # the same names, once more


def test_a_misspelt_package_is_one_sentence(capsys) -> None:
    with pytest.raises(SystemExit) as error:
        run_command(lambda: rivals.main(["ml4wg"]))
    assert error.value.code == 2
    assert "there is no comparison with 'ml4wg' (did you mean 'ml4gw'?)" in capsys.readouterr().err


def test_every_package_is_tested_here() -> None:
    assert set(KEYS) == set(rivals.RIVALS)
