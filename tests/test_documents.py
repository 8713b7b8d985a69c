"""Markdown files and notebooks: links and anchors as GitHub resolves them, lists as the site reads them."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")])


def text(path: Path) -> str:
    """Returns the Markdown of a document, without blocks of code."""
    content = path.read_text()
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(content)["cells"] if cell["cell_type"] == "markdown"]
        content = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^ *```.*?^ *```", "", content, flags=re.S | re.M)


def anchors(markdown: str) -> set[str]:
    """GitHub's anchors: lower case, without punctuation, hyphens for spaces; numbers for repeated headings."""
    found, seen = set(), Counter[str]()
    for heading in re.findall(r"^#+ +(.+?) *$", markdown, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken(path: Path, markdown: str) -> list[str]:
    """Returns links of a document, outside `code`, that lead nowhere."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", markdown)):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(text(target))):
            wrong.append(link)
    return wrong


def test_broken_links_are_found() -> None:
    markdown = "# A, b\n# A, b\n[](#a-b) [](#a-b-1) [](#a-b-2) [](setup.py) [](none.md) [](https://x.org) `[](none)`"
    page = ROOT / "page.md"
    assert anchors(markdown) == {"a-b", "a-b-1"}
    assert broken(page, markdown.replace("](#", "](README.md#")) == [
        "README.md#a-b",
        "README.md#a-b-1",
        "README.md#a-b-2",
        "none.md",
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    assert not broken(path, text(path))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_items_of_a_list_are_one_paragraph(path: Path) -> None:
    """The site's Python-Markdown would join all later items into the second paragraph of one, unlike GitHub."""
    assert re.findall(r"^\n {1,4}\S.*", text(path), re.M) == []
