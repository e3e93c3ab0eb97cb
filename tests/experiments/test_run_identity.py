"""What decides a fold's weights: content and not names, whether samples, settings or a start."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import configs
from configuration.json_types import to_plain
from configuration.overrides import override
from data.cache_writer import write_cache
from data.sample_files import read_strain
from experiments import run_identity
from experiments.observation_record import plain_config
from experiments.run_identity import (
    WITHOUT_EFFECT,
    YOUNGER,
    TrainedFrom,
    changed_settings,
    deciding_settings,
    differing_sample,
    explain_difference,
    explain_rows_per_step,
    labelled_samples_digest,
    rows_to_compare,
    settings_digest,
    start_of_fold,
    strain_digests,
)
from experiments.samples_learnt_from import LearntSamples
from training.checkpoints import save_checkpoint


def write_samples(folder: Path, ids: list[str], seed: int) -> pd.DataFrame:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    paths = [folder / f"{name}.npy" for name in ids]
    for path in paths:
        np.save(path, rng.normal(0, 1e-20, (3, 4096)))
    return pd.DataFrame({"id": ids, "path": [str(path) for path in paths]})


IDS = [f"{number:03d}" for number in range(12)]


def test_a_cache_or_another_path_changes_no_digest(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "one", IDS, 0)
    moved = write_samples(tmp_path / "moved", IDS, 0)
    other = write_samples(tmp_path / "other", IDS, 1)
    write_cache(tmp_path / "cache.f32", table["id"], table["path"], processes=1)
    digests = strain_digests(table, None)
    assert list(digests) == IDS
    assert strain_digests(table, str(tmp_path / "cache.f32")) == digests
    assert strain_digests(moved, None) == digests
    assert not set(strain_digests(other, None).values()) & set(digests.values())
    assert list(strain_digests(table, None, ["003", "zzz"])) == ["003"]


def test_ids_alike_are_no_samples_alike(tmp_path: Path) -> None:
    """Weights of another data set are not refused because both number theirs 000, 001, ..."""
    table = write_samples(tmp_path / "one", IDS, 0)
    other = write_samples(tmp_path / "other", IDS, 1)
    strain = {"train": strain_digests(table, None)}
    none = np.array([], str)
    learnt = LearntSamples(np.array(IDS), none, strain)
    assert learnt.count_seen(table, None) == len(IDS)
    assert learnt.count_seen(other, None) == 0
    assert learnt.count_seen(table.iloc[:4], None) == 4
    # Runs without digests: the ids have to decide.
    assert LearntSamples(np.array(IDS), none, {}).count_seen(other, None) == len(IDS)
    # A network that was given test samples with pseudo-labels has seen them.
    taught = LearntSamples(none, np.array(IDS), {"pseudo": strain["train"]})
    assert taught.count_seen(table, None) == len(IDS)
    assert taught.count_seen(other, None) == 0


def test_any_replaced_file_of_a_small_table_is_noticed(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "one", IDS, 0)
    before = strain_digests(table, None)
    for row, name in enumerate(IDS):
        path = Path(table["path"][row])
        content = path.read_bytes()
        np.save(path, np.full((3, 4096), 1e-21))
        assert differing_sample(before, strain_digests(table, None)) == name
        path.write_bytes(content)
        assert strain_digests(table, None) == before


def test_rows_to_compare_are_all_or_evenly_spread_and_hold_those_of_older_records() -> None:
    assert rows_to_compare(1).tolist() == [0]
    assert rows_to_compare(512).tolist() == list(range(512))
    rows = rows_to_compare(560_000)
    assert 512 <= len(rows) <= 520
    assert np.diff(rows).max() <= 560_000 / 511 + 1
    earlier = np.linspace(0, 559_999, 8).astype(int)
    assert np.isin(earlier, rows).all()
    assert rows[0] == 0
    assert rows[-1] == 559_999


def test_a_file_is_read_once_while_it_is_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fold asks for the same digests."""
    table = write_samples(tmp_path / "one", IDS, 0)
    read = []
    monkeypatch.setattr(
        run_identity, "read_strain", lambda path, *of: read.append(path) or read_strain(path, *of)
    )
    for _ in range(3):
        strain_digests(table, None)
    assert read == table["path"].tolist()


def test_samples_are_seen_one_by_one(tmp_path: Path) -> None:
    """Where all strain is recorded, neither few changed samples nor few common ids mislead."""
    table = write_samples(tmp_path / "one", IDS, 0)
    other = write_samples(tmp_path / "other", IDS, 1)
    none = np.array([], str)
    learnt = LearntSamples(np.array(IDS), none, {"train": strain_digests(table, None)})
    few = [2, 5, 8]  # not among 8 spread over 12
    assert learnt.count_seen(other.iloc[few], None) == 0
    mixed = table.copy()
    spread = np.linspace(0, 11, 8).astype(int)
    mixed.loc[spread, "path"] = other.loc[spread, "path"]
    assert learnt.count_seen(mixed, None) == 4
    # What an older run did not record is counted as seen, unless all that can be compared is new.
    earlier = {name: learnt.strain["train"][name] for name in np.array(IDS)[spread]}
    learnt = LearntSamples(np.array(IDS), none, {"train": earlier})
    assert learnt.count_seen(other.iloc[few], None) == 3
    assert learnt.count_seen(other, None) == 0
    one_new = table.copy()
    one_new.loc[0, "path"] = other.loc[0, "path"]
    assert learnt.count_seen(one_new, None) == 11


def test_samples_digest_follows_targets_and_folds() -> None:
    ids, targets, folds = np.array(IDS), np.arange(12) % 2, np.arange(12) % 3
    digest = labelled_samples_digest(ids, targets, folds)
    assert labelled_samples_digest(ids.copy(), targets.astype(float), folds) == digest
    assert labelled_samples_digest(ids[::-1], targets, folds) != digest
    assert labelled_samples_digest(ids, 1 - targets, folds) != digest
    assert labelled_samples_digest(ids, targets, (folds + 1) % 3) != digest


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("train_path=elsewhere.csv", []),
        ("train_cache=none", []),
        ("batch_size=8", []),
        ("accumulate=2", []),
        ("amp=false", []),
        ("num_epochs=50", []),
        ("max_bad_losses=2", []),
        ("optimizer_params.lr=1e-5", []),
        ("callbacks.0.patience=9", []),
        ("seed=1", ["seed"]),
        ("cv=3", ["cv"]),
        ("clip_grad=norm", ["clip_grad"]),
        ("optimizer_params.weight_decay=0.1", ["optimizer_params"]),
        ("model_params.widths=(4,8)", ["model_params"]),
        ("callbacks.0.target=valid_loss", ["callbacks"]),
    ],
)
def test_which_settings_are_another_experiment(setting: str, changed: list[str]) -> None:
    assert changed_settings(override(configs.Demo, [setting]), to_plain(configs.Demo)) == changed


RANDOM = {"from": "random weights", "name": None, "weights": None}
NOW = TrainedFrom("samples", {"train": {"000": "one"}}, "settings", RANDOM, None, 64)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ({}, None),
        ({"strain": {"train": {"001": "unknown here"}}}, None),
        ({"samples": "others"}, "other ids, targets or folds"),
        ({"strain": {"train": {"000": "other"}}}, "the strain of '000'"),
        ({"pseudo_labels": "digest"}, "other pseudo-labels"),
        ({"start": {**RANDOM, "from": "pretrained weights"}}, "began with pretrained weights and"),
        (
            {"start": {"from": "--weights", "name": "a.pt", "weights": "digest"}},
            "began with a.pt (begin so again with --weights a.pt) and this run begins with random",
        ),
    ],
)
def test_differences_are_explained(before: dict, words: str | None) -> None:
    found = explain_difference(asdict(NOW) | before, NOW, same_fold=True, begins=True)
    assert found is None if words is None else words in found


def test_other_noise_files_are_explained() -> None:
    noise = {"H1": "one", "H1, file 1 of 1": "one"}
    now = replace(NOW, strain={**NOW.strain, "noise": noise})
    before = asdict(now)
    assert explain_difference(before, now, same_fold=True, begins=True) is None
    changed = replace(now, strain={**NOW.strain, "noise": {"H1": "two"}})
    found = explain_difference(before, changed, same_fold=True, begins=True)
    assert found == "the strain of 'H1' is not what it was trained on"
    # Records that are older than these digests are compared as they are.
    assert explain_difference(asdict(NOW), now, same_fold=True, begins=True) is None


def test_what_the_command_line_names_need_not_be_named_again_to_resume() -> None:
    before = asdict(NOW) | {"start": {"from": "--weights", "name": "a.pt", "weights": "digest"}}
    assert explain_difference(before, NOW, same_fold=True, begins=False) is None
    parent = {"from": "weight_path", "name": "demo", "weights": "new"}
    child = replace(NOW, start=parent)
    before = asdict(NOW) | {"start": {**parent, "weights": "old"}}
    for begins in (False, True):
        assert "other weights than demo" in explain_difference(before, child, True, begins)
    # Each fold begins with its own of them.
    assert explain_difference(before, child, same_fold=False, begins=True) is None


@pytest.mark.parametrize(
    ("settings", "processes", "words"),
    [
        (["batch_size=64"], 1, None),
        (["batch_size=32"], 2, None),
        (["batch_size=16", "accumulate=2"], 2, None),
        (["batch_size=32"], 1, "--set batch_size=32 accumulate=2 keeps them"),
        (["batch_size=48"], 1, "--set batch_size=32 accumulate=2 keeps them"),
        (["batch_size=64"], 2, "--set batch_size=32 accumulate=1 keeps them"),
        (["batch_size=64"], 3, "one with --set batch_size=64"),
    ],
)
def test_rows_of_a_step_are_kept(settings: list[str], processes: int, words: str | None) -> None:
    config = override(configs.Demo, ["accumulate=1", *settings])
    found = explain_rows_per_step(asdict(NOW), config, processes)
    assert found is None if words is None else words in found


def test_a_start_is_known_by_its_content(tmp_path: Path) -> None:
    for name, value in (("parent", 1.0), ("copy", 1.0), ("retrained", 2.0)):
        folder = tmp_path / name
        folder.mkdir()
        save_checkpoint(folder / "fold0.pt", {"model": {"a": torch.full((2,), value)}})

    def start(name: str) -> dict:
        config = override(configs.Demo, [f"weight_path={tmp_path / name}"])
        return start_of_fold(config, tmp_path, 0, pretrained=True, weights=None)

    assert start("parent")["weights"] == start("copy")["weights"] != start("retrained")["weights"]
    plain = start_of_fold(configs.Demo, tmp_path, 0, pretrained=True, weights=None)
    assert plain["from"] == "random weights"
    images = [
        start_of_fold(configs.Nspec16, tmp_path, 0, pretrained, None)["from"]
        for pretrained in (True, False)
    ]
    assert images == ["pretrained weights", "random weights"]


def test_settings_that_are_younger_than_a_run_leave_its_digest_at_their_defaults() -> None:
    plain = plain_config(configs.Demo)
    earlier = {key: value for key, value in plain.items() if key not in (*YOUNGER, *WITHOUT_EFFECT)}
    digest = settings_digest(deciding_settings(earlier))
    assert settings_digest(deciding_settings(plain)) == digest
    for settings, decides in (
        (["tracker=csv", "gradient_checkpointing=true"], False),
        (["warmup_epochs=1.0"], True),
        (["freeze=Freeze"], True),
    ):
        changed = override(configs.Demo, settings)
        assert bool(changed_settings(changed, earlier)) == decides, settings
        now = settings_digest(deciding_settings(plain_config(changed)))
        assert (now != digest) == decides, settings
