"""Mutation testing: `python tools/mutants.py FOLDER [FOLDER ...] --out=FILE.jsonl [--count=20] [--seed=0]`.

A mutant is the package with one change: another comparison, another arithmetic operator (also in `+=` and the like),
another Boolean operator, or no `not`. For each FOLDER of `tfeff/`, this draws mutants at random and runs the tests of
`tests/FOLDER` on each: first those of the mutated file and the examples in its docstrings, then the others. A failing
test or the time limit kills the mutant. A mutant that survives shows a gap in the tests, or is equivalent: it changes
nothing that users can see. Read the change and decide (DeMillo, Lipton and Sayward, "Hints on Test Data Selection",
Computer 1978).

The tests run in a temporary copy of the repository. FILE.jsonl has a row per mutant, with the commit that was tested.
Rerun the same command to resume. At another commit, a rerun also tests the survivors in FILE.jsonl again, so their rows
change once a new test kills them; with `--count=0` it tests nothing else. Only one process may write FILE.jsonl, and
changes to it during a run are lost. To mark a survivor as equivalent, change its `result` to
`equivalent` by hand; it is then not tested again.

A seed draws the same mutants only from the same code. A row applies to its commit, and to later ones in which the same
expression is at the same place; a survivor whose code has moved is not tested again. Twenty mutants of four folders:

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

from tfeff import durable
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
Node = ast.expr | ast.AugAssign
TEXT = ast.JoinedStr | ast.List | ast.Tuple
KILLED, TIMEOUT, SURVIVED, EQUIVALENT = "killed", "timeout", "survived", "equivalent"
DIRTY = "-dirty"
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
        before: the expression or augmented assignment.
        after: what replaces it.
    """

    file: str
    line: int
    column: int
    before: str
    after: str


def changes(source: str) -> list[tuple[Node, Node]]:
    """Returns all pairs of an expression or augmented assignment of a file and one that replaces it."""
    return [(node, changed) for node in _code(ast.parse(source)) for changed in _changes(node)]


def replaced(source: str, node: Node, changed: Node) -> str:
    """Returns a source with another expression or augmented assignment in the place of one of its own."""
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    first = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    last = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    text = b"".join(lines)
    new = f"({ast.unparse(changed)})" if isinstance(changed, ast.expr) else ast.unparse(changed)
    return (text[:first] + new.encode() + text[last:]).decode()


def _code(node: ast.AST) -> Iterator[Node]:
    """Yields the expressions and augmented assignments that run.

    Annotations and texts, which tests need not repeat, are left out.
    """
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, Node):
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _code(child)


def _changes(node: Node) -> Iterator[Node]:
    """Yields what replaces an expression or augmented assignment, one at a time."""
    match node:
        case ast.Compare():
            for index, comparison in enumerate(node.ops):
                changed = copy.deepcopy(node)
                changed.ops[index] = COMPARISONS[type(comparison)]()
                yield changed
        case ast.BinOp(left, operator, right) | ast.AugAssign(left, operator, right) if type(operator) in OPERATORS:
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


def candidates(root: Path, folder: str) -> dict[Mutant, str]:
    """Returns all mutants of a folder below `tfeff/`, each with the changed source of its file.

    Raises:
        UserError: the folder or its tests do not exist.
    """
    for parent in ("tfeff", "tests"):
        if not (root / parent / folder).is_dir():
            raise UserError(f"{folder}: {root / parent / folder} is not a folder")
    found = {}
    for path in sorted((root / "tfeff" / folder).rglob("*.py")):
        file, source = path.relative_to(root).as_posix(), path.read_text()
        for node, changed in changes(source):
            mutant = Mutant(file, node.lineno, node.col_offset, ast.unparse(node), ast.unparse(changed))
            found[mutant] = replaced(source, node, changed)
    return found


class Copy:
    """A temporary copy of the repository, in which tests run.

    Args:
        root: root of the repository.
        directory: directory of the copy.
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
            `killed`, `timeout` or `survived`; and the test that failed, or the exit status of pytest, if any.
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
        # The tests of the file itself, with its examples, kill most mutants in little time.
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
        return KILLED, failed[0] if failed else f"exit status {process.returncode}"


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
    """Tests drawn mutants and earlier survivors, and records them in `out`; returns their rows.

    Args:
        root: root of the repository.
        folders: below `tfeff/`.
        out: JSON lines, one per mutant. Of the mutants in it, only survivors are tested again.
        count: number of drawn mutants per folder; fewer if there are no more.
        seed: seed of the draw.
        seconds: time limit of a mutant.

    Raises:
        UserError: the tests fail without a mutant, or a folder does not exist.
    """
    known = {}
    if out.is_file():
        for row in map(json.loads, out.read_text().splitlines()):
            known[Mutant(**{name: row[name] for name in Mutant.__dataclass_fields__})] = row
    found = {folder: candidates(root, folder) for folder in folders}
    commit = tested_commit(root, out)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        tested = Copy(root, Path(directory))
        for folder, sources in found.items():
            drawn = random.Random(f"{folder} {seed}").sample(list(sources), min(count, len(sources)))
            survivors = [mutant for mutant in sources if mutant in known and known[mutant]["result"] == SURVIVED]
            changed = [mutant for mutant in survivors if known[mutant].get("commit") != commit or DIRTY in commit]
            waiting = [mutant for mutant in drawn if mutant not in known] + changed
            if waiting:
                print(f"{folder}: testing without a mutant", file=sys.stderr, flush=True)
                file, began = f"tfeff/{folder}/__init__.py", time.monotonic()
                result, failed = tested.test(folder, file, (root / file).read_text(), 10 * seconds)
                if result != SURVIVED:
                    raise UserError(f"tests/{folder} without a mutant: {result} {failed}; mutants need passing tests")
                if (needed := 2 * (time.monotonic() - began)) > seconds:
                    raise UserError(
                        f"--seconds={seconds:g}: must be at least {needed:.0f} for tests/{folder}, twice the "
                        "time without a mutant; slow tests would count as killed"
                    )
            for number, mutant in enumerate(waiting, start=1):
                began = time.monotonic()
                result, failed = tested.test(folder, mutant.file, sources[mutant], seconds)
                row = {"folder": folder, "seed": seed, **asdict(mutant)} | known.get(mutant, {})
                row |= {"result": result, "test": failed, "seconds": round(time.monotonic() - began, 1)}
                known[mutant] = row | {"commit": commit}
                durable.write(out, "".join(json.dumps(each) + "\n" for each in known.values()))
                print(f"{folder}: {number} of {len(waiting)}: {result}", file=sys.stderr, flush=True)
            rows += [known[mutant] for mutant in dict.fromkeys(drawn + survivors)]
    return rows


def tested_commit(root: Path, out: Path) -> str:
    """Returns the commit's short hash, with `DIRTY` if any file but `out` differs from it or is new."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    status = ["status", "--porcelain", "--untracked-files=all", "--", "."]
    if out.resolve().is_relative_to(root.resolve()):
        status.append(f":(exclude){out.resolve().relative_to(root.resolve())}")
    return git("rev-parse", "--short", "HEAD") + (DIRTY if git(*status) else "")


def main() -> None:
    """Tests the mutants that the flags describe, and prints those that survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="Folders below tfeff/, for example rcnn.")
    parser.add_argument("--count", type=int, default=20, help="Mutants to draw per folder.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draw.")
    parser.add_argument("--seconds", type=float, default=300.0, help="Time limit; it kills endless mutants.")
    parser.add_argument("--out", type=Path, required=True, help="File of JSON lines to write or continue.")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: the tests end too
    options = {name: getattr(arguments, name) for name in ("count", "seed", "seconds")}
    rows = run(ROOT, arguments.folders, arguments.out, **options)
    counts = Counter((row["folder"], row["result"]) for row in rows)
    results = (KILLED, TIMEOUT, SURVIVED, EQUIVALENT)
    print(tables.markdown([{"folder": f} | {r: counts[f, r] for r in results} for f in arguments.folders]))
    for row in rows:
        if row["result"] == SURVIVED:
            print(f"\n{row['file']}:{row['line']} survived\n  {row['before']}\n  {row['after']}")


if __name__ == "__main__":
    command_line.run(main)
