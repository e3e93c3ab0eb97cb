"""The folder of a search: results of two searches never mix, none are lost, killed ones resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.files import read_json, write_json
from search.folder import OPTIONAL_RESULTS, RECORD, RESULTS, SearchFolder, StretchStore

ONE = {"networks": ["a"], "strain": {"H1": ["x"]}, "settings": {"step": 0.1}}
OTHER = ONE | {"settings": {"step": 0.2}}


def write_results(folder: SearchFolder, text: str) -> None:
    for name in RESULTS[:-1]:
        (folder.unfinished / name).write_text(text)
    write_json(folder.unfinished / RECORD, {"text": text, "identity": folder.identity})


def finish(path: Path, identity: dict, text: str, **options: bool) -> SearchFolder:
    folder = SearchFolder(path, identity)
    folder.begin(**{"resume": False, "overwrite": False} | options)
    write_results(folder, text)
    folder.finish()
    return folder


def contents(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def test_a_finished_search_is_known_again(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path / "out", ONE)
    assert not folder.finished()
    finish(tmp_path / "out", ONE, "one")
    assert folder.finished()
    assert sorted(path.name for path in folder.path.iterdir()) == sorted(RESULTS)
    assert not SearchFolder(tmp_path / "out", OTHER).finished()
    (folder.path / "candidates.csv").unlink()
    assert not folder.finished()


def test_another_search_is_refused_and_moved_aside_when_told_to(tmp_path: Path) -> None:
    finish(tmp_path / "out", ONE, "one")
    before = contents(tmp_path)
    for resume in (False, True):
        with pytest.raises(UserError, match=r"another search \(other settings\): add --overwrite"):
            SearchFolder(tmp_path / "out", OTHER).begin(resume=resume, overwrite=False)
    assert contents(tmp_path) == before
    finish(tmp_path / "out", OTHER, "other", overwrite=True)
    (aside,) = tmp_path.glob("out.2*")
    assert {f"out/{name}": data for name, data in contents(aside).items()} == before
    assert read_json(tmp_path / "out" / RECORD)["text"] == "other"


def test_results_of_an_earlier_version_or_without_a_record_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "candidates.csv").write_text("precious")
    with pytest.raises(UserError, match=r"whose detection\.json is missing"):
        SearchFolder(out, ONE).begin(resume=False, overwrite=False)
    write_json(out / RECORD, {"config": "Demo"})
    with pytest.raises(UserError, match="of an earlier version"):
        SearchFolder(out, ONE).begin(resume=True, overwrite=False)
    assert (out / "candidates.csv").read_text() == "precious"


def test_what_an_interrupted_search_found_is_resumed_by_the_same_search_alone(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    SearchFolder(out, ONE).begin(resume=False, overwrite=False).save("a", x=np.arange(3))
    with pytest.raises(UserError, match=r"unfinished search in .* is another one \(other settings"):
        SearchFolder(out, OTHER).begin(resume=True, overwrite=False)
    store = SearchFolder(out, ONE).begin(resume=True, overwrite=False)
    assert store.load("a")["x"].tolist() == [0, 1, 2]
    # without --resume, and for another search, nothing of it is used
    store = SearchFolder(out, OTHER).begin(resume=False, overwrite=False)
    assert store.load("a") is None
    store = SearchFolder(out, OTHER).begin(resume=False, overwrite=False)
    assert store.load("a") is None


@pytest.mark.parametrize("moved", range(1, len(RESULTS)))
def test_killed_while_the_results_move_up(tmp_path: Path, moved: int) -> None:
    folder = SearchFolder(tmp_path / "out", ONE)
    folder.begin(resume=False, overwrite=False)
    write_results(folder, "one")
    for name in RESULTS[:moved]:
        (folder.unfinished / name).rename(folder.path / name)
    assert not folder.finished() or moved == len(RESULTS)
    finish(tmp_path / "out", ONE, "one", resume=True)
    assert folder.finished()
    assert not list(tmp_path.glob("out.2*"))


@pytest.mark.parametrize("moved", range(len(RESULTS)))
@pytest.mark.parametrize("identity", [ONE, OTHER])
def test_a_search_killed_while_its_results_move_up_is_completed_by_any(
    tmp_path: Path, moved: int, identity: dict
) -> None:
    killed = SearchFolder(tmp_path / "out", ONE)
    killed.begin(resume=False, overwrite=False)
    write_results(killed, "one")
    for name in RESULTS[:moved]:
        (killed.unfinished / name).rename(killed.path / name)
    folder = SearchFolder(tmp_path / "out", identity)
    with folder.locked():
        assert folder.finished() == (identity == ONE)
        if identity == OTHER:
            with pytest.raises(UserError, match=r"holds another search \(other settings\)"):
                folder.begin(resume=False, overwrite=False)
    assert killed.finished()
    assert {(killed.path / name).read_text() for name in RESULTS[:-1]} == {"one"}
    assert sorted(path.name for path in killed.path.iterdir()) == sorted(RESULTS)


def test_results_of_another_search_are_refused_without_its_lock_too(tmp_path: Path) -> None:
    killed = SearchFolder(tmp_path / "out", ONE)
    killed.begin(resume=False, overwrite=False)
    (killed.path / "candidates.csv").write_text("precious")
    with pytest.raises(UserError, match="holds another search"):
        SearchFolder(tmp_path / "out", OTHER).begin(resume=False, overwrite=False)
    assert (killed.path / "candidates.csv").read_text() == "precious"


def test_an_unfinished_search_is_kept_by_a_start_without_resume(tmp_path: Path) -> None:
    SearchFolder(tmp_path / "out", ONE).begin(resume=False, overwrite=False).save("a", x=np.ones(1))
    for identity in (ONE, OTHER):
        assert SearchFolder(tmp_path / "out", identity).begin(False, False).load("a") is None
    (aside,) = tmp_path.glob("out.2*")  # the second one had found nothing
    assert SearchFolder(aside, ONE).begin(resume=True, overwrite=False).load("a") is not None


@pytest.mark.parametrize("content", ["[]", "3", "{", "", "{}"])
def test_a_damaged_record_is_one_sentence_and_is_moved_aside(tmp_path: Path, content: str) -> None:
    finish(tmp_path / "out", ONE, "one")
    (tmp_path / "out" / RECORD).write_text(content)
    folder = SearchFolder(tmp_path / "out", ONE)
    assert not folder.finished()
    with pytest.raises(UserError, match=r"detection\.json is damaged\b.*|of an earlier version"):
        folder.begin(resume=False, overwrite=False)
    folder.begin(resume=False, overwrite=True)
    (aside,) = tmp_path.glob("out.2*")
    assert (aside / RECORD).read_text() == content


def test_a_damaged_identity_is_not_resumed(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path / "out", ONE)
    folder.begin(resume=False, overwrite=False)
    (folder.unfinished / "identity.json").write_text("[]")
    with pytest.raises(UserError, match=r"identity\.json is damaged"):
        folder.begin(resume=True, overwrite=False)
    folder.begin(resume=False, overwrite=False)


def test_damaged_arrays_are_one_sentence(tmp_path: Path) -> None:
    store = StretchStore(tmp_path)
    store.save("a", x=np.arange(1000))
    whole = (tmp_path / "a.npz").read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(64) + whole[middle + 64 :]
    for content in (b"", b"a diary", whole[:-100], whole[:200], flipped):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.npz is damaged \(.*remove it"):
            store.load("a")


def test_folders_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SearchFolder(Path("."), ONE).path == tmp_path
    assert SearchFolder(Path(".."), ONE).path == tmp_path.parent
    with pytest.raises(UserError, match="/ cannot be moved aside"):
        SearchFolder(Path("/"), ONE).move_aside([])
    # the lock is inside, so that a user who may not write beside the folder can search into it
    with SearchFolder(tmp_path / "out", ONE).locked():
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert list((tmp_path / "out").iterdir()) == []


def test_two_searches_into_one_folder(tmp_path: Path) -> None:
    with (
        SearchFolder(tmp_path / "out", ONE).locked(),
        pytest.raises(UserError, match="in use by another search"),
        SearchFolder(tmp_path / "out", OTHER).locked(),
    ):
        pass


def test_a_store_without_a_folder_keeps_arrays_in_memory() -> None:
    store = StretchStore()
    assert not store.holds("a")
    assert store.load("a") is None
    store.save("a", x=np.ones(1))
    assert store.holds("a")
    assert store.load("a")["x"].tolist() == [1.0]


def test_files_of_some_searches_only_belong_to_the_results(tmp_path: Path) -> None:
    """Killed after any file moved up, a search with injections is completed by any other."""
    names = [*OPTIONAL_RESULTS, *RESULTS]
    for moved in range(len(names)):
        folder = SearchFolder(tmp_path / str(moved), ONE)
        folder.begin(resume=False, overwrite=False)
        write_results(folder, "one")
        for name in OPTIONAL_RESULTS:
            (folder.unfinished / name).write_text("one")
        record = {"identity": ONE, "further_files": list(OPTIONAL_RESULTS)}
        write_json(folder.unfinished / RECORD, record)
        for name in names[:moved]:
            (folder.unfinished / name).rename(folder.path / name)
        with SearchFolder(folder.path, OTHER).locked():
            assert folder.finished()
        assert sorted(path.name for path in folder.path.iterdir()) == sorted(names)
        (folder.path / OPTIONAL_RESULTS[0]).unlink()
        assert not folder.finished()
