from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.evaluation.proposals import coverage
from tfeff.proposals import (
    MODES,
    Mode,
    OpenCVSelectiveSearch,
    SlidingWindows,
    Strategy,
    UniformBoxes,
    selective_search,
)

KINDS = ("noise", "constant", "steps", "gradient", "lines")


def image(kind, height, width, seed=0, channels=3):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (height, width, channels), np.uint8)
    pixels = np.full((height, width, channels), rng.integers(0, 256), np.uint8)
    if kind == "steps":
        for _ in range(6):
            top, bottom = np.sort(rng.integers(0, height + 1, 2))
            left, right = np.sort(rng.integers(0, width + 1, 2))
            pixels[top:bottom, left:right] = rng.integers(0, 256, channels)
    elif kind == "gradient":
        pixels[:] = np.linspace(0, 255, width)[None, :, None]
    elif kind == "lines":
        pixels[::2] = 255 - pixels[::2]
    return pixels


def check(boxes, height, width, max_boxes):
    assert boxes.dtype == np.float32
    assert boxes.ndim == 2
    assert 1 <= len(boxes) <= max_boxes
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= [height, width]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


@pytest.mark.parametrize("seed", range(100))
def test_boxes_are_inside_any_image(seed):
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        for shape in (rng.integers(1, 12, 2), rng.integers(1, 90, 2)):
            height, width = map(int, shape)
            found = selective_search(image(kind, height, width, seed), max_proposals=300)
            check(found, height, width, 300)
            if kind == "constant":
                assert found.tolist() == [[0, 0, height, width]]


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (3, 3000), (1, 1), (2000, 2500)])
@pytest.mark.parametrize("mode", MODES)
def test_extreme_shapes(shape, mode):
    found = selective_search(image("steps", *shape), mode=mode)
    check(found, *shape, 2000)
    assert [0, 0, *shape] in found.tolist()


def test_objects_on_a_plain_background_are_found():
    pixels = np.full((200, 300, 3), 90, np.uint8)
    objects = [(20, 30, 80, 110), (100, 150, 180, 260), (30, 200, 70, 240)]
    for index, (top, left, bottom, right) in enumerate(objects):
        pixels[top:bottom, left:right] = np.roll([220, 60, 30], index)
    found = selective_search(pixels, max_proposals=20)
    assert coverage([found], [np.array(objects)], [np.zeros(3, int)], (20,)).best.min() > 0.8  # blurred borders


def test_the_same_boxes_in_the_same_order_on_any_number_of_threads():
    images = [image("noise", 80, 120, seed) // 32 * 32 for seed in range(6)]
    sequential = [selective_search(pixels, seed=3) for pixels in images]
    with ThreadPoolExecutor(3) as threads:
        concurrent = list(threads.map(lambda pixels: selective_search(pixels, seed=3), images * 3))
    for one, other in zip(sequential * 3, concurrent, strict=True):
        assert np.array_equal(one, other)


def test_the_seed_only_orders_ties():
    pixels = image("noise", 60, 80)
    one, same, other = (selective_search(pixels, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert set(map(tuple, one.tolist())) == set(map(tuple, other.tolist()))


def test_all_array_types_give_the_same_boxes():
    gray = image("steps", 50, 70, channels=1)
    expected = selective_search(np.repeat(gray, 3, axis=-1))
    for other in (
        gray,
        gray[..., 0],
        np.concatenate([np.repeat(gray, 3, axis=-1), np.full_like(gray, 7)], axis=-1),
        gray.astype(np.uint16) * 256 + 13,
        gray.astype(np.float32),
        gray.astype(np.float64) / 255,
        gray.astype(np.int64),
        np.asfortranarray(np.repeat(gray, 3, axis=-1)),
    ):
        assert np.array_equal(selective_search(other), expected)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 5, 3)), "shape"),
        (np.zeros(5), "shape"),
        (np.zeros((4, 4, 2)), "shape"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4, 3), np.inf), "not finite"),
        (np.zeros((4, 4), complex), "complex"),
        (np.array([["a"]]), "expected an integer"),
        (np.full((4, 4), 40_000, np.int32), "from 40000 to 40000; give 0 to 255, or a uint16 array"),
        (np.linspace(-1, 1, 16).reshape(4, 4), "from -1 to 1; give 0 to 255, or 0 to 1"),
        (np.full((4, 4), 40_000.0), "from 40000 to 40000"),
        (np.zeros((70_000, 1, 3), np.uint8), "65,536"),
    ],
)
def test_invalid_images_are_rejected(array, words):
    with pytest.raises(UserError, match=words):
        selective_search(array)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "fsat"}, 'did you mean "fast"'),
        ({"mode": []}, "no strategies"),
        ({"max_proposals": 0}, "max_proposals"),
    ],
)
def test_invalid_settings_are_rejected(options, words):
    with pytest.raises(UserError, match=words):
        selective_search(np.zeros((4, 4, 3), np.uint8), **options)
    with pytest.raises(UserError, match="color space"):
        Strategy("hsl", 100, ("size",))
    with pytest.raises(UserError, match="similarity"):
        Strategy("hsv", 100, ("shape",))


def test_strategies_instead_of_a_mode():
    pixels = image("noise", 60, 80) // 64 * 64
    one = [Strategy("rgb", 100, ("size", "fill"))]
    assert np.array_equal(selective_search(pixels, one), selective_search(pixels, Mode(tuple(one))))
    assert len(selective_search(pixels, one)) < len(selective_search(pixels, MODES["quality"]))


def test_opencv_boxes_have_the_same_format():
    pixels = image("steps", 60, 90)
    proposals = OpenCVSelectiveSearch("fast", 50)(pixels)
    check(proposals.boxes_yxyx, 60, 90, 50)
    with pytest.raises(UserError, match="did you mean"):
        OpenCVSelectiveSearch("fats")


@pytest.mark.parametrize("proposer", [SlidingWindows(500, 1), UniformBoxes(500, 1)])
@pytest.mark.parametrize("shape", [(60, 90), (1, 1), (1, 400), (300, 7)])
def test_proposers_that_ignore_the_pixels(proposer, shape):
    found = proposer(np.zeros((*shape, 3), np.uint8)).boxes_yxyx
    check(found, *shape, 500)
    assert np.array_equal(found, proposer(np.ones((*shape, 3), np.uint8)).boxes_yxyx)


def test_windows_cover_boxes_of_their_sizes():
    found = SlidingWindows(100_000).__call__(np.zeros((300, 400, 3), np.uint8)).boxes_yxyx
    rng = np.random.default_rng(0)
    sides = rng.uniform(40, 250, (200, 1)) * rng.uniform(0.8, 1.25, (200, 2))
    corners = rng.uniform(0, 1, (200, 2)) * np.clip([300, 400] - sides, 0, None)
    wanted = np.concatenate([corners, np.minimum(corners + sides, [300, 400])], axis=1)
    best = coverage([found], [wanted], [np.zeros(200, int)], (100_000,)).best
    assert best.min() > 0.45
    assert best.mean() > 0.65


def test_images_beyond_full_size_count_as_shrunk_to_it() -> None:
    small = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), (0, 0), 3)
    full, larger = (np.repeat(np.repeat(small, factor, axis=0), factor, axis=1) for factor in (2, 6))
    np.testing.assert_array_equal(selective_search(larger), 3 * selective_search(full))
