"""What a template is given is escaped, and a misspelt name is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from reporting.templates import ASSETS, code_words, minus, render, short_number

HOSTILE = '<b onclick="x">&\''


def test_text_is_escaped_and_markup_is_not(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text("<p title='{{ text }}'>{{ text }}{{ made }}</p>")
    made = render("one.html", [tmp_path], text=HOSTILE, made=Markup("<i>"))
    escaped = "&lt;b onclick=&#34;x&#34;&gt;&amp;&#39;"
    assert made == f"<p title='{escaped}'>{escaped}<i></p>"
    assert isinstance(made, Markup)


def test_a_name_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text("{{ absent }}")
    with pytest.raises(UndefinedError, match="absent"):
        render("one.html", [tmp_path])


def test_no_template_turns_escaping_off() -> None:
    templates = list((ASSETS / "templates").glob("*.html"))
    assert len(templates) > 3
    for path in templates:
        text = path.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", "")
        assert "autoescape" not in text


def test_words_in_backticks_are_code_and_stay_text() -> None:
    assert code_words("try `a <b>` & `c`") == "try <code>a &lt;b&gt;</code> &amp; <code>c</code>"
    assert minus("-0.5 to -0.1") == "−0.5 to −0.1"
    assert [short_number(text) for text in ("0.123456789", "12", "seq_04")] == [
        "0.123457",
        "12",
        "seq_04",
    ]
