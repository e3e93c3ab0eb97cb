"""The waveform bank on disk: kept, read again, computed again where it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from physics.bank_settings import BankSettings, draw_parameters
from physics.waveform_bank import WaveformBank, compute_rows
from physics.waveforms import compute_waveforms
from runtime.errors import UserError

SETTINGS = BankSettings(size=48, seed=5)  # those of the fixture `bank`


def test_the_bank_is_kept_and_rebuilt(bank: WaveformBank, physics_cache: Path) -> None:
    header = physics_cache / f"waveforms-{SETTINGS.key()}.json"
    again = WaveformBank.load(header)
    assert again.settings == SETTINGS
    assert np.array_equal(again.waveforms, bank.waveforms)
    assert np.array_equal(again.parameters, bank.parameters)
    array = header.with_suffix(".npy")
    array.write_bytes(array.read_bytes()[:-5])
    with pytest.raises(UserError, match="cannot be read"):
        WaveformBank.load(header)
    rebuilt = WaveformBank.build(bank.settings, physics_cache)
    assert np.array_equal(rebuilt.waveforms, bank.waveforms)
    text = header.read_text()
    for damaged in ("{}", text[:-9], text.replace('"rows"', '"raws"'), text.replace("seed", "sad")):
        header.write_text(damaged)
        with pytest.raises(UserError, match="remove it"):
            WaveformBank.load(header)
    header.write_text(text)


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("lalsimulation")
    settings = BankSettings(size=18)
    parameters = draw_parameters(settings)
    path = tmp_path / "rows.npy"
    np.save(path, np.zeros((18, 2, settings.series.stretch), np.float32))
    compute_rows(path, parameters, settings, processes=2, chunk=3)  # 18 > 5 x 3: two processes
    assert np.array_equal(np.load(path), compute_waveforms(parameters, settings))
