"""Images of colored rectangles, whose boxes can be measured again by their pixels after any transform."""

import dataclasses
import functools

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import THOROUGH, only_thorough, thorough
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import DrawnImages, ImageFiles
from tfeff.data.input.batches import Batches
from tfeff.data.input.box_transform import NO_LABEL, BoxTransform
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.order import Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.sources import catalog, placed_digits

COUNT = 14
SIZE = (72, 96)
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]])
BACKGROUND = np.array([30, 30, 30])
EVERYTHING = BoxAugmentation(
    horizontal_flip=True, vertical_flip=True, rotation=5, scale_range=(0.3, 2.0), aspect=0.2, mosaic=0.5, brightness=0.1
)


def draw(number):
    """Image `number` and the boxes of its `number % 7` rectangles, of labels 0, 1, ..., at random places."""
    rng = np.random.default_rng([number, 2])
    height, width = (int(side) for side in rng.integers(50, 140, 2))
    pixels = np.broadcast_to(BACKGROUND, (height, width, 3)).astype(np.uint8)
    edges = np.linspace(0, width, number % len(COLORS) + 2).astype(int)[: number % 7 + 1]
    boxes = []
    for label in range(len(edges) - 1):
        top, bottom = int(rng.integers(0, height // 2)), int(rng.integers(height // 2 + 4, height + 1))
        box = top, int(edges[label]), bottom, max(int(edges[label]) + 4, int(edges[label + 1]) - 2)
        pixels[box[0] : box[2], box[1] : box[3]] = COLORS[label]
        boxes.append(box)
    return pixels, np.array(boxes, np.float32).reshape(-1, 4)


def encode(pixels):
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def rectangles(images=None):
    drawn = [draw(number) for number in range(COUNT)]
    labels = [np.arange(len(boxes)) for _, boxes in drawn]
    return Dataset(
        name="rectangles",
        class_names=tuple("abcdef"),
        ids=[str(number) for number in range(COUNT)],
        images=images or DrawnImages(COUNT, lambda index: encode(drawn[index][0]), "1"),
        objects=[
            Objects(boxes, label.astype(np.int32), label % 2 == 0, label % 3 == 0)
            for (_, boxes), label in zip(drawn, labels, strict=True)
        ],
        sizes=np.array([pixels.shape[:2] for pixels, _ in drawn], np.int32),
    )


@pytest.fixture(scope="module")
def native():
    """Decoded on the fly, at their own sizes."""
    return Reader(ImageCache.open(rectangles(), cache="none", fit="whole"))


@functools.lru_cache(maxsize=2)
def traced(transform):
    """Over a dozen images, a graph is several times as fast as eager operations."""
    specs = (tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.int64))
    return tf.function(
        lambda epoch, index: transform.load(Draws(transform.seed, epoch, index[tf.newaxis], tf.zeros(1, tf.int64))),
        input_signature=specs,
        autograph=False,
        jit_compile=False,
    )


def example(transform, index, epoch=0):
    loaded = traced(transform)(tf.constant(epoch, tf.int64), tf.constant(index, tf.int64))
    return {key: value.numpy()[0] for key, value in loaded.items()}


def measured(image, label):
    """Returns the box around the pixels whose nearest color is that of a label."""
    distance = np.linalg.norm(image[..., None, :] - np.concatenate([COLORS, [BACKGROUND]]), axis=-1)
    mask = (distance.argmin(axis=-1) == label) & (distance.min(axis=-1) < 140) & (np.ptp(image, axis=-1) > 100)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def to_stored(batch):
    """Returns valid boxes in pixels of the stored image, by the documented formula."""
    window = batch["window_yxyx"]
    scale = batch["image_size"] / (window[2:] - window[:2])
    return (batch["boxes_yxyx"][batch["valid"]] - np.tile(window[:2], 2)) * np.tile(scale, 2)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["native", "letterbox", "stretch"])
def test_boxes_surround_their_pixels_and_map_back_to_the_stored_image(form):
    dataset = rectangles()
    options = {"native": {"cache": "none", "fit": "whole"}, "letterbox": {"fit": "letterbox"}, "stretch": {}}[form]
    cache = ImageCache.open(dataset, None if form == "native" else (64, 100), **options)
    transform = BoxTransform(Reader(cache), SIZE, max_objects=7, stretch=form == "stretch")
    for index in range(COUNT):
        batch = example(transform, index)
        assert batch["image"].shape == (*SIZE, 3)
        objects = dataset.objects[index]
        assert batch["valid"].tolist() == [row < len(objects) for row in range(7)]
        np.testing.assert_array_equal(batch["label"][: len(objects)], objects.labels)
        np.testing.assert_array_equal(batch["difficult"][: len(objects)], objects.difficult)
        np.testing.assert_array_equal(batch["crowd"][: len(objects)], objects.crowd)
        assert (batch["label"][len(objects) :] == NO_LABEL).all()
        for key in ("boxes_yxyx", "difficult", "crowd"):
            assert not batch[key][len(objects) :].any()
        for box, label in zip(batch["boxes_yxyx"], objects.labels, strict=False):
            np.testing.assert_allclose(measured(batch["image"], label), box, atol=1.5)
        assert batch["image_size"].tolist() == dataset.sizes[index].tolist()
        np.testing.assert_allclose(to_stored(batch), objects.boxes_yxyx, atol=0.01)
        top, left, bottom, right = batch["window_yxyx"].astype(int)
        assert (top, left) == (0, 0)
        assert (bottom, right) == SIZE if form == "stretch" else bottom == SIZE[0] or right == SIZE[1]
        assert (batch["image"][bottom:] == 128).all()
        assert (batch["image"][:, right:] == 128).all()
        if form == "native":
            ratio = batch["window_yxyx"][2:] / dataset.sizes[index]
            assert abs(ratio[0] - ratio[1]) < 0.02


def test_augmented_boxes_surround_their_pixels(native):
    augmentation = BoxAugmentation(
        horizontal_flip=True, vertical_flip=True, scale_range=(0.3, 2.0), aspect=0.2, min_share=0.1
    )
    transform = BoxTransform(native, SIZE, max_objects=7, augmentation=augmentation)
    kept = 0
    for index in range(COUNT):
        batch = example(transform, index)
        for box, label in zip(batch["boxes_yxyx"][batch["valid"]], batch["label"], strict=False):
            if (box[2:] - box[:2]).min() > 3:
                np.testing.assert_allclose(measured(batch["image"], label), box, atol=1.6)
                kept += 1
        np.testing.assert_array_equal(batch["difficult"], batch["valid"] & (batch["label"] % 2 == 0))
        np.testing.assert_array_equal(batch["crowd"], batch["valid"] & (batch["label"] % 3 == 0))
        assert "window_yxyx" not in batch
    assert kept > COUNT


def digits(painted):
    """Digits on photos; in each image, the first object has label 1 and, if `painted`, is covered with magenta."""
    source = catalog.open_objects("embedded:placed_digits").load("validation")
    chosen = [index for index in range(len(source)) if len(source.objects[index])]

    def encoded(position):
        index = chosen[position]
        pixels = cv2.imdecode(np.frombuffer(source.encoded(index), np.uint8), cv2.IMREAD_COLOR)[..., ::-1].copy()
        top, left, bottom, right = source.objects[index].boxes_yxyx[0].astype(int)
        # Both versions are far from gray, so that the difference of the two is large wherever the object lies.
        pixels[top:bottom, left:right] = (255, 0, 255) if painted else (0, 255, 0)
        return encode(pixels)

    objects = [source.objects[index] for index in chosen]
    return Dataset(
        name="digits",
        class_names=("other", "first"),
        ids=[source.ids[index] for index in chosen],
        images=DrawnImages(len(chosen), encoded, "1"),
        objects=[
            Objects(each.boxes_yxyx, np.eye(len(each), 1, dtype=np.int32)[:, 0], each.difficult, each.crowd)
            for each in objects
        ],
        sizes=np.full((len(chosen), 2), 128, np.int32),
    )


@only_thorough
def test_mosaic_of_real_images_keeps_boxes_around_their_pixels(monkeypatch):
    """Two datasets differ in the pixels of one object per image alone; so must their mosaics."""
    monkeypatch.setattr(placed_digits, "COUNTS", {"validation": 20})
    augmentation = BoxAugmentation(horizontal_flip=True, scale=0.4, mosaic=1.0, min_share=0.0)
    transforms = [
        BoxTransform(
            Reader(ImageCache.open(digits(painted), cache="none", fit="whole")), SIZE, augmentation=augmentation
        )
        for painted in (False, True)
    ]
    several = 0
    for index in range(6):
        plain, painted = (example(transform, index) for transform in transforms)
        for key in ("boxes_yxyx", "label", "valid"):
            np.testing.assert_array_equal(plain[key], painted[key])
        differs = np.abs(plain["image"] - painted["image"]).max(axis=-1) > 127
        boxes = plain["boxes_yxyx"][plain["label"] == 1]
        several += len(boxes) > 1
        for box in boxes:
            outer = np.clip([*np.floor(box[:2]), *np.ceil(box[2:])], 0, [*SIZE, *SIZE]).astype(int)
            inside = differs[outer[0] : outer[2], outer[1] : outer[3]]
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            found = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]) + np.tile(outer[:2], 2)
            np.testing.assert_allclose(found, box, atol=1.1)
            differs[outer[0] : outer[2], outer[1] : outer[3]] = False
        assert differs.sum() <= 2 * sum(SIZE)  # slivers of dropped objects, at most a pixel thin
    assert several > 2


def collected(transform, batch_size=4, epochs=2, start_step=0, **options):
    batches = Batches(transform, batch_size, order=Shuffled(COUNT, 0), **options)
    return list(batches.training_batches(epochs, start_step).as_numpy_iterator())


@pytest.mark.slow
def test_batches_do_not_depend_on_threads_batch_size_workers_or_restarts(native):
    # Tracing takes seconds; tests/data/augment/test_boxes.py has images with all steps.
    further = {"mosaic": 0.5, "copy_paste": 0.5} if THOROUGH else {}
    varied = BoxAugmentation(horizontal_flip=True, scale_range=(0.3, 2.0), mixup=0.5, **further)
    transform = BoxTransform(native, SIZE, max_objects=8, augmentation=varied)
    reference = collected(transform, parallelism=1)
    assert {key: (value.shape, value.dtype.name) for key, value in reference[0].items()} == {
        "image": ((4, *SIZE, 3), "float32"),
        "boxes_yxyx": ((4, 8, 4), "float32"),
        "label": ((4, 8), "int32"),
        "valid": ((4, 8), "bool"),
        "difficult": ((4, 8), "bool"),
        "crowd": ((4, 8), "bool"),
        "dropped": ((4,), "int32"),
        "weight": ((4,), "float32"),
        "index": ((4,), "int64"),
    }
    # Tracing takes most of the time, so the second of two workers, which has two images of each batch, stands for both.
    resumed = collected(transform, start_step=2, shard=(1, 2), parallelism=3)
    small = collected(transform, batch_size=2, epochs=1, parallelism=2)
    assert len(resumed) == len(reference) - 2
    for key in reference[0]:
        for part, batch in zip(resumed, reference[2:], strict=True):
            np.testing.assert_array_equal(part[key], batch[key][2:], err_msg=key)
        for step in range(3):
            halves = np.concatenate([small[2 * step][key], small[2 * step + 1][key]])
            np.testing.assert_array_equal(halves, reference[step][key])


def test_evaluation_pads_the_last_batch_and_marks_its_objects_invalid(native):
    transform = BoxTransform(native, SIZE, augmentation=EVERYTHING)
    batches = Batches(transform, 4).evaluation_batches()
    assert all(None not in spec.shape for spec in batches.element_spec.values())
    parts = list(batches.as_numpy_iterator())
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    assert joined["index"].tolist() == [*range(COUNT), -1, -1]
    assert joined["weight"].tolist() == [1.0] * COUNT + [0.0] * 2
    assert joined["valid"].sum(axis=1).tolist() == [*native.object_counts, 0, 0]
    assert "window_yxyx" in joined


def test_the_largest_objects_stay_before_ignored_ones_and_the_rest_is_counted(native):
    transform = BoxTransform(native, SIZE, max_objects=2)
    unlimited = BoxTransform(native, SIZE)
    for index in range(COUNT):
        batch, whole = example(transform, index), example(unlimited, index)
        boxes = whole["boxes_yxyx"][whole["valid"]]
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        ignored = (whole["difficult"] | whole["crowd"])[whole["valid"]]
        kept = np.sort(np.lexsort((-area, ignored))[:2])
        np.testing.assert_array_equal(batch["boxes_yxyx"][batch["valid"]], boxes[kept])
        np.testing.assert_array_equal(batch["label"][batch["valid"]], whole["label"][kept])
        assert batch["dropped"] == max(0, len(boxes) - 2)


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["whole", thorough("letterbox")])
def test_extra_boxes_follow_every_step_as_objects_do(fit):
    dataset = rectangles()

    def boxes(index):
        """Returns the objects themselves, then the whole image."""
        return np.concatenate([dataset.objects[index].boxes_yxyx, [[0, 0, *dataset.sizes[index]]]]).astype(np.float32)

    cache = ImageCache.open(dataset, *([] if fit == "whole" else [(64, 100)]), fit=fit, cache="none")
    reader = Reader(cache, lambda index: tf.numpy_function(boxes, [index], tf.float32))
    settings = {"horizontal_flip": True, "vertical_flip": True, "rotation": 5.0, "mosaic": 0.5, "min_share": 0.6}
    for augmentation in (BoxAugmentation(), BoxAugmentation(scale_range=(0.3, 2.0), **settings)):
        transform = BoxTransform(reader, SIZE, max_extra_boxes=40, augmentation=augmentation)
        objects = extras = 0
        for index in range(0, COUNT, 2):
            batch = example(transform, index)
            valid = batch["extra_boxes_yxyx"][batch["extra_valid"]]
            for box in batch["boxes_yxyx"][batch["valid"]]:
                assert np.abs(valid - box).max(axis=1).min() < 1e-4
            assert (valid >= 0).all()
            assert (valid <= [*SIZE, *SIZE]).all()
            assert not batch["extra_boxes_yxyx"][~batch["extra_valid"]].any()
            objects, extras = objects + batch["valid"].sum(), extras + len(valid)
        assert extras - objects >= COUNT / 2  # whole images, and objects with little left
    few = example(BoxTransform(reader, SIZE, max_extra_boxes=2), 5)
    np.testing.assert_array_equal(few["extra_boxes_yxyx"], few["boxes_yxyx"][:2])


@pytest.mark.slow
def test_the_last_epochs_only_flip(native):
    varied = dataclasses.replace(EVERYTHING, mosaic=0.5 if THOROUGH else 0.0, mixup=0.5)
    transform = BoxTransform(native, SIZE, augmentation=varied, plain_from=1)
    flipped = BoxTransform(native, SIZE, augmentation=varied.plain)
    for index in (3, 4):
        late, plain = example(transform, index, epoch=1), example(flipped, index, epoch=1)
        np.testing.assert_array_equal(late["image"], plain["image"])
        assert (example(transform, index)["image"] != late["image"]).any()


@only_thorough
def test_a_lost_partner_of_a_mosaic_is_named(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        path.write_bytes(encode(draw(number)[0]))
    cache = ImageCache.open(rectangles(ImageFiles(paths)), cache="none", fit="whole").take(np.array([5, 6]))
    batches = Batches(BoxTransform(Reader(cache), SIZE, augmentation=BoxAugmentation(mosaic=1.0)), 1)
    paths[6].unlink()
    with pytest.raises(tf.errors.UnknownError, match="UserError: 6 can no longer be read: "):
        next(batches.training_batches(1).as_numpy_iterator())


def test_what_a_transform_needs_is_checked(native):
    dataset = rectangles()
    with pytest.raises(ValueError, match="images were stretched in the cache"):
        BoxTransform(Reader(ImageCache.open(dataset, (64, 100))), SIZE)
    with pytest.raises(ValueError, match="the reader has no extra boxes"):
        BoxTransform(native, SIZE, max_extra_boxes=3)
    cache = ImageCache.open(dataclasses.replace(dataset, objects=()), cache="none", fit="whole")
    with pytest.raises(ValueError, match="images have no objects"):
        BoxTransform(Reader(cache), SIZE)
