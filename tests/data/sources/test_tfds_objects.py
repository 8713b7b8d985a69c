import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

RNG = np.random.default_rng(0)
COUNTS = {"train": 11, "validation": 4}
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


def write(folder, name, features, example):
    """A dataset on the disk as TensorFlow Datasets prepares it, without any code of its own."""
    directory = folder / name / "1.0.0"
    directory.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version("1.0.0"), data_dir=str(directory), module_name=name
    )
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=4)
    writer.initialize_splits(list(COUNTS))
    numbers = iter(range(15))
    for split, count in COUNTS.items():
        writer.add_examples({split: [example(next(numbers)) for _ in range(count)]})
    writer.close_all()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
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
                "area": 1,
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


def test_boxes_classes_and_flags_are_read(prepared):
    for split, numbers in (("train", range(11)), ("val", range(11, 15)), ("all", range(15))):
        source = catalog.open_objects("tfds:tiny_boxes", Options(data_dir=prepared)).load(split)
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
        assert not source.defects.counts


def test_features_are_found_by_type_and_crowds_are_marked(prepared):
    source = catalog.open_objects("tfds:crowds", Options(data_dir=prepared)).load("train")
    assert source.class_names == ("0", "1", "2")
    for index, objects in enumerate(source.objects):
        height, width = decoding.decode(source.encoded(index), "").shape[:2]
        np.testing.assert_allclose(objects.boxes_yxyx, [[0, width / 4, height / 2, width]])
        assert objects.labels.tolist() == [2]
        assert objects.crowd.tolist() == [True]


def test_datasets_without_boxes_are_refused(prepared, tmp_path):
    plain = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
    write(tmp_path, "plain", plain, lambda n: {"image": IMAGES[n], "label": 0})
    with pytest.raises(UserError, match="is not a detection dataset: its features are"):
        catalog.open_objects("tfds:plain", Options(data_dir=tmp_path))
    assert not catalog.has_objects("tfds:plain", Options(data_dir=tmp_path))
    assert catalog.has_objects("tfds:tiny_boxes", Options(data_dir=prepared))
    with pytest.raises(UserError, match='no split "tset"'):
        catalog.open_objects("tfds:tiny_boxes", Options(data_dir=prepared)).load("tset")
    with pytest.raises(UserError, match=r"voc/2007 is not prepared in .*data\.directory=DIR"):
        catalog.open_objects("tfds:voc/2007", Options(data_dir=tmp_path)).load("train")
