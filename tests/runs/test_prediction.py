"""Predictions for folders of images: rows, pictures, damaged files, and resuming."""

import csv
import io
import itertools
import json
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from convert_annotations import convert
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.runs.bright_squares import Squares, SquaresPredictor, squares
from tests.serving.random_detectors import detector
from tests.thoroughness import only_thorough
from tfeff import config, models, runs
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.runs import predictors
from tfeff.runs.prediction import find_images, leftovers
from tfeff.runs.predictors import DetectorPredictor, Predictor
from tfeff.runs.results import Classification, Prediction
from tfeff.serving import savedmodel
from tfeff.tasks import ClassificationTask, LocalizationTask

NAMES = ("cat", "dog", "eel", "fox", "gnu", "hen")
COUNT = 23


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SavedModels of a classifier and a localizer."""
    root = tmp_path_factory.mktemp("exported")
    options = {"width": 4, "stage_blocks": (1, 1), "resolution": 16}
    classifier = models.build("resnet", num_classes=len(NAMES), **options)
    localizer = models.localizer(models.build("resnet", include_top=False, **options), num_classes=len(NAMES))
    common = {"image_size": (20, 20), "size": (16, 16), "channels": 3}
    savedmodel.export(classifier, NAMES, root / "classifier", **common)
    savedmodel.export(localizer, NAMES, root / "localizer", task=LocalizationTask(), **common)
    return {name: root / name for name in ("classifier", "localizer")}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images of different sizes and formats, one deeper than the others."""
    rng, root = np.random.default_rng(0), tmp_path / "photos"
    (root / "deeper").mkdir(parents=True)
    for number in range(COUNT):
        pixels = rng.integers(0, 256, (*rng.integers(10, 60, 2), 3), np.uint8)
        folder = root / "deeper" if number == 7 else root
        Image.fromarray(pixels).save(folder / f"ü{number:02}.{'png' if number % 2 else 'jpg'}")
    return root


class Perfect:
    """A detector that finds the objects of a split, in the order of its images."""

    score, class_agnostic = 0.5, False

    def __init__(self, truth: Dataset) -> None:
        self.class_names, self.objects = truth.class_names, iter(truth.objects)

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = next(self.objects)
        return found.boxes_yxyx, found.labels, np.linspace(0.9, 0.6, len(found), dtype=np.float32)


def with_other_ids(source: Dataset, out: Path, kind: Callable[[int], Any]) -> Path:
    """Returns a dataset as COCO, with ids that are neither ordered nor without gaps."""
    convert(source, "all", "coco", out)
    path = out / "annotations/instances_all.json"
    content = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    for part, keys in (("categories", ["category_id"]), ("images", ["image_id"])):
        new = {
            row["id"]: kind(int(id_)) for row, id_ in zip(content[part], 5 + 3 * rng.permutation(1000), strict=False)
        }
        for row in content[part]:
            row["id"] = new[row["id"]]
        for row in content["annotations"]:
            row |= {key: new[row[key]] for key in keys}
        rng.shuffle(content[part])
    path.write_text(json.dumps(content))
    return out


def coco_scores(annotations: Path, detections: Path) -> list[float]:
    """Returns the metrics of COCO's own evaluation."""
    truth = COCO(annotations)
    evaluation = COCOeval(truth, truth.loadRes(str(detections)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [int, float, str])
@pytest.mark.parametrize("name", ["drawn", "yolo:coco128", "voc:bccd/BCCD"])
def test_perfect_detections_of_a_coco_dataset_have_an_ap_of_1(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, kind: Callable[[int], Any]
) -> None:
    if name == "drawn":
        source = catalog.open_objects("embedded:placed_digits").load("test").take(np.arange(20))
    else:
        scheme, _, archive = name.partition(":")
        archive, _, inner = archive.partition("/")
        folder = request.getfixturevalue("dataset")(archive) / inner
        source = catalog.open_objects(f"{scheme}:{folder}").load("all").take(np.arange(60))
    root = with_other_ids(source, tmp_path / "coco", kind)
    truth = catalog.open_objects(f"coco:{root}").load("all")
    truth = truth.take(np.argsort(truth.ids))
    paths = find_images(root / "all")
    predictor = DetectorPredictor(Perfect(truth), class_ids=tuple(truth.class_ids))
    ids = runs.image_ids(f"coco:{root}", paths)
    assert runs.dataset_images(f"coco:{root}") == (paths, ids)
    done = runs.write_predictions(predictor, paths, tmp_path / "out", key="", image_ids=ids, draw=False)
    ids_of_dataset = f"category_id is that of the dataset, image_id is that of the dataset for {len(paths)} images"
    assert done.ids.endswith(f"{ids_of_dataset}; scores of at least 0.5, but COCO's evaluation needs all: --score=0")
    predictor = DetectorPredictor(Perfect(truth), score=0.0, class_ids=tuple(truth.class_ids))
    all_scores = runs.write_predictions(predictor, paths, tmp_path / "all", key="", image_ids=ids, draw=False)
    assert all_scores.ids.endswith(ids_of_dataset)
    scores = coco_scores(root / "annotations/instances_all.json", tmp_path / "out/detections.json")
    assert scores[:3] == pytest.approx([1, 1, 1], abs=1e-9)


def test_ids_of_detections_without_those_of_a_dataset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(squares(60, 60)).save(tmp_path / f"{name}.png")
    paths = find_images(tmp_path)
    assert runs.image_ids("embedded:placed_digits", paths) == {}
    done = runs.write_predictions(SquaresPredictor(), paths, tmp_path / "out", key="", draw=False)
    rows = json.loads((tmp_path / "out/detections.json").read_text())
    assert {row["image_id"] for row in rows} == {"a.png", "b.png"}
    assert {row["category_id"] for row in rows} == {label for row in done.rows.values() for label in row["labels"]}
    assert done.ids == (
        "detections.json: category_id counts the classes from 0, "
        "image_id is the path relative to the folder of the images; "
        "scores of at least 0.5, but COCO's evaluation needs all: --score=0"
    )
    again = runs.write_predictions(
        SquaresPredictor(), paths, tmp_path / "out", key="", image_ids={"a.png": 7}, draw=False
    )
    rows = json.loads((tmp_path / "out/detections.json").read_text())
    assert {row["image_id"] for row in rows} == {7, "b.png"}
    both = {"a.png": 7, "b.png": 7.0}
    shared = runs.write_predictions(SquaresPredictor(), paths, tmp_path / "out", key="", image_ids=both, draw=False)
    rows = json.loads((tmp_path / "out/detections.json").read_text())
    assert {row["image_id"] for row in rows} == {"a.png", "b.png"}
    assert shared.ids.endswith("2 share their id, in several annotation files: name one, --dataset=coco:FILE")
    assert "dataset for 1 images and the path relative to the folder of the images for 1;" in again.ids


def test_annotations_are_read_only_for_images_in_the_folder_of_the_dataset(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "instances.json").touch()
    (tmp_path / "linked").symlink_to(root)
    inside, outside = {"a": root / "images" / "a.png"}, {"a": tmp_path / "a.png"}
    for dataset in (root, root / "annotations" / "instances.json", tmp_path / "linked"):
        assert runs.may_have_ids(f"coco:{dataset}", outside | {"b": inside["a"]})
        assert runs.may_have_ids(f"coco:{dataset}", {"a": tmp_path / "linked" / "images" / "a.png"})
        assert not runs.may_have_ids(f"coco:{dataset}", outside)
    assert not runs.may_have_ids("embedded:placed_digits", inside)


def damage(root: Path) -> set[str]:
    (root / "ü01.png").write_bytes(b"no image")
    (root / "ü02.jpg").write_bytes((root / "ü02.jpg").read_bytes()[:-30])
    (root / "ü03.png").write_bytes(b"")
    return {"ü01.png", "ü02.jpg", "ü03.png"}


class Counting(Predictor):
    """A predictor that counts the files it gets, and fails after some of them."""

    def __init__(self, inner: Predictor, limit: float = np.inf) -> None:
        self.inner, self.limit, self.names = inner, limit, list[str]()
        self.batch_size, self.draws_boxes = inner.batch_size, inner.draws_boxes

    def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Prediction | UserError]:
        if len(self.names) + len(files) > self.limit:
            raise KeyboardInterrupt
        self.names += [name for name, _ in files]
        return self.inner.predict(files)

    def predict_pixels(self, images: Sequence[tuple[str, np.ndarray]]) -> list[Prediction | UserError]:
        return self.inner.predict_pixels(images)


def test_rows_are_those_of_the_exported_model(exported: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    paths, out = find_images(photos, tmp_path / "out"), tmp_path / "out"
    predictor = runs.load_predictor(exported["classifier"], batch_size=5)
    done = runs.write_predictions(predictor, paths, out, key="")
    assert list(done.rows) == sorted(paths) == list(paths)
    assert "deeper/ü07.png" in paths
    served = tf.saved_model.load(exported["classifier"]).signatures["serving_bytes"]
    lines = list(csv.DictReader((out / "predictions.csv").open()))
    for (name, row), line in zip(done.rows.items(), lines, strict=True):
        probabilities = served(encoded=[paths[name].read_bytes()])["probabilities"].numpy()[0]
        order = np.argsort(-probabilities)[:5]
        assert [label for label, _ in row["top"]] == [NAMES[index] for index in order]
        np.testing.assert_allclose([chance for _, chance in row["top"]], probabilities[order], atol=1e-6)
        assert (line["image"], line["label1"], row["label"]) == (name, NAMES[order[0]], NAMES[order[0]])
        assert float(line["probability5"]) == pytest.approx(probabilities[order[4]], rel=1e-4)
    saved = json.loads((out / "predictions.json").read_text())
    assert [row["image"] for row in saved["predictions"]] == list(paths)
    assert saved["damaged"] == []
    assert np.asarray(Image.open(out / "contact_sheet.jpg")).shape == (3 * (144 + 2 * 14 + 6) + 6, 8 * 150 + 6, 3)


def test_a_localizer_also_returns_boxes_and_draws_each_image(
    exported: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = runs.write_predictions(runs.load_predictor(exported["localizer"]), find_images(photos, out), out, key="")
    for name, row in done.rows.items():
        width, height = Image.open(photos / name).size
        assert (np.array(row["box_yxyx"]) <= [height, width, height, width]).all()
        assert Image.open(out / f"{name}.png").size[0] >= width
    assert not (out / "contact_sheet.jpg").exists()
    assert next(csv.DictReader((out / "predictions.csv").open())).keys() >= {"label1", "bottom"}


def test_names_in_tables_are_no_formulas() -> None:
    row = {"classes": ["=1+1", "cat"], "scores": [0.5, 0.25], "boxes_yxyx": [[0, 1, 2, 3], [-1, 0, 2, 2]]}
    lines = runs.predictors.detections_csv(["image"], [(["-1.jpg"], row)]).splitlines()
    assert lines[1:] == ['"\'-1.jpg","\'=1+1",0.5,0.00,1.00,2.00,3.00', '"\'-1.jpg","cat",0.25,-1.00,0.00,2.00,2.00']


def test_damaged_images_are_listed_and_the_others_predicted(
    exported: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    bad, out = damage(photos), tmp_path / "out"
    done = runs.write_predictions(
        runs.load_predictor(exported["classifier"], batch_size=8), find_images(photos, out), out, key=""
    )
    assert set(done.damaged) == bad
    assert len(done.rows) == COUNT - len(bad)
    listed = json.loads((out / "predictions.json").read_text())["damaged"]
    assert {entry["image"] for entry in listed} == bad
    only = {name: photos / name for name in bad}
    with pytest.raises(UserError, match=rf"--images: {len(bad)} of {len(bad)} images cannot be read"):
        runs.write_predictions(runs.load_predictor(exported["classifier"]), only, tmp_path / "none", key="")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "localizer"])
def test_an_interrupted_call_resumes_without_repeating(
    exported: dict[str, Path], photos: Path, tmp_path: Path, kind: str
) -> None:
    predictor = runs.load_predictor(exported[kind], batch_size=4)
    paths = find_images(photos, tmp_path / "out")
    whole = runs.write_predictions(predictor, paths, tmp_path / "whole", key="")
    first = Counting(predictor, limit=10)
    with pytest.raises(KeyboardInterrupt):
        runs.write_predictions(first, paths, tmp_path / "out", key="")
    second = Counting(predictor)
    resumed = runs.write_predictions(second, paths, tmp_path / "out", key="")
    assert sorted(first.names + second.names) == sorted(paths)
    assert (resumed.known, len(first.names)) == (8, 8)
    assert resumed.rows.keys() == whole.rows.keys()
    third = Counting(predictor)
    runs.write_predictions(third, paths, tmp_path / "out", key="another model")
    assert len(third.names) == COUNT


def pictures_of_squares(folder: Path, height: int, width: int) -> dict[str, Path]:
    folder.mkdir()
    for number in range(5):
        Image.fromarray(squares(height, width, seed=number)).save(folder / f"{number}.png")
    return find_images(folder)


def test_a_call_with_other_options_that_is_stopped_costs_no_rows(tmp_path: Path) -> None:
    paths, out = pictures_of_squares(tmp_path / "images", 60, 80), tmp_path / "out"
    runs.write_predictions(SquaresPredictor(), paths, out, key="first")
    pictures = {name: (out / f"{name}.png").read_bytes() for name in paths}
    with pytest.raises(KeyboardInterrupt):
        runs.write_predictions(SquaresPredictor((30, 30), limit=9), paths, out, key="tiles")
    replaced = [name for name in paths if (out / f"{name}.png").read_bytes() != pictures[name]]
    again = SquaresPredictor()
    runs.write_predictions(again, paths, out, key="first")
    assert again.squares.calls == len(replaced) < len(paths)
    assert {name: (out / f"{name}.png").read_bytes() for name in paths} == pictures


def test_pictures_show_the_rows_of_their_call(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    Image.fromarray(squares(60, 80)).save(images / "a.png")
    paths, calls = find_images(images, out), []
    for key, score, draw in (("1", 0.5, True), ("2", 0.95, False), ("2", 0.95, True), ("2", 0.95, True)):
        predictor = DetectorPredictor(Squares(), score=score)
        done = runs.write_predictions(predictor, paths, out, key=key, draw=draw)
        calls.append((done.known, (out / "a.png.png").read_bytes()))
    known, pictures = zip(*calls, strict=True)
    assert known == (0, 0, 0, 1)
    assert pictures[0] == pictures[1] != pictures[2] == pictures[3]


def test_a_detector_in_tiles_resumes_without_repeating(tmp_path: Path) -> None:
    paths, out = pictures_of_squares(tmp_path / "images", 100, 150), tmp_path / "out"
    whole = runs.write_predictions(SquaresPredictor(), paths, tmp_path / "whole", key="")
    with pytest.raises(KeyboardInterrupt):
        runs.write_predictions(
            SquaresPredictor((100, 90), 20, limit=5), paths, out, key=""
        )  # in the third image's second tile
    second, progress = SquaresPredictor((100, 90), 20), list[tuple[int, int]]()
    resumed = runs.write_predictions(second, paths, out, key="", progress=lambda *given: progress.append(given))
    assert (resumed.known, second.squares.calls) == (2, 3 * 2)
    assert progress == [(3, 1), (4, 2), (5, 3)]
    for name, row in resumed.rows.items():
        assert sorted(row["boxes_yxyx"]) == sorted(whole.rows[name]["boxes_yxyx"])
        assert Image.open(out / f"{name}.png").size == Image.open(tmp_path / "whole" / f"{name}.png").size


@only_thorough
def test_a_killed_verb_resumes_without_repeating(
    verbs: Callable, exported: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = (f"--model={exported['classifier']}", f"--images={photos}", "--batch_size=1")
    verbs("predict", *flags, f"--out={tmp_path / 'whole'}").succeeds()
    process = verbs.start("predict", *flags, f"--out={out}")
    while process.poll() is None and rows_in(out) < 5:
        time.sleep(0.001)
    process.kill()
    before = rows_in(out)
    assert 5 <= before <= COUNT
    assert f"{COUNT} images ({before} from an earlier call)" in verbs("predict", *flags, f"--out={out}").succeeds().out
    assert rows_in(out) == COUNT
    for name in ("predictions.json", "predictions.csv", "contact_sheet.jpg"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def rows_in(out: Path) -> int:
    """Returns complete rows that the journal contains."""
    return max((file.read_bytes().count(b"\n") - 1 for file in out.glob(".predictions-*.jsonl")), default=0)


def test_a_full_disk_and_a_file_in_the_way_are_reported(
    verbs: Callable, exported: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    flags = (f"--model={exported['classifier']}", f"--images={photos}")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".predictions.json.partial").symlink_to("/dev/full")
    verbs("predict", *flags, f"--out={out}").fails_with("no space left on the disk", "predictions.json")
    assert f"({COUNT} from an earlier call)" in verbs("predict", *flags, f"--out={out}").succeeds().out
    verbs("predict", *flags, f"--out={photos / 'ü01.png'}").fails_with("a file is in the way")


@pytest.mark.parametrize(
    ("where", "message"), [("nowhere", "no such file or folder"), ("empty", "no images found"), ("out", "same folder")]
)
def test_folders_without_images_are_refused(tmp_path: Path, where: str, message: str) -> None:
    for name in ("empty", "out"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=message):
        find_images(tmp_path / where, tmp_path / "out")


def test_results_of_an_earlier_call_are_skipped(photos: Path) -> None:
    out = photos / "results"
    out.mkdir()
    (photos / "ü01.png").rename(out / "ü01.png")
    assert len(find_images(photos, out)) == COUNT - 1
    assert find_images(photos / "ü05.png", out) == {"ü05.png": photos / "ü05.png"}


def test_pictures_of_earlier_calls_with_another_folder_are_skipped_and_counted(photos: Path) -> None:
    paths = find_images(photos)
    runs.write_predictions(SquaresPredictor(), paths, photos / "deeper" / "first", key="")
    notes = list[str]()
    assert find_images(photos, photos / "second", notes) == paths
    assert notes == [
        f"{photos}: ignored 1 entries that are not images (folder of predictions: 1, such as deeper/first/)"
    ]
    assert len(find_images(photos / "deeper" / "first")) == COUNT  # which the user names


@pytest.mark.parametrize(("files", "options", "message"), [
    ((), {}, "no exported model"),
    (("saved_model.pb",), {}, r"metadata\.json: missing"),
    (("saved_model.pb", "metadata.json"), {"score": 0.5}, "--score requires a detector"),
    (("saved_model.pb", "metadata.json"), {}, "cannot read the SavedModel"),
])  # fmt: skip
def test_directories_without_a_model_are_refused(
    exported: dict[str, Path], tmp_path: Path, files: tuple[str, ...], options: dict[str, float], message: str
) -> None:
    for name in files:
        content = (exported["classifier"] / name).read_bytes()
        (tmp_path / name).write_bytes(content[:10] if name == "saved_model.pb" else content)
    with pytest.raises(UserError, match=message):
        runs.load_predictor(tmp_path, **options)


def test_the_verb(verbs: Callable, exported: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    damage(photos)
    Image.new("RGB", (9, 9)).save(photos / "ü05.png")
    (photos / "doc.pdf").write_bytes(b"%PDF")
    flags = (f"--model={exported['classifier']}", f"--images={photos}", f"--out={tmp_path / 'out'}")
    done = verbs("predict", *flags).succeeds()
    assert f"{photos}: ignored 1 entries that are not images (.pdf: 1, such as doc.pdf)" in done.err
    assert "1 images are nearly black, such as ü05.png: none of their pixels reaches 64 of 255" in done.err
    assert "20 images (0 from an earlier call), 3 damaged" in done.out
    assert done.err.count("skipped: ") == 3
    assert "20 images (20 from an earlier call), 3 damaged" in verbs("predict", *flags).succeeds().out
    verbs("predict", *flags, "--score=0.5").fails_with("--score requires a detector")
    verbs("predict", *flags, "--tile=640").fails_with("--tile requires a detector")
    verbs("predict", *flags[1:]).fails_with("either --workdir=DIR")
    verbs("predict", f"--workdir={tmp_path}", *flags[1:]).fails_with("no config.json")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--images=a", "--tile=0"), "as SIDE or HEIGHTxWIDTH"),
        (("--images=a", "--tile=100x50", "--tile_overlap=50"), "must be smaller than --tile=100x50"),
        (("--images=a", "--tile_overlap=50"), "--tile_overlap requires --tile"),
        (("--images=a", "--every=2"), "--every has no effect with --images"),
        (("--dataset=coco:a.json", "--every=2"), "--every has no effect with --dataset"),
        (("--images=a", "--video=b"), "--images and --video exclude each other"),
        (("--dataset=coco:a.json", "--video=b"), "--dataset and --video exclude each other"),
        ((), "give --images=PATH, --dataset=coco:FILE.json or --video=FILE"),
        (("--video=b",), "--video=b: no such file"),
        (("--video=b", "--batch_size=2"), "--batch_size has no effect with --video"),
    ],
)
def test_flags_that_do_not_fit_are_refused(verbs: Callable, flags: tuple[str, ...], message: str) -> None:
    verbs("predict", "--workdir=a", "--out=c", *flags).fails_with(message)


def test_images_are_found_as_sources_find_them(photos: Path, tmp_path: Path) -> None:
    outside, odd, long = tmp_path / "outside", os.fsdecode(b"caf\xe9.png"), "x" * 246 + ".png"
    outside.mkdir()
    for name in (odd, long):
        (photos / "ü01.png").rename(outside / name)
        (photos / "ü01.png").write_bytes((outside / name).read_bytes())
    (outside / "scan.heic").write_bytes(b"ftypheic")
    (photos / "linked").symlink_to(outside)
    (outside / "back").symlink_to(photos)
    (photos / "._ü01.png").write_bytes(b"")
    paths = find_images(photos, tmp_path / "out")
    assert len(paths) == COUNT + 3
    assert paths["linked/caf\\xe9.png"] == photos / "linked" / odd
    done = runs.write_predictions(SquaresPredictor(), paths, tmp_path / "out", key="")
    assert list(done.damaged) == ["linked/scan.heic"]
    assert len(done.rows) == COUNT + 2
    assert len(list((tmp_path / "out").rglob("*.png"))) == COUNT + 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "localizer", "detector"])
def test_nearly_black_images_and_other_files_are_said(
    exported: dict[str, Path], photos: Path, tmp_path: Path, kind: str
) -> None:
    for name, level in (("night.png", 63), ("dusk.png", 64)):
        Image.new("RGB", (20, 10), (0, level, 0)).save(photos / name)
    (photos / "noending").write_bytes((photos / "ü01.png").read_bytes())
    (photos / "doc.pdf").write_bytes(b"%PDF")
    notes, out = list[str](), tmp_path / "out"
    paths = find_images(photos, out, notes)
    assert notes == [
        f"{photos}: ignored 2 entries that are not images (.pdf: 1, such as doc.pdf; no ending: 1, such as noending)"
    ]
    predictor = SquaresPredictor() if kind == "detector" else runs.load_predictor(exported[kind], batch_size=4)
    for known in (0, COUNT + 2):
        done = runs.write_predictions(predictor, paths, out, key="")
        assert (done.known, done.dark) == (known, ["night.png"])
        saved = json.loads((out / "predictions.json").read_text())
        assert saved["dark"] == ["night.png"]
        assert not any("dark" in row for row in saved["predictions"])
    pixels = predictor.predict_pixels([("a", np.zeros((10, 20, 3), np.uint8)), ("b", np.full((9, 9, 3), 64, np.uint8))])
    assert [each.dark for each in pixels] == [True, False]


def test_dangling_links_and_images_that_vanish_are_damaged(
    exported: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    (photos / "circle.png").symlink_to(photos / "circle.png")
    paths, out = find_images(photos, tmp_path / "out"), tmp_path / "out"
    predictor = runs.load_predictor(exported["classifier"], batch_size=4)
    for _ in range(2):
        done = runs.write_predictions(predictor, paths, out, key="")
        assert done.damaged == {name: f"{photos / name}: link to a missing file" for name in ("circle.png", "gone.png")}
        assert len(done.rows) == COUNT
    (photos / "ü01.png").unlink()
    done = runs.write_predictions(predictor, paths, out, key="")
    assert done.damaged["ü01.png"].endswith("ü01.png: cannot be read (No such file or directory)")
    assert (done.known, len(done.damaged)) == (COUNT - 1, 3)


def test_images_that_vanish_once_read_have_rows(exported: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    class Removing(Counting):
        def predict(self, files: Sequence[tuple[str, bytes]]) -> list[Prediction | UserError]:
            for name, _ in files:
                (photos / name).unlink()
            return super().predict(files)

    paths, out = find_images(photos, tmp_path / "out"), tmp_path / "out"
    predictor = Removing(runs.load_predictor(exported["classifier"], batch_size=COUNT))
    assert len(runs.write_predictions(predictor, paths, out, key="").rows) == COUNT
    with pytest.raises(UserError, match=f"{COUNT} of {COUNT} images cannot be read"):
        runs.write_predictions(predictor, paths, out, key="")


def test_pictures_are_on_the_disk_before_their_images_count_as_done(
    photos: Path, tmp_path: Path, synced: list[str]
) -> None:
    paths = find_images(photos)
    runs.write_predictions(SquaresPredictor(), paths, tmp_path / "out", key="")
    assert {f".{path.name}.png.partial" for path in paths.values()} <= {*synced}


def test_an_image_that_the_model_refuses_is_damaged(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFEFF_MAX_PIXELS", "10000")
    classifier = models.build("resnet", num_classes=len(NAMES), width=4, stage_blocks=(1, 1), resolution=16)
    task = ClassificationTask(config.ClassificationSettings(center_crop=0.8))
    shape = {"image_size": (20, 20), "size": (16, 16), "channels": 3}
    savedmodel.export(classifier, NAMES, tmp_path / "cropped", task=task, **shape)
    Image.new("RGB", (90, 1)).save(photos / "thin.png")
    predictor = runs.load_predictor(tmp_path / "cropped")
    done = runs.write_predictions(predictor, find_images(photos), tmp_path / "out", key="model", draw=False)
    assert list(done.damaged) == ["thin.png"]
    assert "too thin" in done.damaged["thin.png"]
    assert len(done.rows) == COUNT
    refused, taken = predictor.predict_pixels([("[0]", np.zeros((1, 90, 3), np.uint8)), ("[1]", squares(20, 20))])
    assert str(refused).startswith("[0]: ")
    assert isinstance(taken, Classification)


def test_predictions_that_are_not_finite_are_listed(photos: Path, tmp_path: Path) -> None:
    inputs = keras.Input((16, 16, 3))
    features = keras.ops.log(keras.layers.GlobalAveragePooling2D()(inputs))  # minus infinity for black images
    classifier = keras.Model(inputs, keras.layers.Dense(len(NAMES))(features))
    savedmodel.export(classifier, NAMES, tmp_path / "model", image_size=None, size=(16, 16), channels=3)
    Image.new("RGB", (20, 20)).save(photos / "black.png")
    predictor = runs.load_predictor(tmp_path / "model", batch_size=7)
    done = runs.write_predictions(predictor, find_images(photos), tmp_path / "out", key="model", draw=False)
    assert done.damaged == {"black.png": "black.png: predictions are NaN or infinite: the network has diverged"}
    assert len(done.rows) == COUNT
    assert not np.isnan([row["probability"] for row in done.rows.values()]).any()


@pytest.mark.slow
def test_a_detector_whose_predictions_are_not_finite_is_refused(tmp_path: Path) -> None:
    task, network = detector("yolo", np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32))
    shape = {"image_size": None, "size": (64, 64), "channels": 3}
    for name in ("class", "box"):
        bias = next(each for each in network.weights if name in each.path and each.path.endswith("bias"))
        kept = bias.numpy()
        bias.assign(kept * np.nan)
        savedmodel.export(network, ["a", "b", "c"], tmp_path / name, task=task, score=0.0, **shape)
        (refused,) = runs.load_predictor(tmp_path / name).predict_pixels([("[0]", squares(64, 64))])
        assert str(refused) == "[0]: predictions are NaN or infinite: the network has diverged"
        bias.assign(kept)


class Picky(Squares):
    """A model that takes no thin image."""

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(pixels) < 2:
            raise tf.errors.InvalidArgumentError(None, None, "the image is too thin")
        return super().detect(pixels)


def test_an_image_that_a_detector_refuses_is_damaged(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (90, 1)).save(photos / "thin.png")
    predictor = DetectorPredictor(Picky())
    done = runs.write_predictions(predictor, find_images(photos), tmp_path / "out", key="model")
    assert done.damaged == {"thin.png": "thin.png: the image is too thin"}
    assert len(done.rows) == COUNT
    refused, taken = predictor.predict_pixels([("[0]", np.zeros((1, 90, 3), np.uint8)), ("[1]", squares(20, 20))])
    assert str(refused) == "[0]: the image is too thin"
    assert len(taken) == 0


def test_a_detector_decodes_each_image_once_in_another_thread(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoded = decoding.decode, list[tuple[str, threading.Thread]]()

    def recorded(encoded: bytes, name: str) -> np.ndarray:
        decoded.append((name, threading.current_thread()))
        return decode(encoded, name)

    monkeypatch.setattr(decoding, "decode", recorded)
    out = tmp_path / "out"
    runs.write_predictions(SquaresPredictor(), find_images(photos), out, key="model", draw=True)
    assert sorted(name for name, _ in decoded) == sorted(find_images(photos))
    assert threading.main_thread() not in {thread for _, thread in decoded}
    assert len(list(out.rglob("*.png"))) == COUNT


def test_images_are_decoded_in_parts_of_limited_size(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(path.name, path.read_bytes()) for path in sorted(photos.glob("*.*"))]
    files.insert(3, ("damaged.png", b"no image"))
    monkeypatch.setattr(predictors, "DECODED_BYTES", 12000)
    parts = list(predictors._parts(files))
    assert [file for part in parts for file in part] == files
    sizes = [
        [3 * math.prod(Image.open(io.BytesIO(content)).size) for name, content in part if name != "damaged.png"]
        for part in parts
    ]
    assert all(sum(each) <= 12000 for each in sizes)
    assert all(sum(one) + other[0] > 12000 for one, other in itertools.pairwise(sizes))


def test_results_of_earlier_calls_are_named(exported: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    predictor, out = runs.load_predictor(exported["classifier"]), tmp_path / "out"
    first = runs.write_predictions(predictor, find_images(photos), out, key="model")
    assert leftovers(out, first.files) == []
    second = runs.write_predictions(predictor, find_images(photos), out, key="model", draw=False)
    assert leftovers(out, second.files) == ["contact_sheet.jpg"]


def test_pictures_of_earlier_calls_are_counted(photos: Path, tmp_path: Path) -> None:
    paths, out = find_images(photos), tmp_path / "out"
    first = runs.write_predictions(SquaresPredictor(), paths, out, key="first")
    assert leftovers(out, first.files, first.drawn) == []
    some = dict(list(paths.items())[1:])
    second = runs.write_predictions(SquaresPredictor(), some, out, key="second")
    (gone,) = paths.keys() - some.keys()
    assert leftovers(out, second.files, second.drawn) == [f"1 annotated image such as {gone}.png"]
    third = runs.write_predictions(SquaresPredictor(), some, out, key="third", draw=False)
    assert f"{COUNT} annotated images such as" in leftovers(out, third.files, third.drawn)[-1]
