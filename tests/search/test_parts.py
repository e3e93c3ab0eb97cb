"""Parts of a search: every item is in one part, and bad parts are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.files import read_json
from search.parts import Part, digest_identity, part_folders, write_finished


@pytest.mark.parametrize(("items", "parts"), [(31, 4), (3, 5), (0, 2), (720, 30)])
def test_parts_hold_every_item_once_and_in_order(items: int, parts: int) -> None:
    taken = [Part(number, parts).take(range(items)) for number in range(1, parts + 1)]
    assert [item for part in taken for item in part] == list(range(items))
    sizes = [len(part) for part in taken]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/5"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected a part and their number, such as 1/30"):
        Part.parse(text)


def test_folders_of_parts_lie_below_the_whole(tmp_path: Path) -> None:
    part = Part.parse("3/30")
    assert str(part) == "3/30"
    assert part_folders(tmp_path) == []
    write_finished(part.folder(tmp_path), {"b": 1, "a": [2]})
    (tmp_path / ".parts" / "0001_of_0030.done").touch()
    assert part_folders(tmp_path) == [tmp_path / ".parts" / "0003_of_0030"]
    record = read_json(part.folder(tmp_path) / "finished.json")
    assert record == {"identity": digest_identity({"a": [2], "b": 1})}
    assert record != {"identity": digest_identity({"a": [3], "b": 1})}
