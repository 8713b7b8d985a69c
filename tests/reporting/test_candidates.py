import numpy as np
import pytest

from tfeff.reporting.candidates import allocation_figure, candidates_figure, coefficients


def networks(count, seed=0):
    rng = np.random.default_rng(seed)
    factors = 2.0 ** (rng.dirichlet([1, 1, 1], count) / [1, 2, 2])
    return [
        {"id": str(i), "depth": d, "width": w, "resolution": r, "ratio": rng.uniform(1.9, 2.1)}
        for i, (d, w, r) in enumerate(factors.tolist())
    ]


def points(axes, marker):
    return np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == marker])


@pytest.mark.parametrize(("count", "chosen"), [(0, 0), (1, 1), (3, 3), (25, 20), (400, 25)])
def test_texts_do_not_overlap_and_every_network_is_drawn_once(count, chosen, assert_legible):
    rows = networks(count)
    figure = candidates_figure(rows, {str(i) for i in range(chosen)}, target=2.0, tolerance=0.05)
    assert_legible(figure)
    assert f"{chosen} candidates of {count} distinct networks" in figure.get_suptitle()
    for axes in figure.axes:
        assert len(points(axes, "D")) == chosen
        assert len(points(axes, "o")) == count - chosen


def test_real_cost_is_drawn_against_nominal_cost():
    rows = networks(20)
    axes = candidates_figure(rows, {row["id"] for row in rows}, cost="peak memory").axes[1]
    nominal = [row["depth"] * row["width"] ** 2 * row["resolution"] ** 2 for row in rows]
    np.testing.assert_allclose(points(axes, "D"), np.transpose([nominal, [row["ratio"] for row in rows]]))
    assert axes.get_ylabel() == "real peak memory (x baseline)"
    assert "(x baseline)" in axes.get_xlabel()
    for limits, shown in ((axes.get_xlim(), nominal), (axes.get_ylim(), [row["ratio"] for row in rows])):
        assert limits[0] < min(shown) < max(shown) < limits[1]


def test_labels_have_the_initials_of_the_dimensions():
    assert coefficients({"depth": 1.0, "width": 1.256, "resolution": 12.0}) == "d 1.00  w 1.26  r 12.00"


def candidates(count):
    return [
        {
            "depth": 1.0 + i / 100,
            "width": 1.1,
            "resolution": 1.2,
            "epochs": 90 if i < 4 else 90 - 3 * i,
            "trials": 3 if i else 1,
            "standing": ("winner", "tied", "beaten", "failed")[i] if i < 4 else "eliminated",
            "reason": None if i < 3 else f"its interval ends {i} points below the one of d 1.25 w 1.00, at epoch 9",
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 3, 25])
def test_texts_do_not_overlap(count, assert_legible):
    assert_legible(allocation_figure(candidates(count)))


def test_every_candidate_has_a_bar_with_its_epochs_and_a_reason():
    rows = candidates(10)
    figure = allocation_figure(rows[::-1])
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [row["epochs"] for row in rows]
    assert axes.get_xlim()[1] > 90
    assert "(epochs" in axes.get_xlabel()
    figure.draw_without_rendering()
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [f"d {row['depth']:.2f}  w 1.10  r 1.20" for row in rows]
    (reason_axis,) = axes.child_axes
    reasons = [tick.get_text() for tick in reason_axis.get_yticklabels()]
    assert reasons[0] == "1 trial, completed"
    assert all(reason.startswith("3 trials, its interval ends") for reason in reasons[3:])
