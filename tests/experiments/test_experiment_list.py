"""The table of experiments is true: sizes, docs/reference/experiments.md and --list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import test_config_models
import test_configs
from paths import ROOT

import configs
from benchmarks import network_sizes
from benchmarks.network_sizes import BEGIN, END, PAGE, replace_table
from configuration.config_class import ConfigMeta
from experiments import experiment_list
from experiments.experiment_list import SIZES, decimation_of, network_key, read_sizes
from physics.observation import COMPETITION
from runtime.errors import UserError
from runtime.files import write_json


def test_the_page_is_not_stale() -> None:
    text = PAGE.read_text()
    assert text == replace_table(text), "run: python -m benchmarks.network_sizes --page"


def test_a_stale_page_would_be_seen() -> None:
    text = PAGE.read_text()
    assert replace_table(text.replace("| Pseudo07 |", "| Pseudo70 |")) == text
    with pytest.raises(UserError, match="lacks the lines"):
        replace_table(text.replace(END, ""))
    assert text.count(BEGIN) == text.count(END) == 1


def test_sizes_of_every_network_are_known() -> None:
    """A changed experiment needs `python -m benchmarks.network_sizes`; so does one that is shipped.

    A class that a reader adds has no size until then, which `train.py --list` shows as '-'.
    """
    sizes = read_sizes()
    named = {name for entry in sizes.values() for name in entry["classes"]}
    assert named <= set(ConfigMeta.registry)
    assert {network_key(ConfigMeta.registry[name]) for name in named} == set(sizes)
    assert named >= {"Baseline", "Pseudo07", "Demo", "Wave07", "Mdc1", "O4"}


def test_a_class_that_a_reader_adds_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As README and the tutorial say to: at the end of configs.py."""
    monkeypatch.setattr(ConfigMeta, "registry", dict(ConfigMeta.registry))
    settings = {"name": "my_try", "model_params": {"widths": (8, 8)}, "num_epochs": 5}
    ConfigMeta("MyTry", (configs.Demo,), settings)
    assert "MyTry" in ConfigMeta.registry
    test_the_page_is_not_stale()
    test_sizes_of_every_network_are_known()
    test_config_models.test_every_experiment_is_among_them()
    test_configs.test_a_child_states_only_what_differs()


def test_a_changed_network_is_not_shown_with_the_size_of_another() -> None:
    changes = {"model_params": configs.Demo.model_params | {"widths": (8, 8)}}
    other = ConfigMeta("Other", (configs.Demo,), changes, register=False)
    assert network_key(other) != network_key(configs.Demo)
    sizes = read_sizes()
    assert experiment_list.table_row(other, sizes)[5] == "-"
    assert experiment_list.table_row(configs.Demo, sizes)[5] == "0.2 M"


def test_images_are_those_of_the_decimated_strain() -> None:
    """DemoSpec whitens to every second sample, and its wavelets keep every sixteenth of those."""
    assert decimation_of(configs.DemoSpec) == 2
    size = read_sizes()[network_key(configs.DemoSpec)]
    assert size["image"] == [32, COMPETITION.num_samples // 2 // 16]
    full = ConfigMeta(
        "Full", (configs.DemoSpec,), {"transforms": {"train": (), "test": ()}}, register=False
    )
    assert network_key(full) != network_key(configs.DemoSpec)


def test_measuring_fills_the_file(monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "sizes.json"
    sizes = read_sizes()
    # Without those that a reader adds, which have no size yet.
    shipped = {name: ConfigMeta.registry[name] for name in network_sizes.measured_experiments()}
    monkeypatch.setattr(ConfigMeta, "registry", shipped)
    key = network_key(configs.Demo)
    gone = {k: v for k, v in sizes.items() if k != key} | {"old": {"classes": ["Gone"]}}
    write_json(path, gone)
    monkeypatch.setattr(experiment_list, "SIZES", path)
    monkeypatch.setattr(network_sizes, "SIZES", path)
    assert network_sizes.measure_all() == sizes
    assert read_sizes() == sizes


def test_list_prints_all_with_scores_and_sources() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--list"], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split() == [
        "class",
        "name",
        "front-end",
        "backbone",
        "image",
        "parameters",
        "from",
        "CV",
        "public",
        "LB",
        "private",
        "LB",
    ]
    # Other tests of this process may have registered experiments of their own.
    known = [name for name, each in ConfigMeta.registry.items() if each.__module__ == "configs"]
    assert [line.split()[0] for line in lines] == known
    (pseudo,) = (line for line in lines if line.startswith("Pseudo21 "))
    assert pseudo.split() == [
        "Pseudo21",
        "pseudo_21",
        "WaveNet",
        "tf_efficientnetv2_m",
        "128x1024",
        "55.6",
        "M",
        "labels",
        "of",
        "Nspec22arch7",
        "0.8786",
        "0.8831",
        "0.8815",
    ]


def test_the_sizes_lie_beside_the_code() -> None:
    assert SIZES.parent == ROOT / "experiments"
