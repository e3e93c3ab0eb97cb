"""The plan of the house: wings import downwards, no files in a circle, few files at the top."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

# From the ground up. A file imports from its own wing and from those before it, never from those
# after it; `TYPE_CHECKING` imports and imports inside functions count as well.
WINGS = (
    "runtime",
    "tracking",
    "configuration",
    "metrics",
    "loss_functions",
    "physics",
    "data",
    "datasets",
    "signal_transforms",
    "transforms",
    "layers",
    "models1d",
    "models2d",
    "spectrograms",
    "architectures",
    "training",
    "training_extras",
    "simulation",
    "experiments",
    "stack",
    "tuning",
    "reporting",
    "search",
    "look",
    "doctor",
    "configs",
    "utils",
)
COMMANDS = (
    "train",
    "train_pseudo",
    "prep_data",
    "stacking",
    "report",
    "predict",
    "export",
    "detect",
)
MOST_AT_THE_TOP = 16


def sources() -> dict[str, Path]:
    """Return the project's modules by dotted name, without tests and benchmarks."""
    files = [*ROOT.glob("*.py")]
    for wing in WINGS:
        files += (ROOT / wing).rglob("*.py")
    names = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def imported_modules(file: Path, known: dict[str, Path]) -> set[str]:
    """Return the project's modules that a file names in any import statement."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            # `from wing import module` is an import of the module, not of the wing's face
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                found.add(deeper if deeper in known else node.module)
    return found & set(known)


def wing_of(module: str) -> str:
    return module.split(".")[0]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = sources()
    return {name: imported_modules(file, known) for name, file in known.items()}


def test_every_module_has_a_place(graph: dict[str, set[str]]) -> None:
    assert {wing_of(name) for name in graph} == {*WINGS, *COMMANDS}
    tops = [path.name for path in ROOT.glob("*.py")]
    assert len(tops) <= MOST_AT_THE_TOP, sorted(tops)


def test_wings_import_downwards_only(graph: dict[str, set[str]]) -> None:
    order = {wing: level for level, wing in enumerate(WINGS)}
    upwards = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        # `python -m tuning` is a command like those of the top level
        if not name.endswith(".__main__")
        if wing_of(name) in order and order.get(wing_of(other), len(order)) > order[wing_of(name)]
    ]
    assert not upwards, upwards


def test_a_wing_never_uses_the_private_parts_of_another() -> None:
    known = sources()
    for name, file in known.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and wing_of(node.module or "") != wing_of(name):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private or node.module not in known, f"{name}: {private}"


def test_no_files_import_each_other_in_a_circle(graph: dict[str, set[str]]) -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_every_wing_says_what_it_is_for() -> None:
    for wing in WINGS:
        if (ROOT / wing).is_dir():
            text = ast.get_docstring(ast.parse((ROOT / wing / "__init__.py").read_text()))
            text = " ".join((text or "").split())
            assert text, wing
            assert "mport" in text, f"{wing}/__init__.py does not say what it imports"
            assert "Open " in text, f"{wing}/__init__.py does not say which file to open first"


# Modules without a test file of their own, each with the file of tests that covers it. They hold
# data alone, or steps of a larger module that a test can only judge by what that module returns.
TESTED_ELSEWHERE = {
    # one finished run serves the tests of all of these
    "experiments/exported_graph.py": "tests/test_export.py",
    "experiments/export_files.py": "tests/test_export.py",
    "experiments/new_samples.py": "tests/test_predict.py",
    "experiments/predictor.py": "tests/test_predict.py",
    "experiments/score_files.py": "tests/test_predict.py",
    "layers/front.py": "tests/models1d/test_classifier.py",  # the fields of a step
    "look/errors.py": "tests/look/test_learning.py",  # of the run that is trained there
    "models1d/matched_filter_arguments.py": "tests/models1d/test_matched_filter1d.py",
    "models2d/spectrogram_image.py": "tests/models2d/test_image_network.py",
    "physics/constants.py": "tests/physics/test_detectors.py",  # numbers
    "physics/curves.py": "tests/physics/test_noise.py",
    "physics/plain_law.py": "tests/physics/test_mass_laws.py",  # the base of all laws
    "reporting/files.py": "tests/test_report.py",
    "reporting/reported_run.py": "tests/reporting/test_data.py",  # the fields of a run
    "reporting/stack_html.py": "tests/reporting/test_page.py",
    "search/columns.py": "tests/search/test_trigger_table.py",
    "search/peaks.py": "tests/search/test_search_stretch.py",  # fields and a protocol
    "search/result.py": "tests/search/test_result_files.py",  # the fields of a result
    "search/run_search.py": "tests/test_detect.py",  # the order of the steps
    "search/stretch_results.py": "tests/search/test_search.py",
    "signal_transforms/band_pass_operators.py": "tests/signal_transforms/test_filtering.py",
    "signal_transforms/checks.py": "tests/signal_transforms/test_base.py",
    "signal_transforms/per_sample_operations.py": "tests/signal_transforms/test_amplitude.py",
    "signal_transforms/whitening_operators.py": "tests/signal_transforms/test_whitening.py",
    "stack/report.py": "tests/stack/test_files.py",
    "training/network_parts.py": "tests/training/test_parameter_groups.py",
    "training/save_clock.py": "tests/training/test_trainer.py",
    "tracking/tensorboard_tracker.py": "tests/tracking/test_trackers.py",
    "tracking/tracked_part.py": "tests/tracking/test_trackers.py",
    "tracking/csv_tracker.py": "tests/tracking/test_trackers.py",
    # one finished study serves the tests of all of these
    "tuning/figures.py": "tests/tuning/test___main__.py",
    "tuning/records.py": "tests/tuning/test___main__.py",
    "tuning/trials.py": "tests/tuning/test___main__.py",
}


def mirrored_test(file: Path) -> Path:
    """Return where a module is tested: stack/scores.py in tests/stack/test_scores.py."""
    relative = file.relative_to(ROOT)
    return ROOT / "tests" / relative.with_name(f"test_{relative.name}")


def test_every_module_is_tested_where_its_path_says() -> None:
    modules = {file for file in sources().values() if file.name != "__init__.py"}
    elsewhere = {ROOT / module: ROOT / test for module, test in TESTED_ELSEWHERE.items()}
    untested = {file for file in modules if not mirrored_test(file).exists()}
    missing = sorted(str(mirrored_test(file)) for file in untested - elsewhere.keys())
    assert not missing, f"write {missing}, or name in TESTED_ELSEWHERE what tests the module"
    # An exception that is no longer one goes, so that the list stays short.
    needless = sorted(str(file) for file in elsewhere.keys() - untested)
    assert not needless, f"remove from TESTED_ELSEWHERE: {needless}"
    absent = sorted(str(test) for test in elsewhere.values() if not test.exists())
    assert not absent, absent


def test_test_files_of_a_wing_are_named_after_its_modules() -> None:
    """A renamed module takes its tests along; only tests of a whole wing have their own names."""
    whole_wings = {"tests/spectrograms/test_every_front_end.py"}
    mirrors = {mirrored_test(file) for file in sources().values()}
    for wing in WINGS:
        for file in (ROOT / "tests" / wing).rglob("test_*.py"):
            name = str(file.relative_to(ROOT))
            assert file in mirrors or name in whole_wings, f"{name} mirrors no module"


# The competition's numbers stand in physics/observation.py, and all else takes them from an
# observation. These files hold one of them for a reason of their own.
MAY_HOLD_A_NUMBER = {
    "benchmarks/mdc/search_run.py": "4,096 s, the longest segment",
    "benchmarks/simulation/continuous_strain.py": "4,096 s, the longest segment",
    "configs.py": "numbers of published experiments are part of those experiments",
    "data/recording.py": "4,096 Hz, of GWOSC's files",
    "data/strain_cache.py": "4,096 bytes of a page of memory",
    "loss_functions.py": "4,096 rows that are compared pair by pair",
    "physics/distance_laws.py": "4,096 points of a table",
    "physics/mass_laws.py": "4,096 points of a table",
    "report.py": "4,096 bytes that are read of a page",
    "simulation/strain_settings.py": "4,096 s, the longest segment",
    "simulation/whitened_signals.py": "2,048 signals that a correction is fitted to",
}
NAMES_OF_CHANNELS = re.compile(r"in_chan(nel)?s|n(um)?_(detectors|channels)|detectors|channels")
NAMES_OF_FREQUENCIES = re.compile(r"(min|low(est|er)?)_freq(uency)?|fmin")
SHAPE_IN_WORDS = re.compile(r"\b3, 4096\b")


def observed_numbers(file: Path) -> Iterator[str]:
    """Yield what a file holds of the competition's detectors, rate, window and lowest frequency."""
    text = file.read_text()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in (2048, 4096):
            yield f"line {node.lineno}: {node.value}"
        elif isinstance(node, ast.Tuple | ast.List):
            values = [item.value for item in node.elts if isinstance(item, ast.Constant)]
            if values == ["H1", "L1", "V1"]:
                yield f"line {node.lineno}: H1, L1, V1"
        elif isinstance(node, ast.FunctionDef):
            arguments = node.args.posonlyargs + node.args.args
            named = [*zip(arguments[::-1], node.args.defaults[::-1], strict=False)]
            named += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            for argument, default in named:
                if is_observed(argument.arg, default):
                    yield f"line {node.lineno}: {argument.arg} = {default.value}"
        elif isinstance(node, ast.keyword) and is_observed(node.arg or "", node.value):
            yield f"line {node.value.lineno}: {node.arg} = {node.value.value}"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                name = getattr(target, "id", getattr(target, "attr", ""))
                if is_observed(name, node.value):
                    yield f"line {node.lineno}: {name} = {node.value.value}"
    for number, line in enumerate(text.splitlines(), 1):
        if SHAPE_IN_WORDS.search(line):
            yield f"line {number}: {line.strip()}"


def is_observed(name: str, value: ast.expr | None) -> bool:
    """Return whether something of this name is given the competition's number of it."""
    number = getattr(value, "value", None)
    return bool(
        (NAMES_OF_CHANNELS.fullmatch(name.lower()) and number == 3)
        or (NAMES_OF_FREQUENCIES.fullmatch(name.lower()) and number == 10)
    )


def test_only_the_observation_holds_the_competitions_numbers() -> None:
    """Nothing else knows 3 detectors, 2,048 Hz, 4,096 samples or 10 Hz; no benchmark either."""
    home = "physics/observation.py"
    every = [*sources().values(), *(ROOT / "benchmarks").rglob("*.py")]
    files = {file.relative_to(ROOT).as_posix(): file for file in every}
    found = {name: list(observed_numbers(file)) for name, file in files.items() if name != home}
    wrong = {
        name: lines for name, lines in found.items() if lines and name not in MAY_HOLD_A_NUMBER
    }
    assert not wrong, wrong
    needless = [name for name in MAY_HOLD_A_NUMBER if not found.get(name)]
    assert not needless, f"remove from MAY_HOLD_A_NUMBER: {needless}"
    assert list(observed_numbers(files[home]))  # the test sees what it looks for


@pytest.mark.parametrize(
    "line",
    [
        "rate = 2048",
        "size = 4_096.0",
        "names = ('H1', 'L1', 'V1')",
        "def make(in_chans=3): ...",
        "def make(*, min_frequency=10.0): ...",
        "make(in_channels=3)",
        "make(lowest_frequency=10)",
        "NUM_DETECTORS = 3",
        "fmin: float = 10.0",
        "# strain (3, 4096)",
    ],
)
def test_every_way_to_write_such_a_number_is_found(line: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(line)
    assert len(list(observed_numbers(file))) == 1
    file.write_text("make(in_channels=4)\nrate = 1024\n# 4096 bytes\n")
    assert not list(observed_numbers(file))
