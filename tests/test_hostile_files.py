"""Files from strangers: nothing in them is run, and nothing outside their folder is opened.

Every example would run code, or read what it should not, in the hands of a careless reader; that
the traps do spring there is tested as well.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import pickle
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT
from small_run import SMALL, make_data, run_here
from stack_runs import NAMES, make_stack, write_results

import report
import stacking
import train
from data.cache_writer import write_cache
from data.sample_files import load_index, read_strain
from data.strain_cache import MAGIC, PREFIX, StrainCache
from experiments.npy_files import load_array
from experiments.pseudo_labels import PseudoLabels
from models2d.backbones import read_state_dict
from runtime.errors import UserError
from runtime.files import read_json
from training.checkpoints import load_checkpoint

SPRUNG = "sprung"  # the file that a trap makes where it can


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / SPRUNG

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


class Eval(Trap):
    """The same by way of a built-in."""

    def __reduce__(self) -> tuple:
        return eval, (f"open({str(self.target)!r}, 'w')",)


def code(folder: Path) -> str:
    """An expression that does the same."""
    return f"__import__('pathlib').Path({str(folder / SPRUNG)!r}).touch()"


# --- ways to hide a trap in a file -----------------------------------------------------------


def pickled(path: Path, kind: type = Trap) -> None:
    path.write_bytes(pickle.dumps({"model": kind(path.parent)}))


def torch_zip(path: Path, kind: type = Trap) -> None:
    content = {"model": {"w": torch.ones(2)}, "optimizer": {}, "state": kind(path.parent)}
    torch.save(content | {"of_ranks": []}, path)


def torch_old(path: Path) -> None:
    torch.save({"model": Trap(path.parent)}, path, _use_new_zipfile_serialization=False)


def torch_script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), path)


def whole_module(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 1), path)


def objects(path: Path, shape: tuple[int, ...] = (1,)) -> None:
    """Arrays of Python objects are pickled into the file."""
    array = np.empty(shape, dtype=object)
    array.fill(Trap(path.parent))
    np.save(path, array, allow_pickle=True)


def header(path: Path, text: str) -> None:
    """An array whose header says this."""
    line = text.ljust(509).encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + b"\0" * 100)


def code_in_header(path: Path) -> None:
    header(path, f"{{'descr': {code(path.parent)}, 'fortran_order': False, 'shape': (3, 4096), }}")


def texts_of_no_characters(path: Path) -> None:
    """128 bytes that numpy turns into 0.6 GiB."""
    line = b"{'descr': '<U0', 'fortran_order': False, 'shape': (160000000,), }".ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line)
    assert path.stat().st_size == 128


def terabytes(path: Path) -> None:
    header(path, "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1), }")


def zipped_arrays(path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([Trap(path.parent)], dtype=object))
    path.write_bytes(buffer.getvalue())


def cache(path: Path, **changes: object) -> None:
    """A cache of one sample whose header says something else."""
    np.save(path.with_suffix(".npy"), np.ones((3, 4096)))
    write_cache(path, ["abc"], [path.with_suffix(".npy")], processes=1)
    content = path.read_bytes()
    _, version, length = PREFIX.unpack(content[: PREFIX.size])
    said = json.loads(content[PREFIX.size : PREFIX.size + length]) | changes
    text = json.dumps(said).encode()
    start = PREFIX.pack(MAGIC, version, len(text)) + text
    path.write_bytes(start.ljust(4096, b"\0") + content[4096:])


def cache_of_objects(path: Path) -> None:
    cache(path, dtype="|O")
    path.write_bytes(path.read_bytes()[:8192] + pickle.dumps(Trap(path.parent)))


def code_in_cache(path: Path) -> None:
    text = code(path.parent).encode()
    path.write_bytes((PREFIX.pack(MAGIC, 1, len(text)) + text).ljust(70_000, b"\0"))


def index(*rows: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text("\n".join(["id,target,path", *rows]) + "\n")

    return write


def link_away(path: Path) -> None:
    """The folder of the table is itself a link, so that '..' does not lead where it seems to."""
    real = path.parent / "elsewhere" / "deep"
    real.mkdir(parents=True)
    (path.parent / "input").symlink_to(real)
    index("abc,0,../secret.npy")(real / path.name)
    shutil.copy(real / path.name, path)


# --- the readers -----------------------------------------------------------------------------


READERS = {
    "checkpoint": (
        load_checkpoint,
        {
            "a pickle": pickled,
            "a pickle with eval": functools.partial(pickled, kind=Eval),
            "torch's format": torch_zip,
            "torch's format with eval": functools.partial(torch_zip, kind=Eval),
            "torch's old format": torch_old,
            "a script": torch_script,
            "a whole module": whole_module,
        },
    ),
    "state of a run": (
        lambda path: load_checkpoint(path, ("state", "of_ranks")),
        {"torch's format": torch_zip},
    ),
    "backbone": (
        read_state_dict,
        {"torch's format": torch_zip, "a pickle": pickled, "a pickle named safetensors": pickled},
    ),
    "sample": (
        read_strain,
        {
            "objects": objects,
            "objects of a sample's shape": lambda path: objects(path, (3, 4096)),
            "a pickle": pickled,
            "code in the header": code_in_header,
            "terabytes": terabytes,
        },
    ),
    "array": (
        load_array,
        {
            "objects": objects,
            "a pickle": pickled,
            "code in the header": code_in_header,
            "terabytes": terabytes,
            "texts of no characters": texts_of_no_characters,
            "zipped arrays": zipped_arrays,
        },
    ),
    "cache": (
        StrainCache,
        {
            "a pickle": pickled,
            "objects": cache_of_objects,
            "code in the header": code_in_cache,
            "offset before the file": lambda path: cache(path, data_offset=-4096),
            "offset beyond the file": lambda path: cache(path, data_offset=2**40),
            "more rows than there are": lambda path: cache(path, shape=[10**12, 3, 4096]),
            "ids over the data": lambda path: cache(path, id_width=10**6),
        },
    ),
    "table": (
        load_index,
        {
            "up": index("abc,0,../secret.npy"),
            "down and up": index("abc,0,a/../../secret.npy"),
            "absolute": index("abc,0,/etc/passwd"),
            "the folder itself": index("abc,0,."),
            "beside, of a longer name": index("abc,0,../input2/secret.npy"),
            "an id that leads away": index("../../secret,0,a.npy"),
            "through a link": link_away,
            "a pickle": pickled,
        },
    ),
    "JSON": (read_json, {"a pickle": pickled, "code": lambda p: p.write_text(code(p.parent))}),
}
NAMES_OF = {
    "checkpoint": "a.pt",
    "state of a run": "a.pt",
    "backbone": "a.pt",
    "sample": "a.npy",
    "array": "a.npy",
    "cache": "a.f32",
    "table": "train.csv",
    "JSON": "a.json",
}
EXAMPLES = [(kind, what) for kind, (_, examples) in READERS.items() for what in examples]


@pytest.mark.parametrize(("kind", "what"), EXAMPLES)
def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path: Path, kind: str, what: str) -> None:
    read, examples = READERS[kind]
    folder = tmp_path / "input"
    folder.mkdir()
    path = folder / NAMES_OF[kind]
    if what.endswith("safetensors"):
        path = path.with_suffix(".safetensors")
    examples[what](path)
    opened = []
    tracemalloc.start()
    with pytest.raises(UserError) as error:
        opened.append(read(path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50e6  # bytes: what a header claims is not allocated
    assert path.name in str(error.value)
    assert not opened
    assert not list(tmp_path.rglob(SPRUNG))


def test_the_traps_spring_where_they_are_let(tmp_path: Path) -> None:
    for number, (write, read) in enumerate(
        (
            (pickled, lambda path: pickle.loads(path.read_bytes())),
            (functools.partial(pickled, kind=Eval), lambda path: pickle.loads(path.read_bytes())),
            (torch_zip, lambda path: torch.load(path, weights_only=False)),
            (torch_old, lambda path: torch.load(path, weights_only=False)),
            (objects, lambda path: np.load(path, allow_pickle=True)),
            (zipped_arrays, lambda path: np.load(path, allow_pickle=True)["a"]),
            (code_in_header, lambda path: eval(path.read_bytes()[10:-100])),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "a.npy")
        assert not (folder / SPRUNG).exists()
        read(folder / "a.npy")
        assert (folder / SPRUNG).exists(), write


# --- predictions, through every command that joins runs --------------------------------------

ARRAYS = ("ids_train", "ids_test", "folds", "outoffolds", "predictions")
WRITERS = {"objects": objects, "pickle": pickled, "header": code_in_header, "zip": zipped_arrays}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    data, truth = make_stack(60, 20)
    return write_results(tmp_path_factory.mktemp("stack"), data, truth)


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("how", WRITERS)
def test_hostile_predictions_are_refused_by_all(sound: Path, tmp_path: Path, array, how) -> None:
    results = tmp_path / "results"
    shutil.copytree(sound, results)
    path = results / NAMES[0] / f"{array}.npy"
    WRITERS[how](path)
    with pytest.raises(UserError, match=rf"{array}\.npy is not a plain numpy array"):
        stacking.main(["--results", str(results), "--experiments", *NAMES])
    source = PseudoLabels(source=NAMES[0])
    names = ("ids_train", "folds", "ids_test")
    own = [load_array(sound / NAMES[0] / f"{name}.npy") for name in names]
    with pytest.raises(UserError, match=rf"{array}\.npy"):
        source.read(results, *own)
    report.main(["--results", str(results)])  # says so in the run's row
    assert f"{array}.npy is not a plain" in (results / "index.html").read_text()
    assert not list(tmp_path.rglob(SPRUNG))


# --- a results folder, through the command line that goes on with it -------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("place")
    make_data(place / "input")
    run_here(place / "input", place / "results")
    return place


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("fold1.pt", "--inference"),
        ("fold0_last.pt", "--resume"),
        ("ids_train.npy", "--resume"),
        ("folds.npy", "--inference"),
        ("config.json", "--resume"),
        ("fold0.json", "--inference"),
    ],
)
def test_a_hostile_results_folder_runs_nothing(
    trained: Path, tmp_path: Path, name: str, option: str
) -> None:
    shutil.copytree(trained / "results", tmp_path / "results")
    path = tmp_path / "results" / "demo" / name
    writers = {".pt": torch_zip, ".npy": objects, ".json": pickled}
    writers[path.suffix](path)
    if name == "fold0_last.pt":  # of a finished fold it is read where the record is missing
        path.with_name("fold0.json").unlink()
    tables = [f"{split}_path={trained / 'input' / split}.csv" for split in ("train", "test")]
    arguments = ["--config", "Demo", "--results", str(tmp_path / "results"), option, "--silent"]
    arguments += ["--set", *SMALL, *tables]
    if path.suffix == ".npy":  # the records of the folds name these samples: it is written again
        before = (trained / "results" / "demo" / name).read_bytes()
        assert train.main(arguments) == 0
        assert path.read_bytes() == before
    else:
        with pytest.raises(UserError, match=name):
            train.main(arguments)
    assert not list(tmp_path.rglob(SPRUNG))


# --- the source ------------------------------------------------------------------------------

# What they have to be given, and what where they are given nothing
SAFE = {"torch.load": ("weights_only", "True", None), "np.load": ("allow_pickle", "False", "False")}
NEVER = {
    "eval",
    "exec",
    "compile",
    "pickle.load",
    "pickle.loads",
    "pd.read_pickle",
    "joblib.load",
    "yaml.load",
    "yaml.unsafe_load",
    "marshal.loads",
    "shelve.open",
    "os.system",
    "os.popen",
    "torch.hub.load",
    "np.fromregex",
    "torch.jit.load",
}


def test_no_source_reads_what_could_be_code() -> None:
    loads = 0
    wings = [init.parent for init in ROOT.glob("*/__init__.py") if init.parent.name != "tests"]
    sources = [*ROOT.glob("*.py"), *(path for wing in wings for path in wing.rglob("*.py"))]
    assert len(sources) > 100, sources
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name, where = ast.unparse(node.func), f"{path.name}:{node.lineno}"
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert name not in NEVER, where
            assert given.get("shell") != "True", where
            if name in SAFE:
                key, value, default = SAFE[name]
                assert given.get(key, default) == value, where
                loads += 1
    assert loads >= 4  # in checkpoints, backbones, summary and waveforms
