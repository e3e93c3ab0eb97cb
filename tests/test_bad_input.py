"""Mistakes that people make: each gets one sentence on stderr, exit code 2, and leaves no ruins."""

from __future__ import annotations

import functools
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SMALL, make_data, run_here
from torch import nn

import prep_data
import report
import stacking
import train
from data.cache_writer import write_cache
from data.table_sampling import write_sampling
from datasets import G2NetDataset, load_index
from physics.observation import Observation
from runtime.command_line import run_command
from runtime.errors import UserError
from training.checkpoints import save_checkpoint
from training.data_loading import make_loader, read_batches
from training.settings import Loading

TRAIN = functools.partial(train.main)
PSEUDO = functools.partial(train.main, pseudo=True)
LIGO = Observation(("H1", "L1"))
NET = "model_params.spec_params"


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with everything that can be wrong, beside what is right."""
    place = tmp_path_factory.mktemp("place")
    data = make_data(place / "input")
    files = sorted(data.glob("train*.npy"), key=lambda path: int(path.stem.split("x")[1]))
    text = (data / "train.csv").read_text()
    ids = [path.stem for path in files]
    write_cache(place / "good.f32", ids, list(map(str, files)))
    write_cache(place / "few.f32", ids[:30], list(map(str, files[:30])))
    (place / "cut.f32").write_bytes((place / "good.f32").read_bytes()[:-1000])
    (place / "no.f32").write_text("no cache")

    def table(name: str, change) -> None:
        shutil.copytree(data, place / name)
        (place / name / "train.csv").write_text(change(text))

    first = f"{ids[0]},"
    table("double", lambda t: t + t.splitlines()[1] + "\n")
    table(
        "half", lambda t: t.replace(f"{first}0", f"{first}0.5").replace(f"{first}1", f"{first}0.5")
    )
    table(
        "word", lambda t: t.replace(f"{first}0", f"{first}yes").replace(f"{first}1", f"{first}yes")
    )
    table("outside", lambda t: t.replace(f"{ids[0]}.npy", "../../etc/passwd"))
    table("nopath", lambda t: "\n".join(",".join(r.split(",")[:2]) for r in t.splitlines()))
    table("empty", lambda t: t.splitlines()[0] + "\n")
    table("one", lambda t: "".join(r for r in t.splitlines(True) if ",1," not in r))
    table("two", lambda t: t.replace(f"{first}0", f"{first}2").replace(f"{first}1", f"{first}2"))
    table("noid", lambda t: t.replace(first, ","))
    table("shifted", lambda t: "\n".join([t.splitlines()[0], *(r + "," for r in t.split()[1:])]))
    for name in ("gone", "short", "nan", "shape", "type"):
        table(name, lambda t: t)
    (place / "gone" / f"{ids[5]}.npy").unlink()
    raw = files[5].read_bytes()
    (place / "short" / files[5].name).write_bytes(raw[: len(raw) // 2])
    bad = np.load(files[5])
    bad[1, 7] = np.nan
    np.save(place / "nan" / files[5].name, bad)
    np.save(place / "shape" / files[5].name, bad[:2])
    np.save(place / "type" / files[5].name, np.ones((3, 4096), np.int16))
    table("ligo", lambda t: t)
    write_sampling(place / "ligo", LIGO.sampling)
    for file in (place / "ligo").glob("*.npy"):
        np.save(file, np.load(file)[:2])
    ligo = [str(place / "ligo" / file.name) for file in files]
    write_cache(place / "ligo.f32", ids, ligo, sampling=LIGO.sampling)
    (place / "said").mkdir()
    shutil.copy(data / "train.csv", place / "said")
    (place / "said" / "observation.json").write_text('{"detectors": ["H1"]}')
    (place / "short.txt").write_text("10 1e-23\n500 1e-23\n")
    (place / "fell.txt").write_text("10 1e-23\n9 1e-23\n2000 1e-23\n")
    (place / "mine").write_text("a file where a folder is to be")

    torch.save({"model": {"a": torch.zeros(1)}}, place / "foreign.pt")
    torch.save({"model": Trap(place / "sprung")}, place / "trap.pt")
    (place / "text.pt").write_text("no tensors")
    return place


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """Results of a finished small run."""
    run_here(place / "input", place / "results")
    return place / "results"


def on(folder: str, *settings: str) -> list[str]:
    """Arguments of a small Demo run on one of the folders of `place`."""
    return [
        "--config",
        "Demo",
        "--set",
        *SMALL,
        f"train_path={folder}/train.csv",
        f"test_path={folder}/test.csv",
        *settings,
    ]


def ligo(*settings: str) -> list[str]:
    """Arguments of a small Demo run that observes with H1 and L1."""
    return on("ligo", "observation.detectors=[H1,L1]", *settings)


def injections(*settings: str) -> list[str]:
    """Arguments of a run on injections."""
    tables = [f"{split}_path=input/{split}.csv" for split in ("train", "test")]
    return ["--config", "Wave01", "--set", "cv=2", *tables, *settings]


def image(config: str, *settings: str) -> list[str]:
    """Arguments of a run of an image model."""
    tables = [f"{split}_path=input/{split}.csv" for split in ("train", "test")]
    return [
        "--config",
        config,
        "--no_pretrained",
        "--set",
        *tables,
        "cv=2",
        "train_cache=none",
        "test_cache=none",
        *settings,
    ]


CASES = {
    # --- what to run ---
    "unknown config": (TRAIN, ["--config", "Dem"], "did you mean 'Demo'"),
    "unknown option": (TRAIN, ["--confg", "Demo"], "unrecognized arguments: --confg"),
    "fold no number": (TRAIN, ["--limit_fold", "x"], "invalid int value: 'x'"),
    "fold that is not": (TRAIN, [*on("input"), "--limit_fold", "9"], "has folds 0 to 1"),
    "one fold of predictions": (
        TRAIN,
        [*on("input"), "--limit_fold", "0", "--inference"],
        "leave --limit_fold out",
    ),
    "pseudo with train": (TRAIN, ["--config", "Pseudo07"], "use `python train_pseudo.py"),
    "plain with pseudo": (PSEUDO, ["--config", "Demo"], "use `python train.py"),
    "no pseudo source": (
        PSEUDO,
        [*on("input"), "--config", "PseudoDemo"],
        "make them with `python train.py",
    ),
    # --- settings ---
    "no value": (TRAIN, on("input", "num_epochs"), "expected key=value"),
    "misspelt": (TRAIN, on("input", "num_epoch=2"), "did you mean 'num_epochs'"),
    "wrong type": (TRAIN, on("input", "batch_size=big"), "expected int"),
    "none": (TRAIN, on("input", "batch_size=none"), "expected int"),
    "misspelt argument": (TRAIN, on("input", "model_params.depth=1"), "did you mean 'depths'"),
    "argument of a part": (TRAIN, on("input", "transforms.train.0.bands=1"), "'band'"),
    "position": (TRAIN, on("input", "transforms.train.9.p=1"), "is not a position"),
    "a class": (TRAIN, on("input", "optimizer=SDG"), "did you mean 'SGD'"),
    "argument of a class": (TRAIN, on("input", "scheduler=StepLR"), "needs step_size"),
    "deep": (TRAIN, on("input", "seed.x=1"), "nothing below"),
    "name": (TRAIN, on("input", "name=../up"), "plain folder name"),
    "batch size": (TRAIN, on("input", "batch_size=0"), "batch_size = 0"),
    "accumulate": (TRAIN, on("input", "accumulate=0"), "accumulate = 0"),
    "no epochs": (TRAIN, on("input", "num_epochs=0"), "num_epochs = 0"),
    "name of a dry run": (TRAIN, on("input", "name=dry_run"), "choose another with --set name=…"),
    "view": (TRAIN, [*on("input", "views=['flop']"), "--tta"], "did you mean 'flip'"),
    "no view": (TRAIN, [*on("input", "views=[]"), "--tta"], "views is empty"),
    "amp": (TRAIN, on("input", "amp=fp16"), "needs a GPU"),
    "amp name": (TRAIN, on("input", "amp=fp8"), "'bf16' or 'fp16'"),
    "clipping": (TRAIN, on("input", "clip_grad=hard"), "'value', 'norm' or 'agc'"),
    "injections": (TRAIN, injections("dataset_params.snr=5"), "snr=5': '5' is a int, expected"),
    "injected rates": (
        TRAIN,
        injections("dataset_params.snr=(5.0,)"),
        "snr = (5.0,): expected two rising positive numbers",
    ),
    "stopping": (TRAIN, on("input", "callbacks.0.target=valid_auc"), "no score 'valid_auc'"),
    "schedule": (
        TRAIN,
        on("input", "batch_scheduler=true", "scheduler_target=valid_loss"),
        "batch_scheduler = False",
    ),
    "schedule target": (TRAIN, on("input", "scheduler_target=loss"), "no score 'loss'"),
    "folds": (TRAIN, on("input", "cv=40"), "too few for 40 folds"),
    "no folds": (TRAIN, on("input", "cv=0"), "expected 2 folds or more"),
    "gpu": (TRAIN, [*on("input"), "--gpu", "99"], "there is no GPU 99"),
    "gpu name": (TRAIN, [*on("input"), "--gpu", "big"], "expected device ids"),
    "average": (TRAIN, on("input", "ema_decay=2.0"), "between 0 and 1"),
    "no average": (TRAIN, on("input", "ema_decay=0.0"), "between 0 and 1"),
    "no name": (TRAIN, on("input", "name="), "plain folder name"),
    "odd name": (TRAIN, on("input", "name=a\0b"), "plain folder name"),
    "not plain": (TRAIN, on("input", "model_params.dropout={1, 2}"), "expected numbers, text"),
    "unhashable": (TRAIN, on("input", "model_params.dropout={[]: 1}"), "expected float as in 0.0"),
    "no transforms": (TRAIN, on("input", "transforms={}"), "transforms has no 'train'"),
    "callbacks": (TRAIN, on("input", "callbacks=(1,)"), "callbacks holds 1"),
    "monitors": (TRAIN, on("input", "monitor_metrics=(1,)"), "monitor_metrics holds 1"),
    "band of one": (TRAIN, on("input", "transforms.train.0.band=(1,)"), "Whiten cannot be made"),
    "restarts": (TRAIN, on("input", "scheduler_params.T_0=0"), "CosineAnnealingWarmRestarts"),
    "rate": (TRAIN, on("input", "optimizer_params.lr=-1.0"), "optimizer_params of AdamW"),
    "splitter": (TRAIN, on("input", "splitter=KFolds"), "did you mean 'KFold'"),
    "groups": (TRAIN, on("input", "splitter=GroupKFold"), "reads the column 'group'"),
    "bad losses": (TRAIN, on("input", "max_bad_losses=0"), "expected 1 or more"),
    "limit": (TRAIN, on("input", "clip_grad=norm", "max_grad_norm=-1.0"), "a number above 0"),
    "readers": (TRAIN, [*on("input"), "--num_workers", "-1"], "-1 is not 0 or more"),
    "saves": (TRAIN, [*on("input"), "--checkpoint_every", "nan"], "nan is not 0 or more"),
    "weights of none": (
        TRAIN,
        [*on("input"), "--weights", "foreign.pt", "--inference"],
        "choose one",
    ),
    # --- networks ---
    "pooling": (TRAIN, image("Nspec16", "model_params.custom_classifier=gm"), "'gem'"),
    "backbone": (TRAIN, image("Nspec16", "model_params.model_name=resnet1"), "no such model"),
    "band": (TRAIN, image("Nspec16", f"{NET}.upper_freq=2000"), "half the sampling rate"),
    "size": (TRAIN, image("Nspec16", "model_params.resize_img=(1,2,3)"), "rows and columns"),
    "widths": (TRAIN, on("input", "model_params.widths=(4,8,16)"), "widths"),
    "dropout": (TRAIN, on("input", "model_params.dropout=2.0"), "BranchedResNet1d cannot be made"),
    "scales": (TRAIN, image("Nspec16", f"{NET}.n_scales=1"), "at least two"),
    "preprocess": (TRAIN, image("Nspec16", "model_params.custom_preprocess=x"), "'positional-add'"),
    # --- weights ---
    "weights": (TRAIN, [*on("input"), "--weights", "none.pt"], "no backbone of timm"),
    "weight path": (TRAIN, on("input", "weight_path=none.pt"), "does not exist"),
    "foreign weights": (TRAIN, on("input", "weight_path=foreign.pt"), "no weight in foreign.pt"),
    "hostile weights": (TRAIN, on("input", "weight_path=trap.pt"), "holds more than tensors"),
    "no weights": (TRAIN, on("input", "weight_path=text.pt"), "text.pt"),
    "no checkpoint": (TRAIN, [*on("input"), "--inference"], "train that fold first"),
    # --- data ---
    "no table": (TRAIN, on("nowhere"), "make it with prep_data.py"),
    "no cache": (TRAIN, on("input", "train_cache=none.f32"), "none.f32"),
    "no cache file": (TRAIN, on("input", "train_cache=no.f32"), "no.f32"),
    "cut cache": (TRAIN, on("input", "train_cache=cut.f32"), "cut.f32"),
    "cache of others": (TRAIN, on("input", "train_cache=few.f32"), "made of other data"),
    "device cache": (TRAIN, [*on("input"), "--cache_device"], "needs caches"),
    "id twice": (TRAIN, on("double"), "is there twice"),
    "half a label": (TRAIN, on("half"), "is 0.5, expected 0 or 1"),
    "word for a label": (TRAIN, on("word"), "'yes' is not a number"),
    "path outside": (TRAIN, on("outside"), "data_root="),
    "no paths": (TRAIN, on("nopath"), "no column 'path'"),
    "another label": (TRAIN, on("two"), "is 2, expected 0 or 1"),
    "no id": (TRAIN, on("noid"), "the id '' is not plain"),
    "shifted columns": (TRAIN, on("shifted"), "more fields than there are columns"),
    "no samples": (TRAIN, on("empty"), "lists no samples"),
    "one class": (TRAIN, on("one"), "samples of one class"),
    "missing sample": (TRAIN, on("gone"), "does not exist"),
    "short sample": (TRAIN, on("short"), "cut short"),
    "NaN in a sample": (TRAIN, on("nan"), "non-finite"),
    "sample of another shape": (TRAIN, on("shape"), "wrong shape (2, 4096)"),
    "sample of another type": (TRAIN, on("type"), "wrong dtype int16"),
    "cache of the other split": (TRAIN, on("input", "test_cache=good.f32"), "made of other data"),
    "test cache missing": (TRAIN, on("input", "test_cache=none.f32"), "none.f32"),
    "one cache on the device": (
        TRAIN,
        [*on("input", "train_cache=good.f32"), "--cache_device"],
        "test_cache is not set",
    ),
    # --- what is observed ---
    "unknown detector": (TRAIN, on("input", "observation.detectors=[H1,L2]"), "detector 'L2'"),
    "detector twice": (TRAIN, on("input", "observation.detectors=[H1,H1]"), "different names"),
    "no detector": (TRAIN, on("input", "observation.detectors=[]"), "one or more different names"),
    "odd window": (TRAIN, on("input", "observation.window=2.00048828125"), "an even number"),
    "no curve": (TRAIN, on("input", "observation.curves=aLIGO_O4_hihg"), "aLIGO_O4_hihg"),
    "two curves": (TRAIN, on("input", "observation.curves=[AdV,AdV]"), "2 curves for 3 detectors"),
    "short curve": (
        TRAIN,
        on("input", "observation.curves=short.txt"),
        "ends at 500 Hz, below half the sampling rate of 2048 Hz",
    ),
    "damaged curve": (TRAIN, on("input", "observation.curves=fell.txt"), "fell.txt is damaged"),
    "table of others": (
        TRAIN,
        on("ligo"),
        "holds H1 L1 at 2048 Hz, 2 s and the experiment expects H1 L1 V1 at 2048 Hz, 2 s: name",
    ),
    "table of the competition": (
        TRAIN,
        on("input", "observation.detectors=[H1,L1]"),
        "train.csv holds H1 L1 V1 at 2048 Hz, 2 s and the experiment expects H1 L1 at 2048 Hz",
    ),
    "damaged observation of a table": (TRAIN, on("said"), "said/observation.json"),
    "cache of another observation": (
        TRAIN,
        on("input", "train_cache=ligo.f32"),
        "ligo.f32 holds H1 L1 at 2048 Hz, 2 s and the experiment expects H1 L1 V1 at 2048 Hz, 2 s",
    ),
    "files of another shape": (
        TRAIN,
        on("shape", "observation.window=2.0"),
        "the wrong shape (2, 4096), expected (3, 4096) of H1 L1 V1 at 2048 Hz, 2 s",
    ),
    "run of another observation": (
        TRAIN,
        [*ligo(), "--results", "results", "--resume"],
        "is of a run that observes H1 L1 V1 at 2048 Hz, 2 s, and this run observes H1 L1 at 2048",
    ),
    "run in other noise": (
        TRAIN,
        [*on("input", "observation.min_frequency=20.0"), "--results", "results", "--resume"],
        "in noise from 10 Hz of",
    ),
    "predictions of another observation": (
        TRAIN,
        [*on("input", "observation.curves=AdV"), "--results", "results", "--inference"],
        "in noise from 10 Hz of AdV AdV AdV: predict as they were trained",
    ),
    "weights of another observation": (
        TRAIN,
        ligo("weight_path=results/demo"),
        "fold0.pt was trained on samples of H1 L1 V1 at 2048 Hz, 2 s and Demo observes H1 L1",
    ),
    "inference by another observation": (
        TRAIN,
        [*ligo("weight_path=results/demo"), "--inference"],
        "was trained on samples of H1 L1 V1",
    ),
    "view of none alike": (
        TRAIN,
        [*on("ligo", "observation.detectors=[H1,V1]", "views=[swap_ligo]"), "--tta"],
        "swap_ligo exchanges H1 and L1 with the same noise curve, and the observation (H1 V1",
    ),
    "factors of others": (
        TRAIN,
        ligo("dataset_params.norm_factor=[1.0,1.0,1.0]"),
        "expected 2 numbers above 0, one for each of H1 L1",
    ),
    # --- where to write ---
    "results in a file": (TRAIN, [*on("input"), "--results", "mine"], "another file or folder"),
    "results nowhere": (TRAIN, [*on("input"), "--results", "/proc/x"], "another file or folder"),
    # --- the other commands ---
    "prepare for no config": (prep_data.main, ["--config", "Dem"], "did you mean 'Demo'"),
    "prepare for no detector": (
        prep_data.main,
        ["--cache", "--set", "observation.detectors=[X1]"],
        "detector 'X1'",
    ),
    "no labels": (prep_data.main, ["--root_dir", "nowhere"], "training_labels.csv"),
    "simulate none": (prep_data.main, ["--simulate", "0"], "is not 1 or more"),
    "device": (prep_data.main, ["--simulate", "4", "--device", "tpu"], "is not cpu, cuda"),
    "nothing to stack": (stacking.main, ["--results", "nowhere"], "nowhere"),
    "no such run": (stacking.main, ["--results", "results", "--experiments", "nothing"], "nothing"),
    "no such method": (stacking.main, ["--results", "results", "--method", "magic"], "magic"),
    "nothing to report": (report.main, ["--results", "nowhere"], "nowhere"),
}


NAMES = list(CASES)
ABOUT_SAMPLES = NAMES[NAMES.index("no table") : NAMES.index("one cache on the device") + 1]
ROWS = [pytest.param(case, 0, id=case) for case in CASES]
ROWS += [pytest.param(case, 2, id=f"{case}, two readers") for case in ABOUT_SAMPLES]


@pytest.mark.parametrize(("case", "workers"), ROWS)
def test_one_sentence(
    case: str, workers: int, place: Path, trained: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    main, arguments, message = CASES[case]
    if workers:
        arguments = [*arguments, "--num_workers", str(workers)]
    monkeypatch.chdir(place)
    if main in (TRAIN, PSEUDO):
        arguments = ["--results", str(tmp_path / "out"), *arguments]
    with pytest.raises(SystemExit) as end:
        run_command(functools.partial(main, arguments))
    error = capsys.readouterr().err
    assert end.value.code == 2, error
    lines = [line for line in error.splitlines() if not line.startswith("\r")]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not (place / "sprung").exists()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    ruins = [name for name in left if name.endswith((".npy", ".csv")) and "ids_" not in name]
    assert [name for name in ruins if name != "folds.npy"] == []
    assert not [name for name in left if ".tmp" in name or name.endswith(".pt")]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "case",
    [
        "missing sample",
        "short sample",
        "NaN in a sample",
        "sample of another shape",
        "sample of another type",
    ],
)
def test_a_bad_sample_is_one_sentence_from_a_reader_too(
    case: str, workers: int, place: Path
) -> None:
    """An error of a reader process arrives as it was raised, without the reader's traceback."""
    _, arguments, message = CASES[case]
    folder = place / next(word for word in arguments if "train_path=" in word).split("=")[1]
    index = load_index(folder)
    data = G2NetDataset(index["path"], index["target"], ids=index["id"])
    loader = make_loader(
        data,
        Loading(batch_size=16, num_workers=workers),
        shuffle=False,
        counters=(0, 0),
        device=torch.device("cpu"),
    )
    with pytest.raises(UserError, match=re.escape(message)) as error:
        list(read_batches(loader))
    assert "Traceback" not in str(error.value)
    assert "\n" not in str(error.value)
    # what a reader says is what this process says
    with pytest.raises(UserError) as expected:
        data.__getitems__(range(len(data)))
    assert str(error.value) == str(expected.value)


EXTRAS = {
    "lalsimulation": (prep_data.main, ["--simulate", "4", "--out", "new"], "sim"),
    "cmaes": (stacking.main, ["--results", "results", "--method", "cmaes"], "stack"),
    "apprise": (TRAIN, on("input"), "notify"),
}


@pytest.mark.parametrize("package", EXTRAS)
def test_a_missing_extra_is_named(
    package: str, place: Path, trained: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    main, arguments, extra = EXTRAS[package]
    monkeypatch.chdir(place)
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path))  # where no waveforms lie yet
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    if main is TRAIN:
        monkeypatch.setenv("G2NET_NOTIFY", "json://localhost")
        arguments = ["--results", str(tmp_path / "out"), *arguments]
    with pytest.raises(SystemExit) as end:
        run_command(functools.partial(main, arguments))
    assert end.value.code == 2
    assert f"pip install -e '.[{extra}]'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.pt"))


def test_truth_that_cannot_be_read_is_named_and_costs_no_prediction(
    trained: Path, place: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "results")
    shutil.copytree(place / "input", tmp_path / "input")
    (tmp_path / "input" / "test_labels.csv").write_text("id,label\na,1\n")
    done = run_here(tmp_path / "input", tmp_path / "results", "--inference")
    assert "test_labels.csv has no column 'target'" in done.stderr + done.stdout
    arrays = [
        np.load(results / "demo" / "predictions.npy") for results in (trained, tmp_path / "results")
    ]
    assert np.array_equal(*arrays)


def test_damaged_checkpoints_of_a_run(trained: Path, place: Path, tmp_path: Path) -> None:
    for name, content, message in (
        ("fold1.pt", b"damaged", "or is damaged"),
        ("fold1.pt", (place / "trap.pt").read_bytes(), "holds more than tensors"),
        ("fold1.pt", (place / "foreign.pt").read_bytes(), "is not the file that fold1.json is of"),
    ):
        folder = tmp_path / message.replace(" ", "_")
        shutil.copytree(trained, folder)
        (folder / "demo" / name).write_bytes(content)
        before = (folder / "demo" / "predictions.npy").read_bytes()
        done = run_here(place / "input", folder, "--inference", code=2)
        assert message in done.stderr
        assert (folder / "demo" / "predictions.npy").read_bytes() == before
        assert not (place / "sprung").exists()


def test_a_full_gpu_says_which_batch_size_to_try(monkeypatch, place: Path, tmp_path: Path, capsys):
    from training_extras import TrainHook

    forward = TrainHook.forward_train

    def full(self: TrainHook, model: nn.Module, batch: dict, criterion: nn.Module) -> tuple:
        if len(batch["index"]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return forward(self, model, batch, criterion)

    monkeypatch.setattr(TrainHook, "forward_train", full)
    monkeypatch.chdir(place)
    where = ["--results", str(tmp_path), "--silent", "--limit_fold", "0"]
    with pytest.raises(SystemExit) as end:
        run_command(functools.partial(TRAIN, [*on("input"), *where]))
    assert end.value.code == 2
    advice = "--resume --set batch_size=8 accumulate=2"
    assert f"continue with {advice}" in capsys.readouterr().err
    assert TRAIN([*on("input"), *where, *advice.split()]) == 0  # typed as it stands there


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_memory_of_a_cpu_says_which_batch_size_to_try(
    workers: int, monkeypatch, place: Path, tmp_path: Path, capsys
) -> None:
    """The allocators of torch, and of numpy in a reader, fail for real on 2**47 bytes."""
    from training_extras import TrainHook

    forward, read = TrainHook.forward_train, G2NetDataset.__getitems__

    def full(self: TrainHook, model: nn.Module, batch: dict, criterion: nn.Module) -> tuple:
        if len(batch["index"]) > 8:
            torch.empty(2**47, dtype=torch.uint8)
        return forward(self, model, batch, criterion)

    def full_reader(self: G2NetDataset, indices) -> dict:
        if len(indices) > 8:
            np.empty(2**47, np.uint8)
        return read(self, indices)

    if workers:
        monkeypatch.setattr(G2NetDataset, "__getitems__", full_reader)
    else:
        monkeypatch.setattr(TrainHook, "forward_train", full)
    monkeypatch.chdir(place)
    where = ["--results", str(tmp_path), "--silent", "--limit_fold", "0"]
    where += ["--num_workers", str(workers)]
    with pytest.raises(SystemExit) as end:
        run_command(functools.partial(TRAIN, [*on("input"), *where]))
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "the memory of cpu does not hold batches of 16" in error
    assert [line for line in error.splitlines() if not line.startswith("\r")] == [error.strip()]
    advice = "--resume --set batch_size=8 accumulate=2"
    assert f"continue with {advice}" in error
    assert TRAIN([*on("input"), *where, *advice.split()]) == 0  # typed as it stands there


def test_a_saved_checkpoint_holds_plain_things_only(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"model": {"x": torch.ones(1)}})
    assert torch.load(tmp_path / "a.pt", weights_only=True)["model"]["x"] == 1
