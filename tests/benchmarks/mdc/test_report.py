"""Tables, record and plots of sensitive distances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import RESULTS
from benchmarks.mdc import report
from benchmarks.mdc.challenge_sets import PUBLISHED
from benchmarks.mdc.figures_of_merit import RunFindings, figures_of_run
from benchmarks.mdc.plots import draw_found_and_missed, draw_sensitivity, row_to_draw
from physics.distance_laws import UniformChirpVolume
from physics.mass_laws import UniformComponents
from physics.population import Population
from runtime.errors import UserError
from search.sensitivity import Events, Injections

POPULATION = Population(
    masses=UniformComponents(10.0, 50.0), distance=UniformChirpVolume(130.0, 350.0)
)
DESCRIBED = {"set": "1", "glitches": None, "sentence": "Simulated strain."}


def make_figures(seed: int = 0, population: Population = POPULATION) -> tuple[RunFindings, dict]:
    """Return findings of a day in which near injections are found, and their figures."""
    rng = np.random.default_rng(seed)
    count = 500
    drawn = POPULATION.draw(count, rng)
    time = 1e9 + np.cumsum(rng.uniform(160, 180, count))
    masses, distance = (drawn["mass_1"], drawn["mass_2"]), drawn["luminosity_distance"]
    bare = Injections(time, *masses, distance, np.empty(count))
    snr = 1800 / bare.chirp_distance * rng.uniform(0.4, 1.2, count)
    injections = Injections(time, *masses, distance, snr)
    background = Events(rng.uniform(1e9, 1e9 + 86_400, 2000), 20 + rng.exponential(2.5, 2000))
    foreground = Events(
        np.concatenate([time, background.time]), np.concatenate([snr**2 / 2, background.score])
    )
    found = RunFindings(
        foreground,
        background,
        np.ones(2000, bool),
        86_400.0,
        (86_400.0, 86_400.0),
        injections,
        [],
        {"condition": 100.0, "search": 400.0, "elapsed": 800.0},
    )
    figures = figures_of_run(found, population, 20.0, (1000.0, 100.0, 10.0, 1.0))
    settings = {"events": {"slides": 8}}
    machine = {"device": "a CPU", "threads": 2, "peak_memory_mib": 900}
    return found, figures | machine | {"settings": settings}


def test_rates_that_a_day_does_not_resolve_are_said_and_not_extrapolated() -> None:
    _, figures = make_figures()
    lines = report.format_search(figures)
    rows = {line.split("|")[1].strip(): line for line in lines[2:]}
    assert list(rows) == ["1,000", "100", "30", "10", "1"]
    assert "not resolved: needs 3 d of background" in rows["10"]
    assert "not resolved: needs 30 d of background" in rows["1"]
    at_100 = next(row for row in figures["rows"] if row["rate"] == 100.0)
    assert at_100["background_louder"] == 3
    assert f"| {at_100['population']['value']:,.0f} ± " in rows["100"]
    # 24 hours of background and 24 of foreground
    assert report.format_cost("x", figures) == (
        "x: conditioning 2.1 and searching (with 8 time slides of the background) 8.3 CPU-seconds "
        "an hour of strain, 16.7 s elapsed in searching, on a CPU with 2 threads, at most 900 MiB "
        "of memory."
    )
    without = figures | {"settings": {"events": {"slides": 0}}}
    assert "and searching 8.3 CPU-seconds" in report.format_cost("x", without)


def test_the_published_stand_beside_ours_with_their_sources() -> None:
    _, figures = make_figures()
    table = report.format_comparison({"mdc_1": figures}, "1")
    head, body = table[0], table[2:]
    assert head.split("|")[2:7] == [" 1,000 ", " 100 ", " 30 ", " 10 ", " 1 "]
    assert sum("published" in line for line in body) == len(PUBLISHED["1"])
    (pycbc,) = [line for line in body if line.startswith("| PyCBC")]
    assert "107, 023021" in pycbc
    assert pycbc.split("|")[2:7] == [" - ", " 2,687 ", " - ", " 2,551 ", " 2,492 "]
    ours = [line for line in body if line.startswith("| mdc_1")]
    assert ["true maxima" in line for line in ours] == [True, False]
    assert all(line.rstrip(" |").endswith("1 d") for line in ours)
    assert not any("published" in line for line in report.format_comparison({"x": figures}, "O4"))


def test_a_population_without_a_law_of_distance_has_shares_and_no_distance() -> None:
    found, figures = make_figures(population=Population())
    row = figures["rows"][0]
    assert row["population"] is None is row["sample"]
    assert "by_chirp_distance" not in row
    assert sum(share["injections"] for share in row["by_snr"]) == len(found.injections)
    assert report.format_shares(figures, "by_snr")
    assert report.format_shares(figures, "by_chirp_distance") == []
    assert all(line.count(" - |") >= 3 for line in report.format_search(figures)[2:])


def test_shares_rise_with_the_snr() -> None:
    _, figures = make_figures()
    for row in figures["rows"]:
        if row["unresolved"] is None:
            shares = [each["found"] / each["injections"] for each in row["by_snr"]]
            assert shares[0] == 0.0
            assert shares[-1] == 1.0
            assert shares == sorted(shares)


# --- the record -------------------------------------------------------------------------------


def test_searches_of_the_same_strain_add_up_and_other_strain_moves_aside(tmp_path: Path) -> None:
    _, figures = make_figures()
    report.record_run(tmp_path, DESCRIBED, {"mdc_1": figures})
    report.record_run(tmp_path, DESCRIBED, {"plain": figures})
    glitchy = {**DESCRIBED, "glitches": {"an_hour": 20.0}}
    path = report.record_run(tmp_path, glitchy, {"mdc_1": figures})
    record = report.load_record(path)
    assert {name: list(each["searches"]) for name, each in record["strains"].items()} == {
        "set 1": ["mdc_1", "plain"],
        "set 1, with glitches": ["mdc_1"],
    }
    assert json.loads(path.read_text()) == record  # nothing but JSON's own numbers
    text = path.with_suffix(".md").read_text()
    assert "## set 1, with glitches" in text
    assert "### plain" in text
    other = {**DESCRIBED, "sentence": "Another seed."}
    report.record_run(tmp_path, other, {"mdc_1": figures})
    assert len(list(tmp_path.glob("mdc.*.json"))) == 1
    assert list(report.load_record(path)["strains"]["set 1"]["searches"]) == ["mdc_1"]


def test_something_else_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "mdc.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="holds no sensitive distances of format 1"):
        report.load_record(path)


def test_plots_are_drawn(tmp_path: Path) -> None:
    found, figures = make_figures()
    draw_sensitivity({"a": figures, "b": figures}, PUBLISHED["1"], tmp_path / "a.png")
    draw_sensitivity({"a": figures, "b": figures}, PUBLISHED["1"], tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    row = row_to_draw(figures)
    assert row["rate"] == 100.0
    chosen = found.injections.snr**2 / 2 > row["threshold"]
    draw_found_and_missed(found.injections, chosen, "at 100", tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_plots_have_names_of_their_own() -> None:
    folder = Path("figures")
    assert report.figure_path(folder, "set 1").name == "sensitive-distance-set-1.png"
    assert (
        report.figure_path(folder, "set 1, with glitches").name
        == "sensitive-distance-set-1-with-glitches.png"
    )


@pytest.mark.skipif(not (RESULTS / report.RECORD).exists(), reason="nothing is recorded yet")
def test_the_page_is_not_stale() -> None:
    record = report.load_record(RESULTS / report.RECORD)
    lines = report.format_page_section(record)
    assert "\n".join(lines) in report.PAGE.read_text(), "run: python -m benchmarks.mdc --page"


@pytest.mark.skipif(not (RESULTS / report.RECORD).exists(), reason="nothing is recorded yet")
def test_the_tables_of_the_record_are_not_stale() -> None:
    """A rate of 1.04 a month is no rate of 1: page and record head their columns alike."""
    path = RESULTS / report.RECORD
    expected = "\n".join(report.format_record(report.load_record(path))) + "\n"
    said = "run: python -m benchmarks.mdc --page"
    assert path.with_suffix(".md").read_text() == expected, said
    assert report.format_rate(1.0392) == "1.04"
