"""What is tried before the first epoch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from paths import ROOT
from small_run import make_data


def test_an_image_too_narrow_for_squares_is_refused_before_the_first_epoch(tmp_path: Path) -> None:
    """The strain is whitened at half its rate: 128 columns, and 256 of 4,096 samples."""
    data = make_data(tmp_path / "data", n_train=24, n_test=4)
    options = (
        f"train_path={data / 'train.csv'} test_path={data / 'test.csv'} train_cache=none "
        "test_cache=none cv=2 batch_size=4 num_epochs=1 model=MultiInstanceSCNN "
        "model_params.spec_params.n_scales=160"
    )
    line = [sys.executable, "train.py", "--config", "DemoSpec", "--no_pretrained"]
    line += ["--results", str(tmp_path / "results"), "--set", *options.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "an image of (160, 128) cannot be cut into squares" in done.stderr
    assert not list((tmp_path / "results").rglob("events.out.*"))  # no epoch had begun
