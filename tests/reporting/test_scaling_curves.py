import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tests.thoroughness import thorough
from tfeff.reporting.scaling_curves import (
    METHODS,
    OTHERS,
    latency_figure,
    method_figure,
    methods_figure,
    single_against_compound_figure,
    spread_apart,
)

METRIC = "validation accuracy"


def point(method, phi, relative_macs, values, label=None, latency=0.002):
    mean = float(np.mean(values))
    reach = 2 * float(np.std(values)) if len(values) > 1 else None
    return {
        "label": label or f"{method} φ={phi}",
        "method": method,
        "phi": phi,
        "relative_macs": relative_macs,
        "macs": int(4e6 * relative_macs),
        "latency": latency,
        "mean": mean,
        "low": None if reach is None else mean - reach,
        "high": None if reach is None else mean + reach,
        "values": values,
    }


def study(folds=3, phis=(1, 2, 3), equal=False, label=None):
    """Returns the points of a search: the baseline and all methods."""
    rng = np.random.default_rng(folds)

    def values(mean):
        return [0.7] * folds if equal else rng.normal(mean, 0.01, folds).tolist()

    points = [point("baseline", 0, 1.0, values(0.6), label, 0.001)]
    for phi, (gain, method) in itertools.product(phis, enumerate([*OTHERS, "compound"], 1)):
        cost = 2.0**phi * rng.uniform(0.95, 1.05)
        points.append(point(method, phi, cost, values(0.6 + 0.01 * gain * phi), label, 1e-3 * cost))
    return points


def markers(axes):
    """Returns (x, y) of every drawn mean."""
    lines = [line for line in axes.lines if line.get_label() in {f"_{method.label}" for method in METHODS.values()}]
    return sorted(tuple(xy) for line in lines for xy in line.get_xydata().tolist())


def every_figure(points):
    return [
        *(method_figure(points, method, metric=METRIC) for method in (*OTHERS, "compound")),
        methods_figure(points, metric=METRIC),
        single_against_compound_figure(points, metric=METRIC),
        latency_figure(points, metric=METRIC),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "points",
    [
        study(),
        thorough(study(folds=1, phis=(1,))),
        thorough(study(folds=10, phis=(1, 2, 3, 4, 5), label="a name that is much too long for any figure")),
        thorough(study(equal=True)),
        thorough(study()[:1]),
        thorough(study()[3:4]),
        [],
    ],
    ids=["3 folds", "1 fold", "10 folds", "equal values", "baseline alone", "one point", "nothing"],
)
def test_texts_do_not_overlap(points, assert_legible):
    for figure in every_figure(points):
        assert_legible(figure)


@pytest.mark.parametrize("folds", [thorough(1), thorough(3), 10])
def test_points_bars_and_dots_are_inside_the_axes(folds):
    for figure in every_figure(study(folds, (1, 2, 3, 4))):
        figure.draw_without_rendering()
        for axes in figure.axes:
            frame = axes.get_window_extent(FigureCanvasAgg(figure).get_renderer())
            drawn = [line.get_transform().transform(line.get_xydata()) for line in axes.lines]
            drawn += [axes.transData.transform(path.vertices) for c in axes.collections for path in c.get_paths()]
            for pixels in drawn:
                assert (pixels >= frame.min).all()
                assert (pixels <= frame.max).all()


def test_every_axis_names_its_unit():
    for figure in every_figure(study()):
        for axes in figure.axes:
            assert "(" in axes.get_xlabel() or not axes.get_subplotspec().is_last_row()
            assert "(%)" in axes.get_ylabel() or not axes.get_subplotspec().is_first_col()
    assert methods_figure(study(), metric=METRIC).axes[0].get_xlabel() == "relative multiply-adds (x baseline)"
    assert "ms" in latency_figure(study(), metric=METRIC).axes[0].get_xlabel()
    objective = methods_figure(study(), metric="accuracy × (macs/T)^-0.07", unit="").axes[0]
    assert objective.get_ylabel() == "accuracy × (macs/T)^-0.07"


@pytest.mark.parametrize(("costs", "ticks"), [((2.0,), "1 2"), ((30.0,), "1 2 4 8 16 32"), ((0.4,), "0.5 1 2")])
def test_costs_are_counted_in_octaves(costs, ticks):
    points = [point("compound", 1, cost, [0.6, 0.7]) for cost in costs]
    figure = methods_figure(points, metric=METRIC)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    shown = [t.get_text() for t in figure.axes[0].get_xticklabels() if low <= t.get_position()[0] <= high]
    assert " ".join(shown) == ticks


def test_accuracies_are_shown_as_percents():
    figure = methods_figure([point("baseline", 0, 1.0, [0.25, 0.75])], metric=METRIC)
    assert 50.0 in [float(tick) for tick in figure.axes[0].yaxis.get_major_formatter().format_ticks([0.25, 0.5])]


def test_every_point_has_its_marker_bar_and_folds():
    points = study(folds=4)
    points[3] = {**points[3], "low": None, "high": None}
    axes = methods_figure(points, metric=METRIC).axes[0]
    assert sorted(y for _, y in markers(axes)) == pytest.approx(sorted(p["mean"] for p in points))
    bars = [path.vertices for collection in axes.collections for path in collection.get_paths()]
    drawn = sorted((bar[:, 1].min(), bar[:, 1].max()) for bar in bars)
    np.testing.assert_allclose(drawn, sorted((p["low"], p["high"]) for p in points if p["low"] is not None))
    folds = sorted(y for line in axes.lines if line.get_alpha() for y in line.get_ydata())
    np.testing.assert_allclose(folds, sorted(value for p in points for value in p["values"]))
    hollow = [y for line in axes.lines if line.get_markerfacecolor() == "white" for y in line.get_ydata()]
    assert hollow == [points[3]["mean"]]


def test_points_of_equal_cost_stand_side_by_side():
    points = [point(method, 1, 2.0, [0.7, 0.8]) for method in METHODS]
    figure = methods_figure(points, metric=METRIC)
    figure.draw_without_rendering()
    xs = sorted(figure.axes[0].transData.transform([xy])[0, 0] for xy in markers(figure.axes[0]))
    caps = 2 * 3.5 * figure.dpi / 72
    assert min(np.diff(xs)) > caps


@pytest.mark.parametrize("seed", range(20))
def test_positions_keep_the_distance_and_are_the_closest_ones(seed):
    rng = np.random.default_rng(seed)
    targets = rng.choice([0.0, 1.0, 1.1, 2.0], 6) + rng.normal(0, 0.05, 6)
    places = spread_apart(targets, 0.1)
    order = np.argsort(targets)
    gaps = np.diff(places[order])
    assert gaps.min() >= 0.1 - 1e-12
    # Least squares: each cluster of touching positions is centered on the mean of its targets.
    clusters = np.split(order, np.flatnonzero(gaps > 0.1 + 1e-9) + 1)
    for cluster in clusters:
        assert places[cluster].mean() == pytest.approx(targets[cluster].mean())


def test_methods_share_their_axes():
    limits = [
        (figure.axes[0].get_xlim(), figure.axes[0].get_ylim())
        for figure in (method_figure(study(), method, metric=METRIC) for method in (*OTHERS, "compound"))
    ]
    assert all(limit == limits[0] for limit in limits)


def test_a_dimension_without_points_has_no_panel():
    points = [p for p in study() if p["method"] != "depth"]
    figure = single_against_compound_figure(points, metric=METRIC)
    assert [axes.get_title() for axes in figure.axes] == ["width alone", "resolution alone", "width and resolution"]
    compound = {p["mean"] for p in points if p["method"] == "compound"}
    for axes in figure.axes:
        assert compound < {y for _, y in markers(axes)}


def test_failed_points_are_left_out():
    points = [*study(), {**point("depth", 4, 16.0, [0.5]), "mean": None}]
    axes = methods_figure(points, metric=METRIC).axes[0]
    assert len(markers(axes)) == len(points) - 1
    assert axes.get_xlim()[1] < 16


def test_latencies_are_in_milliseconds_and_missing_ones_are_counted():
    points = study()
    points[2] = {**points[2], "latency": None}
    figure = latency_figure(points, metric=METRIC)
    expected = sorted((1e3 * p["latency"], p["mean"]) for p in points if p["latency"] is not None)
    np.testing.assert_allclose(markers(figure.axes[0]), expected)
    assert "points without a latency: 1" in figure.legends[0].get_title().get_text()
    for minimized, best in ((False, max), (True, min)):
        front = latency_figure(points, metric=METRIC, minimized=minimized).axes[0].lines[0]
        assert best(front.get_ydata()) == best(mean for _, mean in expected)
    empty = latency_figure([{**p, "latency": None} for p in points], metric=METRIC)
    assert not markers(empty.axes[0])
