"""Jobs of the pipeline ask the weights, and not the names or dates of files, what is to be done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import configs
from experiments.pipeline import Plan
from experiments.pipeline_jobs import (
    correct_marks,
    finished_digest,
    is_outdated,
    predict_command,
    train_command,
    write_mark,
)
from runtime.errors import UserError
from runtime.files import write_json
from training.checkpoints import content_digest, save_checkpoint


def plan_of(tmp_path: Path, *names: str) -> Plan:
    runs = {config.name: config for config in (getattr(configs, name) for name in names)}
    return Plan(runs, tuple(runs), str(tmp_path))


def save_fold(
    folder: Path, seed: int, fold: int = 0, finished: bool = True, start: str | None = None
) -> str:
    """Write a fold as a training leaves it; return the digest of its weights."""
    weights = {"a": torch.full((3,), float(seed))}
    state = {
        "finished": finished,
        "epoch": 2,
        "weights": content_digest(weights),
        "trained_from": {
            "samples": "s",
            "strain": {},
            "settings": "s",
            "start": {"from": "weight_path", "name": "parent", "weights": start},
            "pseudo_labels": None,
        },
    }
    folder.mkdir(exist_ok=True)
    save_checkpoint(folder / f"fold{fold}.pt", {"model": weights, "state": state})
    write_json(folder / f"fold{fold}.json", state)
    return state["weights"]


def test_a_mark_is_the_digest_of_finished_weights(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "Demo")
    mark = tmp_path / "demo" / "fold0.done"
    digest = save_fold(tmp_path / "demo", seed=1)
    write_mark(plan, "demo", 0, mark)
    assert mark.read_text() == f"{digest}\n"
    save_fold(tmp_path / "demo", seed=1, fold=1, finished=False)
    with pytest.raises(UserError, match="has not ended"):
        write_mark(plan, "demo", 1, mark.with_name("fold1.done"))
    assert not mark.with_name("fold1.done").exists()


def test_marks_follow_the_weights(tmp_path: Path) -> None:
    plan, folder = plan_of(tmp_path, "Demo"), tmp_path / "demo"
    for fold in range(4):
        save_fold(folder, seed=fold, fold=fold)
        write_mark(plan, "demo", fold, folder / f"fold{fold}.done")
    dates = [(folder / f"fold{fold}.done").stat().st_mtime_ns for fold in range(4)]
    assert correct_marks(plan) == []
    save_fold(folder, seed=0, fold=0)  # to the same weights
    digest = save_fold(folder, seed=7, fold=1)  # to others
    save_fold(folder, seed=8, fold=2, finished=False)  # and killed
    (folder / "fold3.pt").unlink()
    sentences = correct_marks(plan)
    assert [sentence.split()[0] for sentence in sentences] == [
        str(folder / f"fold{fold}.pt") for fold in (1, 2, 3)
    ]
    assert (folder / "fold0.done").stat().st_mtime_ns == dates[0]
    assert (folder / "fold1.done").read_text() == f"{digest}\n"
    assert not (folder / "fold2.done").exists()
    assert not (folder / "fold3.done").exists()
    assert correct_marks(plan) == []


def test_a_child_of_other_weights_is_trained_anew(tmp_path: Path) -> None:
    """Wave02 starts from Wave01, and Wave03 from Wave02."""
    plan = plan_of(tmp_path, "Wave01", "Wave02", "Wave03")
    first = save_fold(tmp_path / "wave_01", seed=1)
    second = save_fold(tmp_path / "wave_02", seed=2, start=first)
    save_fold(tmp_path / "wave_03", seed=3, start=second)
    assert not any(is_outdated(plan, run, 0) for run in plan.runs)
    assert not is_outdated(plan, "wave_02", 1)  # a fold that was not begun
    assert "--limit_fold 0 --resume" in train_command(plan, "wave_02", 0)
    first = save_fold(tmp_path / "wave_01", seed=4)  # retrained
    assert [is_outdated(plan, run, 0) for run in plan.runs] == [False, True, False]
    assert "--limit_fold 0 --overwrite" in train_command(plan, "wave_02", 0)
    save_fold(tmp_path / "wave_02", seed=5, start=first)  # and so the child
    assert [is_outdated(plan, run, 0) for run in plan.runs] == [False, False, True]


def test_a_copy_of_the_parent_is_the_parent(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "Wave01", "Wave02")
    first = save_fold(tmp_path / "wave_01", seed=1)
    save_fold(tmp_path / "wave_02", seed=2, start=first)
    for path in (tmp_path / "wave_01").iterdir():
        path.touch()
    assert not is_outdated(plan, "wave_02", 0)


def test_predictions_of_other_weights_are_made_again(tmp_path: Path) -> None:
    plan, folder = plan_of(tmp_path, "Demo"), tmp_path / "demo"
    digest = save_fold(folder, seed=1)
    assert "--inference --resume" in predict_command(plan, "demo")
    for suffix in ("", "_tta"):
        stamp = {"folds": {"0": {"weights": digest, "own": True}}, "views": ["identity"]}
        write_json(folder / f"predictions{suffix}.json", stamp)
    assert "--inference --resume" in predict_command(plan, "demo")
    assert finished_digest(folder / "fold0.pt") == digest
    save_fold(folder, seed=2)
    assert "--inference --overwrite" in predict_command(plan, "demo")
    assert "--inference --overwrite --gpu free --tta" in predict_command(plan, "demo", views=True)
