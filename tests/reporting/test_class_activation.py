import numpy as np
import pytest

from tfeff.reporting.class_activation import Explanation, class_activation_figure, heat_overlay

GRAY = np.full((40, 60, 3), 128, np.uint8)


def test_overlay_has_the_size_of_the_image():
    heat = np.random.default_rng(0).random((5, 7))
    assert heat_overlay(GRAY, heat).shape == (40, 60, 3)
    assert heat_overlay(GRAY[:, :, :1], heat).shape == (40, 60, 3)


def test_brightness_follows_the_map():
    heat = np.zeros((4, 4))
    heat[0, 3] = 2.0
    overlay = heat_overlay(GRAY, heat).mean(axis=2)
    row, column = np.unravel_index(overlay.argmax(), overlay.shape)
    assert row < 10
    assert column >= 45
    assert overlay[:8, 50:].mean() > overlay[20:, :30].mean() + 30


def test_signed_maps_are_red_blue_and_transparent():
    heat = np.repeat([[-1.0, 0.0, 1.0]], 3, axis=0)
    overlay = heat_overlay(GRAY, heat, signed=True).astype(int)
    negative, zero, positive = overlay[20, 2], overlay[20, 30], overlay[20, -3]
    assert negative[2] > negative[0] + 40
    assert positive[0] > positive[2] + 40
    np.testing.assert_allclose(zero, 128, atol=3)


def test_a_map_of_zeros_is_possible():
    assert heat_overlay(GRAY, np.zeros((2, 2)), signed=True).tolist() == GRAY.tolist()


@pytest.mark.parametrize("models", [1, 3])
def test_texts_do_not_overlap(models, assert_legible):
    maps = [np.random.default_rng(0).random((3, 3)), np.random.default_rng(1).normal(size=(3, 3))]
    explained = Explanation(GRAY, "a class with a very long name indeed (97 %)", False, maps)
    rows = [("true: another class with a very long name", [explained] * models)] * 3
    names = [f"run {i} with a long name, longer than others" for i in range(models)]
    assert_legible(class_activation_figure(rows, names, {"Grad-CAM": False, "CAM": True}))


def test_images_are_in_the_row_of_their_example_and_the_column_of_their_model():
    shades = np.array([[40, 80], [120, 200]])
    rows = [
        (f"true: {i}", [Explanation(np.full((9, 9, 1), shades[i, j], np.uint8), "a", True, []) for j in range(2)])
        for i in range(2)
    ]
    canvas = class_activation_figure(rows, ["x", "y"], {}).axes[0].images[0].get_array()
    for (i, j), shade in np.ndenumerate(shades):
        ys, xs, _ = np.where(canvas == shade)
        assert (len(ys), np.ptp(ys), np.ptp(xs)) == (3 * 180**2, 179, 179)
        assert (ys.mean() > canvas.shape[0] / 2, xs.mean() > canvas.shape[1] / 2) == (i, j)
