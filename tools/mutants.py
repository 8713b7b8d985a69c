"""Mutation testing: `python tools/mutants.py FOLDER [FOLDER ...] --out=FILE.jsonl [--count=20] [--seed=0]`.

A mutant is the package with one change: another comparison, another arithmetic or Boolean operator, or no `not`. For
each FOLDER of `tfeff/`, this draws mutants at random and runs the tests of `tests/FOLDER` on each: first those of the
mutated file and the examples in its docstrings, then the others. A mutant that no test finds shows a gap in the tests,
or changes nothing that users can see: read the change and decide (DeMillo, Lipton and Sayward, "Hints on Test Data
Selection", Computer 1978).

The tests run in a temporary copy of the repository. FILE.jsonl receives a row per mutant. Rerun the same command to
resume; rows of mutants that were drawn before are kept. Twenty mutants of four folders:

    python tools/mutants.py models training rcnn serving --out=mutants.jsonl
"""

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import command_line

from tfeff.errors import UserError
from tfeff.reporting import tables

ROOT = Path(__file__).resolve().parents[1]
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult},
}
TEXT = ast.JoinedStr | ast.List | ast.Tuple
FOUND, TIMEOUT, SURVIVED = "found", "timeout", "survived"
GRACE_SECONDS = 10.0
"""Time that pytest has to stop the processes of its tests."""
NO_TESTS = 5
"""Exit status of pytest if it has collected no tests."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        file: path of the file, relative to the repository.
        line: line of the change.
        column: column of the change, in bytes; with `before` and `after`, it identifies the mutant.
        before: the expression.
        after: the changed expression.
    """

    file: str
    line: int
    column: int
    before: str
    after: str


def changes(source: str) -> list[tuple[ast.expr, ast.expr]]:
    """All pairs of an expression of a file and one that replaces it."""
    return [(node, changed) for node in _code(ast.parse(source)) for changed in _changes(node)]


def replaced(source: str, node: ast.expr, changed: ast.expr) -> str:
    """A source with another expression in the place of one of its own."""
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    first = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    last = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    text = b"".join(lines)
    return (text[:first] + f"({ast.unparse(changed)})".encode() + text[last:]).decode()


def _code(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions of a tree that run: no annotations, and no text, which the tests need not repeat."""
    if isinstance(node, ast.expr):
        if isinstance(node, ast.JoinedStr):
            return
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _code(child)


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions that replace an expression, one at a time."""
    match node:
        case ast.Compare():
            for index, comparison in enumerate(node.ops):
                changed = copy.deepcopy(node)
                changed.ops[index] = COMPARISONS[type(comparison)]()
                yield changed
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            if not any(isinstance(side, TEXT) or _is_text(side) for side in (left, right)):
                changed = copy.deepcopy(node)
                changed.op = OPERATORS[type(operator)]()
                yield changed
        case ast.BoolOp(operator):
            changed = copy.deepcopy(node)
            changed.op = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield changed
        case ast.UnaryOp(ast.Not(), operand):
            yield copy.deepcopy(operand)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def draw(root: Path, folder: str, count: int, seed: int) -> list[tuple[Mutant, str]]:
    """Random mutants of a folder, with the changed sources; fewer than `count` if there are no more.

    Args:
        root: of the repository.
        folder: below `tfeff/`.
        count: number of mutants.
        seed: of the draw.

    Raises:
        UserError: the folder or its tests do not exist.
    """
    for parent in ("tfeff", "tests"):
        if not (root / parent / folder).is_dir():
            raise UserError(f"{folder}: {root / parent / folder} is not a folder")
    sources = {path.relative_to(root).as_posix(): path.read_text() for path in (root / "tfeff" / folder).rglob("*.py")}
    found = [(file, *change) for file in sorted(sources) for change in changes(sources[file])]
    return [
        (
            Mutant(file, node.lineno, node.col_offset, ast.unparse(node), ast.unparse(changed)),
            replaced(sources[file], node, changed),
        )
        for file, node, changed in random.Random(f"{folder} {seed}").sample(found, min(count, len(found)))
    ]


class Copy:
    """A temporary copy of the repository, in which tests run.

    Args:
        root: of the repository.
        directory: of the copy.
    """

    def __init__(self, root: Path, directory: Path) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            check=True,
            capture_output=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (root / name).is_file():  # and not deleted
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, directory / name)
        self._directory = directory
        # A stale .pyc would hide a mutant: the time stamps of two mutants of a file can be equal.
        self._environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(directory)}
        self._environment.setdefault("TFEFF_SHARED", str(root.parent / "shared"))

    def test(self, folder: str, file: str, source: str, seconds: float) -> tuple[str, str]:
        """Runs the tests of a folder with a changed file.

        Args:
            folder: below `tests/`.
            file: path of the file, relative to the repository.
            source: its changed text.
            seconds: time limit of all tests.

        Returns:
            `found`, `timeout` or `survived`; and the test that failed, or the exit status of pytest, if any.
        """
        path = self._directory / file
        original = path.read_text()
        path.write_text(source)
        try:
            return self._run(Path("tests", folder), Path(file), seconds)
        finally:
            path.write_text(original)

    def _run(self, folder: Path, file: Path, seconds: float) -> tuple[str, str]:
        own = Path("tests", *file.parts[1:]).with_name(f"test_{file.name}")
        ends = time.monotonic() + seconds
        # The tests of the file itself, with its examples, find most mutants in little time.
        first = [path for path in (own, file) if (self._directory / path).exists()]
        for tests in (first, [folder, f"--ignore={own}"]):
            result, failed = self._pytest([*map(str, tests)], ends - time.monotonic())
            if result != SURVIVED:
                return result, failed
        return SURVIVED, ""

    def _pytest(self, arguments: list[str], seconds: float) -> tuple[str, str]:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", *arguments]
        process = subprocess.Popen(
            command,
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that the processes that tests start can be killed with it
        )
        try:
            output, _ = process.communicate(timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            return TIMEOUT, ""
        finally:
            if process.poll() is None:
                stop(process)
        if process.returncode in (0, NO_TESTS):
            return SURVIVED, ""
        # Without a failed test, pytest itself has failed: conftest.py cannot be imported, or the process crashed.
        failed = [line.split()[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return FOUND, failed[0] if failed else f"exit status {process.returncode}"


def stop(process: subprocess.Popen[str]) -> None:
    """Ends pytest and the processes of its tests: after Ctrl-C, pytest stops those that it has started."""
    for number in (signal.SIGINT, signal.SIGKILL):
        os.killpg(process.pid, number)
        try:
            process.communicate(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


def run(root: Path, folders: Sequence[str], out: Path, *, count: int, seed: int, seconds: float) -> list[dict]:
    """Tests mutants and appends their rows to `out`; returns the rows of all drawn mutants.

    Args:
        root: of the repository.
        folders: below `tfeff/`.
        out: JSON lines, one per mutant; mutants in it are not tested again.
        count: number of mutants per folder.
        seed: of the draw.
        seconds: time limit of a mutant.

    Raises:
        UserError: the tests fail without a mutant, or a folder does not exist.
    """
    known = {}
    if out.is_file():
        for row in map(json.loads, out.read_text().splitlines()):
            known[Mutant(**{name: row[name] for name in Mutant.__dataclass_fields__})] = row
    drawn = {folder: draw(root, folder, count, seed) for folder in folders}
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        tested = Copy(root, Path(directory))
        for folder, sample in drawn.items():
            waiting = [each for each in sample if each[0] not in known]
            if waiting:
                print(f"{folder}: testing without a mutant", file=sys.stderr, flush=True)
                file = f"tfeff/{folder}/__init__.py"
                result, failed = tested.test(folder, file, (root / file).read_text(), 10 * seconds)
                if result != SURVIVED:
                    raise UserError(f"tests/{folder} without a mutant: {result} {failed}; mutants need passing tests")
            for number, (mutant, source) in enumerate(waiting, start=1):
                began = time.monotonic()
                result, failed = tested.test(folder, mutant.file, source, seconds)
                row = {"folder": folder, "seed": seed, **asdict(mutant), "result": result, "test": failed}
                known[mutant] = row | {"seconds": round(time.monotonic() - began, 1)}
                with out.open("a") as file_:
                    file_.write(json.dumps(known[mutant]) + "\n")
                print(f"{folder}: {number} of {len(waiting)}: {result}", file=sys.stderr, flush=True)
            rows += [known[mutant] for mutant, _ in sample]
    return rows


def main() -> None:
    """Tests the mutants that the flags describe, and prints those that no test has found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="Folders below tfeff/, for example rcnn.")
    parser.add_argument("--count", type=int, default=20, help="Mutants per folder.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draw.")
    parser.add_argument("--seconds", type=float, default=300.0, help="Time limit of a mutant; an endless one is found.")
    parser.add_argument("--out", type=Path, required=True, help="File of JSON lines to write.")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: the tests end too
    options = {name: getattr(arguments, name) for name in ("count", "seed", "seconds")}
    rows = run(ROOT, arguments.folders, arguments.out, **options)
    counts = Counter((row["folder"], row["result"]) for row in rows)
    results = (FOUND, TIMEOUT, SURVIVED)
    print(tables.markdown([{"folder": f} | {r: counts[f, r] for r in results} for f in arguments.folders]))
    for row in rows:
        if row["result"] == SURVIVED:
            print(f"\n{row['file']}:{row['line']} survived\n  {row['before']}\n  {row['after']}")


if __name__ == "__main__":
    command_line.run(main)
