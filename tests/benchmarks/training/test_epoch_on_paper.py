"""Operations of a step, beside what is counted by hand, and the record of what they come to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import page
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread
from benchmarks.training import epoch_on_paper
from benchmarks.training.epoch_on_paper import (
    HALF,
    MEMORY,
    SECONDS_A_CALL,
    TF32,
    VECTOR,
    Cost,
    CountedWork,
    Work,
)
from configuration.config_class import ConfigMeta
from runtime.command_line import run_command
from runtime.errors import UserError


def counted(function) -> Work:
    with CountedWork() as found:
        function()
    return found.work


def test_a_product_of_matrices() -> None:
    x, y = torch.randn(30, 50), torch.randn(50, 70)
    work = counted(lambda: x @ y)
    moved = 4 * (30 * 50 + 50 * 70 + 30 * 70)
    expected = Work(1, 2 * 30 * 50 * 70, moved, max(2 * 30 * 50 * 70 / TF32, moved / MEMORY))
    assert work == expected
    half = counted(lambda: x.half() @ y.half())
    # Two casts, which make 5,000 numbers, and the product
    assert (half.calls, half.operations) == (3, 2 * 30 * 50 * 70 + 30 * 50 + 50 * 70)
    assert half.seconds > 2 * 30 * 50 * 70 / HALF


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_in_both_passes(groups: int) -> None:
    """The backward pass is twice the forward pass, of grouped convolutions as well."""
    x = torch.randn(2, 8, 100, requires_grad=True)
    kernel = torch.randn(12, 8 // groups, 5, requires_grad=True)
    places = 2 * 12 * 96
    forward = 2 * places * 8 // groups * 5
    with CountedWork() as found:
        y = F.conv1d(x, kernel, groups=groups)
    assert found.work.operations == forward
    gradient = torch.ones_like(y)
    with CountedWork() as found:
        torch.autograd.grad(y, (x, kernel), gradient)
    assert found.work.operations == 2 * forward


def test_transforms_and_what_is_elementwise() -> None:
    x = torch.randn(3, 1024)
    work = counted(lambda: torch.fft.rfft(x))
    assert work.operations == 2.5 * 3 * 1024 * 10
    assert work.seconds == max(work.operations / VECTOR, work.moved / MEMORY)
    assert counted(lambda: x + 1) == Work(1, 3072, 2 * 4 * 3072, 2 * 4 * 3072 / MEMORY)
    assert counted(lambda: x.T) == Work()  # a view moves nothing
    wide = torch.randn(3, 1).expand(3, 1024)
    assert counted(lambda: wide + x).moved == 4 * (3 + 2 * 3072)


def test_a_larger_batch_follows_on_a_straight_line() -> None:
    low, high = epoch_on_paper.BATCHES
    one, two = (Work(7, 100.0 * n, 50.0 + n, 2.0 * n) for n in (low, high))
    assert one.at_batch(two, 64) == Work(7, 6400.0, 114.0, 128.0)
    cost = Cost("X", 64, 6400, Work(10, seconds=3 * 10 * SECONDS_A_CALL))
    assert cost.bound == pytest.approx(100 * 30 * SECONDS_A_CALL)
    assert Cost("X", 64, 6400, Work(10)).bound == pytest.approx(100 * 10 * SECONDS_A_CALL)


def test_a_network_of_files_and_one_that_draws(tmp_path: Path, monkeypatch, capsys) -> None:
    assert epoch_on_paper.main(["Demo", "Wave07"]) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "| " in line]
    by_name = {line[0].removeprefix("| "): line for line in lines[2:]}
    assert by_name["Demo"][1:3] == ["64", "448,000"]
    assert by_name["Wave07"][2] == "32,768"
    with pytest.raises(UserError, match="leave one of them out"):
        epoch_on_paper.main(["Demo", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit) as error:
        run_command(lambda: epoch_on_paper.main(["Dmo"]))
    assert error.value.code == 2
    assert "Demo" in capsys.readouterr().err


def test_all_are_recorded_and_stand_on_the_page(tmp_path: Path) -> None:
    costs = [asdict(Cost("Demo", 64, 448_000, Work(687, 9.6e9, 1.6e8, 5e-5)))]
    for _ in range(2):
        path = epoch_on_paper.record_costs(tmp_path, costs)
    assert json.loads(path.read_text())["costs"][0]["step"]["calls"] == 687
    lines = epoch_on_paper.page_lines(tmp_path)
    assert any(line.startswith("| Demo | 64 | 448,000 | 0.150 | 2.50 | 687 |") for line in lines)
    assert path.with_suffix(".md").read_text().count("| Demo |") == 1
    assert epoch_on_paper.page_lines(tmp_path / "none") == []
    path.write_text('{"a": 1}')
    with pytest.raises(UserError, match="holds no results of format 1: move it away"):
        epoch_on_paper.main(["--out", str(tmp_path)])
    assert path.read_text() == '{"a": 1}'
    recorded = epoch_on_paper.page_lines()
    assert "\n".join(recorded) in page.PAGE.read_text(), "run: python -m benchmarks.page"


def test_steps_that_a_gpu_takes_stand_beside_those_on_paper(tmp_path: Path) -> None:
    costs = [asdict(Cost(name, 64, 6400, Work(687))) for name in ("Nspec16", "Seq03aug3", "Gone")]
    epoch_on_paper.record_costs(tmp_path, costs)
    spread = Spread(1.0, 1.0, 1.0, 1)

    def record(kind: str, name: str, quick: bool = False) -> None:
        rows = [
            Measurement(key, key, "", spread, "×", False, {}, step, spread, settings={"batch": n})
            for key, step, n in (
                ("training_step.nspec_16", Spread(0.0345, 0.03, 0.04, 11), 64),
                ("training_step.nspec_16.cache_device", Spread(0.99, 0.9, 1.0, 11), 64),
                ("training_step.seq_03_aug_3", Spread(0.0234, 0.02, 0.03, 11), 32),
            )
        ]
        entry = {"quick": quick, "rows": [row.to_plain() for row in rows]}
        device = {"kind": kind, "name": name}
        content = {"format": 1, "device": device, "benchmarks": {"training_step": entry}}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    record("cpu", "A CPU")
    record("cuda", "Rehearsed", quick=True)
    (tmp_path / "blips.json").write_text("[]")  # other records lie there too
    assert "measured" not in epoch_on_paper.page_lines(tmp_path)[0]
    record("cuda", "A GPU")
    head, _, *body = epoch_on_paper.page_lines(tmp_path)
    assert head.endswith("| an epoch, at least | a step, measured on A GPU |")
    last = {line.split(" | ")[0]: line.split(" | ")[-1] for line in body}
    # The second was measured with another batch; the third is an experiment no more.
    assert last["| Nspec16"] == "34.5 ms |"
    assert last["| Seq03aug3"] == last["| Gone"] == "- |"


def test_a_count_that_was_killed_goes_on(tmp_path: Path, monkeypatch) -> None:
    known = [name for name, each in ConfigMeta.registry.items() if each.__module__ == "configs"]
    counted = []

    def count(config: type) -> Cost:
        counted.append(config.__name__)
        if len(counted) == 3:
            raise KeyboardInterrupt
        return Cost(config.__name__, 64, 6400, Work(1, 1.0, 1.0, 1.0))

    monkeypatch.setattr(epoch_on_paper, "cost_of", count)
    line = ["--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        epoch_on_paper.main(line)
    assert list(epoch_on_paper.read_costs(tmp_path)) == known[:2]
    assert epoch_on_paper.main(line) == 0
    assert counted == [*known[:3], *known[2:]]
    assert list(epoch_on_paper.read_costs(tmp_path)) == known
    assert epoch_on_paper.main(line) == 0  # nothing is left to count
    assert len(counted) == len(known) + 1
