"""Mutants of small sources, and of a package with tests that kill some of them."""

import ast
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tfeff.errors import UserError
from tools import mutants

GIT = "git", "-c", "user.name=Test", "-c", "user.email=test@example.com"


def texts(source: str) -> set[str]:
    """Returns all mutants of a source of one expression or augmented assignment."""
    return {mutants.replaced(source, *change).strip("()") for change in mutants.changes(source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a <= b"}),
        ("a < b == c", {"a <= b == c", "a < b != c"}),
        ("a in b", {"a not in b"}),
        ("a // b", {"a * b"}),
        ("a and b", {"a or b"}),
        ("not a", {"a"}),
        ("a += 1", {"a -= 1"}),
        ("a[0] //= b + c", {"a[0] *= b + c", "a[0] //= (b - c"}),
        ("0.5", set()),
        ("f'{a + 1}'", set()),
        ("'a' + b", set()),
        ("[a] + b", set()),
        ("a += 'b'", set()),
        ("a += [b]", set()),
        ("a |= b", set()),
        ("'text'", set()),
    ],
)
def test_changes_of_an_expression(source: str, expected: set[str]) -> None:
    assert texts(source) == expected


def test_only_the_expression_changes() -> None:
    source = 'def f(x: int | 3 = 4) -> 5 | int:\n    "Über 6 + 7"  # 7 + 8\n    return (x  # ä\n            > 8)\n'
    changed = [mutants.replaced(source, *change) for change in mutants.changes(source)]
    assert changed == [source.replace("x  # ä\n            > 8", "(x >= 8)")]
    for text in changed:
        ast.parse(text)


def read(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def results(rows: list[dict]) -> dict[str, str]:
    return {row["after"]: row["result"] for row in rows}


def written(root: Path) -> Path:
    """Returns a package with a function that is tested at its limit, one that is tested beside it, and an endless
    one."""
    files = {
        "tfeff/__init__.py": "",
        "tfeff/sizes/__init__.py": "",
        "tfeff/sizes/small.py": "def small(x):\n    return x < 10\n",
        "tfeff/sizes/large.py": "def large(x):\n    while x > 100:\n        x -= 1\n    return x\n",
        "tests/sizes/test_small.py": "from tfeff.sizes.small import small\n\n"
        "def test_small():\n    assert small(9)\n    assert not small(10)\n",
        "tests/sizes/test_large.py": "from tfeff.sizes.large import large\n\n"
        "def test_large():\n    assert large(50) == 50\n",
        ".gitignore": "ignored.py\n",
        "tests/sizes/ignored.py": "",
    }
    for name, text in files.items():
        path = root / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=Sizes"]):
        subprocess.run([*GIT, *command], cwd=root / "repository", check=True)
    return root / "repository"


@pytest.fixture
def repository(tmp_path):
    return written(tmp_path)


OPTIONS = {"count": 100, "seed": 0, "seconds": 60.0}


@pytest.fixture(scope="module")
def tested_once(tmp_path_factory):
    """A folder with a repository and the rows of its mutants."""
    root = tmp_path_factory.mktemp("tested")
    mutants.run(written(root), ["sizes"], root / "out.jsonl", **OPTIONS)
    return root


@pytest.fixture
def tested(tested_once, tmp_path):
    """A copy that a test may change: the repository and the file of rows."""
    root = shutil.copytree(tested_once, tmp_path / "tested")
    return root / "repository", root / "out.jsonl"


@pytest.mark.slow
def test_a_rerun_resumes_and_tests_survivors_again(tested, capsys):
    repository, out = tested
    rows = read(out)
    assert results(rows) == {"x <= 10": "killed", "x >= 100": "survived", "x += 1": "survived"}
    assert {row["test"] for row in rows if row["result"] == "killed"} == {"tests/sizes/test_small.py::test_small"}
    head = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(head, cwd=repository, check=True, capture_output=True, text=True).stdout
    assert all(commit.startswith(row["commit"]) for row in rows)
    assert (repository / "tfeff/sizes/small.py").read_text().endswith("x < 10\n")

    # A missing row and a new test: the missing mutant and the survivor are tested.
    kept = [row for row in rows if row["after"] != "x += 1"]
    out.write_text("".join(json.dumps(row) + "\n" for row in kept))
    with (repository / "tests/sizes/test_large.py").open("a") as file:
        file.write("    assert large(100) == 100\n")
    capsys.readouterr()
    again = mutants.run(repository, ["sizes"], out, **OPTIONS)
    assert results(again) == results(read(out)) == {"x <= 10": "killed", "x >= 100": "killed", "x += 1": "survived"}
    assert len(read(out)) == 3
    assert "2 of 2" in capsys.readouterr().err
    assert {row["commit"].endswith("-dirty") for row in again if row["after"] != "x <= 10"} == {True}


@pytest.mark.slow
def test_survivors_are_tested_again_without_being_drawn_and_equivalent_ones_are_not(tested):
    repository, out = tested
    equivalent = [row | {"result": "equivalent"} if row["after"] == "x += 1" else row for row in read(out)]
    out.write_text("".join(json.dumps(row) + "\n" for row in equivalent))
    stored = out.read_text()
    assert mutants.run(repository, ["sizes"], out, count=0, seed=1, seconds=60.0) == [read(out)[1]]
    assert out.read_text() == stored  # at the same commit, nothing is tested
    subprocess.run([*GIT, "commit", "--quiet", "--allow-empty", "--message=2"], cwd=repository, check=True)
    rows = mutants.run(repository, ["sizes"], out, count=0, seed=1, seconds=60.0)
    assert [(row["after"], row["seed"]) for row in rows] == [("x >= 100", 0)]
    assert rows[0]["commit"] != json.loads(stored.splitlines()[0])["commit"]
    assert results(read(out)) == {"x <= 10": "killed", "x >= 100": "survived", "x += 1": "equivalent"}


def test_a_limit_that_the_tests_themselves_may_exceed_is_refused(repository, tmp_path):
    with pytest.raises(UserError, match=r"--seconds=0\.5: must be at least .* for tests/sizes"):
        mutants.run(repository, ["sizes"], tmp_path / "out.jsonl", count=1, seed=0, seconds=0.5)


@pytest.mark.slow
def test_an_endless_mutant_is_killed(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "GRACE_SECONDS", 1.0)
    copy = mutants.Copy(repository, tmp_path / "copy")
    assert not (tmp_path / "copy/tests/sizes/ignored.py").exists()
    endless = "def large(x):\n    while x < 100:\n        x -= 1\n    return x\n"
    assert copy.test("sizes", "tfeff/sizes/large.py", endless, 2.0) == ("timeout", "")


@pytest.mark.parametrize("source", ["raise ImportError", "import os\nos.abort()"])
def test_a_mutant_that_stops_pytest_itself_is_killed(repository, tmp_path, source):
    (repository / "tests/conftest.py").write_text("import tfeff.sizes.small\n")
    copy = mutants.Copy(repository, tmp_path / "copy")
    result, failed = copy.test("sizes", "tfeff/sizes/small.py", source, 60.0)
    assert result == "killed"
    assert failed.startswith("exit status")


def test_failing_tests_and_missing_folders_are_errors(repository, tmp_path):
    (repository / "tests/sizes/test_large.py").write_text("def test_large():\n    assert False\n")
    options = {"count": 1, "seed": 0, "seconds": 60.0}
    with pytest.raises(UserError, match=r"without a mutant: killed tests/sizes/test_large\.py::test_large"):
        mutants.run(repository, ["sizes"], tmp_path / "out.jsonl", **options)
    with pytest.raises(UserError, match=r"shapes: .* is not a folder"):
        mutants.run(repository, ["shapes"], tmp_path / "out.jsonl", **options)
