"""Docstrings become Markdown: sections, arguments, formulas, tables, examples."""

from __future__ import annotations

import inspect

from documentation.docstrings import (
    escape_cell,
    explain_arguments,
    format_body,
    own_docstring,
    parse_docstring,
)

TEXT = inspect.cleandoc(
    """Filter a row, with *one* star and a * b.

    Its gain is

        g(f) = 1 / (1 + f^2),

    so that it falls:
    * first here
      and on,
    * then there.

    ===== =======
    row   (B, T)
    ===== =======

    >>> 1 + 1
    2

    Args:
        low, high: edges in Hz,
            both included.
        order: of it.

    Raises:
        UserError: an edge
            below 0.

    The end.
    """
)


def test_arguments_are_read_with_their_further_lines() -> None:
    doc = parse_docstring(TEXT)
    edges = "edges in Hz, both included."
    assert doc.arguments == {"low": edges, "high": edges, "order": "of it."}
    assert doc.body.endswith("The end.")
    assert "UserError" not in doc.body


def test_a_body_becomes_markdown() -> None:
    lines = format_body(parse_docstring(TEXT).body)
    assert lines == [
        r"Filter a row, with *one* star and a \* b.",
        "",
        "Its gain is",
        "",
        "```text",
        "g(f) = 1 / (1 + f^2),",
        "```",
        "",
        "so that it falls:",
        "",
        "- first here",
        "  and on,",
        "- then there.",
        "",
        "```text",
        "===== =======",
        "row   (B, T)",
        "===== =======",
        "```",
        "",
        "```pycon",
        ">>> 1 + 1",
        "2",
        "```",
        "",
        "The end.",
    ]


class Base:
    """A base.

    Args:
        p: probability.
        size: of the base.
    """


class Other:
    """Another.

    Args:
        depth: of it.
    """


class Child(Base):
    """A child.

    Args: as in `Other`, and

        size: of the child.
    """


def test_parents_and_the_classes_referred_to_explain_what_a_docstring_leaves_out() -> None:
    assert explain_arguments(Child) == {
        "p": "probability.",
        "size": "of the child.",
        "depth": "of it.",
    }
    assert own_docstring(Child).remarks == "as in `Other`, and"


def test_a_cell_is_one_line_without_bars_or_tags() -> None:
    assert escape_cell("one | two\n  <name>, `a*b`") == r"one \| two &lt;name>, `a*b`"
