"""The page of a search: what it holds, what it may not hold, and what a browser draws of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_session import browser_session
from search_results import make_result

from data.data_quality import ExcludedTimes
from data.gates import Gate
from physics.distance_laws import UniformChirpVolume
from physics.population import Population
from search.injections import InjectionResult, InjectionSettings, match_injections
from search.page import list_cards, live_table, search_page_html, thinned_curve
from search.result import SearchResult

HOSTILE = '</script ><script>hacked=1</script><img src=x onerror="hacked=1">'


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def result() -> SearchResult:
    """A signal of score 20,000, one of 20, and noise."""
    rng = np.random.default_rng(1)
    noise = np.sort(rng.normal(0, 2, 300))[::-1]
    made = make_result(
        [1400.0, 500.0, *rng.uniform(0, 3600, 300)],
        [20_000.0, 20.0, *noise.tolist()],
        rng.normal(0, 2, 4000).tolist(),
        mapped=2,
    )
    return dataclasses.replace(
        made,
        gates=[Gate("H1", 1e9 + 5, 1e9 + 6, 70.0, 90.0)],
        excluded=[ExcludedTimes(HOSTILE, "L1", 12.5)],
    )


@pytest.fixture(scope="module")
def injections(result: SearchResult) -> InjectionResult:
    """Fifty injections, of which those at odd places have a trigger as loud as a signal."""
    population = Population(distance=UniformChirpVolume())
    rows = [
        {
            "geocent_time": float(time),
            "mass_1": 30.0,
            "mass_2": 20.0,
            "luminosity_distance": 500.0 + 20 * number,
            "network_snr": 30.0 - number / 2,
        }
        for number, time in enumerate(np.arange(50) * 60.0 + 1e9 + 100)
    ]
    times = [row["geocent_time"] - 1e9 + 0.1 for row in rows[1::2]]
    found = make_result(times, [50.0] * 25, [], slides=0).triggers
    settings = InjectionSettings(population, 60.0, 0)
    return match_injections(rows, found, result.background, [(1e9, 1e9 + 3600)], settings, 4.5)


def test_the_page_holds_what_was_found(result: SearchResult, injections: InjectionResult) -> None:
    page = Tags(search_page_html(result, HOSTILE, injections))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 2
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2  # one for each trigger with a map
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in pictures)
    assert not any("onerror" in attributes for _, attributes in page.tags)
    text = " ".join(page.words)
    for words in ("1000001400.0000", "20000.0000", "Removed as signals", "gate", "12.5"):
        assert words in text
    assert "The 200 loudest of 302 triggers" in text
    assert "probability of an astrophysical origin" in text


def test_predictions_of_injections_stand_beside_what_was_injected(
    result: SearchResult, injections: InjectionResult
) -> None:
    page = Tags(search_page_html(result, "title", injections))
    assert not any(attributes.get("id") == "predicted-table" for _, attributes in page.tags)
    predicted = np.full((50, 1), np.nan)
    predicted[1::2, 0] = 21.0  # those that have a trigger
    sides = dataclasses.replace(
        injections, side_names=("chirp_mass",), injected=np.full((50, 1), 22.5), predicted=predicted
    )
    page = Tags(search_page_html(result, "title", sides))
    assert any(attributes.get("id") == "predicted-table" for _, attributes in page.tags)
    text = " ".join(page.words)
    assert "25 of 50 injections have a trigger" in text
    assert "what was injected: chirp mass 1.5000." in text
    assert text.count("21.0000") == 25


def test_times_of_slides_are_the_same_all_over_the_page(result: SearchResult) -> None:
    """All slides in the head, the sentence and the table, and beside them what remains."""
    page = search_page_html(result, "title", None)
    assert dict(list_cards(result))["Time slides"] == "20 h 00 min"
    heads, (row,) = live_table(result)
    found = dict(zip(heads, row, strict=True))
    assert found["time slides"] == "20 h 00 min"
    left = found["after signals are removed"]
    assert left != "20 h 00 min"
    assert f"in 20 h 00 min of time slides ({left} after 2 signals were removed)" in page
    for words in ("masses, M☉, detector frame", "Scores of one detector", "log-likelihood ratio"):
        assert words in page


def test_a_search_without_triggers_or_injections_has_a_page() -> None:
    page = Tags(search_page_html(make_result([], [], []), "title", None))
    text = " ".join(page.words)
    assert "Nothing was injected" in text
    assert "Nothing was excluded" in text


def test_a_thinned_curve_keeps_its_ends() -> None:
    scores = np.sort(np.random.default_rng(0).normal(size=100_000))
    curve = thinned_curve("x", scores, 0.5)
    assert len(curve["score"]) <= 400
    assert curve["count"][0] == 50_000
    assert curve["count"][-3:] == [1.5, 1.0, 0.5]
    assert curve["score"][-1] == pytest.approx(scores[-1], abs=1e-4)
    assert thinned_curve("x", np.empty(0), 1.0)["score"] == []


# --- in a browser ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    yield from browser_session()


def test_a_browser_draws_the_charts(
    browser: Any, result: SearchResult, injections: InjectionResult, tmp_path: Path
) -> None:
    page = tmp_path / "detection.html"
    page.write_text(search_page_html(result, HOSTILE, injections), encoding="utf-8")
    browser.get_log("browser")
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hacked") is None

    def count(selector: str) -> int:
        script = "return document.querySelectorAll(arguments[0]).length"
        return browser.execute_script(script, selector)

    assert count("#timeline-chart circle[data-name=trigger]") == 302
    assert count("#background-chart path.steps") == 2
    assert count("#injections-chart circle[data-name=found]") == 25
    assert count("#injections-chart circle[data-name=missed]") == int(
        len(injections.injections) - 25
    )
    assert count("#candidates-table tbody tr") == 200
    # 20,000 and 20 and the noise are all apart on the axis
    heights = browser.execute_script(
        """return [...document.querySelectorAll("#timeline-chart circle[data-name=trigger]")]
        .map(mark => Number(mark.getAttribute("cy"))).slice(-2)"""
    )
    height = browser.execute_script(
        "return document.querySelector('#timeline-chart svg').getBoundingClientRect().height"
    )
    second, first = heights
    assert second - first > 0.3 * height
    assert 0 < first < second < 0.9 * height
    # every picture was decoded
    assert browser.execute_script(
        "return [...document.images].every(image => image.complete && image.naturalWidth > 100)"
    )
    # the read-out follows the arrow keys
    browser.execute_script("document.querySelector('#timeline-chart svg').focus()")
    from selenium.webdriver.common.keys import Keys

    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    text = browser.execute_script(
        "return document.querySelector('#timeline-chart .readout').textContent"
    )
    assert "GPS 1000000" in text
    assert browser.get_log("browser") == []


def test_a_phone_scrolls_tables_and_not_the_page(
    browser: Any, result: SearchResult, injections: InjectionResult, tmp_path: Path
) -> None:
    page = tmp_path / "detection.html"
    page.write_text(search_page_html(result, "title", injections), encoding="utf-8")
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    wide = "const e = document.documentElement; return [e.scrollWidth - e.clientWidth, innerWidth]"
    assert browser.execute_script(wide) == [0, 390]
    hint = browser.execute_script("return document.querySelector('.scroll-hint').textContent")
    assert int(hint.split(" more column")[0]) > 5
    # a swatch beside each name of the key, and not across the chart
    widths = """return [...document.querySelectorAll("#background-chart .key svg")].map(
        (swatch) => swatch.getBoundingClientRect().width)"""
    assert browser.execute_script(widths) == [18, 18]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
