"""Studies on the page: read from plain files, whatever they hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reporting.tuning import MOST_TRIALS, PNG, read_studies, tuning_section_html

HOSTILE = "<script>hacked=1</script>"


def write_study(folder: Path, **changed: object) -> Path:
    folder.mkdir(parents=True)
    trials = [
        {
            "number": number,
            "folder": f"trial{number:04d}",
            "state": "complete",
            "score": 0.5 + 0.01 * number,
            "epochs": 3,
            "settings": [f"optimizer_params.lr={number}"],
        }
        for number in range(12)
    ]
    content = {"name": folder.name, "reference": "Demo", "fold": 0, "metric": "AUC"}
    content |= {"maximize": True, "space": ["lr=1..12"], "settings": [], "trials": trials}
    (folder / "study.json").write_text(json.dumps(content | changed))
    return folder


def test_the_best_trials_come_first_and_studies_by_name(tmp_path: Path) -> None:
    write_study(tmp_path / "tuning" / "b")
    write_study(tmp_path / "tuning" / "a", maximize=False)
    (tmp_path / "tuning" / "no_study").mkdir()
    studies = read_studies(tmp_path)
    assert [study.name for study in studies] == ["a", "b"]
    html = tuning_section_html(studies)
    low, high = html.split("<h3>b</h3>")
    assert low.index("trial0000") < low.index("trial0001")
    assert high.index("trial0011") < high.index("trial0010")
    assert html.count('<th scope="row">') == 2 * MOST_TRIALS
    # The folder of a study is a results folder of its own.
    assert [study.name for study in read_studies(tmp_path / "tuning" / "b")] == ["b"]


def test_nothing_tuned_is_nothing_shown(tmp_path: Path) -> None:
    assert tuning_section_html(read_studies(tmp_path)) == ""


def test_hostile_text_stays_text_and_only_pictures_are_shown(tmp_path: Path) -> None:
    trial = {"folder": HOSTILE, "state": "complete", "score": 1, "settings": [HOSTILE]}
    folder = write_study(
        tmp_path / "tuning" / "x", reference=HOSTILE, space=[HOSTILE], metric=HOSTILE, fold=HOSTILE
    )
    content = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(content | {"trials": [trial, 7]}))
    (folder / "history.png").write_bytes(PNG + b"picture")
    (folder / "slices.png").write_text(HOSTILE)
    html = tuning_section_html(read_studies(tmp_path))
    assert "<script" not in html
    assert html.count("<img") == 1


@pytest.mark.parametrize("text", ["", "[]", '{"trials": 3}', '{"trials": [{"state": "complete"}]}'])
def test_a_damaged_study_is_a_sentence(text: str, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "tuning" / "x")
    (folder / "study.json").write_text(text)
    html = tuning_section_html(read_studies(tmp_path))
    assert ("study.json" in html) == (text != '{"trials": [{"state": "complete"}]}')
