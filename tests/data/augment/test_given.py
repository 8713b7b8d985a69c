"""Own augmentation: neither threads, batch size, parts nor restarts change an image; boxes follow their images."""

import functools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.augment import given
from tfeff.data.augment.given import GivenAugmentation
from tfeff.data.augment.policy import Augmentation, BoxAugmentation
from tfeff.data.input.batches import Batches
from tfeff.data.input.box_transform import BoxTransform, SingleObjectTransform
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.order import Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.sources.annotations import single_objects
from tfeff.data.sources.given import Images
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

COUNT, SIZE = 12, (8, 10)
X = np.random.default_rng(1).integers(0, 256, (COUNT, *SIZE, 3), np.uint8)
Y = np.arange(COUNT) % 3
OBJECTS = [{"boxes_yxyx": [[1, 2, 5, 6]], "labels": [label]} for label in Y]


def noise(image, rng):
    return image + rng.normal(0, 20, image.shape)


def shift(image, boxes, rng):
    """Moves image and boxes to the right by 0 to 9 pixels."""
    assert boxes.dtype == np.float32
    by = int(rng.integers(0, 10))
    return np.roll(image, by, axis=1), boxes + np.array([0, by, 0, by])


def transform(kind, function, **options):
    targets = Y if kind is ImageTransform else OBJECTS
    dataset = Images({"train": (X, targets)}).dataset("train", Options())
    dataset = single_objects(dataset) if kind is SingleObjectTransform else dataset
    made = kind(Reader(ImageCache.open(dataset, SIZE)), SIZE, seed=3, **options)
    made.given = GivenAugmentation("own", function)
    return made


def by_example(transform, batch_size, *, start=0, shard=(0, 1), parallelism=2):
    """Returns (epoch, index) -> the tensors of the example."""
    batches = Batches(transform, batch_size, order=Shuffled(COUNT, 3), shard=shard, parallelism=parallelism)
    steps, found = COUNT // batch_size, {}
    for step, batch in enumerate(batches.training_batches(2, start), start):
        values = {key: value.numpy() for key, value in batch.items()}
        for row, index in enumerate(values["index"]):
            found[step // steps, int(index)] = {key: value[row] for key, value in values.items()}
    return found


OPTIONS = {SingleObjectTransform: {}, BoxTransform: {"max_objects": 2, "stretch": True}}
CASES = [
    (ImageTransform, noise, {}),
    (ImageTransform, noise, {"augmentation": Augmentation(horizontal_flip=True, rotation=20.0)}),
    (SingleObjectTransform, shift, {}),
    (BoxTransform, shift, {"max_objects": 2, "stretch": True, "augmentation": BoxAugmentation(horizontal_flip=True)}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "function", "options"), CASES)
def test_results_depend_on_seed_epoch_and_example_alone(kind, function, options):
    varied = transform(kind, function, **options)
    expected = by_example(varied, 6)
    assert len(expected) == 2 * COUNT
    for other in ({"parallelism": 1}, {"start": 3, "shard": (1, 2)}):
        found = by_example(varied, 6 if "start" in other else 4, **other)
        for key, example in found.items():
            for name in ("image", *(name for name in ("box", "boxes_yxyx") if name in example)):
                np.testing.assert_array_equal(example[name], expected[key][name])
    first, second = (expected[epoch, 0]["image"] for epoch in (0, 1))
    assert (first != second).any()
    evaluated = next(iter(Batches(varied, 4).evaluation_batches()))
    np.testing.assert_array_equal(evaluated["image"], X[:4].astype(np.float32))


def test_the_generator_is_philox_at_the_place_of_the_example():
    (example,) = (each for key, each in by_example(transform(ImageTransform, noise), 4).items() if key == (1, 5))
    rng = np.random.Generator(np.random.Philox(key=np.array([3, 16], np.uint64), counter=[0, 5, 1, 0]))
    expected = np.clip(X[5].astype(np.float32) + rng.normal(0, 20, X[5].shape), 0, 255)
    np.testing.assert_allclose(example["image"], expected, rtol=1e-6)


def test_the_last_plain_epochs_are_not_varied():
    found = by_example(transform(ImageTransform, noise, plain_from=1), 4)
    for (epoch, index), example in found.items():
        assert (example["image"] == X[index]).all() == (epoch == 1)


def test_boxes_follow_their_images_and_those_that_leave_are_difficult_then_dropped():
    found = by_example(transform(BoxTransform, shift, max_objects=2, stretch=True, augmentation=BoxAugmentation()), 4)
    kept = []
    for (_, index), example in found.items():
        by = next(by for by in range(10) if (np.roll(X[index], by, axis=1) == example["image"]).all())
        share = np.clip((10 - 2 - by) / 4, 0, 1)
        kept.append(example["valid"].sum())
        assert kept[-1] == (share > 0)
        assert example["difficult"][0] == (0 < share < BoxAugmentation().min_share)
        if kept[-1]:
            np.testing.assert_array_equal(example["boxes_yxyx"][0], [1, 2 + by, 5, min(6 + by, 10)])
    assert set(kept) == {0, 1}


def test_an_image_that_would_lose_its_only_object_stays():
    found = by_example(transform(SingleObjectTransform, shift, augmentation=BoxAugmentation()), 4)
    for (_, index), example in found.items():
        top, left, bottom, right = example["box"] * [8, 10, 8, 10]
        assert (round(top), round(bottom)) == (1, 5)
        assert right - left > 0
        by = round(left) - 2
        np.testing.assert_array_equal(np.roll(X[index], by, axis=1), example["image"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image, rng: image[1:], r"augment=own: returned an image of shape \(7, 10, 3\)"),
        (lambda image, rng: None, r"augment=own: returned an image of shape \(\)"),
        (lambda image, rng: image * np.nan, r"augment=own: returned an image with values that are not finite"),
        (lambda image, rng: image + np.inf, r"augment=own: returned an image with values that are not finite"),
    ],
)
def test_wrong_results_are_reported(function, message):
    with pytest.raises(tf.errors.OpError, match=message):
        by_example(transform(ImageTransform, function), 4)


def test_a_wrong_number_of_boxes_is_reported():
    wrong = transform(SingleObjectTransform, lambda image, boxes, rng: (image, boxes[:0]))
    with pytest.raises(tf.errors.OpError, match=r"augment=own: it should return \(image, boxes_yxyx\)"):
        by_example(wrong, 4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SingleObjectTransform, BoxTransform])
@pytest.mark.parametrize("change", [[0, 0, np.nan, 0], [0, 0, 0, -np.inf], [5, 0, 0, 0]], ids=str)
def test_boxes_that_are_none_are_reported(kind, change):
    wrong = transform(kind, lambda image, boxes, rng: (image, boxes + np.float32(change)), **OPTIONS[kind])
    with pytest.raises(tf.errors.OpError, match=r"augment=own: made \[.*\] of the box \[1\.0, 2\.0, 5\.0, 6\.0\]"):
        by_example(wrong, 4)


def closure(strength, table=()):
    def vary(image, rng):
        return image * strength + len(table)

    return vary


class Fade:
    def __init__(self, share):
        self.share = share

    def __call__(self, image, rng):
        return image * self.share


SAME_NAMES = [
    [lambda image, rng: image + 1, lambda image, rng: image + 2, lambda image, rng, by=1: image + by],
    [closure(1.0), closure(2.0), closure(1.0, [3]), closure(1.0, {"a": np.zeros(2)}), closure(1.0, {"a": np.ones(2)})],
    [functools.partial(noise), functools.partial(shift), functools.partial(noise, rng=3)],
    [Fade(0.5), Fade(0.6), Fade(0.5).__call__],
]


@pytest.mark.parametrize("functions", SAME_NAMES, ids=["lambdas", "closures", "partials", "objects"])
def test_functions_of_one_name_are_told_apart(functions):
    assert len({given.offer(each) for each in functions}) == len(functions)


@pytest.mark.slow
def test_the_same_function_has_the_same_name_in_every_process():
    assert given.offer(closure(1.5, ["a"])) == given.offer(closure(1.5, ["a"]))
    assert given.offer(Fade(0.5)) == given.offer(Fade(0.5))
    code = (
        "from tfeff.data.augment import given; from tests.data.augment.test_given import closure, noise; "
        "print(given.offer(noise), given.offer(closure(1.5, {'a', 'b', 'c'})))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == [given.offer(noise), given.offer(closure(1.5, {"c", "b", "a"}))]


def test_functions_are_found_by_name():
    name = given.offer(noise)
    assert "test_given.noise-" in name
    assert given.find(name).function is noise
    with pytest.raises(UserError, match=r"data.augment is other, a function that was given in Python"):
        given.find("other")
