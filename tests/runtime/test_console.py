"""The log, durations, and messages as one line."""

from __future__ import annotations

from runtime.console import configure_logging, format_as_line, format_seconds


def test_durations_in_words() -> None:
    assert [format_seconds(s) for s in (42.4, 185, 7805)] == ["42 s", "3 min 05 s", "2 h 10 min"]


def test_details_go_to_the_file_alone(tmp_path, capsys) -> None:
    logger = configure_logging(tmp_path / "run.log")
    logger.info("for all")
    logger.debug("for the file")
    configure_logging()
    assert capsys.readouterr().out.splitlines()[0].endswith("for all")
    text = (tmp_path / "run.log").read_text()
    assert "for all" in text
    assert "for the file" in text


def test_messages_are_one_line_without_escape_codes() -> None:
    text = "a \x1b[31;1mred\x1b[0m\n  \x1b]0;title\x07name\x1b]8;;http://x\x1b\\\\ \x08\x00é"
    assert format_as_line(text) == "a red name ??é"
