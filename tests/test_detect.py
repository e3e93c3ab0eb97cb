"""The command line of the search, on invented strain with a loud chirp in it."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from real_strain import START, coloured_noise, write_strain
from small_run import SMALL
from small_search import MERGER, Excess, write_small_strain

import detect
from configs import Demo
from configuration.config_class import ConfigMeta, find_config
from configuration.overrides import override
from data.recording import Recording, StrainInMemory
from experiments.building import build_model
from experiments.observation_record import plain_config
from runtime.command_line import run_command
from runtime.errors import UserError
from runtime.files import write_json
from search.search import Search
from search.settings import SearchSettings
from training.checkpoints import save_checkpoint

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Strain of H1 and L1 with one loud event in both, and a run to search with."""
    place = tmp_path_factory.mktemp("place")
    write_small_strain(place)
    write_strain(place / "later.hdf5", "L1", np.ones(32 * 4096), start=START + 1000)
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


def both(place: Path) -> list[str]:
    return ["--strain", *(f"{name}={place / name}.hdf5" for name in ("H1", "L1"))]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_finds_the_event(place, tmp_path, excess, capsys):
    arguments = ["--config", "Demo", "--results", str(place / "results"), "--out", str(tmp_path)]
    assert detect.main([*arguments, *both(place), "--exclude", "1", "--slides", "5"]) == 0
    said = capsys.readouterr().out
    assert "no strain of V1: its channel is filled with noise of its design curve" in said
    assert "windows skipped: they lie within a second of a gap or of an end" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "candidates.csv",
        "detection.json",
        "detection.png",
        "scores.csv",
    ]
    scores = rows(tmp_path / "scores.csv")
    facts = json.loads((tmp_path / "detection.json").read_text())
    assert len(scores) == facts["scored"] == facts["windows"] - 22  # 1.06 s at either end
    assert facts["detectors"] == ["H1", "L1"]
    assert facts["slides_made"] == 5
    first, second, *_ = rows(tmp_path / "candidates.csv")
    assert float(first["gps"]) == pytest.approx(START + MERGER, abs=0.2)
    # a coherent signal stands out of noise whose scores scatter by a few tenths
    assert float(first["score"]) > float(second["score"]) + 1
    assert first["slid_as_loud"] == "0"
    assert f"none was as loud, the loudest has {facts['slid_loudest']:.2f}: at most" in said
    assert float(second["score"]) - 2 < facts["slid_loudest"] < float(first["score"])
    expected = 3600 / facts["slid_live_seconds"]
    assert float(first["false_alarms_per_hour"]) == pytest.approx(expected, rel=1e-3)
    assert float(second["false_alarms_per_hour"]) > expected
    assert max(scores, key=lambda row: float(row["score"]))["gps"][:14] == first["gps"][:14]


@pytest.mark.parametrize(
    ("slides", "shift", "expected"),
    [
        (5, 1.0, ""),
        (0, 1.0, ""),
        # windows of 2 s in 32 s: 30 s of windows, closed to a ring, have room for 29 shifts of 1 s
        (100, 1.0, "29 of 100 time slides fit into a segment, as the shifts are multiples of 1 s;"),
        (3, 40.0, "0 of 3 time slides .* multiples of 40 s: there will be no false-alarm rates"),
    ],
)
def test_fewer_time_slides_than_asked_for_are_said(slides, shift, expected):
    recordings = {
        name: Recording(name, [StrainInMemory(name, np.zeros(32 * 4096), 4096, START)])
        for name in ("H1", "L1")
    }
    search = Search(recordings, None, SearchSettings(slides=slides, shift=shift))
    said = detect.format_missing_slides(search)
    assert re.match(expected, said)
    assert bool(said) == bool(expected)


def test_results_of_two_searches_never_mix(place, tmp_path, excess, monkeypatch, capsys):
    """Another search is refused; with --overwrite, killed in its second pass, and resumed."""
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

    def killed(self):
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(Search, "measure_background", killed)
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
    for name in ("scores.csv", "candidates.csv"):
        assert (out / name).read_bytes() == (again / name).read_bytes()


def test_a_fold_that_is_not_finished_is_refused(place, tmp_path, excess):
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
    assert detect.main([*arguments, "--strain", *strain, "--exclude", "1", "--maps", "0"]) == 0
    first, second, *_ = rows(tmp_path / "candidates.csv")
    assert float(first["gps"]) == pytest.approx(1126259462.42, abs=0.2)
    # the logarithm of the power of 0.3 s of noise in two detectors scatters by 0.15
    assert float(first["score"]) > float(second["score"]) + 0.5
    assert first["slid_as_loud"] == "0"


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
    assert table[0]["false_alarms_per_hour"] == ""


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
    assert "113 windows of H1, L1 in" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "detection.json").read_text())
    assert (facts["detectors"], facts["filled"]) == (["H1", "L1"], "")
    assert facts["windows"] == 113  # from 0 s to 56 s
    assert facts["scored"] == 113 - 4  # a second at either end, where the high-pass has no strain
    assert facts["options"]["cluster"] == 4
    assert facts["identity"]["observation"]["sample_rate"] == 1024
    assert facts["slid_windows"] > 0
    scores = rows(tmp_path / "out" / "scores.csv")
    # The merger is looked for in the middle of the times that it may have, 3 s to 3.6 s.
    assert float(scores[0]["gps"]) == pytest.approx(START + 1 + 3.3)
    assert np.std([float(row["score"]) for row in scores]) > 0
    # Both sides are named, whether strain or networks do not fit.
    with pytest.raises(UserError, match="the networks observe H1, L1 and not V1"):
        detect.main([*arguments, "--strain", f"V1={tmp_path / 'H1.hdf5'}", "--set", *OTHER])
    with pytest.raises(UserError, match=r"H1 L1 at 1024 Hz, 4 s and Demo observes H1 L1 V1 at"):
        detect.main([*arguments, "--set", *SMALL])


def test_help_is_quick():
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "detect.py"), "--help"], capture_output=True, text=True
    )
    assert "--strain" in done.stdout
    assert time.monotonic() - started < 2  # importing torch alone takes longer
    code = (
        "import sys, detect; detect.parse_arguments(['--config', 'x']); print(sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "'torch'" not in loaded.stdout
    assert "'h5py'" not in loaded.stdout


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
    "no overlap": (["--strain", "H1=H1.hdf5", "L1=later.hdf5"], "overlaps for 0 s"),
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
