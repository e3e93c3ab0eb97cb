"""What the whole search takes over from its parts, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.locks import hold
from search.folder import LOCK, RECORD, SearchFolder
from search.part_search import adopt_parts, open_part
from search.parts import FINISHED, Part

ONE, OTHER = {"networks": ["a"]}, {"networks": ["b"]}


def search_part(whole: SearchFolder, part: Part, least: float, *names: str) -> None:
    with open_part(whole, part, resume=True) as store:
        for name in names:
            if not store.holds(name):
                store.save(name, value=np.array(least))
        store.save("stretch_least", least=np.array(least))


def test_the_whole_takes_over_what_its_parts_found(tmp_path: Path) -> None:
    whole = SearchFolder(tmp_path / "out", ONE)
    search_part(whole, Part(1, 2), 1.5, "stretch_000000", "injected_000000")
    search_part(whole, Part(2, 2), 1.7, "stretch_000001")
    search_part(SearchFolder(tmp_path / "out", OTHER), Part(1, 3), 9.0, "stretch_000002")
    half = Part(1, 2).folder(whole.path) / ".unfinished" / ".stretch_000007.0123456789ab.tmp.npz"
    half.write_bytes(b"half")
    store = whole.begin(resume=True, overwrite=False)
    adopt_parts(whole, store)
    names = ("stretch_000000", "injected_000000", "stretch_000001", "stretch_000002")
    assert [store.holds(name) for name in names] == [True, True, True, False]
    assert not store.holds(half.stem)
    # of both parts' triggers those above the higher of their lowest scores are complete
    assert float(store.load("stretch_least")["least"]) == 1.7
    assert float(store.load("stretch_000001")["value"]) == 1.7
    adopt_parts(whole, store)  # again changes nothing
    # A part that is started again searches nothing that the whole has.
    with open_part(whole, Part(1, 1), resume=True) as part:
        assert [part.holds(name) for name in names] == [True, True, True, False]
        assert float(part.load("stretch_000000")["value"]) == 1.5
    assert (Part(1, 1).folder(whole.path) / FINISHED).is_file()


def test_a_part_that_was_interrupted_is_not_finished(tmp_path: Path) -> None:
    whole, part = SearchFolder(tmp_path / "out", ONE), Part(1, 2)

    def interrupted() -> None:
        with open_part(whole, part, resume=True) as store:
            store.save("stretch_000000", value=np.array(1.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (part.folder(whole.path) / FINISHED).exists()
    with open_part(whole, part, resume=True) as store:
        assert store.holds("stretch_000000")


def test_other_searches_and_parts_in_use_are_refused(tmp_path: Path) -> None:
    whole, part = SearchFolder(tmp_path / "out", ONE), Part(1, 2)
    search_part(whole, part, 1.0, "stretch_000000")
    store = whole.begin(resume=True, overwrite=False)
    with hold(part.folder(whole.path) / LOCK, temporary=True):
        with pytest.raises(UserError, match="0001_of_0002 is in use by process"):
            search_part(whole, part, 1.0)
        with pytest.raises(UserError, match="0001_of_0002 is in use by process"):
            adopt_parts(whole, store)
    with pytest.raises(UserError, match=r"is another one \(other networks\)"):
        search_part(SearchFolder(whole.path, OTHER), part, 1.0)
    (whole.path / RECORD).write_text('{"identity": {"networks": ["b"]}}')
    with pytest.raises(UserError, match=r"holds another search \(other networks\)"):
        search_part(whole, part, 1.0)
