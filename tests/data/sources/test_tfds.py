import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tfeff.data.images import decoding
from tfeff.data.images.storage import EncodedImages
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.data.sources.tfds import TfdsAnnotatedImages, TfdsLabeledImages
from tfeff.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 6, 7, 3), np.uint8)
COUNTS = {"train": range(20), "validation": range(20, 26), "test": range(26, 30)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A tiny dataset on the disk as TensorFlow Datasets prepares it, in several files, without any code of its own."""
    return prepare(tmp_path_factory.mktemp("tfds"))


def prepare(folder, unlabeled=(), order=list):
    directory = folder / "tiny_shapes" / "1.0.0"
    directory.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="tiny_shapes",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(directory),
        module_name="tiny_shapes",
    )
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["disc", "box", "star"]),
        "camera": tfds.features.ClassLabel(names=["old", "new"]),
    }
    info = tfds.core.DatasetInfo(
        builder=identity, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
    )
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=8)
    writer.initialize_splits(list(COUNTS))
    for split, numbers in COUNTS.items():
        labels = {i: -1 if i in unlabeled else i % 3 for i in numbers}
        numbers = order(numbers)
        writer.add_examples({split: [{"image": PIXELS[i], "label": labels[i], "camera": i % 2} for i in numbers]})
    writer.close_all()
    return folder


def read(source):
    return np.stack([source.read(tf.constant(i, tf.int64)).numpy() for i in range(len(source))])


def test_a_prepared_dataset_is_read_offline_in_a_fixed_order(prepared):
    assert set(catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepared)).splits) == set(COUNTS)
    source = catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepared)).load("train")
    assert source.class_names == ("disc", "box", "star")
    assert len(source) == 20
    images = read(source)
    numbers = [int(np.flatnonzero((image == PIXELS).all(axis=(1, 2, 3)))[0]) for image in images]
    assert sorted(numbers) == list(COUNTS["train"])
    np.testing.assert_array_equal(source.labels, np.array(numbers) % 3)
    np.testing.assert_array_equal(
        read(catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepared)).load("train")), images
    )
    assert len(catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepared)).load("val")) == 6


def test_images_stay_in_their_files(prepared, tmp_path):
    """Those of ImageNet would take 140 GB of memory."""
    copied = tmp_path / "data"
    shutil.copytree(prepared, copied)
    source = catalog.open_labels("tfds:tiny_shapes", Options(data_dir=copied)).load("all")
    expected = catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepared)).load("all")
    np.testing.assert_array_equal(read(source), read(expected))
    lost = sorted(copied.rglob("*train*tfrecord*"))[1]
    count = len(list(tf.data.TFRecordDataset(str(lost))))
    lost.unlink()
    with pytest.raises(UserError, match=rf"{count} of 30 images cannot be read") as caught:
        ImageCache.open(source, (6, 7))
    assert str(caught.value).count(str(lost)) == count > 5


def test_images_of_other_file_formats_are_held_in_memory(prepared, monkeypatch):
    in_files = catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepared)).load("all")
    monkeypatch.setattr(TfdsLabeledImages, "_has_record_files", False)
    in_memory = catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepared)).load("all")
    assert isinstance(in_memory.images, EncodedImages)
    np.testing.assert_array_equal(read(in_memory), read(in_files))
    np.testing.assert_array_equal(in_memory.labels, in_files.labels)
    assert in_memory.ids == in_files.ids


@pytest.mark.parametrize("in_files", [True, False])
def test_another_order_of_the_same_images_has_another_fingerprint(prepared, tmp_path, monkeypatch, in_files):
    """A cache of pixels would give each image the label of another one."""
    monkeypatch.setattr(TfdsLabeledImages, "_has_record_files", in_files)
    other = prepare(tmp_path, order=lambda numbers: sorted(numbers, reverse=True))
    first, again, last = (
        catalog.open_labels("tfds:tiny_shapes", Options(data_dir=folder)).load("train")
        for folder in (prepared, prepared, other)
    )
    assert sorted(map(first.encoded, range(20))) == sorted(map(last.encoded, range(20)))
    assert first.pixels_fingerprint == again.pixels_fingerprint != last.pixels_fingerprint


@pytest.mark.parametrize("in_files", [True, False])
def test_a_split_with_secret_labels_is_left_out(tmp_path, monkeypatch, in_files):
    monkeypatch.setattr(TfdsLabeledImages, "_has_record_files", in_files)
    source = catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepare(tmp_path, COUNTS["test"])))
    assert source.splits == ("train", "validation")
    train = source.load("train")
    assert "tfds:tiny_shapes: ignored the split test, which has no labels" in train.notes
    assert len(source.load("all")) == 26


def test_single_images_without_labels_are_lost(tmp_path):
    source = catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepare(tmp_path, [2, 3, 26])))
    train, expected = source.load("train"), [i for i in COUNTS["train"] if i not in (2, 3)]
    assert train.defects.counts == {"image without a label": 2}
    assert train.defects.lost("images") == 2
    found = [int(np.flatnonzero((image == PIXELS).all(axis=(1, 2, 3)))[0]) for image in read(train)]
    assert sorted(found) == expected
    np.testing.assert_array_equal(train.labels, np.array(found) % 3)
    assert len(source.load("test")) == 3


@pytest.mark.parametrize("damage", ["shortened", "other contents"])
def test_a_damaged_file_is_named(prepared, tmp_path, damage):
    copied = tmp_path / "data"
    shutil.copytree(prepared, copied)
    damaged = sorted(copied.rglob("*test*tfrecord*"))[0]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-40] if damage == "shortened" else content[:12] + bytes(len(content) - 12))
    source = catalog.open_labels("tfds:tiny_shapes", Options(data_dir=copied))
    with pytest.raises(UserError, match=rf"{damaged}: damaged after"):
        source.load("test")
    assert len(source.load("train")) == 20


def test_a_missing_file_is_named(prepared, tmp_path):
    copied = tmp_path / "data"
    shutil.copytree(prepared, copied)
    missing = sorted(copied.rglob("*test*tfrecord*"))[0]
    missing.unlink()
    with pytest.raises(UserError, match=rf"{missing}: missing; prepare the dataset again"):
        catalog.open_labels("tfds:tiny_shapes", Options(data_dir=copied)).load("test")


def test_missing_datasets_are_reported(prepared, tmp_path):
    with pytest.raises(UserError, match=r"cifar10 is not prepared in .*data\.directory=DIR.*data\.download=true"):
        catalog.open_labels("tfds:cifar10", Options(data_dir=tmp_path)).load("train")
    with pytest.raises(UserError, match='has no such dataset; did you mean "cifar10'):
        catalog.open_labels("tfds:cifar1O", Options(data_dir=tmp_path)).load("train")
    with pytest.raises(UserError, match='no split "trian"; did you mean "train"'):
        catalog.open_labels("tfds:tiny_shapes", Options(data_dir=prepared)).load("trian")


class ArrangedPets(tfds.core.GeneratorBasedBuilder):
    """A builder with configurations and an argument, as a Python config may define one."""

    __module__ = "__main__"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="few"), tfds.core.BuilderConfig(name="many")]  # noqa: RUF012

    def __init__(self, *, side=4, **arguments):
        self.side = side
        super().__init__(**arguments)

    def _info(self):
        image, label = tfds.features.Image(shape=(None, None, 3)), tfds.features.ClassLabel(names=["a", "b"])
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
        )

    def _split_generators(self, _):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(4 if self.builder_config.name == "few" else 6):
            yield number, {"image": np.zeros((self.side, 5, 3), np.uint8), "label": number % 2}


def test_configurations_versions_and_arguments(tmp_path):
    options = Options(data_dir=tmp_path, download=True)

    def load(name):
        return catalog.open_labels(f"tfds:{name}", options).load("train")

    default = load("arranged_pets")
    assert len(default) == 4
    assert default.notes == (
        "tfds:arranged_pets: read as arranged_pets/few/1.0.0; other configurations: tfds:arranged_pets/CONFIGURATION",
    )
    many = load("arranged_pets/many:1.0.0/side=9")
    assert len(many) == 6
    assert not many.notes
    assert decoding.decode(many.encoded(0), "").shape == (9, 5, 3)
    again = load("arranged_pets/many/side=7")
    assert decoding.decode(again.encoded(0), "").shape == (9, 5, 3)
    assert "prepared before in" in again.notes[0]
    for name, message in (
        ("few:2.0.0", "cannot be loaded at version 2.0.0, only: 1.0.0"),
        ("some", "BuilderConfig some not found"),
        ("few/width=3", "unexpected keyword argument 'width'"),
        ("few/data_dir=x", "multiple values for keyword argument 'data_dir'"),
    ):
        with pytest.raises(UserError, match=message):
            load(f"arranged_pets/{name}")


def test_a_failure_to_prepare_is_a_message(tmp_path, monkeypatch):
    monkeypatch.setattr(ArrangedPets, "_generate_examples", lambda _: 1 / 0)
    with pytest.raises(UserError, match=r"could not prepare it: .*division by zero"):
        catalog.open_labels("tfds:arranged_pets", Options(data_dir=tmp_path, download=True))


def test_code_from_the_network_is_refused(tmp_path):
    for name in ("huggingface:mnist", "kaggle:a/b"):
        with pytest.raises(UserError, match="would load code from the network; see hf:DIRECTORY"):
            catalog.open_labels(f"tfds:{name}", Options(data_dir=tmp_path, download=True))


RNG = np.random.default_rng(0)
OBJECT_COUNTS = {"train": 11, "validation": 4}
SIZES = [(int(height), int(width)) for height, width in RNG.integers(20, 700, (15, 2))]
IMAGES = [RNG.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def drawn(number):
    """`number % 4` boxes yxyx of whole pixels inside image `number`, the first one the whole image."""
    height, width = SIZES[number]
    low = RNG.integers(0, [height - 5, width - 5], (number % 4, 2))
    boxes = np.concatenate([low, RNG.integers(low + 1, [height + 1, width + 1])], axis=1)
    boxes[:1] = 0, 0, height, width
    return boxes


BOXES = [drawn(number) for number in range(15)]


def write(folder, name, features, example, counts=None):
    """A dataset on the disk as TensorFlow Datasets prepares it, without any code of its own."""
    directory = folder / name / "1.0.0"
    directory.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version("1.0.0"), data_dir=str(directory), module_name=name
    )
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=4)
    counts, numbers = counts or OBJECT_COUNTS, iter(range(15))
    writer.initialize_splits(list(counts))
    for split, count in counts.items():
        writer.add_examples({split: [example(next(numbers)) for _ in range(count)]})
    writer.close_all()


@pytest.fixture(scope="module")
def prepared_objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    objects = {
        "bbox": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=["owl", "cat"]),
        "is_difficult": np.bool_,
        "area": np.int64,
    }
    image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")

    def example(number):
        rows = [
            {
                "bbox": tfds.features.BBox(*(box / np.tile(SIZES[number], 2)).tolist()),
                "label": place % 2,
                "is_difficult": place == 2,
                "area": [0, 37, 5][place],
            }
            for place, box in enumerate(BOXES[number])
        ]
        return {"image": IMAGES[number], "objects": rows}

    write(folder, "tiny_boxes", {"image": image, "objects": tfds.features.Sequence(objects)}, example)
    crowds = {"box": tfds.features.BBoxFeature(), "name": tfds.features.ClassLabel(num_classes=3), "is_crowd": np.bool_}
    row = {"box": tfds.features.BBox(0.0, 0.25, 0.5, 1.0), "name": 2, "is_crowd": True}
    features = {"id": np.int64, "photo": image, "bobjects": tfds.features.Sequence(crowds)}
    write(folder, "crowds", features, lambda n: {"id": n, "photo": IMAGES[n], "bobjects": [row]})
    return folder


def test_boxes_classes_and_flags_are_read(prepared_objects):
    for split, numbers in (("train", range(11)), ("val", range(11, 15)), ("all", range(15))):
        source = catalog.open_objects("tfds:tiny_boxes", Options(data_dir=prepared_objects)).load(split)
        assert source.class_names == ("owl", "cat")
        assert len(source) == len(numbers)
        # The writer shuffles nothing here, yet shards may come in any order: an image is known by its pixels.
        decoded = [decoding.decode(source.encoded(index), source.ids[index]) for index in range(len(source))]
        found = [next(n for n in numbers if np.array_equal(IMAGES[n], image)) for image in decoded]
        assert sorted(found) == list(numbers)
        for number, objects in zip(found, source.objects, strict=True):
            np.testing.assert_array_equal(objects.boxes_yxyx, BOXES[number].astype(np.float32).reshape(-1, 4))
            assert objects.labels.tolist() == [0, 1, 0][: number % 4]
            assert objects.difficult.tolist() == [False, False, True][: number % 4]
            assert not objects.crowd.any()
            # No object has an area of 0: that of its box is used.
            areas = None if number % 4 < 2 else [np.nan, 37, 5][: number % 4]
            assert (objects.areas is None) == (areas is None)
            np.testing.assert_array_equal([] if areas is None else objects.areas, areas or [])
        assert not source.defects.counts


def test_images_with_objects_stay_in_their_files(prepared_objects, monkeypatch):
    """Those of COCO would take 20 GB of memory."""
    in_files = catalog.open_objects("tfds:tiny_boxes", Options(data_dir=prepared_objects)).load("all")
    files = {in_files.images.location(index)[0] for index in range(15)}
    assert len(files) == 4
    assert all(".tfrecord-" in file for file in files)
    monkeypatch.setattr(TfdsAnnotatedImages, "_has_record_files", False)
    in_memory = catalog.open_objects("tfds:tiny_boxes", Options(data_dir=prepared_objects)).load("all")
    assert isinstance(in_memory.images, EncodedImages)
    assert in_memory.ids == in_files.ids
    assert [in_memory.encoded(index) for index in range(15)] == [in_files.encoded(index) for index in range(15)]


def test_splits_of_one_usual_name_keep_their_own(tmp_path):
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
    counts = {"train": 6, "test": 4, "test2015": 5}
    write(tmp_path, "years", features, lambda n: {"image": IMAGES[n], "label": n % 2}, counts)
    source = catalog.open_labels("tfds:years", Options(data_dir=tmp_path))
    assert sorted(source.splits) == sorted(counts)
    assert {split: len(source.load(split)) for split in counts} == counts
    assert len(source.load("all")) == 15


def test_features_are_found_by_type_and_crowds_are_marked(prepared_objects):
    source = catalog.open_objects("tfds:crowds", Options(data_dir=prepared_objects)).load("train")
    assert source.class_names == ("0", "1", "2")
    for index, objects in enumerate(source.objects):
        height, width = decoding.decode(source.encoded(index), "").shape[:2]
        np.testing.assert_allclose(objects.boxes_yxyx, [[0, width / 4, height / 2, width]])
        assert objects.labels.tolist() == [2]
        assert objects.crowd.tolist() == [True]


def test_datasets_without_boxes_are_refused(prepared_objects, tmp_path):
    plain = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
    write(tmp_path, "plain", plain, lambda n: {"image": IMAGES[n], "label": 0})
    with pytest.raises(UserError, match="is not a detection dataset: its features are"):
        catalog.open_objects("tfds:plain", Options(data_dir=tmp_path))
    assert not catalog.has_objects("tfds:plain", Options(data_dir=tmp_path))
    assert catalog.has_objects("tfds:tiny_boxes", Options(data_dir=prepared_objects))
    with pytest.raises(UserError, match='no split "tset"'):
        catalog.open_objects("tfds:tiny_boxes", Options(data_dir=prepared_objects)).load("tset")
    with pytest.raises(UserError, match=r"voc/2007 is not prepared in .*data\.directory=DIR"):
        catalog.open_objects("tfds:voc/2007", Options(data_dir=tmp_path)).load("train")


def test_images_with_an_orientation_are_said(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    Image.fromarray(IMAGES[0][:40, :60]).save(stored, "JPEG", exif=exif)
    objects = tfds.features.Sequence(
        {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(num_classes=1)}
    )
    features = {"image": tfds.features.Image(encoding_format="jpeg"), "objects": objects}
    row = {"bbox": tfds.features.BBox(0.0, 0.5, 0.5, 1.0), "label": 0}
    write(tmp_path, "turned", features, lambda _: {"image": io.BytesIO(stored.getvalue()), "objects": [row]})
    found = catalog.open_objects("tfds:turned", Options(data_dir=tmp_path)).load("train")
    assert found.sizes[0].tolist() == [60, 40]
    assert found.objects[0].boxes_yxyx.tolist() == [[0, 20, 30, 40]]
    assert "tfds:turned/train: 11 images have an EXIF orientation" in found.notes[-1]
