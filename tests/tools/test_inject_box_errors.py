"""Errors of each kind are in the copy of a dataset, and found again by their list."""

import json

import numpy as np
import pytest

from tfeff.boxes import iou
from tfeff.data.sources import catalog
from tfeff.errors import UserError


@pytest.fixture
def tool(import_tool):
    return import_tool("inject_box_errors")


@pytest.fixture
def digits():
    return catalog.open_objects("embedded:placed_digits:64").load("test").take(np.arange(40))


def rows_of(objects):
    return {
        (*box.round(4).tolist(), label) for box, label in zip(objects.boxes_yxyx, objects.labels.tolist(), strict=True)
    }


def test_each_kind_of_error_is_injected_as_listed(tool, digits):
    wrong, errors = tool.inject(digits, 10, np.random.default_rng(0))
    assert sorted(error["kind"] for error in errors) == sorted(["missing", "box", "class", "unconfirmed"] * 10)
    differences = 0
    for image, (before, after) in enumerate(zip(digits.objects, wrong.objects, strict=True)):
        gone, new = rows_of(before) - rows_of(after), rows_of(after) - rows_of(before)
        own = [error for error in errors if error["image"] == tool.Path(digits.ids[image]).stem]
        kinds = [error["kind"] for error in own]
        assert len(gone) == len(kinds) - kinds.count("unconfirmed")
        assert len(new) == len(kinds) - kinds.count("missing")
        differences += len(gone) + len(new)
        for error in own:
            box, label = tuple(error["box"]), digits.class_names.index(error["class"])
            if error["kind"] == "missing":
                assert (*box, label) in gone
            elif error["kind"] == "class":
                assert (*box, label) in gone
                assert any(row[:4] == box and row[4] != label for row in new)
            elif error["kind"] == "box":
                assert (*box, label) in new
                (old,) = [row for row in gone if 0 < iou(np.array([row[:4]]), np.array([box]))[0, 0] < 0.5]
                assert old[4] == label
            else:
                assert (*box, label) in new
                assert iou(np.array([box]), before.boxes_yxyx).max(initial=0) <= 0.1
    assert differences == 60


def test_errors_are_counted_among_the_first_suspects_of_their_kind(tool, digits, tmp_path):
    _, errors = tool.inject(digits, 4, np.random.default_rng(1))

    def suspect(error, suspicion, kind=None, moved=0.0):
        sides = {
            f"{what}_{side}": None if what == ("annotated" if error["kind"] == "missing" else "detected") else value
            for what in ("annotated", "detected")
            for side, value in zip(
                ("top", "left", "bottom", "right"), np.add(error["box"], moved).tolist(), strict=True
            )
        }
        return {"image": f"train/{error['image']}.png", "kind": kind or error["kind"], "suspicion": suspicion, **sides}

    by_kind = {kind: [error for error in errors if error["kind"] == kind] for kind in ("missing", "box", "class")}
    found = [
        *(suspect(error, 0.9) for error in by_kind["missing"][:3]),
        suspect(by_kind["missing"][3], 0.95, moved=100.0),  # elsewhere: not this one
        suspect(by_kind["box"][0], 0.8),
        suspect(by_kind["box"][1], 0.8, kind="unconfirmed"),
        suspect(by_kind["class"][0], 0.1),
        suspect(by_kind["class"][0], 0.2, moved=30.0),
    ]
    report = tmp_path / "analysis.json"
    report.write_text(json.dumps({"suspects": found}))
    ranked = tool.suspects([report])
    assert [row["suspicion"] for row in ranked] == sorted((row["suspicion"] for row in found), reverse=True)
    missing, changed, moved, added = tool.count(errors, ranked, first=4)
    assert missing.startswith("missing: 3 of 4 are among the first 4 of 4 suspects of this kind")
    assert missing.endswith("3 among the first 4 of any kind")
    assert changed.startswith("class: 1 of 4 are among the first 2 of 2")
    assert moved.startswith("box: 1 of 4 are among the first 1 of 1")
    assert moved.endswith("2 among the first 4 of any kind")
    assert added.startswith("unconfirmed: 0 of 4 are among the first 1 of 1")
    assert tool.count(errors, ranked, first=1)[1].startswith("class: 0 of 4 are among the first 1 of 2")
    with pytest.raises(UserError, match="not an analysis"):
        tool.suspects([tmp_path / "other.json"])


def test_too_many_errors(tool, digits):
    with pytest.raises(UserError, match=r"objects; 30000 boxes to change"):
        tool.inject(digits, 10_000, np.random.default_rng(0))
