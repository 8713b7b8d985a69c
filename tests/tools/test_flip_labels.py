"""Flipped labels are drawn from one split, and found again by their list."""

import json

import pytest

from tfeff.data.sources import catalog
from tfeff.errors import UserError


@pytest.fixture
def tool(import_tool):
    return import_tool("flip_labels")


@pytest.fixture
def source(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for level, label in enumerate("abc"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for number in range(20):
                Image.new("L", (4, 4), 80 * level + number).save(folder / f"{number}.png")
    return tmp_path / "images"


def test_labels_of_one_split_are_flipped_and_counted(tool, source, tmp_path):
    out = tmp_path / "flipped"
    tool.flip(source, out, "test", 12, seed=3)
    rows = json.loads((out / "flipped.json").read_text())
    assert len({row["image"] for row in rows}) == 12
    assert all(row["label"] != row["true"] for row in rows)
    before, after = (catalog.open_labels(f"folder:{folder}") for folder in (source, out))
    assert list(after.load("train").labels) == list(before.load("train").labels)
    test = after.load("test")
    true = dict.fromkeys(test.ids)
    for index, name in enumerate(test.ids):  # the pixels say which class an image is of
        true[name] = "abc"[int(test.read(index).numpy().max()) // 80]
    wrong = [name for name, label in zip(test.ids, test.labels, strict=True) if "abc"[label] != true[name]]
    assert len(test.ids) == 60
    assert tool.count(out, wrong) == (12, 12)
    right = [name for name in test.ids if name not in wrong]
    assert tool.count(out, [*right, *wrong[:5]]) == (5, 12)
    report = tmp_path / "report.json"
    with pytest.raises(UserError, match="not a report"):
        tool.suspects(report)
    report.write_text(json.dumps({"label_errors": {"suspects": [{"id": wrong[0]}]}}))
    assert tool.count(out, tool.suspects(report)) == (1, 12)
    with pytest.raises(UserError, match="exists"):
        tool.flip(source, out, "test", 12, seed=3)
    with pytest.raises(UserError, match="60 images of 3 classes; 61 labels"):
        tool.flip(source, tmp_path / "other", "test", 61, seed=3)
