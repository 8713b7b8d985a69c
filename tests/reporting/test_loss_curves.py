import math

import numpy as np
import pytest

from tfeff.reporting.loss_curves import loss_figure


def losses_of(folds, epochs, floor=0.3):
    rng = np.random.default_rng(folds)
    return [
        [(epoch, 2.0 * math.exp(-epoch / 8) + floor + rng.uniform(0, 0.05)) for epoch in range(1, epochs + 1)]
        for _ in range(folds)
    ]


@pytest.mark.parametrize("folds", [1, 3, 10])
@pytest.mark.parametrize("epochs", [1, 5, 200])
def test_texts_do_not_overlap(folds, epochs, assert_legible):
    long = "with batch normalization, and with a label that is longer than the figure is wide"
    assert_legible(loss_figure({long: losses_of(folds, epochs), "without": losses_of(folds, epochs, 0.001)}))


def test_the_line_is_the_mean_and_the_band_spans_all_folds():
    runs = losses_of(3, 10)
    axes = loss_figure({"run": runs}).axes[0]
    losses = np.array(runs)[:, :, 1]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), losses.mean(axis=0))
    outline = axes.collections[0].get_paths()[0].vertices
    for epoch in range(1, 11):
        at = outline[outline[:, 0] == epoch, 1]
        assert (at.min(), at.max()) == pytest.approx((losses[:, epoch - 1].min(), losses[:, epoch - 1].max()))
    low, high = axes.get_ylim()
    assert low < losses.min()
    assert high > losses.max()
    assert axes.get_ylabel() == "training loss (nats)"


def test_a_single_fold_has_no_band():
    assert not loss_figure({"run": losses_of(1, 10)}).axes[0].collections


def test_a_diverged_fold_is_ignored_and_counted_in_the_legend():
    runs = [[(1, 2.0), (2, 1.0)], [(1, 3.0), (2, math.nan)]]
    figure = loss_figure({"run": runs})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [2.5, 1.0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["run (2 folds, 1 diverged)"]


@pytest.mark.parametrize(("last", "scale"), [(0.5, "linear"), (0.001, "log"), (0.0, "linear")])
def test_large_ratios_use_a_logarithmic_axis(last, scale):
    assert loss_figure({"run": [[(1, 2.0), (2, last)]]}).axes[0].get_yscale() == scale


def test_a_figure_without_runs_is_empty(assert_legible):
    assert_legible(loss_figure({}))
