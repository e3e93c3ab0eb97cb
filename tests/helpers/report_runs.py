"""Runs as train.py leaves them, made in milliseconds, and the report's page, taken apart."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

import report
from reporting.data import ReportedRun, read_all_runs

Samples = dict[str, tuple[np.ndarray, np.ndarray]]


def write_tables(folder: Path, n_train: int = 400, n_test: int = 200, seed: int = 0) -> Samples:
    """Write train.csv, test.csv and test_labels.csv; return ids and targets of both splits."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    samples = {}
    for split, n in (("train", n_train), ("test", n_test)):
        targets = generator.permutation(np.arange(n) % 2)
        ids = np.array([f"{split}{seed}x{number}" for number in range(n)])
        known = targets if split == "train" else np.full(n, 0.5)
        write_csv(folder / f"{split}.csv", "id,target,path", zip(ids, known, ids, strict=True))
        samples[split] = (ids, targets)
    write_csv(folder / "test_labels.csv", "id,target", zip(*samples["test"], strict=True))
    return samples


def write_csv(path: Path, header: str, rows: Any) -> None:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def write_run(
    results: Path,
    name: str,
    samples: Samples,
    tables: Path,
    *,
    seed: int = 0,
    strength: float = 1.0,
    cv: int = 4,
    tta: bool = False,
    epochs: int = 3,
    by_step: int = 0,
    config: dict[str, Any] | None = None,
    start: dict[str, Any] | None = None,
) -> Path:
    """Write all that train.py leaves of a run, but for weights, logs and pictures.

    Args:
        by_step: points of the training loss in each epoch; 0 for none, as of an earlier version.
    """
    generator = np.random.default_rng([1, seed])  # not that of the tables
    folder = results / name
    folder.mkdir(parents=True)
    (train_ids, train), (test_ids, test) = samples["train"], samples["test"]
    folds = generator.permutation(np.arange(len(train)) % cv)
    for suffix in ("", "_tta") if tta else ("",):
        lift = strength * (1.15 if suffix else 1.0)
        out_of_fold = lift * train + generator.normal(size=len(train))
        logits = lift * test + generator.normal(size=(cv, len(test)))
        np.save(folder / f"outoffolds{suffix}.npy", out_of_fold[:, None].astype(np.float32))
        np.save(folder / f"predictions{suffix}.npy", logits[..., None].astype(np.float32))
        # As versions without digests wrote it: only fold<k>.json says whether a fold is finished.
        (folder / f"predictions{suffix}.json").write_text('{"views": ["identity"], "weights": {}}')
    np.save(folder / "ids_train.npy", train_ids)
    np.save(folder / "ids_test.npy", test_ids)
    np.save(folder / "folds.npy", folds.astype(np.int64))
    header = "fold,epoch,train_loss,train_metric,valid_loss,valid_metric,train_seconds"
    rows = [
        (fold, epoch, 0.7 / epoch, "nan", 0.69 / epoch, 0.7 + 0.02 * epoch + 0.001 * fold, 60.5)
        for fold in range(cv)
        for epoch in range(1, epochs + 1)
    ]
    write_csv(folder / "history.csv", f"{header},valid_seconds", [(*row, 2.0) for row in rows])
    if by_step:
        points = [
            (fold, part / by_step, 10 * part, 0.7 - 0.1 * part / by_step + 0.001 * fold)
            for fold in range(cv)
            for part in range(1, epochs * by_step + 1)
        ]
        write_csv(folder / "loss_by_step.csv", "fold,epoch,step,train_loss", points)
    settings = {
        "class": name.title(),
        "name": name,
        "train_path": str(tables / "train.csv"),
        "test_path": str(tables / "test.csv"),
        "cv": cv,
        "num_epochs": epochs,
        "model": "SpectroCNN",
        "eval_metric": {"class": "AUC"},
        "published": {},
        "model_params": {"model_name": "resnet18.a1_in1k", "spectrogram": "CQT"},
    } | (config or {})
    (folder / "config.json").write_text(json.dumps(settings))
    provenance = {
        "command": ["train.py", "--config", "Demo"],
        "started": "2026-01-02T03:04:05+0000",
        "device": "cuda NVIDIA H100",
        "processes": 1,
        "git_revision": "0123456789abcdef+",
        "versions": {"python": "3.12.1", "torch": "2.8.0", "timm": "1.0.20"},
    } | (start or {})
    (folder / "run.json").write_text(json.dumps({"starts": [provenance]}))
    return folder


def write_stack_record(results: Path, **changed: Any) -> dict[str, Any]:
    """Write a stack.json of two methods in the format of stack/report.py; return its content."""
    record = {
        "method": "ridge_logit",
        "best_model": "nspec_16",
        "choice": {
            "method": "ridge_logit",
            "best": "cmaes",
            "nested": [0.88, 0.89],
            "optimism": 0.00012,
        },
        "models": {"nspec_16": {"auc": 0.877, "folds": [0.876, 0.878]}},
        "methods": {
            "mean": {
                "auc": 0.880,
                "std": 0.0014,
                "error": 0.001,
                "folds": [0.879, 0.881],
                "vs_best": {"difference": 0.003, "low": 0.002, "high": 0.004},
                "vs_mean": {"difference": 0.0, "low": 0.0, "high": 0.0},
                "test_auc": 0.8765,
            },
            "ridge_logit": {
                "auc": 0.882,
                "std": 0.0028,
                "error": 0.001,
                "folds": [0.880, 0.884],
                "vs_best": {"difference": 0.005, "low": -0.0041, "high": 0.006},
                "vs_mean": {"difference": 0.002, "low": 0.001, "high": 0.003},
                "test_auc": 0.8778,
                "weights": {"nspec_16": [0.7, 0.5], "seq_04": [-0.1, -0.2]},
            },
        },
        "skipped": {"boosting": "not installed"},
        "missing": ["seq_07", "pseudo_06"],
        "n_train": 560_000,
        "command": ["stacking.py"],
        "versions": {"numpy": "2.4"},
    } | changed
    (results / "stack.json").write_text(json.dumps(record))
    return record


def read_by_name(results: Path) -> dict[str, ReportedRun]:
    return {run.name: run for run in read_all_runs(results)}


# --- the page ---------------------------------------------------------------------------------


class Page(HTMLParser):
    """Every element with its attributes, the text of scripts, styles and of each table row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, str]] = []
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in ("script", "style"):
            self.blocks.append((self.elements[-1][1].get("type") or self.elements[-1][0], data))

    @property
    def data(self) -> dict:
        return json.loads(next(text for kind, text in self.blocks if kind == "application/json"))

    def words(self) -> str:
        """What a reader sees, in one line."""
        body = re.sub(r"<(script|style).*?</\1>", "", self.text, flags=re.S)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def make(results: Path, *arguments: str) -> Page:
    out = results / "index.html"
    assert report.main(["--results", str(results), *arguments]) == 0
    return Page(out.read_text(encoding="utf-8"))
