"""The generated pages of the site."""

import base64

import pytest

import tfeff
from tests.verbs import ROOT


@pytest.fixture
def site(import_tool):
    return import_tool("site_pages")


def test_pages_list_what_the_subpackages_list(site) -> None:
    expected = {}
    for name in tfeff.__all__:
        if (ROOT / "tfeff" / name).is_dir() and (listed := getattr(getattr(tfeff, name), "__all__", None)):
            expected[name] = sorted(listed, key=str.lower)
    assert site.public_members() == expected
    overview = site.overview_page()
    for name, module in tfeff.PUBLIC.items():
        assert f"::: tfeff.{module}.{name}\n" in overview
    assert "| [`tfeff.config`](config.md) | Configs of training runs" in overview
    assert "| `tfeff.execution` |" in overview


def test_a_config_becomes_a_section(site) -> None:
    source = '''"""Trains `a_b` on <faces>, see docs/data.md and docs/none.md.

Data      folder:<directory>/*
Command   python -m tfeff.train --config=x \\\\
              --workdir=runs/x
Result    accuracy 94.9 %
          on two machines
"""
x = 1
'''
    assert "\n".join(site.config_section("x", source)) == r"""### x

Trains `a_b` on &lt;faces>, see [docs/data.md](docs/data.md) and docs/none.md.

**Data:** folder:&lt;directory>/\*

```sh
python -m tfeff.train --config=x \
    --workdir=runs/x
```

**Result:** accuracy 94.9 %
on two machines

??? abstract "configs/x.py"

    ```python
""" + "\n".join(f"    {line}".rstrip() for line in source.splitlines()) + "\n    ```"  # fmt: skip


def test_every_config_has_a_section(site) -> None:
    page = site.configs_page()
    for path in (ROOT / "configs").glob("*.py"):
        assert page.count(f"### {path.stem}\n") == 1


def test_a_notebook_becomes_a_page(site) -> None:
    image = base64.b64encode(b"png").decode()
    outputs = [
        {"output_type": "stream", "text": ["a\n", "b\n"]},
        {"output_type": "display_data", "data": {"text/html": "<i>c</i>", "text/plain": ["c"]}},
        {"output_type": "display_data", "data": {"image/png": image, "text/plain": ["<Figure>"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["x = 1\n", "x.plot()"], "outputs": outputs},
    ]
    page, figures = site.notebook_page({"cells": cells}, "mine")
    assert figures == {"mine_1.png": b"png"}
    assert page == (
        "# Title\ntext\n\n```python\nx = 1\nx.plot()\n```\n\n```text\na\nb\nc\n```\n\n![Title: x.plot()](mine_1.png)\n"
    )


def test_links_to_configs_and_notebooks_lead_to_their_pages(site) -> None:
    text = "[a](../configs/own_images.py) [b](notebooks/own_images.ipynb#train) [c](data.md)"
    expected = "[a](../configs.md#own_images) [b](notebooks/own_images.md#train) [c](data.md)"
    assert site.with_site_links(text, "../") == expected


def test_the_navigation_lists_every_guide(site) -> None:
    """As MkDocs checks, which tests do not need."""
    config = (ROOT / "mkdocs.yml").read_text()
    for path in (*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in site.DOCUMENTS)):
        assert config.count(f": {path.relative_to(ROOT)}\n") == 1
