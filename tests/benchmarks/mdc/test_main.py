"""The command line: a run from end to end, its files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from simple_scorer import OneTemplateScorer

import benchmarks.mdc.__main__ as mdc
from benchmarks.mdc.search_run import EventSettings, Search
from physics.observation import Observation
from runtime.errors import UserError

pytest.importorskip("lalsimulation")

OBSERVATION = Observation(("H1", "L1"), 2048, 2.0, 15.0, "aLIGOZeroDetHighPower")


@pytest.fixture
def one_template(monkeypatch) -> None:
    """Search with one template in place of networks, which take longer."""
    search = Search(
        "one template",
        "one_template",
        OBSERVATION,
        OneTemplateScorer(OBSERVATION),
        EventSettings(cluster=1.0, least=25.0),
        {},
    )
    monkeypatch.setattr(mdc, "find_searches", lambda choice, device: [search])


def test_a_run_writes_tables_plots_and_the_challenges_files(
    one_template, tmp_path: Path, capsys
) -> None:
    arguments = ["--set", "1", "--duration", "2m", "--segment", "120", "--config", "Mdc1"]
    arguments += ["--out", str(tmp_path / "run"), "--rates", "40000", "100"]
    assert mdc.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "PyCBC, published: Schäfer et al." in printed
    assert "not resolved: needs 0.3 d of background" in printed
    assert "not recorded" in printed
    for name in ("sensitivity.json", "sensitivity.md", "sensitivity.png"):
        assert (tmp_path / "run" / name).is_file()
    plain = json.loads((tmp_path / "run" / "sensitivity.json").read_text())
    figures = plain["searches"]["one template"]
    assert figures["injections"] == 4
    assert figures["rows"][0]["background_louder"] == 1
    with h5py.File(tmp_path / "run" / "one_template" / "injections.hdf") as file:
        assert len(file["tc"]) == 4
        assert np.ptp(file["distance"][()]) > 0
    # again: nothing is searched, and the same comes out
    before = (tmp_path / "run" / "sensitivity.md").read_text()
    assert mdc.main([*arguments, "--record", str(tmp_path / "record")]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 segments are done" in printed
    after = (tmp_path / "run" / "sensitivity.md").read_text()
    assert [line for line in after.splitlines() if "MiB" not in line] == [
        line for line in before.splitlines() if "MiB" not in line
    ]
    assert (tmp_path / "record" / "mdc.json").is_file()
    assert (tmp_path / "record" / "set-1.png").is_file()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("6h", 21_600), ("1.5d", 129_600), ("30", 30)]
)
def test_durations_are_times(text: str, seconds: int) -> None:
    assert mdc.read_duration(text) == seconds


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--duration", "long"], "--duration 'long': expected a time such as 90m, 6h or 1d"),
        (["--duration", "0h"], "--duration '0h': expected a time"),
        (["--duration", "90m"], "no whole number of segments of 3600 s: give one, e.g. 3600s"),
        (["--set", "2"], "--set 2: expected data set 1 or 3 of the challenge, or the name of an"),
        (["--segment", "0"], "--segment 0: expected 1 or more"),
        (["--slides", "-1"], "--slides -1, --seed 2021: expected 0 or more"),
        (["--rates", "0"], "expected positive numbers"),
        (["--glitches", "-3"], "-3 glitches an hour and detector: expected more than 0"),
        (["--background", "b.hdf"], "belong together: give all"),
        (["--no_plain"], "nothing to search with: name an experiment with --config"),
        (["--config", "Nspec16", "--untrained"], "is no filter bank and finds nothing untrained"),
        (["--config", "Mdc2"], "there is no config 'Mdc2'"),
        (["--config", "Mdc1", "--results", "nowhere"], "nowhere/mdc_1 has no weights"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    with pytest.raises(UserError) as error:
        mdc.main([*arguments, "--out", str(tmp_path / "run")])
    assert words in str(error.value)
    assert not (tmp_path / "run").exists()
