from collections.abc import Callable
from pathlib import Path
from typing import Any

import damaged.annotations
import damaged.tables
import damaged.voc
import fuzz_annotations
import fuzzing
import numpy as np
import pytest

from tests.thoroughness import THOROUGH
from tfeff.data.sources import voc
from tfeff.errors import UserError

COUNT = 5_000 if THOROUGH else 200
"""Number of files; the tool's default is 10,000."""


@pytest.fixture(scope="module")
def data(dataset: Callable[..., Path]) -> Path:
    return {dataset(name).parent for name in ("bccd", "raccoon", "coco128")}.pop()


@pytest.mark.slow
def test_readers_survive_damaged_files_and_keep_undamaged_objects(data: Path) -> None:
    rows = list(fuzzing.run(fuzz_annotations.prepare, data, range(COUNT), seed=1))
    assert len(rows) == COUNT
    assert not [row for row in rows if row.failure]
    assert {row.result for row in rows} - {"corrupt image"} == {"read", "read, defects reported", "UserError"}
    tables = {f"hf, {kind}, {format}" for kind in ("boxes", "labels") for format in ("arrow", "parquet")}
    records = {f"records, {part}" for part in ("manifest.json", "index.npz", "shard")}
    tables |= {"csv, boxes", "csv, labels"}
    assert {row.kind for row in rows} == {"voc", "voc, list", "yolo", "coco", *tables, *records}


def test_readers_that_lose_objects_fail_the_check(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, make_case = voc.VOC.load, damaged.voc.voc_case(data)

    def forgetful(*arguments: Any) -> Any:
        source = load(*arguments)
        return source.take(np.array([i for i, name in enumerate(source.ids) if name == "damaged"] or [0]))

    def refusing(*_: Any) -> Any:
        raise UserError("not today")

    for reader, failure in (
        (forgetful, "silent: undamaged objects lost"),
        (refusing, "undamaged objects lost by UserE"),
    ):
        case = make_case(np.random.default_rng(0), tmp_path)
        monkeypatch.setattr(voc.VOC, "load", reader)
        assert case.check()[1].startswith(failure)
        monkeypatch.undo()


@pytest.mark.slow
@pytest.mark.parametrize("make_case", [damaged.tables.boxes_case, damaged.tables.labels_case])
def test_tables_may_be_refused_only_if_damage_reaches_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_case: fuzzing.Make
) -> None:
    def refusing(*_: Any) -> Any:
        raise UserError("not today")

    for name in ("CSVBoxes", "CSVFile"):
        monkeypatch.setattr(damaged.tables, name, refusing)
    cases = [make_case(np.random.default_rng(number), tmp_path) for number in range(200)]
    allowed = {case.damage for case in cases if not case.check()[1]}
    one_row = {"unusual number", "unusual name", "cell missing", "cell added", "row missing"}
    harmless = {"UTF-16", "rows shuffled", "semicolons", "carriage returns", "byte order mark"}
    assert {case.damage for case in cases} - allowed == one_row | harmless


def test_a_loss_with_a_word_is_allowed_where_damage_reaches_everything(data: Path, tmp_path: Path) -> None:
    make_case = damaged.voc.voc_case(data)
    make_case(np.random.default_rng(0), tmp_path)
    lost = {("damaged", "unicorn", (0.0, 0.0, 1.0, 1.0)): 1}
    expected = damaged.annotations.ObjectCounts(lost)
    source = voc.VOC(tmp_path, voc.Options()).load("all")
    source.defects.counts.clear()
    for defects, failure in ((False, "silent"), (True, "")):
        if defects:
            source.defects.add("object without a name", "damaged.xml", lost="objects")
        annotations = damaged.annotations.Annotations("tags", lambda: source, expected, may_lose=True)
        assert annotations.check()[1].partition(":")[0] == failure
