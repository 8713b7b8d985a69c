"""Classes of a gallery: similarities, unknown images, files of vectors, and mistakes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfeff import config, models, runs
from tfeff.errors import UserError
from tfeff.runs.gallery import Gallery
from tfeff.runs.prediction import find_images
from tfeff.runs.results import Embedding, Recognition
from tfeff.serving import savedmodel
from tfeff.tasks import EmbeddingTask

SIZE = {"image_size": (16, 16), "size": (16, 16), "channels": 3}
COLORS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of an embedder that was not trained, with thresholds."""
    task = EmbeddingTask(config.EmbeddingSettings(dimension=8))
    described = models.architecture("resnet", width=8, stage_blocks=(1, 1), resolution=16)
    network = task.predictor(task.network(described, num_classes=2, channels=3))
    path = tmp_path_factory.mktemp("exported") / "embedder"
    return savedmodel.export(network, ["a", "b"], path, task=task, score=0.5, unknown={1: 0.5, 8: 0.8}, **SIZE)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = models.build("resnet", num_classes=2, width=4, stage_blocks=(1, 1), resolution=16)
    return savedmodel.export(network, ["a", "b"], tmp_path_factory.mktemp("exported") / "classifier", **SIZE)


def paint(path: Path, color: tuple[int, ...], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-10, 10, (16, 16, 3))
    Image.fromarray(np.clip(noise + color, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Two red images, one green and one blue one."""
    for number, name in enumerate(("red", "green", "blue", "red")):
        paint(tmp_path / "gallery" / name / f"{number}.png", COLORS[name], number)
    return tmp_path / "gallery"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(9):
        name = list(COLORS)[number % 3]
        paint(tmp_path / "photos" / f"{number}_{name}.png", COLORS[name], 10 + number)
    return tmp_path / "photos"


@pytest.mark.parametrize("neighbors", [1, 2, 5])
def test_the_similarity_to_a_class_is_the_mean_of_the_nearest(neighbors: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(13, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.repeat(np.arange(3), [2, 4, 1]).astype(np.int32)
    known = Gallery(Path("x"), ("a", "b", "c"), labels, vectors[:7], neighbors)
    found = known.similarities(vectors[7:])
    products = vectors[7:] @ vectors[:7].T
    ordered = [np.sort(products[:, labels[:7] == label], axis=1)[:, -neighbors:].mean(axis=1) for label in range(3)]
    np.testing.assert_array_equal(found, np.clip(np.stack(ordered, axis=1), -1, 1))
    for row, vector in zip(found, vectors[7:], strict=True):
        for label in range(3):
            of_class = sorted((float(vector @ each) for each in vectors[:7][labels == label]), reverse=True)
            assert row[label] == pytest.approx(np.mean(of_class[:neighbors]), abs=1e-6)


def test_images_get_the_class_of_the_most_similar_ones(exported: Path, gallery: Path, photos: Path) -> None:
    predictor = runs.load_predictor(exported, gallery=gallery)
    assert predictor.notes == (
        f"gallery: 4 images of 3 classes from {gallery}",
        "unknown below a similarity of 0.700; by the validation images, about 5 % of images of other classes reach it "
        "with a gallery of 4 images (--threshold changes it)",
    )
    assert predictor.gallery.threshold == pytest.approx(0.7)  # at 4 = 8 ** (2 / 3) images
    plain = runs.load_predictor(exported)
    assert plain.notes == ()
    files = [(path.name, path.read_bytes()) for path in sorted(photos.iterdir())]
    of_gallery = {path: plain.predict([("", path.read_bytes())])[0].vector for path in gallery.rglob("*.png")}
    for (name, _), found, vector in zip(files, predictor.predict(files), plain.predict(files), strict=True):
        assert isinstance(found, Recognition)
        assert isinstance(vector, Embedding)
        np.testing.assert_allclose(np.linalg.norm(vector.vector), 1, rtol=1e-6)
        np.testing.assert_array_equal(found.vector, vector.vector)
        assert found.class_names == ("blue", "green", "red")
        nearest = max(of_gallery, key=lambda path: of_gallery[path] @ vector.vector)
        assert found.label == nearest.parent.name == name.split("_")[1].removesuffix(".png")
        assert found.similarity == pytest.approx(of_gallery[nearest] @ vector.vector, abs=1e-5)


def test_images_below_the_threshold_are_unknown(exported: Path, gallery: Path, photos: Path) -> None:
    lenient, strict = (runs.load_predictor(exported, gallery=gallery, threshold=each) for each in (-1.0, 1.0))
    assert strict.notes[1] == "unknown below a similarity of 1.000"
    files = [(path.name, path.read_bytes()) for path in sorted(photos.iterdir())]
    for known, unknown in zip(lenient.predict(files), strict.predict(files), strict=True):
        assert isinstance(known, Recognition)
        assert isinstance(unknown, Recognition)
        assert known.label in COLORS
        assert unknown.label == "unknown"
        assert unknown.top() == known.top()
        assert unknown.caption() == f"unknown {known.similarity:.2f}"


def test_files_of_a_gallery_are_written_and_resumed(
    exported: Path, gallery: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    predictor, out = runs.load_predictor(exported, gallery=gallery, threshold=0.9), tmp_path / "out"
    done = runs.write_predictions(predictor, find_images(photos, out), out, key="a")
    assert [path.name for path in done.files] == ["predictions.json", "predictions.csv", "contact_sheet.jpg"]
    written = json.loads((out / "predictions.json").read_text())
    assert [row["image"] for row in written["damaged"]] == ["broken.png"]
    assert written["predictions"][0].keys() == {"image", "label", "similarity", "top"}
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "label", *(f"{what}{n}" for n in (1, 2, 3) for what in ("label", "similarity"))]
    for row, expected in zip(rows, written["predictions"], strict=True):
        assert (row["label"], row["label1"]) == (expected["label"], expected["top"][0][0])
        assert float(row["similarity1"]) == pytest.approx(expected["similarity"], rel=1e-5)
    again = runs.write_predictions(predictor, find_images(photos, out), out, key="a")
    assert (again.known, again.rows) == (9, json.loads(json.dumps(done.rows)))


def test_without_a_gallery_the_vectors_are_written(exported: Path, photos: Path, tmp_path: Path) -> None:
    predictor, out = runs.load_predictor(exported), tmp_path / "out"
    done = runs.write_predictions(predictor, find_images(photos, out), out, key="a")
    assert [path.name for path in done.files] == ["predictions.json", "embeddings.npz"]
    for _ in range(2):  # the second time from the journal
        with np.load(out / "embeddings.npz", allow_pickle=False) as saved:
            assert saved["names"].tolist() == sorted(path.name for path in photos.iterdir())
            files = [(name, (photos / name).read_bytes()) for name in saved["names"]]
            expected = np.stack([each.vector for each in predictor.predict(files)])
            assert saved["vectors"].dtype == np.float32
            np.testing.assert_array_equal(saved["vectors"], expected)
        assert json.loads((out / "predictions.json").read_text())["predictions"][0] == {"image": "0_red.png"}
        assert runs.write_predictions(predictor, find_images(photos, out), out, key="a").known == 9


def test_a_run_without_threshold_says_so(exported: Path, gallery: Path) -> None:
    known = Gallery(gallery, ("a",), np.zeros(1, np.int32), np.eye(1, dtype=np.float32))
    assert known.notes[0] == f"gallery: 1 image of 1 class from {gallery}"
    assert (
        "no image is reported as unknown: the run had too few validation images, or too few of other classes"
        in known.notes[1]
    )
    assert Recognition("x", ("a",), b"", np.ones(1), np.array([-0.9])).label == "a"


@pytest.mark.filterwarnings("error")
def test_python_callers_see_the_notes(exported: Path, gallery: Path, photos: Path, capsys) -> None:
    model = runs.LoadedModel(exported)
    model.predict(photos)
    assert not capsys.readouterr().err
    found = model.predict(photos, gallery=gallery)
    notes = runs.load_predictor(exported, gallery=gallery).notes
    assert (len(found), capsys.readouterr().err.splitlines()) == (9, list(notes))


def test_notes_on_the_folder_are_passed_on(exported: Path, gallery: Path) -> None:
    paint(gallery / "loose.png", COLORS["red"], 5)
    notes = runs.load_predictor(exported, gallery=gallery).notes
    assert notes[0] == f"{gallery}: ignored 1 images outside of class folders, such as loose.png"
    assert notes[1].startswith("gallery: 4 images")


def test_a_note_on_how_the_folder_is_read_appears_once(exported: Path, gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    gallery.rename(tmp_path / "archive" / "gallery")
    notes = runs.load_predictor(exported, gallery=tmp_path / "archive").notes
    assert notes[0] == f"folder:{tmp_path / 'archive'}: reading {tmp_path / 'archive' / 'gallery'}"
    assert notes[1].startswith("gallery: 4 images")


@pytest.mark.slow
def test_the_state_is_that_of_the_files_that_were_read(exported: Path, gallery: Path, tmp_path: Path) -> None:
    def state(**options: object) -> str:
        return runs.load_predictor(exported, gallery=gallery, **options).gallery.state

    (gallery / "red").rename(tmp_path / "elsewhere")
    (gallery / "red").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    before = state()
    (gallery / "notes.txt").write_text("no image")
    assert state() == before
    paint(tmp_path / "elsewhere" / "0.png", COLORS["red"], 77)
    changed = state()
    assert len({before, changed, state(neighbors=2), state(threshold=0.3)}) == 4
    (gallery / "red").unlink()
    (tmp_path / "elsewhere").rename(gallery / "rot")
    assert state() != changed


def test_a_gallery_is_read_in_batches(exported: Path, gallery: Path) -> None:
    done = list[int]()
    batched = runs.load_predictor(exported, gallery=gallery, batch_size=3, progress=done.append).gallery
    assert done == [3, 4]
    whole = runs.load_predictor(exported, gallery=gallery).gallery
    np.testing.assert_allclose(batched.vectors, whole.vectors, atol=1e-6)
    assert batched.files == whole.files


@pytest.mark.slow
def test_a_gallery_is_read_again_only_if_something_has_changed(exported: Path, gallery: Path, tmp_path: Path) -> None:
    loaded, done = dict[object, object](), list[int]()

    def read(**options: object) -> bool:
        done.clear()
        options = {"gallery": gallery, "batch_size": 8} | options
        again = runs.load_predictor(exported, progress=done.append, loaded=loaded, **options).gallery
        assert again.state == runs.load_predictor(exported, **options).gallery.state
        return bool(done)

    (gallery / "red").rename(tmp_path / "elsewhere")
    (gallery / "red").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert read()
    assert not read()
    assert read(neighbors=2)
    assert read(neighbors=2, threshold=0.3)
    assert read()
    paint(tmp_path / "elsewhere" / "0.png", COLORS["red"], 77)
    assert read()
    paint(gallery / "green" / "new.png", COLORS["green"], 78)
    assert read()
    (gallery / "blue").rename(gallery / "azure")
    assert read()
    assert not read()
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    for name in ("green", "azure"):
        (gallery / name).rename(tmp_path / name)
    with pytest.raises(UserError, match="no class folders"):
        read()


def test_identical_files_are_counted(exported: Path, gallery: Path, photos: Path) -> None:
    def copies(paths: Path) -> str | None:
        return runs.load_predictor(exported, gallery=gallery).gallery.copies([*sorted(paths.iterdir()), paths / "gone"])

    assert copies(photos) is None
    (photos / "again.png").write_bytes((gallery / "red" / "0.png").read_bytes())
    (photos / "twice.png").write_bytes((gallery / "red" / "0.png").read_bytes())
    (photos / "longer.png").write_bytes((gallery / "red" / "0.png").read_bytes() + b"!")
    message = "warning: identical files: images that are also in the gallery: {}; gallery images that are in several "
    assert copies(photos) == message.format(2) + "classes: 0"
    (gallery / "blue" / "x.png").write_bytes((gallery / "red" / "3.png").read_bytes())
    (gallery / "blue" / "y.png").write_bytes((gallery / "blue" / "2.png").read_bytes())
    assert copies(photos) == message.format(2) + "classes: 2"


def test_mistakes(exported: Path, classifier: Path, gallery: Path, tmp_path: Path) -> None:
    def refused(message: str, directory: Path = exported, **options: object) -> None:
        with pytest.raises(UserError, match=message):
            runs.load_predictor(directory, **options)

    refused("classifier is no model of task.name=embedding", classifier, gallery=gallery)
    refused("--threshold requires --gallery", threshold=0.5)
    refused("--neighbors requires --gallery", classifier, neighbors=2)
    refused("--score requires a detector", score=0.5)
    refused("no such folder; give one that has a folder of images for each class", gallery=tmp_path / "none")
    refused(r"--threshold=1.5: similarities are between -1 and 1", gallery=gallery, threshold=1.5)
    refused("--neighbors=0: give 1 or more", gallery=gallery, neighbors=0)
    refused("batch_size=0: give a number of images", gallery=gallery, batch_size=0)
    (tmp_path / "empty").mkdir()
    refused("--gallery=.*empty: .*has no class folders", gallery=tmp_path / "empty")
    (gallery / "red" / "bad.png").write_bytes(b"no image")
    refused(r"--gallery=.*bad.png.*replace or remove the image", gallery=gallery)
    (gallery / "red" / "bad.png").unlink()
    (gallery / "red").rename(gallery / "unknown")
    refused('a class cannot be called "unknown"; rename its folder', gallery=gallery)
