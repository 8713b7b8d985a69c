import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.augment.annotated_image import annotated
from tfeff.data.augment.box_geometry import fit
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.data.contents import Contents, require_enough, text
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.defects import Defects
from tfeff.data.images.storage import EncodedImages
from tfeff.errors import UserError


def split(counts, *, defects=None, difficult=0, name="voc:pets/train"):
    """Returns images `0`, `1`, ... with that many objects each, of which the first ones of each image are difficult."""
    objects = [
        Objects(
            np.tile(np.array([0, 0, 4, 4], np.float32), (count, 1)),
            np.zeros(count, np.int32),
            np.arange(count) < difficult,
            np.zeros(count, bool),
        )
        for count in counts
    ]
    ids = [str(index) for index in range(len(counts))]
    images = EncodedImages([b""] * len(counts), "1")
    return Dataset(name, ("cat",), ids, images, objects=objects, defects=defects or Defects())


def test_everything_lost_is_counted():
    defects = Defects()
    defects.add("box without area", "a.xml, object 2", lost="objects")
    defects.add("swapped corners", "a.xml, object 3")
    defects.add("unreadable image", "b.jpg", lost="images")
    found = Contents.of(split([5, 0, 2, 9], defects=defects, difficult=1), 4, {"2": "truncated"})
    assert found.to_dict() == {
        "name": "voc:pets/train",
        "images": 3,
        "objects": 8,
        "ignored_objects": 2,
        "classes": {"cat": 12},
        "lost_images": 2,
        "lost_objects": 7,
        "defects": {
            "box without area": {"count": 1, "lost": "objects", "examples": ["a.xml, object 2"]},
            "corrupt image": {"count": 1, "lost": "images", "examples": ["2: truncated"]},
            "object beyond task.max_objects=4, learned as background; set it to 9": {
                "count": 6,
                "lost": "objects",
                "examples": ["0: 5 objects", "3: 9 objects"],
            },
            "swapped corners": {"count": 1, "lost": None, "examples": ["a.xml, object 3"]},
            "unreadable image": {"count": 1, "lost": "images", "examples": ["b.jpg"]},
        },
    }
    assert (found.lost("images"), found.lost("objects")) == (2 / 5, 7 / 15)


@pytest.mark.parametrize("stretch", [False, True])
def test_objects_that_training_drops_because_of_their_size_are_counted(stretch):
    rng, size = np.random.default_rng(0), (32, 48)
    sizes = np.array([(100, 400), (300, 30), (64, 64)], np.int32)
    starts = [rng.uniform(0, 0.9, (200, 2)) * each for each in sizes]
    sides = [rng.uniform(0, 30, (200, 2)) for _ in sizes]
    boxes = [
        np.minimum(np.concatenate([start, start + side], axis=1), np.tile(each, 2)).astype(np.float32)
        for start, side, each in zip(starts, sides, sizes, strict=True)
    ]
    flags = np.arange(200) < 50
    objects = [Objects(each, np.zeros(200, np.int32), flags, ~np.ones(200, bool)) for each in boxes]
    images = EncodedImages([b""] * 3, "1")
    dataset = Dataset("voc:pets/train", ("cat",), ["0", "1", "2"], images, objects=objects, sizes=sizes)
    used, one = 0, tf.zeros(1, tf.int64)
    for each, (height, width) in zip(objects, sizes, strict=True):
        whole = annotated(tf.zeros((height, width, 3)), each.boxes_yxyx, each.labels, each.difficult)
        kept = fit(whole, size, BoxAugmentation(), Draws(0, tf.constant(0), one, one), stretch=stretch)
        used += np.sum(~kept.difficult.numpy())
    found = Contents.of(dataset, 1000, size=size, stretch=stretch)
    assert 200 < used < 400
    assert (found.objects, found.ignored) == (used + 150, 150)
    lost = "object below 1 pixel at the network's 32x48 pixels"
    assert (found.defects.counts, found.defects.costs) == ({lost: 450 - used}, {lost: "objects"})


def test_labels_have_no_objects():
    labels = Dataset(
        "folder:pets/train", ("a", "b"), ["x", "y"], EncodedImages([b"", b""], "1"), labels=np.array([0, 1])
    )
    found = Contents.of(labels)
    assert (found.images, found.objects) == (2, None)
    assert text({"train": found}) == "train  2 images from folder:pets/train\n2 classes: a 1, b 1"
    require_enough({"train": found}, 0.0)


def test_the_table_shows_each_split_and_each_kind():
    defects = Defects()
    for number in range(5):
        defects.add("box without area", f"a.xml, object {number}", lost="objects")
    found = {
        "train": Contents.of(split([3, 1], defects=defects, difficult=1)),
        "validation": Contents.of(split([1], name="voc:pets/val")),
    }
    assert text(found).splitlines() == [
        "train       2 images, 4 objects from voc:pets/train; 5 objects lost",
        "validation  1 image, 1 object from voc:pets/val",
        "1 class: cat 2",
        "train: 2 objects are marked difficult or crowds; they are not used",
        "train: 5 x box without area (object lost)",
        "    a.xml, object 0",
        "    a.xml, object 1",
        "    a.xml, object 2",
    ]


@pytest.mark.parametrize(("kept", "enough"), [(18, True), (17, False)])
def test_at_most_a_fraction_may_be_lost(kept, enough):
    defects = Defects()
    defects.add("invalid line", "a.txt, line 1", lost="objects", count=2)
    found = {
        "train": Contents.of(split([9] * 2)),
        "test": Contents.of(split([kept], defects=defects, name="yolo:pets/test")),
    }
    if enough:
        require_enough(found, 0.1)
        return
    message = (
        r"yolo:pets/test: 2 of 19 objects are lost \(11 %\); data.max_lost allows 10 %.*data.max_lost=0.11\n.*a\.txt"
    )
    with pytest.raises(UserError, match=message.replace(".*a", "[^$]*a")):
        require_enough(found, 0.1)
    require_enough(found, 0.11)


@pytest.mark.parametrize(("counts", "difficult"), [([0, 0], 0), ([1, 1], 1)])
def test_a_training_split_needs_an_object(counts, difficult):
    empty = Contents.of(split(counts, difficult=difficult))
    with pytest.raises(UserError, match="voc:pets/train: the 2 images to train on have no objects"):
        require_enough({"train": empty}, 0.1)
    require_enough({"test": empty}, 0.1)


def named(*names, labels):
    images = EncodedImages([b""] * len(labels), "1")
    return Contents.of(Dataset("folder:x", names, list(map(str, labels)), images, labels=np.array(labels)))


def test_classes_that_do_not_occur_or_look_alike_are_said():
    assert text({"train": named("B\xe4r", "ants", "Ba\u0308r", "ANTS ", "owl", labels=[0, 0, 1, 2, 3])}).splitlines()[
        1:
    ] == [
        "5 classes: B\xe4r 2, ants 1, Ba\u0308r 1, ANTS  1",
        "    without any example: owl",
        r"    2 classes have nearly the same name: 'B\xe4r', 'Ba\u0308r'; rename them if they are one class",
        "    2 classes have nearly the same name: 'ants', 'ANTS '; rename them if they are one class",
    ]


def test_equal_numbers_and_missing_labels_are_said():
    assert text({"train": named("0", "0.0", "00", "1", "10", "nan", labels=[0, 1, 2, 3, 4, 5])}).splitlines()[2:] == [
        "    3 classes have nearly the same name: '0', '0.0', '00'; rename them if they are one class",
        "    the class nan stands for a missing label: leave out its images, or rename it if it is a class",
    ]


def test_many_classes_take_one_line():
    found = named(*(f"c{number}" for number in range(500)), labels=list(range(400)))
    first, second = text({"train": found}).splitlines()[1:]
    assert first.endswith("c11 1 and 388 more")
    assert second.endswith("c411 and 88 more")


def test_classes_that_other_splits_lack_are_said():
    def of(name, labels):
        images = EncodedImages([b""] * len(labels), "1")
        ids = [str(index) for index in range(len(labels))]
        return Contents.of(Dataset(name, ("cat", "dog", "emu"), ids, images, labels=np.array(labels)))

    found = {"train": of("train", [0, 0, 1]), "validation": of("validation", [0, 1]), "test": of("test", [0, 0])}
    lines = text(found).splitlines()
    assert [line for line in lines if "no images" in line] == ["test: no images of 1 of the 2 classes: dog"]
    assert "no images" not in text({"train": found["train"], "test": of("test", [0, 2])})
    boxes = {"train": Contents.of(split([1, 2])), "test": Contents.of(split([1], difficult=1))}
    assert "test: no objects of 1 of the 1 classes: cat" in text(boxes).splitlines()
