"""Targets against the injections of parameters.csv."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.injected_signals import explain_contradictions, find_contradictions

IDS = ["a", "b", "c", "d"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of four samples, a and b hold a signal."""
    (tmp_path / "parameters.csv").write_text("id,split,network_snr\na,train,9.5\nb,train,23.81\n")
    return tmp_path


def test_targets_in_their_own_order_contradict_nothing(folder: Path) -> None:
    assert find_contradictions(folder, IDS, [1, 1, 0, 0]) == {}
    assert find_contradictions(folder, IDS, [0.975, 0.9, 0.025, 0.5]) == {}
    assert explain_contradictions(folder / "train.csv", IDS, [1, 1, 0, 0]) is None


def test_noise_with_an_injection_and_signals_without_are_counted(folder: Path) -> None:
    targets = [1, 0, 0, 1]
    assert find_contradictions(folder, IDS, targets) == {
        "b": "target 0 and an injection of SNR 23.8",
        "d": "target 1 and no injection",
    }
    text = explain_contradictions(folder / "train.csv", IDS, targets)
    assert "train.csv: 2 of 4 targets contradict" in text
    assert "the first that of 'b' (target 0 and an injection of SNR 23.8)" in text


def test_an_snr_of_zero_is_no_injection_and_an_unknown_one_says_nothing(folder: Path) -> None:
    rows = "id,network_snr\na,9.5\nb,\nc,0\nd,0.0\n"
    (folder / "parameters.csv").write_text(rows)
    assert find_contradictions(folder, IDS, [1, 0, 0, 0]) == {}
    assert list(find_contradictions(folder, IDS, [1, 1, 1, 0])) == ["c"]


@pytest.mark.parametrize("text", [None, "no table", "id,mass_1\na,30\n", "id,network_snr\nx,9\n"])
def test_a_file_that_tells_nothing_of_these_samples(text: str | None, folder: Path) -> None:
    (folder / "parameters.csv").unlink()
    if text is not None:
        (folder / "parameters.csv").write_text(text)
    assert find_contradictions(folder, IDS, [0, 0, 1, 1]) == {}
