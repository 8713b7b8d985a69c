import subprocess
import sys

import cv2
import numpy as np
import pytest
from matplotlib.text import Text

from tfeff.reporting import classification, gallery, training_curves
from tfeff.reporting.figure import caption, new, rgb, save


def drawing():
    figure = new(3, 2)
    axes = figure.add_subplot()
    axes.plot([1, 3, 2], label="curve")
    axes.legend()
    return figure


def test_figures_are_saved_in_both_formats(tmp_path):
    png, svg = save(drawing(), tmp_path / "figures" / "run.v2", dpi=100)
    assert (png, svg) == (tmp_path / "figures" / "run.v2.png", tmp_path / "figures" / "run.v2.svg")
    assert cv2.imread(str(png)).shape == (200, 300, 3)
    assert svg.read_text().rstrip().endswith("</svg>")
    assert save(drawing(), tmp_path / "other.PNG")[1] == tmp_path / "other.svg"


def test_equal_figures_give_identical_files(tmp_path):
    first = [path.read_bytes() for path in save(drawing(), tmp_path / "a" / "figure")]
    second = [path.read_bytes() for path in save(drawing(), tmp_path / "b" / "figure")]
    assert first == second


def test_pixels_equal_the_file(tmp_path):
    png, _ = save(drawing(), tmp_path / "figure", dpi=80)
    pixels = rgb(drawing(), dpi=80)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, cv2.imread(str(png))[:, :, ::-1])


@pytest.mark.parametrize("length", [4, 5, 10, 25])
def test_captions_are_one_line_of_limited_length(length):
    name = "Corvus\ncorax  (Linnaeus, 1758)"
    short = caption(name, length)
    assert len(short) == min(length, 29)
    assert "\n" not in short
    head, _, tail = short.partition("…")
    assert "Corvus corax (Linnaeus, 1758)".startswith(head)
    assert "Corvus corax (Linnaeus, 1758)".endswith(tail)


def test_dollar_signs_are_not_parsed_as_math():
    figure = new(3, 1)
    text = figure.text(0.5, 0.5, caption("$5_note$ and $", 40))
    rgb(figure)
    assert text._preprocess_math(text.get_text()) == ("$5_note$ and $", False)


def test_pyplot_and_tensorflow_are_not_imported():
    code = (
        "import sys, tfeff.reporting.classification, tfeff.reporting.gallery, tfeff.reporting.training_curves;"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


NAMES = ["$x_1$", "a$b$c", r"\$y$", "US$", "<b>&"]


def test_dollars_are_no_formulas():
    """As text of figures and as titles, which may be names of models."""
    title, ones = "$runs$/a_1", np.ones(5)
    pairs = {"true": np.arange(5), "predicted": np.arange(5), "count": ones}
    figures = [
        classification.confusion_figure(pairs, NAMES, title=title),
        classification.per_class_figure(NAMES, ones, ones, ones, ones, title=title),
        gallery.gallery_figure([np.zeros((4, 4))] * 5, NAMES, NAMES[::-1], ones, title=title),
        gallery.pictures_figure([np.zeros((4, 4, 3), np.uint8)] * 5, NAMES, title=title),
        training_curves.training_figure([{"epoch": 1, "step": 1, "train_loss": 1.0}], title=title),
    ]
    for each in figures:
        rgb(each)
        drawn = [Text(text=text.get_text())._preprocess_math(text.get_text()) for text in each.findobj(Text)]
        assert not [text for text, formula in drawn if formula]
        shown = [text for text, _ in drawn]
        assert title in shown
        if len(shown) > 12 and each is not figures[-1]:
            assert all(any(name in text for text in shown) for name in NAMES), shown
