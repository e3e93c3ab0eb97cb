"""Parts of a run: together they give what one process gives, and searched segments are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mdc_runs import CONDITIONING, SETTINGS, content_digests, make_search, run

from benchmarks.mdc import search_run
from benchmarks.mdc.part_runs import adopt_parts, run_part
from benchmarks.mdc.run_folder import RunFolder
from benchmarks.mdc.search_run import open_findings
from benchmarks.mdc.strain_sources import SimulatedStrain
from runtime.errors import UserError
from search.parts import Part

pytest.importorskip("lalsimulation")


def run_one(path: Path, part: Part, settings=SETTINGS, search=None) -> None:
    source = SimulatedStrain(settings)
    folder = RunFolder(path, source.identity())
    run_part(source, folder, part, [search or make_search()], CONDITIONING)


def test_parts_give_what_one_process_gives(finished: Path, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "run"
    for number in (2, 1):
        run_one(path, Part(number, 2))

    def search_segment(*_):
        raise AssertionError("everything has been searched")

    with monkeypatch.context() as patch:
        patch.setattr(search_run, "search_segment", search_segment)
        folder = RunFolder(path, SimulatedStrain(SETTINGS).identity())
        with folder.locked():
            adopt_parts(folder, open_findings(folder, [make_search()], CONDITIONING))
        run(path)
        run_one(path, Part(2, 3))  # a part has nothing to do that the whole run holds
    digests = content_digests(path)
    assert {name: digest for name, digest in digests.items() if ".parts" not in name} == (
        content_digests(finished)
    )


def test_other_strain_and_other_searches_are_refused(finished: Path, tmp_path: Path) -> None:
    before = content_digests(finished)
    with pytest.raises(UserError, match=r"holds another strain \(other simulated.seed\)"):
        run_one(finished, Part(1, 2), replace(SETTINGS, seed=6))
    with pytest.raises(UserError, match=r"holds another search \(other events.least\)"):
        run_one(finished, Part(1, 2), search=make_search(least=31.0))
    assert content_digests(finished) == before
