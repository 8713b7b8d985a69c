"""Images from Python: every form gives the same dataset, and what does not fit is refused with its place."""

import mmap

import numpy as np
import pytest
import tensorflow as tf

from tfeff import selection
from tfeff.data.images.storage import PixelArray
from tfeff.data.sources import catalog, given
from tfeff.data.sources.given import Images, offer
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), np.uint8)
Y = np.array([0, 2, 1, 1, 0, 2])
BOXES = [{"boxes_yxyx": [[0, 1, 4, 6], [0, 1, 4, 5]][: i % 3], "labels": [0] * (i % 3)} for i in range(6)]


def pixels(dataset):
    return [dataset.read(tf.constant(index)).numpy() for index in range(len(dataset))]


@pytest.mark.parametrize(
    "form",
    [
        (X, Y),
        (list(X), Y.tolist()),
        ((image, label) for image, label in zip(X, Y, strict=True)),
        tf.data.Dataset.from_tensor_slices((X, Y)),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(4),
    ],
    ids=["arrays", "lists", "generator", "tf.data", "batched"],
)
def test_every_form_gives_the_same_dataset(form):
    dataset = catalog.open_labels(offer({"train": form})).load("train")
    np.testing.assert_array_equal(pixels(dataset), X)
    np.testing.assert_array_equal(dataset.labels, Y)
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.name == offer({"train": (X, Y)}) + "/train"  # the name holds a digest of the contents


def test_class_names_may_be_an_array():
    assert Images({"train": (X, Y)}, class_names=np.array(["c", "a", "b"])).class_names == ("c", "a", "b")


def test_images_of_several_sizes_and_gray_ones():
    images = [X[0], X[1, :4], X[2, :, :, 0]]
    dataset = catalog.open_labels(offer({"train": (images, ["b", "a", "b"])})).load("train")
    assert dataset.class_names == ("a", "b")
    np.testing.assert_array_equal(dataset.labels, [1, 0, 1])
    np.testing.assert_array_equal(dataset.sizes, [[5, 7], [4, 7], [5, 7]])
    for read, image in zip(pixels(dataset), images, strict=True):
        np.testing.assert_array_equal(read, image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))


@pytest.mark.parametrize("heights", [[5] * 6, [5, 4, 3, 5, 2, 5]], ids=["one size", "several sizes"])
def test_a_generator_may_fill_the_same_arrays_again(heights):
    def refilled():
        image, target = np.empty((5, 7, 3), np.uint8), {"boxes_yxyx": np.empty((1, 4)), "labels": np.empty(1, np.int64)}
        for number, height in enumerate(heights):
            image[:] = X[number]
            target["boxes_yxyx"][:] = [[0, number, height, number + 1]]
            target["labels"][:] = number % 2
            yield image[:height], target

    dataset = catalog.open_objects(offer({"train": refilled()})).load("train")
    for number, (read, height) in enumerate(zip(pixels(dataset), heights, strict=True)):
        np.testing.assert_array_equal(read, X[number, :height])
        assert dataset.objects[number].boxes_yxyx.tolist() == [[0, number, height, number + 1]]
        assert dataset.objects[number].labels.tolist() == [number % 2]


def test_images_of_one_size_are_in_memory_once():
    dataset = catalog.open_labels(offer({"train": (X, Y)})).load("train")
    assert isinstance(dataset.images, PixelArray)
    assert dataset.images._pixels.ctypes.data % mmap.PAGESIZE == 0  # TensorFlow shares such memory


def test_copies_among_images_of_several_sizes_are_found():
    train, test = [X[0], X[1, :4], X[2]], [X[3], X[1, :4]]
    source = catalog.open_labels(offer({"train": (train, [0, 1, 1]), "test": (test, [0, 1])}))
    (note,) = selection.notes(source.load("train"), {"test": source.load("test")})
    assert note.startswith("1 of 2 test images are copies of training images, byte by byte (test[1] = train[1])")
    again = catalog.open_labels(offer({"other": (train[::-1], [0, 0, 1])})).load("other")
    np.testing.assert_array_equal(again.origins, source.load("train").origins[::-1])


def test_boxes_are_fixed_and_counted_as_in_files():
    objects = [*BOXES[:5], {"boxes_yxyx": [[1, 1, 9, 3], [2, 2, 2, 4]], "labels": ["cat", "cat"]}]
    images = Images({"train": (X, objects)}, class_names=["cat"], name="pets")
    dataset = catalog.open_objects(offer(images)).load("train")
    assert images.name.startswith("pets-")
    assert [len(each) for each in dataset.objects] == [0, 1, 2, 0, 1, 1]
    np.testing.assert_array_equal(dataset.objects[5].boxes_yxyx, [[1, 1, 5, 3]])
    assert dataset.defects.counts == {"box partly outside": 1, "box without area": 1}
    with pytest.raises(UserError, match=r"pets-\w+/train\[5\], object 1"):
        catalog.open_objects(offer(images), Options(on_defect="stop")).load("train")


@pytest.mark.parametrize("change", ["pixel", "label", "order", "split", "image", "class"])
def test_the_name_changes_with_the_contents(change):
    x, y, split, names = X.copy(), Y.copy(), "train", None
    if change == "pixel":
        x[3, 2, 2, 1] ^= 1
    elif change == "label":
        y[0] = 1
    elif change == "order":
        x, y = x[::-1], y[::-1]
    elif change == "image":
        x, y = x[:-1], y[:-1]
    elif change == "split":
        split = "test"
    else:
        names = ["a", "b", "c"]
    assert Images({split: (x, y)}, class_names=names).name != Images({"train": (X, Y)}).name


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ((X, Y), {}, 'give them by split, such as {"train"'),
        ({"train": (X, Y[:5])}, {}, "train: 6 images, but 5 labels"),
        ({"train": X}, {}, r"give \(images, labels\)"),
        ({"train": (X / 255, Y)}, {}, r"train\[0\]: an array of shape .* type float64; give uint8"),
        ({"train": (X[..., :2], Y)}, {}, r"train\[0\]: an array of shape \(5, 7, 2\)"),
        ({"train": iter(())}, {}, "train: no images"),
        ({"train": [X[0]]}, {}, "each element must be a pair"),
        ({"train": (X, Y)}, {"class_names": ["a", "b"]}, r"train\[1\]: label 2; give the name of a class, or a number"),
        ({"train": (X, Y)}, {"class_names": []}, r"train\[0\]: label 0; give the name of a class"),
        ({"train": (X, list("aabbcc"))}, {"class_names": ["a", "b"]}, r'train\[4\]: "c" is not among the classes a, b'),
        ({"train": (X, np.eye(3)[Y])}, {}, r"train\[0\]: label 1.0"),
        ({"train": (X[:4], [1, "cat", "cat", "1"])}, {}, r'labels are names \("cat"\) and numbers \(1\)'),
        ({"train": (X[:1], [{"boxes_yxyx": [[0, 0, 1, 1]] * 2, "labels": ["a", 1]}])}, {}, "are names .* and numbers"),
        ({"train": (X, Y)}, {"class_names": ["a", "b", "a"]}, 'class_names has "a" twice'),
        ({"train": (X[:1], [{"boxes_yxyx": []}])}, {}, r"train\[0\]: objects have no labels"),
        ({"train": (X[:1], [{"labels": []}])}, {}, r"train\[0\]: objects have no boxes_yxyx"),
        ({"train": (X[:1], [{"boxes_yxyx": [[0, 1, 2]], "labels": [0]}])}, {}, r"have the shape \(1, 3\); give"),
        ({"train": (X[:1], [{"boxes_yxyx": [[0], [1, 2]], "labels": [0]}])}, {}, r"are not numbers, \[n, 4\]"),
        ({"train": (X[:2], [0, BOXES[1]])}, {}, r"train\[1\]: give all images a label each, or all of them objects"),
        ({"train": (X[:2], [None, 1])}, {}, r"train\[0\]: label None; give the name"),
        ({"train": (X[:1], [b"caf\xe9"])}, {}, r"train\[0\]: label b'caf\\xe9' is not UTF-8"),
        ({"train": (iter(X), Y)}, {}, "must be arrays or lists; of a generator, give pairs"),
        ({"train": [(X[:3], Y[:2])]}, {}, "a batch has 3 images and 2 labels"),
        ({"train": [(X[:3], 1)]}, {}, "a batch has 3 images and 1 labels"),
        ({"train": (X, [BOXES[0], *([{"boxes_yxyx": [[0, 0, 1, 1]], "labels": []}] * 5)])}, {}, "0 labels and 1 boxes"),
    ],
)
def test_other_forms_are_refused(splits, options, message):
    with pytest.raises(UserError, match=message):
        Images(splits, **options)


def test_more_than_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(given, "LIMIT", X[:4].nbytes)
    with pytest.raises(UserError, match="train: more than 0 GB of pixels in all splits; write them to files"):
        Images({"train": (X, Y)})
    assert Images({"train": (X[:2], Y[:2]), "test": (X[2:4], Y[2:4])}).splits == ("train", "test")
    with pytest.raises(UserError, match="test: more than 0 GB of pixels in all splits"):
        Images({"train": (X[:3], Y[:3]), "test": (X[3:6], Y[3:6])})


def test_images_that_were_not_given_are_asked_for():
    with pytest.raises(UserError, match=r"give the same images again: tfeff\.train"):
        catalog.open_labels("python:images-0123")
    name = offer({"train": (X, Y)})
    with pytest.raises(UserError, match="needs images with boxes; these have labels"):
        catalog.open_objects(name)
    with pytest.raises(UserError, match='no split "tests"'):
        catalog.open_labels(name).load("tests")
