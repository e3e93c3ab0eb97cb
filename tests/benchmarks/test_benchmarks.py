"""Benchmarks run, compare what is the same, and say what they found. No time is ever asserted."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT
from toy import Toy, make_trainer

from benchmarks import BENCHMARKS, RESULTS, __main__, page
from benchmarks.data import reading, startup
from benchmarks.data.first_batch import memory_of_all
from benchmarks.detection import ablation
from benchmarks.detection import report as detection_report
from benchmarks.experiments import tta
from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.comparisons import Comparison, format_duration, format_significant
from benchmarks.harness.machine import Neighbours, describe_device, find_device
from benchmarks.harness.random_data import sample_ids, write_data_set, write_sparse_cache
from benchmarks.harness.result_files import FORMAT, load_results, record_entry
from benchmarks.harness.timed_steps import Plan, run_epoch
from benchmarks.harness.timing import Spread, check_agreement, interleave, paired_ratios
from benchmarks.runtime import command_line
from benchmarks.signal_transforms import preparation
from benchmarks.simulation import simulating
from benchmarks.spectrograms import cqt, cwt, cwt_width
from benchmarks.spectrograms.direct_cwt import DirectMorletCWT
from benchmarks.training import growth, mixed_precision, profile_step, training_step
from configs import Baseline, MultiInstance04, Nspec16
from configuration.parts import thaw
from data.strain_cache import StrainCache
from datasets import load_index
from runtime.command_line import run_command
from runtime.errors import UserError
from runtime.files import read_json
from spectrograms.constant_q import CQT

CPU = torch.device("cpu")
MODULES = {
    "cwt": cwt,
    "cwt_width": cwt_width,
    "cqt": cqt,
    "preparation": preparation,
    "reading": reading,
    "training_step": training_step,
    "tta": tta,
    "startup": startup,
    "command_line": command_line,
    "profile_step": profile_step,
    "simulating": simulating,
    "mixed_precision": mixed_precision,
}
KEYS = {
    "cwt": ["cwt.nspec_16", "cwt.multi_instance_04"],
    "cwt_width": ["cwt_width.nspec_16"],
    "cqt": ["cqt.baseline"],
    "preparation": ["preparation.nspec_16"],
    "simulating": [
        "simulating.files",
        "simulating.once",
        "simulating.published",
        "simulating.rate",
    ],
    "mixed_precision": [
        f"mixed_precision.{name}"
        for name in (
            "wave_01",
            "wave_06",
            "spec_01",
            "spec_02",
            "demo",
            "demo_spec",
            "seq_03_aug_3",
            "nspec_16",
        )
    ],
    "reading": ["reading.warm", "reading.cold"],
    "training_step": [
        "training_step.nspec_16",
        "training_step.seq_03_aug_3",
        "training_step.seq_12_arch_4",
    ],
    "tta": ["tta.nspec_16"],
    "startup": ["startup.seconds.1", "startup.memory.1"],
    "command_line": ["command_line.help", "command_line.list"],
    "profile_step": [],
}


def run_quick(module, out: Path, name: str) -> dict:
    """Run a benchmark's command line in quick mode and return its entry of the JSON file."""
    before = torch.get_num_threads()
    assert module.main(["--quick", "--device", "cpu", "--out", str(out), "--folder", str(out)]) == 0
    assert torch.get_num_threads() == before
    (path,) = out.glob("*.json")
    assert path.stem == describe_device(CPU)["slug"]
    assert path.with_suffix(".md").read_text().startswith("# Results on")
    assert [left for left in out.iterdir() if left.is_dir()] == []  # caches are cleared away
    return load_results(path)["benchmarks"][name]


# --- every benchmark by its command line -----------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_runs_quickly_and_writes_what_it_promises(name: str, tmp_path: Path, capsys) -> None:
    entry = run_quick(MODULES[name], tmp_path, name)
    assert entry["quick"] is True
    for key in ("date", "git_revision", "versions", "threads", "load"):
        assert key in entry
    assert entry["load"]["load_average_before"] is None or len(entry["load"]["load_average_before"])
    rows = [Comparison.from_plain(row) for row in entry["rows"]]
    assert [row.key for row in rows] == KEYS[name]
    for row in rows:
        assert math.isfinite(row.figure.median)
        assert row.figure.lower <= row.figure.median <= row.figure.upper
        assert row.ours.median > 0
        assert row.theirs.median > 0
        assert {"cpu", "cuda"} >= set(row.targets)
        assert row.extra["rounds"] == row.figure.count
    printed = capsys.readouterr().out
    assert all(row.what in printed for row in rows)
    (markdown,) = tmp_path.glob("*.md")
    assert "Made with `--quick`" in markdown.read_text()


def test_every_benchmark_is_tested_here() -> None:
    assert set(MODULES) == set(KEYS) == set(BENCHMARKS)


def test_profile_names_the_three_largest_costs(tmp_path: Path) -> None:
    entry = run_quick(profile_step, tmp_path, "profile_step")
    assert len(entry["largest_costs"]) == 3
    phases = entry["phases"]
    assert set(profile_step.PHASES) < set(phases)
    assert all(seconds >= 0 for seconds in phases.values())
    named = sum(seconds for phase, seconds in phases.items() if phase != "whole step")
    assert named == pytest.approx(phases["whole step"], rel=0.5)  # medians do not quite add up
    (detail,) = entry["details"].values()
    assert detail[0].startswith("The 3 largest costs are")
    assert sum(each["share"] for each in entry["operations"]) <= 1 + 1e-6


def test_growth_measures_points_and_draws_them(tmp_path: Path) -> None:
    entry = run_quick(growth, tmp_path, "growth")
    points = entry["points"]
    assert {point["what"] for point in points} == {"cwt", "training"}
    assert {point["varied"] for point in points} == {"scales", "stride", "batch", "workers"}
    for point in points:
        speed = point.get("seconds") or point["samples_per_second"]
        assert speed["median"] > 0
        assert point["peak_megabytes"] > 0
    (trained,) = (point for point in points if point["what"] == "training")
    assert trained["readers_megabytes"] > 0  # it has one reader
    assert len(list(tmp_path.glob("performance-*.png"))) == 2


def test_all_together_in_processes_of_their_own(tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        "benchmarks",
        "cqt",
        "--quick",
        "--device",
        "cpu",
        "--repeats",
        "3",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.json")
    entry = load_results(path)["benchmarks"]["cqt"]
    assert entry["threads"] == 1
    assert entry["rows"][0]["extra"]["rounds"] == 3
    assert str(path.with_suffix(".md")) in done.stdout


# --- both sides compute the same -------------------------------------------------------------


@pytest.mark.parametrize("config", [Nspec16, MultiInstance04])
def test_cwt_is_the_convolution_it_is_compared_with(config) -> None:
    front_end = cwt.front_end_of(config, quick=False, trainable_width=False)
    x = torch.randn(1, 3, 4096)
    image = front_end(x)
    assert image.shape == (1, 3, config.model_params["spec_params"]["n_scales"], 1024)
    assert check_agreement("CWT", image, DirectMorletCWT(front_end)(x), 1e-4) < 1e-4


def test_gradients_of_the_width_are_the_same() -> None:
    front_end = cwt.front_end_of(Nspec16, quick=False, trainable_width=True)
    direct = DirectMorletCWT(front_end)
    x, direction = torch.randn(1, 3, 4096), torch.randn(1, 3, 128, 1024)
    ours, theirs = (
        cwt_width.forward_backward(side, x, direction)() for side in (front_end, direct)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0)


def test_cqt_is_that_of_nnaudio() -> None:
    params = thaw(Baseline.model_params["spec_params"])
    x = torch.randn(2, 3, 4096)
    check_agreement("CQT", CQT(**params)(x), cqt.NNAudioCQT(**params)(x), 1e-4)


def test_transforms_are_those_of_scipy(rng: np.random.Generator) -> None:
    samples = rng.normal(0, 1e-20, (2, 3, 4096))
    found = preparation.check_filter(Nspec16, samples, CPU)
    assert found["sosfiltfilt"] < 1e-5
    assert found["filtfilt"] < 1e-2


def test_noise_a_sample_at_a_time_has_the_levels_of_the_config(rng: np.random.Generator) -> None:
    """The peak of the noise lies 15 to 30 dB below that of the strain, in half of the channels."""
    reference = preparation.SampleAtATime(Nspec16, rng)
    x = rng.normal(size=(3, 4096))
    noise = np.concatenate([reference.noisy(x) - x for _ in range(50)])
    share = np.abs(noise).max(1) / np.tile(np.abs(x).max(1), 50)
    level = -20 * np.log10(share[share > 0])
    assert 40 < len(level) < 110  # 75 expected of 150
    assert level.min() > 15 - 1e-6
    assert level.max() < 30 + 1e-6


def test_sides_that_differ_are_not_compared() -> None:
    x = torch.randn(4, 4)
    assert check_agreement("it", x, x, 0) == 0
    with pytest.raises(UserError, match=r"differ by .* so their times are not compared"):
        check_agreement("it", x, x + 0.1, 1e-3)
    with pytest.raises(UserError, match="shapes"):
        check_agreement("it", x, x[:2], 1e-3)
    with pytest.raises(UserError, match="differ by nan"):
        check_agreement("it", x * math.nan, x, 1e-3)


# --- clocks ----------------------------------------------------------------------------------


def test_sides_are_timed_in_turn_and_warm_up_is_left_out() -> None:
    calls: list[str] = []
    sides = {name: lambda name=name: calls.append(name) for name in "AB"}
    times = interleave(sides, CPU, rounds=3, least_seconds=0, warm_up=2)
    assert "".join(calls) == "AABB" + "ABABAB"
    assert [len(each) for each in times.values()] == [3, 3]


def test_short_calls_are_repeated_within_a_timing() -> None:
    calls = []
    interleave({"A": lambda: calls.append(0)}, CPU, rounds=1, least_seconds=1e-3)
    assert len(calls) > 10


def test_ratios_are_of_rounds_and_spreads_are_quartiles() -> None:
    assert Spread.of([4, 1, 3, 2, 5]) == Spread(3, 2, 4, 5)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert paired_ratios([2, 40, 6], [1, 10, 3]) == Spread(2, 2, 3, 3)


def test_the_trainers_own_loop_is_timed(tmp_path: Path) -> None:
    trainer, dataset = make_trainer(tmp_path), Toy(203)
    plan = Plan(warm_up=2, rounds=3, steps=2, settle=1)
    between: list[int] = []
    paced = run_epoch(trainer, dataset, plan, between.append)
    assert trainer.state.step == plan.total == 12
    assert between == [2, 2, 2]
    assert len(paced.step_seconds) == len(paced.data_seconds) == 3
    assert all(0 < d < s for d, s in zip(paced.data_seconds, paced.step_seconds, strict=True))


def test_pacing_changes_nothing_of_what_is_learnt(tmp_path: Path) -> None:
    plain, paced = make_trainer(tmp_path / "a"), make_trainer(tmp_path / "b")
    plan = Plan(warm_up=1, rounds=4, steps=1)
    plain.max_batches = plan.total
    plain.train_epoch(plain.make_loader(Toy(203), shuffle=True))
    run_epoch(paced, Toy(203), plan)
    for first, second in zip(plain.model.parameters(), paced.model.parameters(), strict=True):
        assert torch.equal(first, second)


def test_bare_steps_train_the_network_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    inputs = training_step.ready_inputs(trainer, 4)
    assert inputs.shape == (4, 3, 4096)
    assert inputs.std() > 0.5  # never zeros
    before = [p.detach().clone() for p in trainer.model.parameters()]
    training_step.bare_step(trainer, inputs[:, :, :8])()
    assert not all(map(torch.equal, before, trainer.model.parameters()))
    assert all(p.grad is None for p in trainer.model.parameters())


# --- data ------------------------------------------------------------------------------------


def test_random_data_is_a_data_set(tmp_path: Path) -> None:
    settings = dict(text.split("=") for text in write_data_set(tmp_path, 12, 3))
    train, test = (load_index(settings[f"{split}_path"]) for split in ("train", "test"))
    assert (len(train), len(test)) == (12, 3)
    assert not set(train["id"]) & set(test["id"])
    cache = StrainCache(settings["train_cache"])
    strain = cache.read(cache.rows_of(train["id"]))
    assert 0.9e-20 < strain.std() < 1.1e-20
    assert not np.array_equal(strain[0], strain[1])


def test_a_sparse_cache_opens_as_a_true_one(tmp_path: Path) -> None:
    ids = sample_ids(300_000)
    assert len(set(ids)) == len(ids)
    write_sparse_cache(tmp_path / "cache.f32", ids)
    cache = StrainCache(tmp_path / "cache.f32")
    assert len(cache) == len(ids)
    np.testing.assert_array_equal(cache.rows_of([ids[5], ids[-1]]), [5, len(ids) - 1])
    assert os.stat(tmp_path / "cache.f32").st_blocks * 512 < 20e6  # of 15 GB


def test_memory_counts_this_process() -> None:
    memory = memory_of_all()
    if memory is not None:  # a system with /proc
        assert 50e6 < memory["proportional"] <= memory["resident"]


# --- rows and files --------------------------------------------------------------------------


def some_comparison(**changes) -> Comparison:
    values = {
        "key": "some.row",
        "what": "ours",
        "against": "theirs",
        "figure": Spread(4, 3, 6, 9),
        "unit": "×",
        "more_is_better": True,
        "targets": {"cpu": 5.0, "cuda": 3.0},
        "ours": Spread(0.001, 0.001, 0.001, 9),
        "theirs": Spread(0.004, 0.004, 0.004, 9),
    }
    return Comparison(**(values | changes))


def test_missed_targets_stay_with_figure_and_reason(tmp_path: Path) -> None:
    row = some_comparison(reason="It was measured so.")
    assert row.verdict("cpu") == "missed"
    assert row.verdict("cuda") == "reached"
    assert some_comparison(targets={}).verdict("cpu") is None
    assert some_comparison(more_is_better=False).verdict("cpu") == "reached"
    path = record_entry(tmp_path, CPU, "some", entry([row]))
    text = path.with_suffix(".md").read_text()
    assert "| 4.00 (3.00 to 6.00) × | ≥ 5 × | ≥ 3 × | **missed** (within the quartiles) |" in text
    assert "- ours: 4.00 (3.00 to 6.00) ×, target ≥ 5 ×: It was measured so." in text
    record_entry(tmp_path, CPU, "some", entry([some_comparison()]))
    assert "no reason has been measured yet" in path.with_suffix(".md").read_text()


def entry(rows: list[Comparison], disturbed: bool = False) -> dict:
    return {
        "quick": False,
        "date": "2025-01-02T03:04:05+0000",
        "git_revision": "0123456789ab+",
        "versions": {"torch": "2.6"},
        "threads": 2,
        "rows": [row.to_plain() for row in rows],
        "details": {},
        "load": {
            "seconds": 3.0,
            "load_average_before": [0.1, 0.1, 0.1],
            "load_average_after": [0.1, 0.1, 0.1],
            "cores_used_by_others": 0.0,
            "disturbed": disturbed,
        },
    }


def test_entries_of_others_stay(tmp_path: Path) -> None:
    record_entry(tmp_path, CPU, "cqt", entry([some_comparison(what="the first")]))
    path = record_entry(
        tmp_path, CPU, "cwt", entry([some_comparison(what="the second")], disturbed=True)
    )
    assert set(load_results(path)["benchmarks"]) == {"cqt", "cwt"}
    text = path.with_suffix(".md").read_text()
    assert text.index("the second") < text.index("the first")  # in the order of BENCHMARKS
    assert "⚠ Others used more than a tenth of the cores" in text
    assert "0123456789+" in text


def test_rows_come_back_from_json() -> None:
    row = some_comparison(extra={"spread": Spread(1, 1, 1, 1)})
    again = Comparison.from_plain(json.loads(json.dumps(row.to_plain())))
    assert again.figure == row.figure
    assert again.cells("cpu") == row.cells("cpu")


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    path = record_entry(tmp_path, CPU, "cqt", entry([some_comparison()]))
    path.write_text('{"format": 99}')
    with pytest.raises(UserError, match="holds no results of format 1"):
        record_entry(tmp_path, CPU, "cqt", entry([some_comparison()]))


def test_numbers_as_text() -> None:
    assert [format_significant(x) for x in (0.01234, 1.234, 12.34, 1234.0, -0.5)] == [
        "0.012",
        "1.23",
        "12.3",
        "1234",
        "-0.500",
    ]
    assert [format_duration(x) for x in (2.5, 0.0123, 4.5e-5)] == ["2.50 s", "12.3 ms", "45.0 µs"]


def test_neighbours_are_not_oneself() -> None:
    with Neighbours() as neighbours:
        sum(i * i for i in range(3_000_000))
    plain = neighbours.to_plain()
    assert plain["seconds"] >= 0
    assert isinstance(plain["disturbed"], bool)


# --- bad arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (cwt.main, ["--repeats", "0"], "--repeats 0: expected 1 or more"),
        (cwt.main, ["--threads", "-1"], "--threads -1: expected 1 or more"),
        (cwt.main, ["--device", "tpu"], "--device 'tpu': expected cpu, cuda or cuda:N"),
        (cwt.main, ["--device", "cuda:99"], "try --device cpu"),
        (cwt.main, ["--folder", "/no/such/folder"], "is not a folder"),
        (cwt.main, ["--quick", "--out", str(RESULTS)], "too rough to stand in"),
        (__main__.main, ["cwtt"], "there is no benchmark 'cwtt' (did you mean 'cwt'?)"),
        (growth.main, ["--repeats", "0"], "expected 1 or more"),
    ],
)
def test_bad_arguments_are_one_sentence(main, arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as error:
        run_command(lambda: main(arguments))
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_devices_by_name() -> None:
    assert find_device("cpu") == CPU
    assert BenchmarkSettings(CPU).choose(1, 2, 3) == 1
    assert BenchmarkSettings(torch.device("cuda")).choose(1, 2, 3) == 2
    assert BenchmarkSettings(CPU, quick=True).choose(1, 2, 3) == 3


# --- the page --------------------------------------------------------------------------------


def test_the_page_is_not_stale() -> None:
    text = page.PAGE.read_text()
    every = page.load_all_results(RESULTS)
    assert text == page.replace_sections(text, every), "run: python -m benchmarks.page"
    for path, results in every:
        assert not any(entry["quick"] for entry in results["benchmarks"].values()), path
        assert path.stem == results["device"]["slug"]


def test_the_page_holds_what_was_recorded(tmp_path: Path) -> None:
    path = record_entry(tmp_path, CPU, "cqt", entry([some_comparison()]))
    text = page.replace_sections(page.PAGE.read_text(), page.load_all_results(tmp_path))
    assert "| ours | theirs | 4.00" in text
    assert path.stem in text
    assert "Not measured: none was at hand" in text  # of a GPU
    empty = page.replace_sections(text, [])
    assert "| ours | theirs | 4.00" not in empty
    assert empty.count(page.NOTHING) == 3


def test_a_page_without_marks_is_refused() -> None:
    begin, end = page.section_marks("growth")
    text = page.PAGE.read_text()
    with pytest.raises(UserError, match="put them back"):
        page.replace_sections(text.replace(end, ""), [])
    assert text.count(begin) == text.count(end) == 1


def test_recorded_results_are_whole() -> None:
    formats = {"detection": detection_report.FORMAT, "ablation": ablation.FORMAT}
    for path in RESULTS.glob("*.json"):
        assert read_json(path)["format"] == formats.get(path.stem, FORMAT)
        assert path.with_suffix(".md").is_file()
