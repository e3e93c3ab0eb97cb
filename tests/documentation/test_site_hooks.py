"""The site: built strictly, with every page in the navigation, and rendered as on GitHub."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paths import ROOT

from documentation import site_hooks

PAGE = """See [configs.py](../../configs.py), [a page](other.md#part) and [a site](https://a.b/c).

![picture](../figures/demo.png)

```sh
[kept](../../configs.py)
```

- [the `base`](../../signal_transforms/base.py)
"""


def test_links_to_files_outside_of_docs_lead_to_the_repository() -> None:
    text = site_hooks.replace_outer_links(PAGE, "how-to/page.md", "https://host/us/it")
    assert "[configs.py](https://host/us/it/blob/main/configs.py)" in text
    assert "[the `base`](https://host/us/it/blob/main/signal_transforms/base.py)" in text
    for kept in ("[a page](other.md#part)", "(https://a.b/c)", "(../figures/demo.png)", "[kept]("):
        assert kept in text


def test_without_a_repository_only_the_text_stays() -> None:
    text = site_hooks.replace_outer_links(PAGE, "how-to/page.md", None)
    assert text.startswith("See configs.py, [a page](other.md#part)")
    assert "- the `base`\n" in text
    assert "[kept](../../configs.py)" in text  # code stays as it is


def test_bars_within_code_of_a_table_are_not_escaped() -> None:
    text = r"| `str \| None` | a \| b |" + "\n\n" + r"`a \| b`"
    wanted = r"| `str | None` | a \| b |" + "\n\n" + r"`a \| b`"
    assert site_hooks.rewrite_prose(text) == wanted


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = pytest.importorskip("mkdocs.commands.build", reason="needs pip install -e '.[docs]'")
    pytest.importorskip("material", reason="needs pip install -e '.[docs]'")
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build.build(config)  # raises for a broken link, and for a page outside of the navigation
    return folder


def article_of(page: Path) -> str:
    """Return the HTML of a page's text, without code and without the frame around it."""
    html = page.read_text()
    text = html[html.index("<article") : html.index("</article>")]
    return re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)


def test_every_page_is_built(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site) for path in site.rglob("index.html")}
    expected = {
        page.parent / "index.html" if page.stem == "README" else page.with_suffix("") / "index.html"
        for page in pages
    }
    assert expected <= built


def test_markdown_of_github_is_understood(site: Path) -> None:
    """Lists, tables, fences and formulas that Python-Markdown reads otherwise stay as text."""
    left = re.compile(r"^\s*(?:[-*] |\d+\. |\||```|\$\$)|\]\(|<!--|\*\*", re.MULTILINE)
    unread = []
    for page in site.rglob("index.html"):
        for paragraph in re.findall(r"<p>(.*?)</p>", article_of(page), re.DOTALL):
            if match := left.search(paragraph):
                unread.append(f"{page.relative_to(site)}: {paragraph[match.start() :][:80]!r}")
    assert not unread, "\n".join(unread)


def test_pictures_formulas_and_folded_parts_are_there(site: Path) -> None:
    assert '<pre class="mermaid">' in (site / "architecture" / "index.html").read_text()
    distance = (site / "explanation" / "sensitive-distance" / "index.html").read_text()
    assert '<div class="arithmatex">' in distance
    performance = (site / "explanation" / "performance" / "index.html").read_text()
    settings = (site / "reference" / "settings" / "index.html").read_text()
    assert "<code>str | None</code>" in settings
    folded = performance[performance.index("<details>") : performance.index("</details>")]
    assert "<table>" in folded
