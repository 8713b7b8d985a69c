"""Variants on several datasets, as one table."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tfeff.errors import UserError


@pytest.fixture
def tool(import_tool: Callable[[str], ModuleType]) -> ModuleType:
    return import_tool("compare_datasets")


def test_each_dataset_is_compared_in_its_folder(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = list[argparse.Namespace]()

    def compare(arguments: argparse.Namespace) -> None:
        called.append(arguments)
        scores = {"accuracy": {"mean": 0.25 * len(called), "interval": [0.125, 1.0]}}
        arguments.workdir.mkdir(parents=True)
        result = {"reference": "scratch", "variants": {"scratch": {"runs": ["0", "1"], "scores": scores}}}
        arguments.out.with_suffix(".json").write_text(json.dumps(result))

    monkeypatch.setattr(tool.compare_variants, "run", compare)
    given = {"config": "transfer_table", "seeds": 2, "only": None, "processes": 1, "override": ["data.image_size=64"]}
    datasets = ["bees=folder:a=b", "signs=csv:signs.csv"]
    tool.run(argparse.Namespace(**given, workdir=tmp_path / "runs", out=tmp_path / "table", datasets=datasets))
    assert [(each.workdir, each.override) for each in called] == [
        (tmp_path / "runs" / "bees", ["data.image_size=64", "data.source=folder:a=b"]),
        (tmp_path / "runs" / "signs", ["data.image_size=64", "data.source=csv:signs.csv"]),
    ]
    assert "| scratch | 0.250 (0.125 to 1.000) | 0.500 (0.125 to 1.000) |" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "table.json").read_text())["datasets"]) == ["bees", "signs"]


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        (["folder:a"], "write NAME=SOURCE"),
        (["=folder:a"], "write NAME=SOURCE"),
        (["a/b=folder:a"], "NAME is a folder"),
        (["..=folder:a"], "NAME is a folder"),
        (["a=folder:a", "a=folder:b"], "another dataset is named a, too"),
    ],
)
def test_unclear_datasets_are_refused(tool: ModuleType, datasets: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tool.sources(datasets)
