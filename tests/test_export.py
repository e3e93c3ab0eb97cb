"""export.py: a run as one file that says what the run says."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_run
import torch
from onnx_packages import needs_onnx
from paths import ROOT

import export
from experiments import export_files
from predict import load_run
from runtime.errors import UserError

needs_safetensors = pytest.mark.skipif(
    importlib.util.find_spec("safetensors") is None, reason="needs pip install -e '.[export]'"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    data = small_run.make_data(folder / "input")
    small_run.run_here(data, folder, "--num_workers", "0")
    return folder / "demo"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "demo")


@needs_onnx
def test_onnx_runs_without_this_project(run: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """By onnxruntime in a process that cannot import torch or the project; any batch size."""
    import onnxruntime

    sessions = []

    class Recorded(onnxruntime.InferenceSession):
        def __init__(self, *arguments, **further) -> None:
            super().__init__(*arguments, **further)
            sessions.append(self)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Recorded)
    assert export.main(["--run", str(run)]) == 0
    # Timed side by side, on as many threads each.
    options = [session.get_session_options() for session in sessions]
    assert [option.intra_op_num_threads for option in options] == [torch.get_num_threads()]
    assert "2 folds of Demo" in capsys.readouterr().out
    strain = (np.random.default_rng(0).normal(size=(5, 3, 4096)) * 1e-20).astype(np.float32)
    np.save(tmp_path / "strain.npy", strain)
    code = f"""
import sys
sys.modules["torch"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({str(run / "demo.onnx")!r})
strain = np.load({str(tmp_path / "strain.npy")!r})
parts = [session.run(None, {{"strain": strain[a:b]}}) for a, b in ((0, 1), (1, 5))]
for k, name in enumerate(("logits", "probability")):
    np.save({str(tmp_path)!r} + f"/{{name}}.npy", np.concatenate([part[k] for part in parts]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    scores = load_run(run).score(strain)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy").T, scores.logits, atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "probability.npy"), scores.probability, atol=1e-5)
    card = (run / "demo.onnx.md").read_text()
    digests = [json.loads((run / f"fold{k}.json").read_text())["weights"] for k in (0, 1)]
    assert all(digest in card for digest in digests)
    assert "largest difference of a logit on noise" in card
    assert "on samples" in card
    # a second time
    with pytest.raises(UserError, match="is there already, and nothing was changed"):
        export.main(["--run", str(run)])


def test_a_program_of_torch(run: Path) -> None:
    if torch.__version__ < "2.7":  # it cannot save what runs under autocast for any batch size
        with pytest.raises(UserError, match="a later torch"):
            export.main(["--run", str(run), "--format", "torch"])
        return
    assert export.main(["--run", str(run), "--format", "torch"]) == 0
    module = torch.export.load(run / "demo.pt2").module()
    strain = torch.randn(4, 3, 4096) * 1e-20
    with torch.no_grad():
        logits, _ = module(strain)
    np.testing.assert_allclose(logits.numpy().T, load_run(run).score(strain).logits, atol=1e-5)


@needs_safetensors
def test_weights_with_their_config(run: Path) -> None:
    from safetensors import safe_open

    assert export.main(["--run", str(run), "--format", "safetensors"]) == 0
    with safe_open(run / "demo.safetensors", "pt") as file:
        assert json.loads(file.metadata()["config"])["name"] == "demo"
        keys = set(file.keys())
    network = load_run(run).networks[1].state_dict()
    assert {f"fold1.{key}" for key in network} <= keys


@needs_safetensors
def test_a_file_that_says_something_else_is_not_kept(run: Path, monkeypatch) -> None:
    original = export_files.open_export

    def off_by_a_little(kind, path, predictor):
        score = original(kind, path, predictor)
        return lambda strain: score(strain) + 2e-4

    monkeypatch.setattr(export_files, "open_export", off_by_a_little)
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(UserError, match="differs from the run by"):
        export.main(["--run", str(run), "--format", "safetensors"])
    assert sorted(path.name for path in run.iterdir()) == before


@needs_safetensors
def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    words = ["--run", str(run), "--format"]
    export.main([*words, "safetensors"])
    first = (run / "demo.safetensors").read_bytes()
    export.main([*words, "safetensors", "--overwrite"])
    assert [path.read_bytes() for path in run.glob("demo.2*.safetensors")] == [first]
    state = json.loads((run / "fold1.json").read_text())
    (run / "fold1.json").write_text(json.dumps({**state, "finished": False}))
    for arguments, message in (
        ([*words, "tflite"], "expected onnx, torch, safetensors"),
        ([*words, "torch", "--out", str(tmp_path / "x.onnx")], "ends in .pt2"),
        ([*words, "torch"], "--allow_unfinished"),
        (["--run", str(tmp_path / "absent")], "holds no config.json"),
    ):
        with pytest.raises(UserError, match=message):
            export.main(arguments)
    assert not (run / "demo.pt2").exists()


def test_the_command_itself(run: Path, tmp_path: Path) -> None:
    line = [sys.executable, str(ROOT / "export.py"), "--run", str(run), "--format", "tflite"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_an_export_is_compared_on_noise_of_the_detectors(run: Path) -> None:
    """White noise, whitened by the detectors' curves, would be thousands of sigma loud."""
    predictor = load_run(run)
    noise = export_files.random_strain(predictor, 16)
    assert torch.equal(noise, export_files.random_strain(predictor, 16))
    whitened = predictor.preparation({"waveform": noise})["waveform"]
    assert whitened.std() < 2
