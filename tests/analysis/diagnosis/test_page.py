"""The page of a diagnosis shows what is wrong, and pictures of it."""

import base64
import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.analysis.diagnosis.drawn_objects import drawings, write_voc
from tests.analysis.quality.test_near_duplicates import scene
from tests.reporting.test_html import Document
from tfeff import training
from tfeff.analysis import diagnosis
from tfeff.analysis.diagnosis import page as pages
from tfeff.analysis.diagnosis import suspects
from tfeff.analysis.diagnosis.predicted_labels import ClassifierPredictions
from tfeff.analysis.diagnosis.predicted_objects import DetectorPredictions
from tfeff.analysis.diagnosis.thumbnails import thumbnail
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.evaluation import Detections
from tfeff.evaluation.box_errors import CLASS, MISSING


def page_of(source: str, out: Path, *overrides: str, most: int = 1000) -> tuple[Document, dict]:
    subject = diagnosis.open_dataset(source, overrides)
    report = diagnosis.diagnose(subject, None, training.Reporter(quiet=True), most=most)
    page, numbers, *figures = report.save(out, "python -m tfeff.analyze --dataset=x")
    assert all(path.is_file() for path in figures)
    return Document(page.read_text()), json.loads(numbers.read_text())


def captions(document: Document) -> list[str]:
    """Returns neighboring lines of captions."""
    lines = document.text("figcaption")
    return [f"{one}; {other}" for one, other in itertools.pairwise(lines)]


def save(root: Path, images: dict[str, np.ndarray]) -> str:
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image)).save(path)
    return f"folder:{root}"


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, dict]:
    """Ants and <b>ees; a copy of a training image in the test split, a dark image and an augmented copy."""
    root = tmp_path_factory.mktemp("labeled")
    images = {
        f"data/train/{label}/{seed}.png": scene(seed)
        for seed in range(24)
        for label in ["ants", "<b>ees"][seed % 2 :][:1]
    }
    images |= {
        f"data/test/{label}/{seed}.png": scene(seed)
        for seed in range(24, 32)
        for label in ["ants", "<b>ees"][seed % 2 :][:1]
    }
    images["data/test/ants/copy.png"] = scene(4)[:, ::-1]
    images["data/test/ants/6_flip.png"] = scene(99)
    images["data/train/ants/dark.png"] = (scene(50) * 0.15).astype(np.uint8)
    save(root, images)
    return page_of(f"folder:{root / 'data'}", root / "out", "model.resolution=32")


def test_pictures_of_each_class_of_copies_and_of_odd_images(labeled: tuple[Document, dict]) -> None:
    document, _ = labeled
    headings = document.text("h3")
    assert "ants: train 13, test 6" in headings
    assert "<b>ees: train 12, test 4" in headings
    assert "copies 1 (train, test): 2 images" in headings
    assert "Dark: 1 images" in headings
    assert not any(each.startswith("a/") for each in headings)
    assert "ants/6 (train, test): 2 images" in headings
    shown = captions(document)
    assert "train; 4.png" in shown
    assert "test; copy.png" in shown
    assert "train; dark.png" in shown
    assert not document.all("b")


def test_the_numbers_name_what_the_page_shows(labeled: tuple[Document, dict]) -> None:
    _, numbers = labeled
    (copies,) = numbers["near_duplicates"]
    assert [(role, Path(name).name) for role, name in copies] == [("train", "4.png"), ("test", "copy.png")]
    assert [Path(name).name for name in numbers["odd_images"]["dark"]] == ["dark.png"]
    (groups,) = (each for each in numbers["separated_groups"].values() if each)
    assert [Path(name).name for name in groups["ants/6"]] == ["6.png", "6_flip.png"]
    notes = [note["what"] for link in numbers["links"] for note in link["findings"]]
    assert "1 of 10 images of test (10.0 %) are near duplicates of images in train." in notes
    assert any("belong to groups that are also in train" in note for note in notes)


@pytest.mark.slow
def test_pages_of_boxes_show_them_in_their_places(tmp_path: Path) -> None:
    name = write_voc(tmp_path / "data", {"train": drawings(20, 1), "val": drawings(8, 2)})
    document, _ = page_of(name, tmp_path / "out", "task.name=yolo", "model.resolution=96", "model.name=mobilenet-v2")
    headings = document.text("h3")
    assert {"Are the boxes on the objects?", "The smallest objects", "The largest objects"} <= set(headings)
    text = (tmp_path / "out" / "analysis.html").read_text()
    for figure in ("box_sizes", "box_shapes", "box_centers", "class_counts", "boxes"):
        assert (tmp_path / "out" / f"{figure}.png").is_file()
    for source in re.findall(r'src="data:image/(?:png|jpeg);base64,([^"]+)"', text):
        Image.open(io.BytesIO(base64.b64decode(source))).load()


def test_a_sample_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = save(tmp_path, {f"train/{'ab'[seed % 2]}/{seed}.png": scene(seed, (40, 40)) for seed in range(30)})
    subject = diagnosis.open_dataset(source, ["model.resolution=32"])
    diagnosis.diagnose(subject, None, training.Reporter(), most=10)
    assert "train: 10 of 30 images are examined; see --images" in capsys.readouterr().out


def test_wrong_labels_are_suspicious_if_a_network_contradicts_them(tmp_path: Path) -> None:
    source = save(
        tmp_path,
        {
            f"{split}/{'ab'[seed % 2]}/{seed:02}.png": scene(seed, (40, 40))
            for split in ("train", "test")
            for seed in range(40)
        },
    )
    subject = diagnosis.open_dataset(source, ["model.resolution=32"])
    labels = subject.splits["test"].labels
    scores = np.full((40, 2), 0.1, np.float32)
    scores[np.arange(40), labels] = 0.9
    scores[[3, 25]] = 1 - scores[[3, 25]]
    predictions = {role: ClassifierPredictions(images.labels, scores) for role, images in subject.splits.items()}
    found = suspects.of_labels(subject.splits, predictions)
    assert list(found.images) == ["test"]
    (each,) = found.found.values()
    assert [(one.split, one.image) for one in each] == [("test", 3), ("test", 25)]
    assert each[0].text == "labeled a (10 %); likely b (90 %)"


@pytest.mark.slow
def test_boxes_of_suspects_are_drawn_where_they_are(tmp_path: Path) -> None:
    name = write_voc(tmp_path / "data", {"train": drawings(4, 1)})
    subject = diagnosis.open_dataset(name, ["task.name=yolo", "model.resolution=96", "model.name=mobilenet-v2"])
    images = subject.train
    present = images.objects[0].take(np.array([0]))
    height, width = images.sizes[0].tolist()
    other = int((present.labels[0] + 1) % len(images.class_names))
    halved = present.boxes_yxyx / 2  # the network's input has half the size
    free = np.array([[0, 0, 3, 3]], np.float32)
    found = Detections(
        np.concatenate([halved, free]), np.array([other, other], np.int32), np.array([0.9, 0.8], np.float32)
    )
    predictions = DetectorPredictions(0.01, 0.5)
    for index in range(len(images)):
        own = images.objects[0].take(np.array([0])) if index == 0 else images.objects[0].take(np.zeros(0, int))
        predictions.detections.append(found if index == 0 else found.take(np.zeros(0, np.int64)))
        predictions.objects.append(type(own)(own.boxes_yxyx / 2, own.labels, own.difficult, own.crowd))
        predictions.sizes.append((height // 2, width // 2))
    splits, given = {"train": images, "test": images}, {"train": predictions, "test": predictions}
    result = suspects.of_boxes(splits, given)
    assert list(result.images) == ["test"]  # a network learns wrong boxes of its training images
    (wrong,), (missing,) = result.found[CLASS], result.found[MISSING]
    assert wrong.annotated is not None
    np.testing.assert_allclose(wrong.annotated * [height, width, height, width], present.boxes_yxyx[0], atol=1e-3)
    assert missing.annotated is None
    given_class, likely = images.class_names[present.labels[0]], images.class_names[other]
    assert wrong.text == f"annotated {given_class}; detected {likely} (90 %)"
    rows = result.rows()
    assert [(row["rank"], row["kind"], row["image"]) for row in rows] == [
        (1, MISSING, images.ids[0]),
        (1, CLASS, images.ids[0]),
    ]
    assert [rows[0][f"annotated_{side}"] for side in suspects.SIDES] == [None] * 4
    assert [rows[0][f"detected_{side}"] for side in suspects.SIDES] == [0, 0, 6, 6]
    box = [rows[1][f"annotated_{side}"] for side in suspects.SIDES]
    np.testing.assert_allclose(box, present.boxes_yxyx[0], atol=0.06)
    assert (rows[1]["annotated"], rows[1]["likely"], rows[1]["suspicion"]) == (given_class, likely, 0.9)
    assert "the class may be wrong" in rows[1]["reason"]
    report = diagnosis.diagnose(subject, None, training.Reporter(quiet=True), most=10)
    page, numbers, table, *_ = replace(report, suspects=result).save(tmp_path / "out", "command")
    assert json.loads(numbers.read_text())["suspects"] == rows
    kinds = [line.split(",")[1] for line in table.read_text().splitlines()]
    assert kinds == ['"kind"', '"missing"', '"class"']
    assert "All suspects" in page.read_text()
    report.save(tmp_path / "out", "command")
    assert not table.exists()  # of an earlier analysis


@pytest.mark.parametrize("count", [1, 5, 6, 7, 100])
def test_the_lowest_values_are_those_of_a_sort(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 1000, count).astype(float)
    assert sorted(values)[:6] == values[pages._lowest(values, 6)].tolist()
    assert pages._lowest(np.ones(count), 6).shape == (min(count, 6),)


@pytest.mark.parametrize("size", [(2, 1000), (500, 1)])
def test_thin_images_have_pictures(size: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.full((*size, 3), 77, np.uint8)
    images = catalog.open_labels(save(tmp_path, {"a/1.png": pixels, "b/2.png": pixels}), Options()).load("all")
    ((small, _),) = thumbnail(images, 0)
    assert sorted(small.shape) == [1, 3, 224]
    assert (small == 77).all()
