"""The file of experiments that docs/how-to shows: one own class of each kind, trained twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from paths import ROOT

PAGE = ROOT / "docs" / "how-to" / "keep-experiments-in-your-own-file.md"


def train(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_page_s_file_trains_with_readers_and_again_from_its_run(tmp_path: Path) -> None:
    """Reader processes pickle the data set, whose class only the file knows."""
    (code,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    words = ["--config", "mine.py:OneOfEach", "--dry_run", "--num_workers", "1"]
    train(tmp_path, *words, "--set", "cv=2")
    run = tmp_path / "results" / "dry_run" / "one_of_each"
    plain = (run / "config.json").read_text()
    for name in ("Quieter", "TwoDetectors", "TinyNetwork", "SquaredError", "Accuracy"):
        assert f'"{name}"' in plain
    again = ["--config", str(run / "config.json"), "--set", "name=again", "criterion=SquaredError"]
    train(tmp_path, *again, "--dry_run")
    assert (run.with_name("again") / "fold0.pt").is_file()
