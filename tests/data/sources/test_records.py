"""Records equal the source that they were packed from, and damage never goes unnoticed."""

import json
import pickle
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfeff import config, selection
from tfeff.data.augment.policy import Augmentation
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.order import Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.sources import catalog, packing
from tfeff.data.sources.manifest import INDEX, MANIFEST
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

FEW_BYTES = 6000
"""Size of a shard, so that a few small images are in several."""
COCO = {
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    "images": [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 16} for n in range(1, 7)],
    "annotations": [
        {"id": n, "image_id": n % 5 + 1, "category_id": 7 - 4 * (n % 2), "bbox": [n, 1, 5.5, 4], "iscrowd": int(n == 3)}
        for n in range(1, 10)
    ],
}


def save(path: Path, number: int, size: tuple[int, int] = (16, 20), **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of several formats and sizes with splits; one is turned by its EXIF orientation."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(36):
        split, name = "val" if number % 3 == 2 else "train", f"{'ab'[number % 2]}/film{number // 4}_{number}"
        save(root / split / f"{name}.{'jpg' if number % 4 else 'png'}", number, (16 + number, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "train/a/film0_turned.jpg", 99, (16, 28), exif=exif)
    return root


@pytest.fixture(scope="module")
def packed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "records"
    packing.pack(packing.open_source(f"folder:{photos}"), out, shard_bytes=FEW_BYTES)
    assert len(list(out.glob("*.array_record"))) > 3
    return out


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "copy"))


def pack(name: str, out: Path, **options: object) -> str:
    packing.pack(packing.open_source(name), out, **options)
    return f"records:{out}"


def assert_equal(one: Dataset, other: Dataset) -> None:
    """All but the names is the same, bit for bit."""
    assert [name.rpartition("/")[2] for name in one.ids] == [name.rpartition("/")[2] for name in other.ids]
    assert (one.class_names, list(one.class_ids)) == (other.class_names, list(other.class_ids))
    assert [one.encoded(index) for index in range(len(one))] == [other.encoded(index) for index in range(len(other))]
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.sizes, other.sizes)
    assert len(one.objects) == len(other.objects)
    for mine, theirs in zip(one.objects, other.objects, strict=True):
        for key in ("boxes_yxyx", "labels", "difficult", "crowd"):
            left, right = getattr(mine, key), getattr(theirs, key)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


def assert_same_source(name: str, records: str, open_: Callable = catalog.open_labels, **options: object) -> None:
    source, other = (open_(each, Options(**options)) for each in (name, records))
    assert source.splits == other.splits
    for split in (*source.splits, "all"):
        assert_equal(source.load(split), other.load(split))


def test_a_folder_with_splits(photos: Path, packed: Path) -> None:
    assert_same_source(f"folder:{photos}", f"records:{packed}")
    loaded = catalog.open_labels(f"records:{packed}").load("train")
    assert loaded.ids[0] == "train/a/film0_0.png"  # not where the folder was
    assert loaded.name == f"records:{packed}/train"
    assert not catalog.has_objects(f"records:{packed}")


@pytest.mark.parametrize("options", [{}, {"seed": 5}, {"seed": 1, "groups": r"(film\d+)_"}])
def test_drawn_splits_are_those_of_the_folder(photos: Path, tmp_path: Path, options: dict) -> None:
    name = f"folder:{photos / 'train'}"
    assert_same_source(name, pack(name, tmp_path / "out"), **options)


def test_labels_in_a_csv_file(photos: Path, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name},{path.parents[1].name}" for path in sorted(photos.rglob("*/*/*.*"))]
    (tmp_path / "all.csv").write_text("\n".join(["image,label,split", *rows]))
    assert_same_source(f"csv:{tmp_path / 'all.csv'}", pack(f"csv:{tmp_path / 'all.csv'}", tmp_path / "out"))


def test_gray_arrays_have_the_same_pixels(tmp_path: Path) -> None:
    name, options = "embedded:digits", Options(channels=1)
    one, other = (catalog.open_labels(each, options).load("test") for each in (name, pack(name, tmp_path / "out")))
    assert_equal(one, other)
    np.testing.assert_array_equal(one.read(3), other.read(3))


def test_boxes_of_coco(tmp_path: Path) -> None:
    for number in range(1, 7):
        save(tmp_path / f"coco/train/{number}.png", number)
    (tmp_path / "coco/annotations").mkdir()
    (tmp_path / "coco/annotations/instances_train.json").write_text(json.dumps(COCO))
    name = f"coco:{tmp_path / 'coco'}"
    out = pack(name, tmp_path / "out")
    assert_same_source(name, out, catalog.open_objects)
    loaded = catalog.open_objects(out, Options(keep_raw_annotations=True)).load("train")
    assert any(each.crowd.any() for each in loaded.objects)
    assert any(not len(each) for each in loaded.objects)
    assert not loaded.raw_annotations
    assert any(f"to examine defects of annotations, analyze {name}" in note for note in loaded.notes)
    assert not any("to examine" in note for note in catalog.open_objects(out).load("train").notes)
    with pytest.raises(UserError, match="its images have objects, not a label each"):
        catalog.open_labels(out)
    assert len(catalog.open_labels(f"crops:{out}").load("train")) > len(loaded)


def test_several_annotation_files_of_coco(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for number in range(1, 7):
            save(tmp_path / f"coco/{split}/{number}.png", number + 10 * (split == "valid"))
        (tmp_path / f"coco/{split}/_annotations.coco.json").write_text(json.dumps(COCO))
    name = f"coco:{tmp_path / 'coco'}"
    assert_same_source(name, pack(name, tmp_path / "out"), catalog.open_objects)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Lists of splits that share images, and annotations with a box without area."""
    for number in range(6):
        save(tmp_path / f"voc/JPEGImages/{number}.jpg", number)
        boxes = "".join(
            f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{left}</xmin><ymin>1</ymin>"
            f"<xmax>9</xmax><ymax>8</ymax></bndbox></object>"
            for name, difficult, left in (("cat", number % 2, 2), ("dog", 0, 9 if number == 1 else 3))
        )
        (tmp_path / "voc/Annotations").mkdir(exist_ok=True)
        (tmp_path / f"voc/Annotations/{number}.xml").write_text(f"<annotation>{boxes}</annotation>")
    lists = tmp_path / "voc/ImageSets/Main"
    lists.mkdir(parents=True)
    for name, members in {"train": "012", "trainval": "01234", "test": "5"}.items():
        (lists / f"{name}.txt").write_text("\n".join(members))
    return tmp_path / "voc"


def test_splits_of_voc_share_images_that_are_written_once(voc: Path, tmp_path: Path) -> None:
    out = pack(f"voc:{voc}", tmp_path / "out")
    assert_same_source(f"voc:{voc}", out, catalog.open_objects)
    assert sum(each["records"] for each in json.loads((tmp_path / "out" / MANIFEST).read_text())["shards"]) == 6
    source = catalog.open_objects(out)
    assert not source.disjoint
    assert sorted(source.shared("train", "trainval")) == ["0", "1", "2"]
    assert source.shared("train", "test") == []


def test_defects_of_the_packed_source_are_reported(voc: Path, tmp_path: Path) -> None:
    out = pack(f"voc:{voc}", tmp_path / "out")
    original = catalog.open_objects(f"voc:{voc}").load("train").defects
    found = catalog.open_objects(out).load("train").defects
    assert found.counts == original.counts == {"box without area": 1}
    assert (found.costs, found.examples) == (original.costs, original.examples)
    assert not catalog.open_objects(out).load("test").defects.counts
    assert catalog.has_objects(out, Options(on_defect="stop"))
    source = catalog.open_objects(out, Options(on_defect="stop"))
    assert len(source.load("test"))
    with pytest.raises(UserError, match=r"1\.xml.*: box without area; correct it"):
        source.load("train")


def test_defects_of_drawn_splits_are_a_note(voc: Path, tmp_path: Path) -> None:
    shutil.rmtree(voc / "ImageSets")
    loaded = catalog.open_objects(pack(f"voc:{voc}", tmp_path / "out")).load("train")
    assert not loaded.defects.counts
    assert any("had defects when it was packed: 1 x box without area" in note for note in loaded.notes)
    again = catalog.open_objects(pack(f"records:{tmp_path / 'out'}", tmp_path / "again"))
    assert again.load("all").defects.counts == {"box without area": 1}


def test_classes_that_the_training_split_lacks(photos: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(photos, tmp_path / "photos"))
    save(root / "val/c/1.png", 1)
    with pytest.raises(UserError, match='class "c" is not among the classes'):
        pack(f"folder:{root}", tmp_path / "out")
    packing.pack(packing.open_source(f"folder:{root}", further_classes=True), tmp_path / "out")
    with pytest.raises(UserError, match="the training split has no images of c"):
        catalog.open_labels(f"records:{tmp_path / 'out'}")
    assert_same_source(f"folder:{root}", f"records:{tmp_path / 'out'}", further_classes=True)


def test_classes_of_objects_may_always_be_missing(voc: Path, tmp_path: Path) -> None:
    packing.pack(packing.open_source(f"voc:{voc}", further_classes=True), tmp_path / "out")
    assert catalog.has_objects(f"records:{tmp_path / 'out'}")


def batches(name: str, cache: str, shard: tuple[int, int], start: int, directory: Path | None = None) -> list[dict]:
    images = ImageCache.open(
        catalog.open_labels(name).load("train"), (18, 18), cache=cache, directory=directory, interpolation="bicubic"
    )
    augmentation = Augmentation(horizontal_flip=True, rotation=20, brightness=0.2, random_erasing=0.3, mixup_alpha=0.2)
    transform = ImageTransform(Reader(images), (16, 16), seed=3, augmentation=augmentation)
    made = Batches(transform, 6, order=Shuffled(len(images), seed=3), shard=shard)
    return list(made.training_batches(epochs=2, start_step=start).as_numpy_iterator())


@pytest.fixture(scope="module")
def whole(photos: Path) -> list[dict]:
    """Batches of the folder."""
    return batches(f"folder:{photos}", "none", (0, 1), 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cache", "workers", "start"), [("none", 1, 5), ("none", 3, 0), ("memory", 1, 0), ("disk", 2, 3)]
)
def test_batches_are_those_of_the_folder(
    whole: list[dict], packed: Path, tmp_path: Path, cache: str, workers: int, start: int
) -> None:
    """For any number of workers, each of which reads only its own images, and after a restart at any step."""
    assert len(whole) == 8
    parts = [
        batches(f"records:{packed}", cache, (worker, workers), start, tmp_path / "cache") for worker in range(workers)
    ]
    assert all(len(part) == len(whole) - start for part in parts)
    for step, expected in enumerate(whole[start:]):
        for key, values in expected.items():
            found = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(found, values, err_msg=key)


def test_opening_reads_no_image(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = catalog.open_labels(f"records:{packed}")
    monkeypatch.setattr(decoding, "decode", None)
    monkeypatch.setattr(catalog.records.RecordedImages, "encoded", None)
    train = source.load("train")
    images = ImageCache.open(train, (16, 16), cache="none", fit="whole")
    assert len(images) == len(train)
    assert len(train.fingerprint)
    assert len(selection.fingerprint.Fingerprint.of({"train": train}).digest)
    assert train.images.size(0) == (16, 20)


def test_corrupt_images_are_known_without_a_pass(photos: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(photos, tmp_path / "photos"))
    broken = root / "train/b/film0_1.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    (root / "train/b/film0_3.jpg").write_bytes(b"text")
    pack(f"folder:{root}", tmp_path / "out")
    found = []
    for name in (f"folder:{root}", f"records:{tmp_path / 'out'}"):
        train = catalog.open_labels(name).load("train")
        with pytest.raises(UserError, match="2 of 25 images"):
            ImageCache.open(train, (16, 16), cache="none")
        skipped = ImageCache.open(train, (16, 16), cache="none", corrupt_images="skip").skipped
        found.append([(each.id.rpartition("/")[2], each.reason) for each in skipped])
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_images_beyond_the_limit_of_pixels_here_are_known_without_a_pass(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were packed where the limit was higher."""
    train = catalog.open_labels(f"records:{packed}").load("train")
    sizes = train.images.sizes().prod(axis=1)
    monkeypatch.setenv("TFEFF_MAX_PIXELS", str(int(np.median(sizes))))
    beyond = np.flatnonzero(sizes > np.median(sizes))
    with pytest.raises(UserError, match=rf"{len(beyond)} of {len(train)} images.*\n.*more than the limit"):
        ImageCache.open(train, (16, 16), cache="none")
    skipped = ImageCache.open(train, (16, 16), cache="none", corrupt_images="skip").skipped
    assert [each.id for each in skipped] == [train.ids[index] for index in beyond]


def test_a_dataset_can_be_given_to_another_process(packed: Path) -> None:
    train = catalog.open_labels(f"records:{packed}").load("train")
    train.encoded(0)
    assert_equal(train, pickle.loads(pickle.dumps(train)))


def test_images_are_recognized_by_where_they_come_from(photos: Path, packed: Path, tmp_path: Path) -> None:
    """So a run on one of them knows images of the other, also after they were packed again."""
    again = pack(f"records:{packed}", tmp_path / "again")
    one, *others = (catalog.open_labels(name).load("val") for name in (f"folder:{photos}", f"records:{packed}", again))
    for other in others:
        np.testing.assert_array_equal(one.origins, other.origins)


def test_folds_of_groups_hold_the_same_images_out(photos: Path, packed: Path) -> None:
    held_out = []
    for name in (f"folder:{photos}", f"records:{packed}"):
        data = config.Data(source=name, folds=3, fold=1, groups=r"(film\d+)_", cache="none", image_size=16)
        wanted = selection.request(config.Experiment(data=data, training=config.Training(batch_size=2)))
        chosen = selection.choose(wanted, selection.read(wanted, lambda *progress: None))
        held_out.append([path.rpartition("/")[2] for path in chosen.validation.dataset.ids])
    assert held_out[0] == held_out[1]
    assert 0 < len(held_out[0]) < 25


def damage(path: Path, place: int | None = None) -> None:
    """Changes a bit in the middle, or at a place."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def swap(path: Path) -> None:
    """Puts another shard in the place of a shard, which has the same size and number of records."""
    other = path.with_name("images-00001.array_record")
    assert other.stat().st_size == path.stat().st_size
    shutil.copy(other, path)


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("images-00002.array_record", Path.unlink, "images-00002.array_record: missing; copy the directory again"),
        ("images-00002.array_record", truncate, "images-00002.array_record: incomplete or replaced, it has .* bytes"),
        (MANIFEST, Path.unlink, "has no records [(]manifest.json is missing[)]"),
        (MANIFEST, truncate, "manifest.json: not JSON .*; copy the directory again"),
        (INDEX, Path.unlink, "index.npz: missing; copy"),
        (INDEX, truncate, "index.npz: damaged, or of other records"),
        (INDEX, damage, "index.npz: damaged, or of other records"),
    ],
)
def test_a_missing_or_incomplete_file_is_named(copy: Path, name: str, harm: Callable, message: str) -> None:
    harm(copy / name)
    with pytest.raises(UserError, match=message):
        catalog.open_labels(f"records:{copy}")


def edit(copy: Path, **values: object) -> None:
    """Edits the manifest as a user does, who deletes its checksum."""
    record = json.loads((copy / MANIFEST).read_text())
    del record["crc32"]
    (copy / MANIFEST).write_text(json.dumps(record | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "manifest.json: format 2 instead of 1; write it again"),
        ({"shards": [{}]}, "manifest.json: does not describe records"),
        ({"splits": {"train": 3}}, "manifest.json: does not describe records"),
        ({"splits": []}, "manifest.json: damaged [(]splits is missing or has a wrong type"),
    ],
)
def test_an_edited_manifest_is_refused(copy: Path, values: dict, message: str) -> None:
    edit(copy, **values)
    with pytest.raises(UserError, match=message):
        catalog.open_labels(f"records:{copy}")


def test_a_wrong_number_of_images_is_refused(copy: Path) -> None:
    splits = json.loads((copy / MANIFEST).read_text())["splits"]
    edit(copy, splits={**splits, "train": {**splits["train"], "images": 24}})
    with pytest.raises(UserError, match=r"does not describe records .*24 images of the split train"):
        catalog.open_labels(f"records:{copy}")


def test_a_damaged_byte_of_a_manifest_is_noticed(copy: Path) -> None:
    path = copy / MANIFEST
    path.write_text(path.read_text().replace('"images": 25', '"images": 24'))
    with pytest.raises(UserError, match="do not fit its checksum"):
        catalog.open_labels(f"records:{copy}")


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda path: damage(path, 500), "damaged or replaced, at byte 108 is another image"),
        (swap, "damaged or replaced, at byte 108 is another image"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "damaged or replaced, at byte 108"),
    ],
)
def test_a_damaged_or_wrong_shard_stops_a_run(photos: Path, tmp_path: Path, harm: Callable, problem: str) -> None:
    name = pack(f"folder:{photos}", tmp_path / "out", shard_bytes=1)
    harm(tmp_path / "out/images-00000.array_record")
    problem = "images-00000.array_record: " + problem
    with pytest.raises(UserError, match="1 of 25 images cannot be read:\n  .*" + problem):
        ImageCache.open(catalog.open_labels(name).load("train"), (16, 16))
    images = ImageCache.open(catalog.open_labels(name).load("train"), (16, 16), cache="none")
    with pytest.raises(UserError, match="train/a/film0_0.png can no longer be read: .*" + problem):
        list(images.chunks(10))


def test_every_damaged_byte_is_noticed_or_harmless(copy: Path, packed: Path) -> None:
    """An image is the one that was written, or it cannot be read."""
    name = "images-00001.array_record"
    whole = catalog.open_labels(f"records:{packed}").load("all")
    content, noticed = (packed / name).read_bytes(), 0
    for place in np.random.default_rng(0).choice(len(content), 60, replace=False).tolist():
        (copy / name).write_bytes(content)
        damage(copy / name, place)
        loaded = catalog.open_labels(f"records:{copy}").load("all")
        for index in range(len(loaded)):
            try:
                found = loaded.encoded(index)
            except UserError:
                noticed += 1
            else:
                assert found == whole.encoded(index)
    assert noticed


def test_the_crc_of_the_index_is_that_of_the_file(packed: Path) -> None:
    record = json.loads((packed / MANIFEST).read_text())
    assert int(record["index"], 16) == zlib.crc32((packed / INDEX).read_bytes())


def test_other_tools_read_the_images(photos: Path, packed: Path) -> None:
    """As docs/data.md shows; Grain's source is that of the package `array_record`."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    images = ArrayRecordDataSource([str(path) for path in sorted(packed.glob("*.array_record"))])
    with np.load(packed / INDEX) as index:
        rows, labels = index["train/records"], index["train/labels"]
    folder = catalog.open_labels(f"folder:{photos}").load("train")
    assert [images[int(row)] for row in rows] == [folder.encoded(number) for number in range(len(folder))]
    np.testing.assert_array_equal(labels, folder.labels)
