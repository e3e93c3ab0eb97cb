"""The command line of the search, on invented strain with a loud chirp in it."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT
from quick_commands import quick_commands
from real_strain import START, coloured_noise, write_strain
from small_run import SMALL
from small_search import MERGER, Excess, write_small_strain

import detect
from configs import Demo
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta, find_config
from configuration.overrides import override
from experiments.building import build_model
from experiments.observation_record import plain_config
from experiments.side_targets import SideTarget
from physics.observation import COMPETITION
from runtime.command_line import run_command
from runtime.errors import UserError
from runtime.files import write_json
from search.folder import RESULTS
from search.search import Search
from search.search_file import read_search_file
from training.checkpoints import save_checkpoint

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Strain of H1 and L1 with one loud event in both, and a run to search with."""
    place = tmp_path_factory.mktemp("place")
    write_small_strain(place)
    write_strain(place / "later.hdf5", "L1", np.ones(32 * 4096), start=START + 1000)
    write_strain(place / "short.hdf5", "H1", np.ones(3 * 4096))
    write_strain(place / "slow.hdf5", "H1", np.ones(32 * 1024), rate=1024)
    (place / "text.hdf5").write_text("no strain")
    with h5py.File(place / "link.hdf5", "w") as file:
        file["strain/Strain"] = h5py.ExternalLink("H1.hdf5", "/strain/Strain")
    with h5py.File(place / "pickle.hdf5", "w") as file:
        file["strain/Strain"] = np.void(b"cos\nsystem\n(S'touch sprung'\ntR.")
    save_checkpoint(place / "results" / "demo" / "fold0.pt", {"model": Excess().state_dict()})
    small = override(find_config("Demo"), SMALL)
    weights = {"model": build_model(small).state_dict()}
    save_checkpoint(place / "small" / "demo" / "fold0.pt", weights)
    return place


@pytest.fixture
def excess(monkeypatch):
    """Let `--config Demo` mean that network, on Demo's own whitening."""
    config = ConfigMeta("Demo", (Demo,), {"model": Excess, "published": {}}, register=False)
    monkeypatch.setitem(ConfigMeta.registry, "Demo", config)


@pytest.fixture
def quick(tmp_path):
    """Let searches go without whitening, which takes seconds for each stretch."""
    with quick_commands(tmp_path / "cache"):
        yield


def both(place: Path) -> list[str]:
    return ["--strain", *(f"{name}={place / name}.hdf5" for name in ("H1", "L1"))]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_finds_the_event(place, tmp_path, excess, capsys):
    arguments = ["--config", "Demo", "--results", str(place / "results"), "--out", str(tmp_path)]
    assert detect.main([*arguments, *both(place), "--slides", "15"]) == 0
    said = capsys.readouterr().out
    assert "no strain of V1: its channel is filled with noise of its design curve" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(RESULTS)
    facts = json.loads((tmp_path / "detection.json").read_text())
    assert facts["detectors"] == ["H1", "L1"]
    assert facts["slides"] == 15
    assert 25 < facts["live_seconds_by_combination"]["H1L1"] < 30
    first, second, *_ = rows(tmp_path / "candidates.csv")
    assert "probability" not in first
    assert float(first["gps"]) == pytest.approx(START + MERGER, abs=0.2)
    # a coherent signal stands out of noise whose scores scatter by a few tenths
    assert float(first["score"]) > float(second["score"]) + 1
    assert (first["slid_as_loud"], first["limit"], first["removed"]) == ("0", "<", "1")
    assert "No slid trigger is as loud in" in said
    assert "This is the floor that the length of the strain and its time slides set" in said
    assert said.rstrip().endswith(f": open {tmp_path / 'detection.html'}")
    assert "1 trigger counts as a signal and is removed" in said
    # Its own slid copies are removed, and the loudest of the noise is as quiet as it should be.
    assert facts["slid_loudest"] < float(second["score"]) + 2
    assert len(facts["removed_from_background"]) == 1
    file = read_search_file(tmp_path / "triggers.hdf5")
    whole = file.live.seconds[file.live.slide > 0].sum()
    years = 365.25 * 86_400
    assert float(first["false_alarms_per_year"]) == pytest.approx(years / whole, rel=1e-3)
    assert float(second["false_alarms_per_year"]) > years / whole
    assert len(file.found) == facts["candidates"] == len(rows(tmp_path / "candidates.csv"))
    assert file.identity == facts["identity"]
    page = (tmp_path / "detection.html").read_text()
    assert "This is the floor" in page


class ExcessWithSides(Excess):
    """The same, and where in the window the strain is loudest, and a mass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        place = x[:, :2].square().sum(1).argmax(1, keepdim=True) / x.shape[-1]
        return torch.cat([super().forward(x), place, torch.zeros_like(place)], dim=1)


@pytest.fixture
def with_sides(monkeypatch) -> None:
    """Demo with that network."""
    sides = (
        Part(SideTarget, name="merger_time", center=0.0, scale=COMPETITION.window),
        Part(SideTarget, name="chirp_mass", log=True, center=math.log(30), scale=1.0),
    )
    changed = {"model": ExcessWithSides, "published": {}, "side_targets": sides}
    config = ConfigMeta("Demo", (Demo,), changed, register=False)
    monkeypatch.setitem(ConfigMeta.registry, "Demo", config)


def test_side_targets_are_reported(place, tmp_path, with_sides, capsys):
    line = ["--config", "Demo", "--results", str(place / "results"), *both(place)]
    line += ["--step", "0.5", "--slides", "2", "--maps", "0", "--out", str(tmp_path)]
    assert detect.main(line) == 0
    first = rows(tmp_path / "candidates.csv")[0]
    # The merger is where the strain of its window is loudest, more precisely than windows begin.
    assert float(first["predicted_merger_time"]) == pytest.approx(START + MERGER, abs=0.05)
    assert first["predicted_chirp_mass"] == "30.0000"
    merger = first["predicted_merger_time"]
    assert f"the loudest: merger time {merger}, chirp mass 30.0000." in capsys.readouterr().out
    file = read_search_file(tmp_path / "triggers.hdf5")
    assert file.found.side_names == ("merger_time", "chirp_mass")
    assert f"{file.found.sides[file.found.score.argmax(), 0]:.4f}" == merger
    page = (tmp_path / "detection.html").read_text()
    assert '<th scope="col">predicted merger time</th>' in page
    assert f"<td>{merger}</td><td>30.0000</td>" in page


def test_segments_and_vetoes_are_not_searched(place, tmp_path, quick, capsys):
    (tmp_path / "veto.txt").write_text(f"{START + 16} {START + 18}\n")
    line = ["--config", "Demo", "--results", str(place / "results"), *both(place)]
    line += ["--step", "0.5", "--slides", "0", "--maps", "0", "--veto", str(tmp_path / "veto.txt")]
    out = tmp_path / "out"
    assert detect.main([*line, "--out", str(out)]) == 0
    assert "not searched: H1: 2 s by --veto" in capsys.readouterr().out
    times = [float(row["gps"]) - START for row in rows(out / "candidates.csv")]
    assert times
    assert not any(abs(time - MERGER) < 1 for time in times)
    excluded = rows(out / "excluded.csv")
    assert [(row["detector"], row["seconds"]) for row in excluded[:2]] == [("H1", "2"), ("L1", "2")]
    # And where, with what the filters spoil on either side.
    for row, detector in zip(excluded[2:], ("H1", "L1"), strict=True):
        assert (row["detector"], row["reason"]) == (detector, "gap, excluded or equal samples")
        assert START + 14.5 < float(row["gps_start"]) < START + 16
        assert START + 18 < float(row["gps_end"]) < START + 19.5
        assert float(row["seconds"]) == pytest.approx(
            float(row["gps_end"]) - float(row["gps_start"]), abs=2e-4
        )


def test_a_search_is_the_background_of_another(place, tmp_path, quick, capsys):
    """The same networks on other strain, with no time slides of its own."""
    common = ["--config", "Demo", "--results", str(place / "results"), "--step", "0.5"]
    common += ["--maps", "0", *both(place)]
    assert detect.main([*common, "--slides", "15", "--out", str(tmp_path / "one")]) == 0
    triggers = str(tmp_path / "one" / "triggers.hdf5")
    with pytest.raises(UserError, match="strain that this search slides as well"):
        detect.main([*common, "--background", triggers, "--out", str(tmp_path / "two")])
    line = [*common, "--slides", "0", "--background", triggers, "--out", str(tmp_path / "two")]
    assert detect.main(line) == 0
    one, two = (rows(tmp_path / name / "candidates.csv") for name in ("one", "two"))
    assert [row["score"] for row in one] == [row["score"] for row in two]
    assert one[0]["false_alarms_per_year"] == two[0]["false_alarms_per_year"] != ""
    with pytest.raises(UserError, match="a search with other --step"):
        detect.main([*line, "--step", "1", "--out", str(tmp_path / "three")])


def test_injections_are_searched_for(place, tmp_path, quick, with_sides, capsys):
    pytest.importorskip("lalsimulation", reason="signals need LALSuite")
    line = ["--config", "Demo", "--results", str(place / "results"), *both(place), "--maps", "0"]
    line += ["--step", "0.2", "--inject", "Demo", "--every", "5", "--out", str(tmp_path)]
    assert detect.main(line) == 0
    facts = json.loads((tmp_path / "detection.json").read_text())
    injected = rows(tmp_path / "injections.csv")
    assert len(injected) == facts["injections"] >= 2
    assert {row["distance_mpc"] != "" for row in injected} == {True}
    table = rows(tmp_path / "sensitivity.csv")
    assert {int(row["injections"]) for row in table} == {len(injected)}
    # Demo's population has no law of distances, and so no sensitive distance
    assert {row["sensitive_distance_mpc"] for row in table} == {""}
    for row in injected:  # side targets as injected, and as predicted of those with a trigger
        assert row["injected_merger_time"] == row["gps"]
        assert (row["predicted_merger_time"] != "") == (row["score"] != "")
    with h5py.File(tmp_path / "triggers.hdf5") as file:
        assert list(file["injections"].attrs["side_names"]) == ["merger_time", "chirp_mass"]
        assert file["injections/predicted"].shape == (len(injected), 2)
    # the candidates are those of the strain without injections
    assert detect.main([*line[:-1], str(tmp_path / "plain"), "--slides", "20"]) == 0
    again = rows(tmp_path / "plain" / "injections.csv")
    assert again == injected
    with pytest.raises(UserError, match="injections would overlap"):
        detect.main([*line, "--every", "1"])


def test_results_of_two_searches_never_mix(place, tmp_path, quick, monkeypatch, capsys):
    """Another search is refused; with --overwrite, killed before its results, and resumed."""
    out = tmp_path / "out"
    common = ["--config", "Demo", "--results", str(place / "results"), *both(place)]
    common += ["--step", "0.5", "--slides", "2", "--maps", "0", "--out", str(out)]
    assert detect.main(common) == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert detect.main(common) == 0  # the same again changes nothing
    assert "nothing to do" in capsys.readouterr().out
    other = [*common, "--cluster", "1"]
    with pytest.raises(UserError, match=r"another search \(other settings\): add --overwrite"):
        detect.main(other)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first

    def killed(self, path, identity):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Search, "write_triggers", killed)
        with pytest.raises(KeyboardInterrupt):
            detect.main([*other, "--overwrite"])
    assert [path.name for path in out.iterdir()] == [".unfinished"]
    (aside,) = tmp_path.glob("out.2*")
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == first
    with pytest.raises(UserError, match=r"unfinished search in .* is another one"):
        detect.main([*common, "--resume"])
    assert detect.main([*other, "--resume"]) == 0
    again = tmp_path / "again"
    assert detect.main([*other, "--out", str(again)]) == 0
    for name in ("triggers.hdf5", "candidates.csv", "excluded.csv"):
        assert (out / name).read_bytes() == (again / name).read_bytes()


def test_parts_give_what_one_process_gives(place, tmp_path, quick, capsys):
    """Bit by bit, the injections too; a part is refused where another search is."""
    pytest.importorskip("lalsimulation", reason="signals need LALSuite")
    line = ["--config", "Demo", "--results", str(place / "results"), *both(place)]
    line += ["--step", "1", "--stretch", "16", "--slides", "1", "--maps", "0", "--shift", "2"]
    line += ["--inject", "Demo", "--every", "12"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert detect.main([*line, "--out", str(whole)]) == 0
    for number in (2, 1):
        one = [*line, "--out", str(parts), "--part", f"{number}/2"]
        assert detect.main(one) == 0
    assert "Part 2/2 is searched" in capsys.readouterr().out
    assert detect.main([*line, "--out", str(parts)]) == 0
    facts = json.loads((parts / "detection.json").read_text())
    assert facts["stretches"] > 1
    assert facts["injections"] > 1
    for name in sorted(path.name for path in whole.iterdir()):
        one, other = (folder / name for folder in (whole, parts))
        if name == "detection.json":
            assert json.loads(one.read_text()) | {"command": facts["command"]} == facts
        else:
            assert one.read_bytes() == other.read_bytes(), name
    assert detect.main([*line, "--out", str(parts), "--part", "1/2"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"another search \(other settings\)"):
        detect.main([*line, "--out", str(parts), "--part", "1/2", "--cluster", "1"])


def test_a_fold_that_is_not_finished_is_refused(place, tmp_path, quick):
    run = tmp_path / "results" / "demo"
    state = {"epoch": 1, "finished": False}
    save_checkpoint(run / "fold0.pt", {"model": Excess().state_dict(), "state": state})
    arguments = ["--config", "Demo", "--results", str(tmp_path / "results"), *both(place)]
    with pytest.raises(UserError, match=r"fold0\.pt is of a training that has not ended"):
        detect.main(arguments)
    quick = ["--step", "2", "--slides", "0", "--maps", "0", "--allow_unfinished"]
    assert detect.main([*arguments, *quick]) == 0
    facts = json.loads((run / "detect" / "detection.json").read_text())
    assert facts["unfinished_folds"] == [0]


def test_gw150914_is_the_loudest_of_its_file(place, shared, tmp_path, excess):
    """Whitened as it should be, the event needs no trained network to stand out."""
    folder = shared / "data" / "gwosc"
    files = {name: f"{name[0]}-{name}_LOSC_4_V2-1126259446-32.hdf5" for name in ("H1", "L1")}
    strain = [f"{name}={folder / file}" for name, file in files.items()]
    arguments = ["--config", "Demo", "--results", str(place / "results"), "--out", str(tmp_path)]
    assert detect.main([*arguments, "--strain", *strain, "--maps", "0"]) == 0
    first, second, *_ = rows(tmp_path / "candidates.csv")
    assert float(first["gps"]) == pytest.approx(1126259462.42, abs=0.2)
    # the logarithm of the power of 0.3 s of noise in two detectors scatters by 0.15
    assert float(first["score"]) > float(second["score"]) + 0.5
    assert (first["slid_as_loud"], first["limit"], first["removed"]) == ("0", "<", "1")


def test_the_command_itself(place, tmp_path):
    """As a person runs it, with one detector alone and a network as train.py leaves it."""
    line = [
        sys.executable,
        str(ROOT / "detect.py"),
        "--config",
        "Demo",
        "--set",
        *SMALL,
        "--results",
        str(place / "small"),
        "--strain",
        f"H1={place / 'H1.hdf5'}",
        "--step",
        "1",
        "--out",
        str(tmp_path / "new" / "folder"),
        "--maps",
        "1",
    ]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no strain of L1, V1" in done.stdout
    assert "one detector cannot be slid" in done.stdout
    table = rows(tmp_path / "new" / "folder" / "candidates.csv")
    assert table[0]["false_alarms_per_year"] == table[0]["p_value"] == ""


OTHER = [
    *SMALL,
    "observation.detectors=[H1,L1]",
    "observation.sample_rate=1024",
    "observation.window=4",
    "transforms.test.0.band=(20,250)",
]


def test_another_observation(tmp_path, capsys):
    """Two detectors at 1,024 Hz in windows of 4 s, with a network of random weights."""
    config, run = override(find_config("Demo"), OTHER), tmp_path / "results" / "demo"
    save_checkpoint(run / "fold0.pt", {"model": build_model(config).state_dict()})
    write_json(run / "config.json", plain_config(config))
    for number, name in enumerate(("H1", "L1")):
        strain = coloured_noise(name, 60, rate=1024, seed=number)
        write_strain(tmp_path / f"{name}.hdf5", name, strain, rate=1024)
    arguments = ["--config", "Demo", "--results", str(tmp_path / "results"), *both(tmp_path)]
    arguments += ["--step", "0.5", "--slides", "1", "--maps", "1", "--out", str(tmp_path / "out")]
    assert detect.main([*arguments, "--set", *OTHER]) == 0
    assert "1 stretch of H1, L1" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "detection.json").read_text())
    assert (facts["detectors"], facts["filled"]) == (["H1", "L1"], "")
    # windows of 4 s begin from 1 s to 55 s: a second at either end goes to the high-pass
    assert facts["live_seconds"] == pytest.approx(54, abs=1.5)
    assert facts["options"]["cluster"] == 4
    assert facts["identity"]["observation"]["sample_rate"] == 1024
    assert facts["slid_live_seconds"] > 0
    table = rows(tmp_path / "out" / "candidates.csv")
    # The merger is looked for in the middle of the times that it may have, 3 s to 3.6 s.
    times = [float(row["gps"]) - START for row in table]
    assert min(times) >= 1 + 3.3 - 0.5
    assert np.std([float(row["score"]) for row in table]) > 0
    # Both sides are named, whether strain or networks do not fit.
    with pytest.raises(UserError, match="the networks observe H1, L1 and not V1"):
        detect.main([*arguments, "--strain", f"V1={tmp_path / 'H1.hdf5'}", "--set", *OTHER])
    with pytest.raises(UserError, match=r"H1 L1 at 1024 Hz, 4 s and Demo observes H1 L1 V1 at"):
        detect.main([*arguments, "--set", *SMALL])


def test_help_imports_neither_torch_nor_h5py():
    done = subprocess.run(
        [sys.executable, str(ROOT / "detect.py"), "--help"], capture_output=True, text=True
    )
    assert "--strain" in done.stdout
    parse = "detect.build_parser().parse_args(['--config', 'x'])"
    code = f"import sys, detect; {parse}; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "'torch'" not in loaded.stdout
    assert "'h5py'" not in loaded.stdout


BOTH = ["--strain", "H1=H1.hdf5", "L1=L1.hdf5"]

MISTAKES = {
    "no strain": ([], "give either --strain"),
    "strain and event": (["--strain", "H1=H1.hdf5", "--event", "GW150914"], "give either --strain"),
    "no such file": (["--strain", "H1=nowhere.hdf5"], "there is no file nowhere.hdf5"),
    "a folder": (["--strain", "H1=results"], "the folder results has no strain files of H1"),
    "no detector": (["--strain", "H1.hdf5"], "expected DETECTOR=FILE"),
    "unknown detector": (["--strain", "X1=H1.hdf5"], "there is no detector 'X1'"),
    "detector not observed": (
        ["--strain", "H1=H1.hdf5", "K1=H1.hdf5"],
        "the networks observe H1, L1, V1 and not K1",
    ),
    "wrong detector": (["--strain", "L1=H1.hdf5"], "holds strain of H1"),
    "no HDF5": (["--strain", "H1=text.hdf5"], "neither HDF5 nor GWF"),
    "too slow": (["--strain", "H1=slow.hdf5"], "sampled at 1024 Hz"),
    "too short": (["--strain", "H1=short.hdf5"], "no stretch of strain is long enough"),
    "many slides": ([*BOTH, "--slides", "9999"], "--slides 9999: a stretch of"),
    "no background": ([*BOTH, "--background", "no.hdf5"], "--background no.hdf5: there is no such"),
    "no population": ([*BOTH, "--inject", "Dmo"], "did you mean 'Demo'"),
    "least": ([*BOTH, "--least", "nan"], "--least nan is no score"),
    "twice the same": (["--strain", "H1=H1.hdf5", "H1=H1.hdf5"], "overlap"),
    "link": (["--strain", "H1=link.hdf5"], "is a link that may lead out of the file"),
    "pickle": (["--strain", "H1=pickle.hdf5"], "not floating-point numbers, and is not read"),
    "step": (["--strain", "H1=H1.hdf5", "--step", "0"], "--step 0 must be positive"),
    "no number": (["--strain", "H1=H1.hdf5", "--step", "x"], "invalid float value"),
    "option": (["--strain", "H1=H1.hdf5", "--strian"], "unrecognized arguments"),
    "no weights": (["--strain", "H1=H1.hdf5", "--results", "nowhere"], "has no weights"),
    "other weights": (["--strain", "H1=H1.hdf5", "--results", "small"], "another network"),
    "no config": (["--strain", "H1=H1.hdf5", "--config", "Dmo"], "did you mean 'Demo'"),
    "out is a file": (["--strain", "H1=H1.hdf5", "--out", "text.hdf5"], "name another file"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(place, monkeypatch, excess, capsys, case):
    arguments, said = MISTAKES[case]
    monkeypatch.chdir(place)
    before = sorted(path for path in place.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: detect.main(["--config", "Demo", "--results", "results", *arguments]))
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1
    assert sorted(path for path in place.rglob("*")) == before
