import numpy as np
import pytest
import tensorflow as tf

from tests.data.rectangles import draw, draws, find, traced
from tests.thoroughness import thorough
from tfeff.data.augment import operations
from tfeff.data.augment.annotated_image import AnnotatedImage, annotated
from tfeff.data.augment.box_autoaugment import FILL, OPERATIONS, POLICIES, Turn, autoaugment

SIDE = 60


def image(number: int = 0, objects: int = 2) -> AnnotatedImage:
    return draw(number, objects, sides=(SIDE, SIDE + 1))


def turn(level: float = 10.0, sign: float = 1.0, probability: float = 1.0, picked: float = 0.0) -> Turn:
    objects = tf.constant(np.stack([np.full(32, picked), np.full(32, 0.5), np.full(32, 0.5)]), tf.float32)
    return Turn(tf.constant(level), tf.constant(sign), tf.constant(probability), tf.constant([0.5, 0.25]), objects, 0.0)


def test_policies_have_their_lines() -> None:
    assert {name: (len(lines), max(map(len, lines))) for name, lines in POLICIES.items()} == {
        "v0": (5, 2),
        "v1": (20, 2),
        "v2": (15, 3),
        "v3": (15, 2),
    }
    every = [each for lines in POLICIES.values() for line in lines for each in line]
    assert {name for name, _, _ in every} < OPERATIONS.keys()
    assert all(level in range(0, 11, 2) and round(5 * probability, 9) in range(6) for _, probability, level in every)


@pytest.mark.parametrize("level", [4.0, 10.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"])
def test_rectangles_stay_in_their_boxes(name: str, sign: float, level: float) -> None:
    found = 0
    for number in range(3):
        before = image(number)
        after = OPERATIONS[name](before, turn(level, sign))
        pixels = after.image.numpy()
        for box, label in zip(after.boxes_yxyx.numpy(), after.labels.numpy(), strict=True):
            if (box[2:] - box[:2] < 8).any():
                continue
            rectangle = find(pixels, label)
            assert (rectangle[:2] >= box[:2] - 1.1).all()
            assert (rectangle[2:] <= box[2:] + 1.1).all()
            if name.startswith("Translate"):
                np.testing.assert_allclose(rectangle, box, atol=1.1)
                axis, by = int(name.endswith("X")), sign * level / 10 * 250 * SIDE / 640
                moved = before.boxes_yxyx.numpy()[label] + np.roll([by, 0, by, 0], axis)
                np.testing.assert_allclose(box, np.clip(moved, 0, SIDE), atol=1e-3)
            found += 1
    assert found >= 2


@pytest.mark.parametrize("name", sorted({"Cutout", "BBox_Cutout", "SolarizeAdd", "Posterize", "Color", "Equalize"}))
def test_operations_that_leave_boxes_alone(name: str) -> None:
    before = image()
    after = OPERATIONS[name](before, turn(6.0))
    for left, right in zip(after[1:], before[1:], strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(after.image, before.image)


def test_levels_of_pixels() -> None:
    gray = annotated(tf.fill((8, 8, 3), 100.0), tf.zeros((0, 4)), tf.zeros(0, tf.int32))
    expected = {"SolarizeAdd": 166, "Solarize": 100, "Posterize": 64, "Brightness": 118, "AutoContrast": 100}
    for name, level in expected.items():
        assert np.unique(OPERATIONS[name](gray, turn(6.0)).image).tolist() == [level], name
    assert np.unique(OPERATIONS["Posterize"](gray, turn(2.0)).image).tolist() == [0]  # the highest bit is left


def test_cutouts_are_gray_rectangles_of_their_size() -> None:
    large = annotated(tf.zeros((320, 320, 3)), tf.constant([[100, 60, 180, 220]]), tf.constant([0]))
    cut = np.argwhere(OPERATIONS["Cutout"](large, turn(4.0)).image.numpy()[..., 0] == FILL)
    # half a side is 40 of 640 pixels; the center is at (1/2, 1/4)
    assert cut.min(axis=0).tolist() == [140, 60]
    assert cut.max(axis=0).tolist() == [179, 99]
    cut = np.argwhere(OPERATIONS["BBox_Cutout"](large, turn(10.0)).image.numpy()[..., 0] == FILL)
    # three quarters of the box, around (1/2, 1/4) of it
    assert cut.min(axis=0).tolist() == [110, 40]
    assert cut.max(axis=0).tolist() == [169, 159]
    cut = np.argwhere(OPERATIONS["Cutout_Only"](large, turn(10.0)).image.numpy()[..., 0] == FILL)
    assert cut.min(axis=0).tolist() == [115, 115]
    assert cut.max(axis=0).tolist() == [164, 164]


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name.endswith("_Only")])
def test_only_the_insides_of_boxes_change(name: str) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.float32)
    box = np.array([10, 20, 40, 50])
    before = annotated(tf.constant(pixels), tf.constant(box[None]), tf.constant([0]))
    after = OPERATIONS[name](before, turn(10.0, probability=0.9, picked=0.29))
    np.testing.assert_array_equal(after.boxes_yxyx, before.boxes_yxyx)
    result, inside = after.image.numpy(), pixels[10:40, 20:50]
    outside = np.ones((SIDE, SIDE), bool)
    outside[10:40, 20:50] = False
    np.testing.assert_array_equal(result[outside], pixels[outside])
    changed = result[10:40, 20:50]
    gray = np.full_like(inside, FILL)
    by = round(120 * SIDE / 640)
    if name == "TranslateY_Only":
        np.testing.assert_array_equal(changed, np.concatenate([inside[by:], gray[:by]]))
    elif name == "Flip_Only":
        np.testing.assert_array_equal(changed, inside[:, ::-1])
    elif name == "Equalize_Only":
        np.testing.assert_array_equal(changed, operations.equalize(inside[None])[0])
    elif name.startswith("Shear"):
        if name == "ShearY_Only":  # the same along the other axis
            inside, changed = inside.swapaxes(0, 1), changed.swapaxes(0, 1)
        for line in range(30):
            step = round(0.3 * line)
            if line % 10 != 5:  # halves may be rounded either way
                np.testing.assert_array_equal(changed[line], np.concatenate([inside[line, step:], gray[line, :step]]))
    # a third of the probability is 0.3
    same = OPERATIONS[name](before, turn(10.0, probability=0.9, picked=0.31))
    np.testing.assert_array_equal(same.image, pixels)


LEVELS = (
    "AutoContrast",
    "Brightness",
    "Color",
    "Contrast",
    "Equalize",
    "Posterize",
    "Sharpness",
    "Solarize",
    "SolarizeAdd",
)


@pytest.mark.parametrize("name", LEVELS)
def test_padding_changes_neither_levels_nor_itself(name: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 200, (SIDE // 2, SIDE // 2, 3)).astype(np.float32)
    alone = OPERATIONS[name](annotated(tf.constant(pixels), [], tf.zeros(0, tf.int32)), turn(6.0)).image.numpy()
    canvas, covered = np.full((SIDE, SIDE, 3), FILL, np.float32), np.zeros((SIDE, SIDE, 1), bool)
    canvas[10:40, 20:50], covered[10:40, 20:50] = pixels, True
    whole = annotated(tf.constant(canvas), [], tf.zeros(0, tf.int32))
    after = OPERATIONS[name](whole._replace(covered=tf.constant(covered)), turn(6.0)).image.numpy()
    np.testing.assert_array_equal(after[10:40, 20:50], alone)
    assert (after[~covered[..., 0]] == FILL).all()
    # an image that was moved out of its canvas
    none = OPERATIONS[name](whole._replace(covered=tf.zeros_like(whole.covered)), turn(6.0))
    np.testing.assert_array_equal(none.image, canvas)


@pytest.mark.parametrize("name", LEVELS)
def test_of_an_image_that_is_no_rectangle_padding_does_not_count_either(name: str) -> None:
    """Half of its pixels, in any place, are padding."""
    rng = np.random.default_rng(0)
    pixels, covered = rng.integers(90, 200, (SIDE, SIDE, 3)).astype(np.float32), rng.random((SIDE, SIDE, 1)) < 0.5
    pixels[~covered[..., 0]] = FILL
    whole = annotated(tf.constant(pixels), [], tf.zeros(0, tf.int32))
    after = OPERATIONS[name](whole._replace(covered=tf.constant(covered)), turn(6.0)).image.numpy()
    assert (after[~covered[..., 0]] == FILL).all()
    if name == "Sharpness":  # its kernel reaches into the padding
        expected = OPERATIONS[name](whole, turn(6.0)).image.numpy()[covered[..., 0]]
    else:
        row = annotated(tf.constant(pixels[covered[..., 0]][np.newaxis]), [], tf.zeros(0, tf.int32))
        expected = OPERATIONS[name](row, turn(6.0)).image.numpy()[0]
    np.testing.assert_array_equal(after[covered[..., 0]], expected)


def test_padding_that_an_operation_moves_in_is_not_equalized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "moved", ((("TranslateX", 1.0, 8), ("Equalize", 1.0, 0)),))
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 200, (64, 64, 3)).astype(np.float32)
    moved = autoaugment(annotated(tf.constant(pixels), [], tf.zeros(0, tf.int32)), "moved", 0.25, draws(0))
    by = 20  # a level is 25 of 640 pixels
    columns = np.flatnonzero(moved.covered.numpy()[..., 0].all(axis=0))
    assert len(columns) == 64 - by == moved.covered.numpy().any(axis=(0, 2)).sum()
    kept = pixels[:, : 64 - by] if columns[0] else pixels[:, by:]
    np.testing.assert_array_equal(moved.image.numpy()[:, columns], operations.equalize(kept[np.newaxis])[0])
    assert (np.delete(moved.image.numpy(), columns, axis=1) == FILL).all()


@pytest.mark.slow
@pytest.mark.parametrize("policy", [thorough("v0"), thorough("v1"), "v2", thorough("v3")])  # tracing takes seconds
def test_images_vary_and_stay_well_formed(policy: str) -> None:
    one = traced(lambda image, draws: autoaugment(of_side(image), policy, 0.25, draws))
    results = [one(image(4), number) for number in range(12)]
    for result in results:
        pixels, found = result.image.numpy(), result.boxes_yxyx.numpy()
        assert pixels.shape == (SIDE, SIDE, 3)
        assert pixels.min() >= 0
        assert pixels.max() <= 255
        assert (found >= 0).all()
        assert (found <= SIDE).all()
        assert {len(part) for part in result[2:-1]} == {len(found)}
    assert len({result.image.numpy().tobytes() for result in results}) > 6
    np.testing.assert_array_equal(one(image(4), 3).image, results[3].image)


def of_side(image: AnnotatedImage) -> AnnotatedImage:
    pixels, covered = tf.ensure_shape(image.image, (SIDE, SIDE, 3)), tf.ensure_shape(image.covered, (SIDE, SIDE, 1))
    return image._replace(image=pixels, covered=covered)
