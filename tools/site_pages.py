"""Hooks of MkDocs: the pages of the site that are not files of docs/, and those that are generated.

The site has the layout of the repository. Generated are `configs.md`, from the docstrings of configs/; `keys.md`, from
those of the sections of configs; a page for each
public subpackage, whose members mkdocstrings describes; and a page for each notebook, with its outputs.
"""

import ast
import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import site_keys

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "BUILD.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
CONFIGS, KEYS, API, NOTEBOOKS = "configs.md", "keys.md", "api", "docs/notebooks"
GROUPS = {  # beginnings of names; the last group takes the others
    "Your own data": "own_",
    "Handwritten digits, which need no data": "digits_",
    "CIFAR-10": "cifar10_",
    "Ants and bees": "hymenoptera_",
    "Blood cells (BCCD)": "bccd_",
    "Raccoons": "raccoon_",
    "Others": "",
}
FIELD = re.compile(r"([A-Z][a-z]+) {2,}(?=\S)")


def on_config(config: Any) -> None:
    """Lists the generated pages in the navigation."""
    pages = {
        API: [{"tfeff": f"{API}/tfeff.md"}, *({f"tfeff.{name}": f"{API}/{name}.md"} for name in public_members())],
        NOTEBOOKS: [f"{NOTEBOOKS}/{path.stem}.md" for path in notebooks()],
    }
    for section in config.nav:
        for items in section.values():
            for item in items:
                item.update({title: pages.get(target, target) for title, target in item.items()})


def on_files(files: Any, config: Any) -> Any:
    """Returns the files of docs/ as `docs/...`, the documents next to it, and the generated pages."""
    from mkdocs.structure.files import File  # the tests run without it

    def add(uri: str, content: str | bytes) -> None:
        files.append(File.generated(config, uri, content=content))

    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
            if not file.src_uri.endswith(".ipynb"):
                files.append(File.generated(config, f"docs/{file.src_uri}", abs_src_path=file.abs_src_path))
    for name in DOCUMENTS:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    add(CONFIGS, configs_page())
    add(KEYS, site_keys.page(escaped))
    add(f"{API}/tfeff.md", overview_page())
    for name, members in public_members().items():
        add(f"{API}/{name}.md", members_page(f"tfeff.{name}", members))
    for path in notebooks():
        text, figures = notebook_page(json.loads(path.read_text()), path.stem)
        add(f"{NOTEBOOKS}/{path.stem}.md", text)
        for name, content in figures.items():
            add(f"{NOTEBOOKS}/{name}", content)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Returns links to the pages of configs and notebooks in place of those to their files."""
    return with_site_links(markdown, "../" * page.file.src_uri.count("/"))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Names the theme's search dialog for screen readers."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def with_site_links(markdown: str, root: str) -> str:
    """Turns links into links of the site; `root` is the relative path to the site's root, such as `../`."""
    markdown = re.sub(r"\]\((?:\.\./)*configs/(\w+)\.py\)", rf"]({root}{CONFIGS}#\1)", markdown)
    return re.sub(r"\]\(([\w./]+)\.ipynb(#[\w-]+)?\)", r"](\1.md\2)", markdown)


def notebooks() -> list[Path]:
    """Returns the notebooks, in the order of their names."""
    return sorted((ROOT / NOTEBOOKS).glob("*.ipynb"))


def public_members() -> dict[str, list[str]]:
    """Returns what each public subpackage lists in its `__all__`, if it lists anything.

    The sources are not imported.
    """
    listed = {name: _all_of(ROOT / "tfeff" / name / "__init__.py") for name in _all_of(ROOT / "tfeff/__init__.py")}
    return {name: members for name, members in listed.items() if members}


def _all_of(path: Path) -> list[str]:
    if not path.is_file():
        return []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return sorted(ast.literal_eval(node.value), key=str.lower)
    return []


def members_page(module: str, members: list[str]) -> str:
    """Returns a page of mkdocstrings for the listed members of a module."""
    return f"::: {module}\n    options:\n      members: {json.dumps(members)}\n      summary: true\n"


def overview_page() -> str:
    """Returns the page of the functions and classes of `tfeff` itself, and a table of its subpackages."""
    package = ast.parse((ROOT / "tfeff/__init__.py").read_text())
    page = ["# tfeff", "", escaped(ast.get_docstring(package) or "", "../"), ""]
    origins = {
        alias.name: node.module
        for node in ast.walk(package)
        if isinstance(node, ast.ImportFrom) and node.module != "tfeff"
        for alias in node.names
    }
    listed, described = _all_of(ROOT / "tfeff/__init__.py"), public_members()
    for name in listed:
        if name in origins:  # by its module: a folder or verb may have the same name
            page += [f"::: {origins[name]}.{name}", "    options: {heading_level: 2, show_root_full_path: false}", ""]
    page += ["## Subpackages", "", "| subpackage | what it does |", "|---|---|"]
    for name in listed:
        if name not in origins:
            text = ast.get_docstring(ast.parse((ROOT / "tfeff" / name / "__init__.py").read_text())) or ""
            link = f"[`tfeff.{name}`]({name}.md)" if name in described else f"`tfeff.{name}`"
            page.append(f"| {link} | {escaped(text.split(chr(10) * 2)[0].replace(chr(10), ' '), '../')} |")
    return "\n".join([*page, ""])


def configs_page() -> str:
    """Returns what the docstrings of configs/ say: purpose, data, command, machine, result; and the sources."""
    groups: dict[str, list[Path]] = {group: [] for group in GROUPS}
    for path in sorted((ROOT / "configs").glob("*.py")):
        groups[next(group for group, prefix in GROUPS.items() if path.stem.startswith(prefix))].append(path)
    page = [
        "# Configs and results",
        "",
        "The names are those of `--config`. Each config says what it does, on which data,",
        "by which command, and what came out on which machine.",
        "",
    ]
    for group, paths in groups.items():
        page += [f"## {group}", ""]
        for path in paths:
            page += [*config_section(path.stem, path.read_text()), ""]
    return "\n".join(page)


def config_section(name: str, source: str) -> Iterator[str]:
    """Yields the Markdown of a config."""
    yield from (f"### {name}", "")
    for field, lines in _fields(ast.get_docstring(ast.parse(source)) or ""):
        if field == "Command":
            yield from ("```sh", *lines, "```", "")
        else:
            yield from ((f"**{field}:** " if field else "") + escaped("\n".join(lines)), "")
    yield from (f'??? abstract "configs/{name}.py"', "", "    ```python")
    yield from (f"    {line}".rstrip() for line in source.rstrip().splitlines())
    yield "    ```"


def _fields(docstring: str) -> list[tuple[str, list[str]]]:
    """Returns the text of a docstring (with an empty name) and its fields, `Name      text`, with their lines."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in docstring.splitlines():
        if match := FIELD.match(line):
            found.append((match[1], []))
            indent = match.end()
            line = " " * indent + line[indent:]
        found[-1][1].append(line)
    fields = []
    for name, lines in found:
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        fields.append((name, "\n".join(line[indent:] for line in lines).strip().splitlines()))
    return fields


def escaped(text: str, root: str = "") -> str:
    """Returns plain text as Markdown; `code` stays code, and documents and configs that are named become links.

    `root` is the relative path to the root of the site, such as `../`.
    """

    def link(match: re.Match[str]) -> str:
        path = match[0].replace("\\", "")
        return f"[{match[0]}]({root}{path})" if (ROOT / path).is_file() else match[0]

    parts = re.split(r"(`[^`]*`)", text)
    for place, part in enumerate(parts):
        if place % 2 == 0:
            part = re.sub(r"([\\*_\[\]|])", r"\\\1", part).replace("<", "&lt;")
            parts[place] = re.sub(r"\b(docs|configs)/([\w\\]+)\.(md|py)", link, part)
    return "".join(parts)


def notebook_page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Returns the Markdown of an executed notebook, and its figures by file name."""
    page, figures, heading = list[str](), dict[str, bytes](), name
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            page += [source, ""]
            heading = next((line.lstrip("# ") for line in source.splitlines() if line.startswith("#")), heading)
            continue
        page += ["```python", source, "```", ""]
        texts = list[str]()
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                file = f"{name}_{len(figures) + 1}.png"
                figures[file] = base64.b64decode("".join(data["image/png"]))
                page += [*_shown(texts), f"![{heading}: {source.splitlines()[-1].strip()}]({file})", ""]
                texts = []
            else:
                texts.append("".join(output.get("text", "") or data.get("text/plain", "")).rstrip())
        page += _shown(texts)
    return "\n".join(page), figures


def _shown(texts: list[str]) -> list[str]:
    text = "\n".join(texts).strip("\n")
    return ["```text", text, "```", ""] if text else []
