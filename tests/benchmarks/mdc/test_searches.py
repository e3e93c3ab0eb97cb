"""Which searches a command line names, and what tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.mdc.__main__ as mdc
from benchmarks.mdc import searches
from benchmarks.mdc.searches import SearchChoice, find_searches
from runtime.command_line import run_command
from runtime.errors import UserError
from search.conditioned_stretch import ConditioningSettings
from training.checkpoints import save_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_networks(monkeypatch) -> list[tuple]:
    """Build no networks; return what they would have been built of."""
    built: list[tuple] = []
    monkeypatch.setattr(searches, "make_scorer", lambda *args: built.append(args))
    monkeypatch.setattr(searches, "make_plain_scorer", lambda *args: built.append(args))
    return built


def write_weights(results: Path, name: str, value: float, **further: Any) -> None:
    (results / name).mkdir(parents=True, exist_ok=True)
    content = {"model": {"weight": torch.tensor([value])}, **further}
    save_checkpoint(results / name / "fold0.pt", content)


def identities(choice: SearchChoice) -> dict[str, dict]:
    conditioning = ConditioningSettings()
    return {each.key: each.identity(conditioning) for each in find_searches(choice, CPU)}


def test_networks_and_their_plain_matched_filters_search(tmp_path: Path, no_networks) -> None:
    write_weights(tmp_path, "mdc_1", 1.0)
    found = find_searches(SearchChoice(("Mdc1",), (), tmp_path), CPU)
    assert [(each.name, each.key) for each in found] == [
        ("mdc_1", "mdc_1"),
        ("plain matched filter, templates of mdc_1", "plain_matched_filter_mdc_1"),
    ]
    assert [each.events.least for each in found] == [2.5, 42.0]
    config, weights, device, views = no_networks[0]
    assert (config.name, weights) == ("mdc_1", [tmp_path / "mdc_1" / "fold0.pt"])
    assert (device, views) == (CPU, ("identity",))


def test_without_config_the_plain_matched_filter_of_the_set_searches(tmp_path: Path) -> None:
    (found,) = find_searches(SearchChoice(("Mdc1",), (), tmp_path, networks=False), CPU)
    assert found.key == "plain_matched_filter_mdc_1"
    with pytest.raises(UserError, match="has no filter bank for a plain matched filter"):
        find_searches(SearchChoice(("Mdc1ResNet",), (), tmp_path, networks=False), CPU)


def test_other_weights_settings_and_views_are_other_searches(tmp_path: Path) -> None:
    write_weights(tmp_path, "mdc_1", 1.0)
    first = identities(SearchChoice(("Mdc1",), (), tmp_path))
    assert first == identities(SearchChoice(("Mdc1",), (), tmp_path))
    write_weights(tmp_path, "mdc_1", 2.0)
    other = identities(SearchChoice(("Mdc1",), (), tmp_path))
    assert other["mdc_1"] != first["mdc_1"]
    # the plain matched filter has no weights
    assert other["plain_matched_filter_mdc_1"] == first["plain_matched_filter_mdc_1"]
    smaller = identities(SearchChoice(("Mdc1",), ("model_params.bank_size=2000",), tmp_path))
    assert not set(map(str, smaller.values())) & set(map(str, other.values()))
    untrained = identities(SearchChoice(("Mdc1",), (), tmp_path, untrained=True, views=True))
    assert set(untrained) == {"mdc_1_untrained_with_views", "plain_matched_filter_mdc_1"}
    slid = identities(SearchChoice(("Mdc1",), (), tmp_path, slides=3))
    assert slid["mdc_1"]["events"]["slides"] == 3


def test_what_cannot_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no weights"):
        find_searches(SearchChoice(("Mdc1",), (), tmp_path), CPU)
    with pytest.raises(UserError, match="no filter bank and finds nothing untrained"):
        find_searches(SearchChoice(("Mdc1ResNet",), (), tmp_path, untrained=True), CPU)
    with pytest.raises(UserError, match="names mdc_1, untrained twice"):
        find_searches(SearchChoice(("Mdc1", "Mdc1"), (), tmp_path, untrained=True), CPU)


def test_unfinished_weights_search_only_where_that_is_allowed_and_are_marked(
    tmp_path: Path, capsys
) -> None:
    write_weights(tmp_path, "mdc_1", 1.0, state={"epoch": 1, "finished": False})
    line = ["--config", "Mdc1", "--results", str(tmp_path), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: mdc.main(line))
    assert exit_info.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "fold0.pt is of a training that has not ended (epoch 1): train it to its end" in said
    assert "or use it as it is with --allow_unfinished" in said
    choice = SearchChoice(("Mdc1",), (), tmp_path, plain=False, allow_unfinished=True)
    (search,) = find_searches(choice, CPU)
    assert (search.name, search.key) == ("mdc_1, unfinished", "mdc_1_unfinished")
    assert mdc.make_parser().parse_args([*line, "--allow_unfinished"]).allow_unfinished
