import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfeff.data.augment import geometry
from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.policy import Augmentation
from tfeff.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (200, 7, 9, 3), np.uint8)


def draws(n=200, seed=0):
    return Draws(seed, tf.constant(3), tf.range(n, dtype=tf.int64), tf.zeros(n, tf.int64))


def test_flips_mirror_about_half_of_the_images():
    flipped = geometry.crop_and_flip(IMAGES, Augmentation(horizontal_flip=True, vertical_flip=True), draws()).numpy()
    views = {"": IMAGES, "h": IMAGES[:, :, ::-1], "v": IMAGES[:, ::-1], "hv": IMAGES[:, ::-1, ::-1]}
    counts = {name: (flipped == view).all(axis=(1, 2, 3)).sum() for name, view in views.items()}
    assert sum(counts.values()) == 200
    assert all(30 <= count <= 70 for count in counts.values())


@pytest.mark.parametrize("field", ["horizontal_flip", "vertical_flip"])
def test_one_flip_does_not_cause_the_other(field):
    flipped = geometry.crop_and_flip(IMAGES, Augmentation(**{field: True}), draws()).numpy()
    mirrored = IMAGES[:, :, ::-1] if field == "horizontal_flip" else IMAGES[:, ::-1]
    same = (flipped == IMAGES).all(axis=(1, 2, 3))
    assert (same ^ (flipped == mirrored).all(axis=(1, 2, 3))).all()
    assert 70 <= same.sum() <= 130


@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_those_of_the_reflected_image_and_all_occur(flip):
    padding = 2
    padded = np.pad(IMAGES, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)), mode="reflect")
    cropped = geometry.crop_and_flip(IMAGES, Augmentation(crop_padding=padding, horizontal_flip=flip), draws()).numpy()
    seen = set()
    for image, wide in zip(cropped, padded, strict=True):
        places = [
            (y, x, mirror)
            for y in range(2 * padding + 1)
            for x in range(2 * padding + 1)
            for mirror in (False, True)
            if (wide[y : y + 7, x : x + 9][:, :: -1 if mirror else 1] == image).all()
        ]
        assert len(places) == 1
        seen.add(places[0])
    offsets = {place[:2] for place in seen}
    assert len(offsets) == 25
    assert {place[2] for place in seen} == ({False, True} if flip else {False})


def test_padding_must_be_smaller_than_the_image():
    with pytest.raises(UserError, match="crop_padding: 7 must be below"):
        geometry.crop_and_flip(IMAGES, Augmentation(crop_padding=7), draws())


@pytest.mark.parametrize(
    ("linear", "shift"),
    [
        ([[1, 0], [0, 1]], [3, -2]),
        ([[1, 0], [0.3, 1]], [0, 0]),
        ([[0.9, -0.35], [0.35, 0.9]], [1.25, 0.4]),
        ([[0.5, 0.1], [-0.2, 0.7]], [-2.1, 3.3]),
    ],
)
def test_resampling_agrees_with_pil(linear, shift):
    image = RNG.integers(0, 256, (21, 30, 3), np.uint8)
    (d, e), (b, a) = linear[0], linear[1]  # y from (y, x), x from (y, x)
    center_y, center_x = 10.0, 14.5
    # PIL maps (x, y) of an output pixel's middle, at half coordinates, to a place in the input.
    c = center_x - b * (center_y + shift[0] + 0.5) - a * (center_x + shift[1] + 0.5) + 0.5
    f = center_y - d * (center_y + shift[0] + 0.5) - e * (center_x + shift[1] + 0.5) + 0.5
    theirs = Image.fromarray(image).transform(
        (30, 21), Image.Transform.AFFINE, (a, b, c, e, d, f), Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
    )
    ours = geometry.resample(
        tf.constant(image[None], tf.float32),
        tf.constant([linear], tf.float64),
        tf.constant([shift], tf.float64),
        fill_mode="CONSTANT",
        fill_value=128.0,
    )[0].numpy()
    # At the very edge PIL repeats the outermost pixels where we blend into the filling: compare what lies inside.
    y, x = np.mgrid[:21, :30].astype(float)
    from_y = center_y + d * (y - center_y - shift[0]) + e * (x - center_x - shift[1])
    from_x = center_x + b * (y - center_y - shift[0]) + a * (x - center_x - shift[1])
    inside = (from_y >= 0) & (from_y <= 20) & (from_x >= 0) & (from_x <= 29)
    outside = (from_y < -1) | (from_y > 21) | (from_x < -1) | (from_x > 30)
    assert inside.sum() > 100
    assert np.abs(ours - np.asarray(theirs, float))[inside].max() <= 1.01
    np.testing.assert_allclose(ours[outside], 128.0)


def test_a_zero_warp_changes_nothing():
    images = tf.cast(IMAGES, tf.float32)
    np.testing.assert_allclose(geometry.warp(images, Augmentation(), draws()), images, atol=1e-3)


@pytest.mark.parametrize("field", ["rotation", "shift", "scale", "shear"])
def test_a_warp_invents_no_levels(field):
    amount = {"rotation": 30, "shift": 0.3, "scale": 0.4, "shear": 20}[field]
    images = np.full((50, 16, 16, 1), 77.0, np.float32)
    np.testing.assert_allclose(geometry.warp(images, Augmentation(**{field: amount}), draws(50)), images, atol=1e-3)


def blob(size=41, y=20.0, x=20.0, sigma_y=3.0, sigma_x=3.0):
    rows, columns = np.mgrid[:size, :size]
    return np.exp(-(((rows - y) / sigma_y) ** 2 + ((columns - x) / sigma_x) ** 2) / 2).astype(np.float32)


def moments(images):
    """Returns the mean and covariance of the brightness of each image as a distribution over (y, x)."""
    weight = images / images.sum(axis=(1, 2), keepdims=True)
    place = np.stack(np.mgrid[: images.shape[1], : images.shape[2]], axis=-1).astype(float)
    mean = np.einsum("nhw,hwd->nd", weight, place)
    off = place[None] - mean[:, None, None]
    return mean, np.einsum("nhw,nhwd,nhwe->nde", weight, off, off)


def warped(image, n=400, **amounts):
    images = np.repeat(image[None, ..., None], n, axis=0)
    return geometry.warp(tf.constant(images), Augmentation(**amounts), draws(n)).numpy()[..., 0]


def test_shifts_are_symmetric_up_to_their_fraction():
    mean, covariance = moments(warped(blob(), shift=0.2))
    moved = mean - 20
    assert np.abs(moved).max() <= 0.2 * 41 + 0.1
    assert np.abs(moved).max() > 0.18 * 41
    assert np.abs(moved.mean(axis=0)).max() < 1.0
    np.testing.assert_allclose(covariance, np.broadcast_to(9 * np.eye(2), covariance.shape), atol=0.6)


def test_a_zoom_scales_about_the_center():
    mean, covariance = moments(warped(blob(), scale=0.3))
    np.testing.assert_allclose(mean, 20, atol=1e-2)
    zoom = np.sqrt(covariance[:, 0, 0] / 9)
    assert 0.69 < zoom.min() < 0.73
    assert 1.27 < zoom.max() < 1.33  # Interpolation widens the blob by a little.


def test_rotations_are_symmetric_up_to_their_angle():
    _, covariance = moments(warped(blob(sigma_x=6.0), rotation=25))
    angle = np.degrees(0.5 * np.arctan2(2 * covariance[:, 0, 1], covariance[:, 1, 1] - covariance[:, 0, 0]))
    assert 23 < angle.max() < 25.5
    assert -25.5 < angle.min() < -23
    np.testing.assert_allclose(np.linalg.det(covariance), 9 * 36, rtol=0.1)


def test_a_shear_keeps_rows_in_place():
    _, covariance = moments(warped(blob(), shear=20))
    np.testing.assert_allclose(covariance[:, 0, 0], 9, rtol=0.05)
    slant = np.degrees(np.arctan(covariance[:, 0, 1] / covariance[:, 0, 0]))
    assert 18 < np.abs(slant).max() < 20.5


@pytest.mark.parametrize("size", [(40, 40), (30, 60)])
def test_random_crops_lie_inside_and_have_the_areas_and_ratios_asked_for(size):
    chance = tf.constant(np.random.default_rng(1).random((20_000, 4)))
    top_left, extent = (values.numpy() for values in geometry.crop_boxes(size, 0.08, chance))
    assert top_left.min() >= 0
    assert (top_left + extent <= np.array(size) + 1e-9).all()
    area, ratio = extent.prod(axis=1) / np.prod(size), extent[:, 1] / extent[:, 0]
    assert 0.08 <= area.min() < 0.085
    assert 3 / 4 <= ratio.min() < 0.76
    assert 1.32 < ratio.max() <= 4 / 3
    assert np.median(np.log(ratio)) == pytest.approx(0, abs=0.01)
    largest = np.minimum(ratio * size[0] / size[1], size[1] / size[0] / ratio)
    assert np.mean((area - 0.08) / (largest - 0.08)) == pytest.approx(0.5, abs=0.01)  # uniform
    places = top_left / (np.array(size) - extent)
    np.testing.assert_allclose(places.mean(axis=0), 0.5, atol=0.01)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(12, 14), (5, 4)])
def test_a_random_crop_is_resampled_as_pillow_does(size, interpolation):
    cropped = geometry.random_crop(IMAGES, size, Augmentation(crop_area=0.3), draws(), interpolation).numpy()
    border = 1 if interpolation == "bilinear" else 2  # Pillow's filter ends at the crop's border
    chance = draws().uniform(Purpose.CROP, 4)
    top_left, extent = (values.numpy() for values in geometry.crop_boxes((7, 9), 0.3, chance))
    for index in range(20):
        (top, left), (height, width) = top_left[index], extent[index]
        whole = Image.fromarray(IMAGES[index, :, :, 0].astype(np.float32))
        box = (left, top, left + width, top + height)
        expected = np.asarray(whole.resize(size[::-1], Image.Resampling[interpolation.upper()], box=box))
        inner = slice(border, -border)
        np.testing.assert_allclose(cropped[index, inner, inner, 0], expected[inner, inner].clip(0, 255), atol=0.6)
