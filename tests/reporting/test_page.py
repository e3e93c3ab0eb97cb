"""The report's file: what it holds, what it may not hold, and how it behaves in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_session import browser_session
from report_runs import make, read_by_name, write_run, write_stack_record, write_tables
from sklearn.metrics import roc_auc_score, roc_curve
from test_train import make_data
from test_train import run as train

from reporting.curves import MOST_POINTS

HOSTILE = '</script ><script>hacked=1</script><img src=x onerror="hacked=1">'


# --- the file --------------------------------------------------------------------------------


def test_hostile_names_and_settings_stay_text(results: Path, samples, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "_")
    write_run(
        results,
        name,
        samples,
        tmp_path / "input",
        tta=True,
        config={
            "class": HOSTILE,
            "model_params": {HOSTILE: HOSTILE, "model_name": HOSTILE, "spectrogram": HOSTILE},
            "eval_metric": {"class": HOSTILE},
            "train_path": f"{HOSTILE}\u2028.csv",
        },
        start={
            "device": HOSTILE,
            "git_revision": HOSTILE,
            "versions": {"torch": HOSTILE},
            "started": HOSTILE,
        },
    )
    (results / name / "summary.json").write_text(HOSTILE)
    stack = write_stack_record(results)
    method = stack["methods"]["ridge_logit"] | {"weights": {HOSTILE: [1.0, 2.0]}}
    hostile = {"method": HOSTILE, "best_model": HOSTILE, "methods": {HOSTILE: method}}
    (results / "stack.json").write_text(json.dumps(stack | hostile | {HOSTILE: HOSTILE}))
    (results / "stack.csv").write_text(f"kind,name\n{HOSTILE},1\n")
    page = make(results)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2
    assert "img" not in tags
    known = {
        "class",
        "id",
        "title",
        "href",
        "content",
        "name",
        "value",
        "type",
        "placeholder",
        "aria-label",
        "data-v",
        "data-run",
    }
    for _, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
        for key, value in attributes.items():
            assert key in known or "hacked" not in (value or "")
    found = page.data["runs"]
    assert {run["name"] for run in found} == {"whole", name}
    assert HOSTILE in next(run for run in found if run["name"] == name)["settings"].values()
    # Whoever slips through all the same is stopped: only these two scripts are allowed to run.
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv"))
    for kind in ("script", "style"):
        text = next(text for block, text in page.blocks if block == kind)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_name_of_odd_bytes_is_written_all_the_same(
    results: Path, samples, tmp_path: Path
) -> None:
    folder = write_run(results, "odd", samples, tmp_path / "input")
    try:
        folder.rename(results / b"odd\xff".decode("utf-8", "surrogateescape"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert "odd?" in make(results).words()


def test_nothing_is_loaded_from_elsewhere(results: Path) -> None:
    page = make(results)
    for tag, attributes in page.elements:
        for key in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
        assert tag not in ("iframe", "object", "embed", "base", "form")
    style = next(text for kind, text in page.blocks if kind == "style")
    assert "url(" not in style
    assert "@import" not in style
    script = next(text for kind, text in page.blocks if kind == "script")
    assert set(re.findall(r"https?://[^\"'`\s]+", script)) == {"http://www.w3.org/2000/svg"}
    for word in ("fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval(", "document.write"):
        assert word not in script


def test_fifty_experiments_stay_small(tmp_path: Path) -> None:
    samples = write_tables(tmp_path / "input", 6_000, 3_000)
    results = tmp_path / "results"
    for number in range(50):
        write_run(
            results,
            f"experiment_{number}",
            samples,
            tmp_path / "input",
            seed=number,
            tta=True,
            cv=5,
            epochs=10,
        )
    page = make(results)
    assert len(page.data["runs"]) == 50
    points = [
        len(variant[kind]["roc"]["x"])
        for run in page.data["runs"]
        for variant in run["variants"].values()
        for kind in ("oof", "test")
    ]
    assert len(points) == 200
    assert 100 < max(points) <= MOST_POINTS
    assert len(page.text.encode()) < 3_000_000


def test_what_is_accessible_without_seeing(results: Path) -> None:
    page = make(results)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == 1
    assert tags.count("caption") == tags.count("table")
    assert len(re.findall(r"<svg[^>]*><title>[^<]+</title>", page.text)) == tags.count("svg") > 0
    ids = {a["id"] for _, a in page.elements if a.get("id")}
    for _, attributes in page.elements:
        for key in ("aria-labelledby", "aria-controls"):
            assert attributes.get(key) is None or attributes[key] in ids
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids
    sorted_by = [a for tag, a in page.elements if tag == "th" and a.get("aria-sort") != "none"]
    assert [a["data-key"] for a in sorted_by if "aria-sort" in a] == ["oof"]


# --- the table -------------------------------------------------------------------------------


def test_the_page_shows_the_scores_and_where_they_come_from(results: Path) -> None:
    page = make(results)
    run = read_by_name(results)["whole"]
    words = page.words()
    plain, tta = run.variants["plain"], run.variants["tta"]
    for value in (plain.mean, plain.oof.auc, plain.test.auc, tta.oof.auc, tta.test.auc):
        assert f"{value:.4f}" in words
    for text in (
        f"± {plain.deviation:.4f}",
        f"± {plain.oof.error:.4f}",
        "CQT",
        "resnet18",
        "a1_in1k",
        "12 min 30 s",
        "cuda NVIDIA H100",
        "01234567+",
        "torch 2.8.0",
        "2026-01-02 03:04",
    ):
        assert text in words
    assert "make it with python stacking.py" in words
    data = page.data["runs"][0]
    assert data["variants"]["plain"]["oof"]["auc"] == plain.oof.auc
    assert data["settings"]["model_params.spectrogram"] == "CQT"
    assert data["history"]["2"]["valid_metric"] == [0.722, 0.742, 0.762]
    assert data["history"]["2"]["train_metric"] == [None, None, None]  # NaN is no JSON


def test_published_scores_stand_beside_ours(results: Path, samples, tmp_path: Path) -> None:
    config = {"published": {"cv": 0.7, "private": 0.8782, "tta": True}}
    own = write_run(results, "own", samples, tmp_path / "input", config=config)
    write_run(
        results,
        "changed",
        samples,
        tmp_path / "input",
        config=config,
        start={"command": ["train.py", "--set", "name=changed", "num_epochs=3", "--gpu", "0"]},
    )
    page = make(results).text
    rows = {
        name: re.search(rf'aria-label="Show {name} in.*?</tr>', page)[0]
        for name in ("own", "changed", "whole")
    }
    difference = read_by_name(results)[own.name].variants["plain"].mean - 0.7
    assert f"{difference:+.4f}".replace("-", "−") in rows["own"]
    assert "<b>0.8782</b>" in rows["own"]
    assert "other settings" not in rows["own"]
    assert 'title="run with --set num_epochs=3"' in rows["changed"]
    assert "0.8782" not in rows["whole"]


def test_the_best_is_marked_within_a_set_of_samples_only(
    results: Path, samples, tmp_path: Path
) -> None:
    write_run(results, "weaker", samples, tmp_path / "input", seed=2, strength=0.2)
    other = write_tables(tmp_path / "other", seed=7)
    for name, strength in (("easy", 1.5), ("easier", 3.0)):
        write_run(results, name, other, tmp_path / "other", seed=3, strength=strength)
    page = make(results)
    assert "2 different sets of samples (A, B)" in page.words()
    best = [
        name
        for name in read_by_name(results)
        if re.search('class="score[^"]* best"', re.search(f"Show {name} in.*?</tr>", page.text)[0])
    ]
    assert sorted(best) == ["easier", "whole"]


def test_a_run_that_guesses_is_marked(results: Path, samples, tmp_path: Path) -> None:
    write_run(results, "guesses", samples, tmp_path / "input", seed=4, strength=0.0)
    page = make(results)
    rows = {
        name: re.search(rf'aria-label="Show {name} in.*?</tr>', page.text)[0]
        for name in ("guesses", "whole")
    }
    # 200 signals and 200 of noise: 2 sqrt(401 / (12 * 200 * 200)) = 0.0578
    tip = "by two standard deviations of random scores (0.0578)"
    mark = rf'class="mark" title="no better than guessing: [^"]*{re.escape(tip)}'
    assert re.search(mark, rows["guesses"])
    assert "guessing" not in rows["whole"]
    assert "guessing Marks an AUC that is no better than guessing" in page.words()


def test_a_long_history_is_thinned_to_its_last_epoch(
    results: Path, samples, tmp_path: Path
) -> None:
    write_run(results, "long", samples, tmp_path / "input", epochs=1001, cv=2)
    epochs = {run["name"]: run["history"]["1"]["epoch"] for run in make(results).data["runs"]}
    assert epochs["whole"] == [1, 2, 3]
    assert epochs["long"][:2] == [6, 12]
    assert epochs["long"][-1] == 1001
    assert len(epochs["long"]) <= 201


def test_the_loss_by_step_is_kept_and_thinned_to_means(
    results: Path, samples, tmp_path: Path
) -> None:
    write_run(results, "short", samples, tmp_path / "input", by_step=2, cv=2)
    write_run(results, "long", samples, tmp_path / "input", epochs=10, by_step=50, cv=2)
    by_step = {run["name"]: run["by_step"] for run in make(results).data["runs"]}
    assert by_step["whole"] == {}  # of an earlier version
    assert by_step["short"]["1"] == {
        "epoch": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0],
        "train_loss": [0.651, 0.601, 0.551, 0.501, 0.451, 0.401],
    }
    long = by_step["long"]["0"]
    assert len(long["epoch"]) == 167  # 500 points, three and three
    assert long["epoch"][:2] == [0.06, 0.12]
    assert long["epoch"][-1] == 10
    assert long["train_loss"][0] == pytest.approx(np.mean([0.698, 0.696, 0.694]), abs=1e-5)


def test_a_damaged_loss_by_step_costs_a_note_only(results: Path) -> None:
    (results / "whole" / "loss_by_step.csv").write_text("fold,epoch\nx\n")
    page = make(results)
    assert "loss_by_step.csv is damaged" in page.words()
    assert page.data["runs"][0]["history"]["1"]["epoch"] == [1, 2, 3]


# --- in a browser ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, whose console every test that uses it must leave empty."""
    yield from browser_session()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A page of several runs, one of them hostile, one without scores; and what is true of them."""
    root = tmp_path_factory.mktemp("shown")
    samples = write_tables(root / "input", 3_000, 1_000)
    results, hostile = root / "results", HOSTILE.replace("/", "_")
    for name, strength, tta in (
        ("cwt_b2", 1.2, True),
        ("cqt_b7", 1.5, False),
        ("wavenet", 0.9, True),
        (hostile, 1.1, True),
    ):
        config = {"class": HOSTILE, "model_params": {"model_name": name, "spectrogram": HOSTILE}}
        write_run(
            results,
            name,
            samples,
            root / "input",
            seed=len(name),
            strength=strength,
            tta=tta,
            config=config,
            by_step=4 if name == "cwt_b2" else 0,
        )
    training = write_run(results, "training", samples, root / "input", seed=9)
    for path in training.glob("*.npy"):
        path.unlink()
    make(results)
    targets = samples["train"][1]
    scores = {
        path.name: np.load(path / "outoffolds.npy")[:, 0]
        for path in results.iterdir()
        if (path / "outoffolds.npy").exists()
    }
    return {
        "url": (results / "index.html").as_uri(),
        "targets": targets,
        "scores": scores,
        "areas": {name: roc_auc_score(targets, values) for name, values in scores.items()},
        "folds": {name: np.load(results / name / "folds.npy") for name in scores},
        "hostile": hostile,
    }


@pytest.fixture
def page(browser: Any, shown: dict[str, Any]) -> Iterator[Any]:
    browser.get_log("browser")
    browser.get(shown["url"])
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hacked") is None


def column(browser: Any, key: str) -> list[str]:
    """The first line of a column's cells, from top to bottom, of the rows that are not hidden."""
    return browser.execute_script(
        """const head = document.querySelector(`#scores-table th[data-key="${arguments[0]}"]`);
        return [...document.querySelectorAll("#scores-table tbody")].filter(b => !b.hidden)
          .map(b => b.rows[0].cells[head.cellIndex])
          .map(c => (c.querySelector("b, span:not(.none)") || c).textContent)""",
        key,
    )


def press(browser: Any, selector: str, *keys: str) -> None:
    """Press keys on an element, as somebody without a mouse does; none for a click."""
    from selenium.webdriver.common.by import By

    element = browser.find_element(By.CSS_SELECTOR, selector)
    if keys:
        browser.execute_script("arguments[0].focus()", element)
        element.send_keys(*keys)
    else:
        browser.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element
        )
        element.click()


def roc_lines(browser: Any) -> dict[str, str]:
    return browser.execute_script(
        """return Object.fromEntries([...document.querySelectorAll("#roc path.line")]
        .map(path => [path.dataset.run, path.getAttribute("d")]))"""
    )


def test_the_table_holds_the_true_scores(page: Any, shown: dict[str, Any]) -> None:
    names = column(page, "name")
    assert names == [*sorted(shown["areas"], key=lambda n: -shown["areas"][n]), "training"]
    expected = [f"{shown['areas'][name]:.4f}" for name in names[:-1]]
    assert column(page, "oof") == [*expected, "–"]
    for name, shown_mean in zip(names[:-1], column(page, "cv"), strict=False):
        folds, scores = shown["folds"][name], shown["scores"][name]
        areas = [roc_auc_score(shown["targets"][folds == k], scores[folds == k]) for k in range(4)]
        assert shown_mean == f"{np.mean(areas):.4f}"
    assert column(page, "cv")[-1] == "0.7615"  # the mean of the best validation scores
    note = page.execute_script("return document.querySelector('.note').textContent")
    assert "no predictions yet" in note


def test_sorting_by_header_and_by_keyboard(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    head = '#scores-table th[data-key="test"]'
    press(page, f"{head} button")
    down = column(page, "test")
    assert down == [*sorted(down[:-1], reverse=True), "–"]
    assert down[0] != down[-2]
    order = "return document.querySelector(arguments[0]).getAttribute('aria-sort')"
    assert page.execute_script(order, head) == "descending"
    assert page.execute_script(order, '#scores-table th[data-key="oof"]') == "none"
    press(page, f"{head} button", Keys.ENTER)
    assert column(page, "test") == [*reversed(down[:-1]), "–"]  # what is missing stays last
    assert page.execute_script(order, head) == "ascending"
    press(page, '#scores-table th[data-key="name"] button', Keys.SPACE)
    assert [name for name in column(page, "name") if "<" not in name] == [
        "cqt_b7",
        "cwt_b2",
        "training",
        "wavenet",
    ]
    notes = page.execute_script(
        "return document.querySelector('.note').closest('tbody').querySelector('th').textContent"
    )
    assert notes.startswith("training")  # its note has moved along


def test_filtering(page: Any) -> None:
    press(page, "#filter", "b7")
    assert column(page, "name") == ["cqt_b7"]
    shown = "return document.getElementById('shown').textContent"
    assert page.execute_script(shown) == "1 of 5 shown"
    press(page, "#filter", "\ue003" * 2)  # backspace
    press(page, "#only-complete")
    assert "training" not in column(page, "name")
    assert len(column(page, "name")) == 4


def test_choosing_curves(page: Any, shown: dict[str, Any]) -> None:
    assert set(roc_lines(page)) == set(shown["areas"])
    press(page, '[data-choose="none"]')
    assert roc_lines(page) == {}
    row = column(page, "name").index("cqt_b7") + 1
    press(page, f"#scores-table tbody:nth-of-type({row}) .pick input")
    assert list(roc_lines(page)) == ["cqt_b7"]
    chip = "return document.querySelector('.chip input:checked + span').textContent"
    assert page.execute_script(chip) == "cqt_b7"
    press(page, f"#scores-table tbody:nth-of-type({row}) .pick input")
    assert roc_lines(page) == {}


def test_the_roc_curve_is_the_true_one(page: Any, shown: dict[str, Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    press(page, '[data-choose="none"]')
    row = column(page, "name").index("cqt_b7") + 1
    press(page, f"#scores-table tbody:nth-of-type({row}) .pick input")
    true = roc_curve(shown["targets"], shown["scores"]["cqt_b7"])[:2]
    # Read-outs at 20 % of the axis and, on the logarithmic one, at a tenth of it.
    press(page, "#roc svg", Keys.HOME, *[Keys.ARROW_RIGHT] * 20)
    readout = "return document.querySelector('#roc .readout').textContent"
    text = page.execute_script(readout)
    assert text.startswith("false-alarm probability 0.2cqt_b7")
    assert float(text[-5:]) == pytest.approx(np.interp(0.2, *true), abs=2e-3)
    press(page, '[name="axis"][value="log"]', Keys.SPACE)
    before = roc_lines(page)["cqt_b7"]
    assert len(before) > 100
    press(page, '[name="kind"][value="test"]', Keys.SPACE)
    assert roc_lines(page)["cqt_b7"] != before
    press(page, '[name="kind"][value="oof"]', Keys.SPACE)
    press(page, "#roc svg", Keys.END)
    assert page.execute_script(readout).endswith("cqt_b71.000")


def test_details_and_hostile_settings(page: Any, shown: dict[str, Any]) -> None:
    row = column(page, "name").index(shown["hostile"]) + 1
    press(page, f"#scores-table tbody:nth-of-type({row}) .more", "\ue007")  # enter
    text = page.execute_script(
        "return document.querySelector('tr.details:not([hidden])').textContent"
    )
    assert f"model_params.spectrogram{HOSTILE}" in text
    assert "versions.timm1.0.20" in text
    count = "return [document.images.length, document.scripts.length]"
    assert page.execute_script(count) == [0, 2]
    differing = page.execute_script("return document.getElementById('differences').textContent")
    assert f"model_params.model_name{'cqt_b7'}" in differing.replace("\n", "")


def test_calibration_and_two_runs_compared(page: Any, shown: dict[str, Any]) -> None:
    drawn = "return document.querySelectorAll('#calibration path.line:not(.thin)').length"
    assert page.execute_script(drawn) == len(shown["areas"])
    choose = """for (const [id, name] of arguments[0]) {
        const select = document.getElementById(id);
        select.value = [...select.options].find((option) => option.textContent === name).value;
        select.dispatchEvent(new Event("change"));
    }
    return document.querySelector("#pair-result tbody tr").textContent"""
    text = page.execute_script(choose, [["pair-first", "wavenet"], ["pair-second", "cqt_b7"]])
    difference = shown["areas"]["wavenet"] - shown["areas"]["cqt_b7"]
    assert difference < -0.05
    assert f"−{-difference:.5f}" in text
    assert text.endswith("cqt_b7 is better on these samples")
    text = page.execute_script(choose, [["pair-first", "training"]])
    assert text.endswith("not compared: not complete, or of other samples")


def test_learning_curves_have_a_line_of_guessing_that_can_be_put_away(page: Any) -> None:
    names = "return [...document.querySelectorAll('#curves .line-name')].map(e => e.textContent)"
    assert page.execute_script(names) == ["guessing 0.5000"]
    press(page, "#lines")
    assert page.execute_script(names) == []


def test_the_loss_by_step_is_drawn_within_the_epochs(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    choose = """const select = document.getElementById("metric");
        select.value = "train_loss_by_step";
        select.dispatchEvent(new Event("change"));
        return [...document.querySelectorAll("#curves path.line:not(.thin)")].map(
            (path) => [path.dataset.run, path.getAttribute("d").split("L").length])"""
    assert page.execute_script(choose) == [["cwt_b2", 12]]  # three epochs of four points
    press(page, "#curves svg", Keys.HOME, Keys.ARROW_RIGHT)
    readout = page.execute_script("return document.querySelector('#curves .readout').textContent")
    assert readout.startswith("epoch 0.5, training loss by step")
    assert readout.endswith("cwt_b20.6515 (0.6500 to 0.6530)")


def test_a_table_shows_that_it_scrolls(page: Any) -> None:
    hint = "return document.querySelector('.scroll-hint').textContent"
    hidden = int(page.execute_script(hint).split(" more column")[0])
    assert hidden > 0
    assert page.execute_script("return document.querySelector('.more-right') !== null")
    page.execute_script("document.getElementById('scores-scroll').scrollLeft = 1e5")
    gone = """const done = arguments[arguments.length - 1];
        requestAnimationFrame(() => requestAnimationFrame(() =>
          done(document.querySelector('.scroll-hint').hidden)));"""
    assert page.execute_async_script(gone)


def test_light_dark_and_narrow(page: Any) -> None:
    colours = set()
    for scheme in ("light", "dark"):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        colours.add(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.refresh()
    # Wide tables scroll in frames of their own; the page itself never does sideways.
    wide = "const e = document.documentElement; return [e.scrollWidth - e.clientWidth, innerWidth]"
    assert page.execute_script(wide) == [0, 400]
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_real_run(browser: Any, tmp_path: Path) -> None:
    """What train.py leaves, and not what this file believes that it leaves."""
    data = make_data(tmp_path / "input")
    results = tmp_path / "results"
    train(data, results, settings=("name=real",))
    make(results)
    browser.get((results / "index.html").as_uri())
    summary = json.loads((results / "real" / "summary.json").read_text())
    assert column(browser, "name") == ["real"]
    assert column(browser, "oof") == [f"{summary['oof_auc']:.4f}"]
    assert column(browser, "test") == [f"{summary['test_auc']:.4f}"]
    assert column(browser, "epochs") == ["2"]
    assert column(browser, "backbone") == ["BranchedResNet1d"]
    assert list(roc_lines(browser)) == ["real"]
    lines = "return document.querySelectorAll('#curves path.line').length"
    assert browser.execute_script(lines) == 3  # two folds and their mean
    assert browser.execute_script("return document.querySelectorAll('.note').length") == 0
    assert browser.get_log("browser") == []
