import numpy as np
import pytest
from PIL import Image

from tfeff.reporting.box_drawing import DetectedImage
from tfeff.reporting.figure import GREEN, VERMILION
from tfeff.reporting.gallery import contact_sheet, detection_gallery_figure, gallery_figure, save_image

LONG = ["black-footed albatross (juvenile, winter plumage)", "US$ coin & $5 note", "WWWWWWWWWWWWWWWWWWWWWWWWWW"]


def images(count):
    """Yields images of various sizes, gray and color, uint8 and float."""
    rng = np.random.default_rng(0)
    for i in range(count):
        height, width = rng.integers(8, 200, 2)
        shape = [(height, width), (height, width, 1), (height, width, 3)][i % 3]
        yield rng.uniform(0, 255, shape).astype(np.uint8 if i % 2 else np.float32)


@pytest.mark.parametrize("count", [0, 1, 4, 12])
def test_captions_do_not_overlap(count, assert_legible):
    true, predicted = [LONG[i % 3] for i in range(count)], [LONG[i % 2] for i in range(count)]
    figure = gallery_figure(list(images(count)), true, predicted, [1.0] * count, title="The most confident errors")
    assert_legible(figure)


def test_errors_show_the_true_class():
    correct, error, _, _ = gallery_figure(list(images(4)), "abcd", "acdd", [0.5, 0.25, 1.0, 0.999], columns=2).axes
    assert (correct.get_title(), correct.title.get_color()) == ("a (50.0 %)", GREEN)
    assert (error.get_title(), error.title.get_color()) == ("c (25.0 %)\ntrue: b", VERMILION)


def test_pixels_are_rounded_and_clipped_to_uint8():
    gray, color = np.arange(12.0).reshape(3, 4, 1) * 20, np.full((2, 2, 3), [300.0, -5.0, 127.6])
    first, second = gallery_figure([gray, color], "ab", "ab", [1, 1]).axes
    np.testing.assert_array_equal(first.images[0].get_array(), gray[:, :, 0])
    assert first.images[0].get_clim() == (0, 255)
    np.testing.assert_array_equal(second.images[0].get_array()[0, 0], [255, 0, 128])


def image(height, width, value=0):
    box = np.array([[0.2 * height, 0.2 * width, 0.8 * height, 0.8 * width]])
    return DetectedImage(np.full((height, width, 3), value, np.uint8), box, ["cell"], np.array([0.5]), box)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_captions_do_not_overlap_detection_gallery(count, assert_legible):
    rng = np.random.default_rng(0)
    images = [image(*rng.integers(50, 400, 2)) for _ in range(count)]
    captions = ["W" * 60, "US$ coin, quality 0.25"] * count
    figure = detection_gallery_figure(images, captions[:count], title="The worst images by quality")
    assert_legible(figure)
    assert sum(len(axes.images) for axes in figure.axes) == count


def test_images_are_in_order_with_their_captions():
    images = [image(40, 60, value) for value in (10, 20, 30, 40)]
    figure = detection_gallery_figure(images, "abcd")
    shown = [(axes.get_title(), axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes if axes.images]
    assert shown == [("a", 10), ("b", 20), ("c", 30), ("d", 40)]


@pytest.mark.parametrize(("name", "format"), [("deep/a.png", "PNG"), ("a.jpg", "JPEG")])
def test_images_are_complete_or_absent(tmp_path, synced, monkeypatch, name, format):
    pixels, path = np.full((20, 30, 3), 128, np.uint8), tmp_path / name
    save_image(pixels, path)
    assert synced == [f".{path.name}.partial", path.parent.name]
    with Image.open(path) as saved:
        assert saved.format == format
        np.testing.assert_allclose(np.asarray(saved), pixels, atol=2)

    def half(image, file, *_, **__):
        file.write(b"half")
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        save_image(pixels, path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir() if each.is_file()] == [path.name]


def test_the_letters_of_captions_on_a_contact_sheet_differ():
    missing, *letters = "\uffff", *"éßüłкΩ✓✗…"
    sheet = contact_sheet([np.full((10, 10, 3), 255, np.uint8)] * (1 + len(letters)), [missing, *letters])
    rows = np.split(sheet[: 2 * (144 + 14 + 6)], 2)
    cells = [row[:, 6 + left : 6 + left + 144] for row in rows for left in range(0, 8 * 150, 150)]
    drawn = [cell.tobytes() for cell in cells[: 1 + len(letters)]]
    assert len(set(drawn)) == len(drawn)
