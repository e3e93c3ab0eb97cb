"""Code blocks of README and docs, and the mark above each that says how it is tested.

    <!-- not run: takes hours -->            why nothing runs it
    <!-- run by tests/test_predict.py -->    the test that runs it, or the same in small

A block without a mark is run as it stands by tests/test_code_blocks.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)\n(?P<body>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
MARK = re.compile(r"<!-- (?:not run: (?P<reason>.+?)|run by (?P<test>\S+)) -->")
# Words of a shell that begin, join or end a command.
JOINTS = {"&&", "||", ";", "|", "&"}
OPENERS = {"do", "then", "else", "srun", "time"}


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        page: the file.
        line: where it begins, from 1.
        language: the word after the fence; empty for none.
        body: without the indentation of the fence.
        reason: why nothing runs it; empty where something does.
        test: path of the test that runs it; empty where tests/test_code_blocks.py does.
    """

    page: Path
    line: int
    language: str
    body: str
    reason: str
    test: str

    @property
    def is_run_here(self) -> bool:
        return not self.reason and not self.test


def read_blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page."""
    text = page.read_text()
    for match in FENCE.finditer(text):
        above = text[: match.start()].rstrip().rpartition("\n")[2].strip()
        mark = MARK.fullmatch(above)
        indent = len(match["indent"])
        yield Block(
            page,
            text[: match.start()].count("\n") + 1,
            match["language"],
            "\n".join(line[indent:] for line in match["body"].splitlines()),
            (mark and mark["reason"]) or "",
            (mark and mark["test"]) or "",
        )


def shell_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell script, variables replaced by 0.

    Loops and functions are read as the commands within them, which is enough to check each.
    """
    text = text.replace("\\\n", " ")
    text = re.sub(r'"\$\{\w+\[@\]\}"', "", text)  # an array of further arguments
    text = re.sub(r"\$\(.*?\)", "0", text)
    text = re.sub(r"\$(\{\w+\}|\w+|\?)", "0", text)
    for line in text.splitlines():
        words: list[str] = []
        # Joints stand between spaces, or behind the last word: "do", "0; do".
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if word in JOINTS:
                if words:
                    yield words
                words = []
            elif words or not (word in OPENERS or re.fullmatch(r"\w+=.*", word)):
                words.append(word)
