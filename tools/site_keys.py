"""The page of the site that lists all keys of configs, from the sources of their sections.

The sources are not imported. A key is a field of a section; its meaning is the docstring under it, or its entry under
"Attributes" in the docstring of the class.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "tfeff"
FOLDERS = ("config", "data/augment", "networks")
ROOTS = {
    "Experiment": "Training runs",
    "BudgetSearch": "Searches within a budget",
    "Search": "Searches for scaling coefficients",
    "Sweep": "Sweeps",
}
"""Class of a complete config -> heading."""
CHOICES = {"TaskSettings", "Architecture"}
"""Bases of sections, of which the key `name` selects one."""


def page(escaped: Callable[[str], str]) -> str:
    """Returns the Markdown of the page; `escaped` turns plain text into Markdown."""
    kinds = _classes()
    lines = [
        "# Keys of configs",
        "",
        "`--config.KEY=VALUE` sets a key. In searches and sweeps, the keys of a training run are in the section",
        "`experiment`, which can be omitted. Keys are listed with type, default and meaning.",
        "",
    ]
    listed = set[tuple[str, str]]()
    for root, title in ROOTS.items():
        lines += [f"## {title}", ""]
        for key, kind in _sections(kinds, "", root, listed):
            lines += [f"### `{key}`, {kind}" if key else f"### {kind}", ""]
            lines += [escaped(_summary(kinds[kind])), ""]
            for field in _fields(kinds, kind):
                name = f"{key}.{field.name}" if key else field.name
                meaning = field.meaning or ("See its section." if field.kind in kinds else "")
                lines.append(f"- `{name}`: {field.form}. {escaped(meaning)}".rstrip())
            lines.append("")
    return "\n".join(lines)


class _Field:
    """A key of a section.

    Args:
        node: its declaration.
        meaning: its documentation.
    """

    def __init__(self, node: ast.AnnAssign, meaning: str) -> None:
        assert isinstance(node.target, ast.Name)
        self.name, self.kind = node.target.id, _named(node.annotation)
        value = node.value
        if isinstance(value, ast.Call):  # field(...), or choice(variants, default)
            chosen = value.args[1:] if _named(value.func) == "choice" else []
            value = chosen[0] if chosen else None
        default = f", default `{ast.unparse(value)}`" if value is not None else ""
        self.form = f"`{ast.unparse(node.annotation)}`{default}"
        self.meaning = " ".join(meaning.split())


def _classes() -> dict[str, ast.ClassDef]:
    """Returns the classes of all sections, by name."""
    trees = [ast.parse(path.read_text()) for folder in FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py"))]
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def _sections(
    kinds: dict[str, ast.ClassDef], key: str, kind: str, listed: set[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yields (key, class) of a section and those inside it, of which each is listed once."""
    bases = {base for name in kinds for base in _ancestors(kinds, name)[1:]}
    derived = [
        name for name in kinds if kind in _ancestors(kinds, name) and (name not in bases or _has_name(kinds[name]))
    ]
    for each in derived if kind in CHOICES else [kind]:
        if (key, each) in listed:
            continue
        listed.add((key, each))
        yield key, each
        for field in _fields(kinds, each):
            if field.kind in kinds and field.kind not in ROOTS:
                yield from _sections(kinds, f"{key}.{field.name}" if key else field.name, field.kind, listed)


def _fields(kinds: dict[str, ast.ClassDef], kind: str) -> Iterator[_Field]:
    """Yields the keys of a section, also inherited ones; a class may declare one of its base again."""
    known, meanings = dict[str, _Field](), dict[str, str]()
    for name in reversed(_ancestors(kinds, kind)):
        body = kinds[name].body
        meanings |= _attributes(ast.get_docstring(kinds[name]) or "")
        for node, after in zip(body, [*body[1:], None], strict=True):
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                meanings[node.target.id] = str(after.value.value)
            known[node.target.id] = _Field(node, meanings.get(node.target.id, ""))
            if re.search(r"'hidden': True|ITS_OWN|HIDDEN", ast.unparse(node)):
                del known[node.target.id]
    yield from known.values()


def _has_name(node: ast.ClassDef) -> bool:
    """Returns whether a class sets the key `name`."""
    return any(isinstance(each, ast.AnnAssign) and _named(each.target) == "name" and each.value for each in node.body)


def _ancestors(kinds: dict[str, ast.ClassDef], kind: str) -> list[str]:
    """Returns a class and its bases among the sections."""
    bases = [name for base in kinds[kind].bases if (name := _named(base)) in kinds]
    return [kind, *(each for base in bases for each in _ancestors(kinds, base))]


def _attributes(docstring: str) -> dict[str, str]:
    """Returns what a docstring says under "Attributes", by name."""
    block = re.search(r"^Attributes:\n((?: +.*\n?|\n)+)", docstring, re.M)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", block[1], re.M) if block else []
    return {name: text[:1].upper() + text[1:] for name, text in entries}


def _summary(node: ast.ClassDef) -> str:
    return re.split(r"\n\n(?=Attributes:|Raises:)", ast.get_docstring(node) or "")[0]


def _named(node: ast.expr) -> str:
    """Returns the class that an expression names, such as `yolo.Yolo` or `Detector | None`; "" if it names none."""
    if isinstance(node, ast.BinOp):
        return _named(node.left)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
