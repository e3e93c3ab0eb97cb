"""The folder of kept files: what killed processes left is removed, what living ones write stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from competition import noise_of
from paths import ROOT

from physics import noise
from physics.bank_settings import BankSettings
from physics.cache_folder import kept_path, remove_abandoned
from physics.waveform_bank import WaveformBank
from runtime import locks

BANK = BankSettings(size=2, seed=9)
# A process that begins to compute a bank and never ends it.
ENDLESS = """
import sys, time
from pathlib import Path
from physics import waveform_bank

def never_ending(path, *_):
    print("computing", flush=True)
    time.sleep(600)

waveform_bank.compute_rows = never_ending
waveform_bank.WaveformBank.build(waveform_bank.BankSettings(size=2, seed=9), Path(sys.argv[1]))
"""


def start_endless(folder: Path) -> subprocess.Popen[str]:
    """Return a process that is in the middle of computing a bank."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "computing\n"
    return process


def test_a_killed_simulation_leaves_nothing_for_ever(tmp_path: Path) -> None:
    pytest.importorskip("lalsimulation")
    process = start_endless(tmp_path)
    (unfinished,) = tmp_path.glob(".waveforms-*.tmp.npy")
    assert unfinished.stat().st_size > 2 * 2 * 5376 * 4
    bank = WaveformBank.build(BANK, tmp_path)  # beside a living process
    assert unfinished.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = WaveformBank.build(BANK, tmp_path)
    assert np.array_equal(again.waveforms, bank.waveforms)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"waveforms-{BANK.key()}.{suffix}" for suffix in ("json", "npy")
    ]


def test_whitening_cleans_up_as_well(tmp_path: Path) -> None:
    left = [tmp_path / f".whitening-x-4096-{'0' * 16}.{'a1' * 6}.tmp.npy"]
    left += [
        tmp_path / f".waveforms-{'0' * 16}.{'b2' * 6}.tmp{suffix}" for suffix in (".npy", ".json")
    ]
    others = [
        tmp_path / name for name in (f".holdout-1.{'c3' * 6}.tmp.npy", ".waveforms-mine", "x")
    ]
    for path in left + others:
        path.write_bytes(b"half")
    noise.whitening_matrix(noise_of("H1"), n=16, cache_dir=tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)  # not written by this module


def test_a_file_under_work_is_locked_until_it_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "waveforms-1.npy"
    with kept_path(path) as temporary:
        np.save(temporary, np.ones(3))
        assert remove_abandoned(tmp_path) == []
    assert np.load(path).tolist() == [1, 1, 1]

    def fail_half_way() -> None:
        with kept_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        fail_half_way()
    assert [path.name for path in tmp_path.iterdir()] == ["waveforms-1.npy"]
    assert np.load(path).tolist() == [1, 1, 1]


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / f".waveforms-1.{'a1' * 6}.tmp.npy"
    left.write_bytes(b"half")

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    assert remove_abandoned(tmp_path) == []
    assert left.exists()
    with kept_path(tmp_path / "waveforms-2.npy") as temporary:
        np.save(temporary, np.ones(1))
    assert (tmp_path / "waveforms-2.npy").exists()


def test_many_processes_compute_and_clean_up_at_once(tmp_path: Path) -> None:
    """Three write the same kept files over and over and clean up between: none loses its file."""
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from physics.cache_folder import kept_path, remove_abandoned\n"
        "folder = Path(sys.argv[1])\n"
        "for i in range(150):\n"
        "    with kept_path(folder / f'waveforms-{i % 3}.npy') as temporary:\n"
        "        np.save(temporary, np.full(100, i))\n"
        "    remove_abandoned(folder)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) for _ in range(3)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"waveforms-{i}.npy" for i in range(3)
    ]
