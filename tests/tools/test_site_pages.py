"""The site has a page for each document and config, and shows what they say."""

import re

from tests.verbs import ROOT
from tools import site_pages

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_every_document_has_a_page_of_the_site() -> None:
    listed = (ROOT / "mkdocs.yml").read_text()
    for path in DOCUMENTS:
        assert f": {path.relative_to(ROOT)}\n" in listed, path


def test_configs_are_pages_with_their_command_and_result() -> None:
    page = site_pages.configs_page()
    names = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert set(re.findall(r"^### (\w+)$", page, re.M)) == names
    own = page[page.index("### own_images") : page.index("### ", page.index("### own_images") + 4)]
    assert "python -m tfeff.train --config=own_images" in own
    assert "**Result:** hymenoptera" in own
    assert "folder:&lt;directory>" in own


def test_links_to_configs_and_notebooks_lead_to_their_pages() -> None:
    text = "[a](../configs/own_boxes.py) [b](notebooks/own_images.ipynb#data) [c](data.md)"
    expected = "[a](../configs.md#own_boxes) [b](notebooks/own_images.md#data) [c](data.md)"
    assert site_pages.with_site_links(text, "../") == expected


def test_public_members_are_those_of_the_package() -> None:
    import tfeff

    for name, members in site_pages.public_members().items():
        assert sorted(getattr(tfeff, name).__all__, key=str.lower) == members


def test_a_notebook_is_shown_with_its_outputs() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {
            "cell_type": "code",
            "source": ["print(1)"],
            "outputs": [{"text": ["1\n"]}, {"data": {"image/png": "aGk="}}],
        },
    ]
    text, figures = site_pages.notebook_page({"cells": cells}, "name")
    assert text.startswith("# Title\n\n```python\nprint(1)\n```\n\n```text\n1\n```")
    assert "![Title: print(1)](name_1.png)" in text
    assert figures == {"name_1.png": b"hi"}
