import numpy as np
import pytest
from matplotlib.colors import to_hex

from tfeff.reporting.candidates import CORNERS, STANDINGS, draw_triangle, positions
from tfeff.reporting.figure import new
from tfeff.reporting.landscape import landscape_figure

METRIC = "validation accuracy"


def candidates(count, folds, equal=False):
    rng = np.random.default_rng(count)
    rows = []
    for i, (d, w, r) in enumerate((2.0 ** (rng.dirichlet([1, 1, 1], count) / [1, 2, 2])).tolist()):
        values = [0.7] * folds if equal else rng.normal(0.7 - 0.004 * i, 0.01, folds).tolist()
        mean, half_width = float(np.mean(values)), 2 * float(np.std(values))
        rows.append(
            {
                "id": str(i),
                "depth": d,
                "width": w,
                "resolution": r,
                "mean": mean,
                "low": mean - half_width if folds > 1 else None,
                "high": mean + half_width if folds > 1 else None,
                "values": values,
                "standing": "winner" if i == 0 else "tied" if i < 3 else "beaten" if i < 0.6 * count else "eliminated",
            }
        )
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize(("count", "folds"), [(0, 1), (1, 1), (3, 1), (20, 3), (25, 10)])
def test_texts_do_not_overlap(count, folds, equal, assert_legible):
    assert_legible(landscape_figure(candidates(count, folds, equal), metric=METRIC, baseline=0.6))


def test_every_candidate_is_drawn_in_both_panels():
    rows = candidates(20, 3)
    left, right = landscape_figure(rows, metric=METRIC).axes[:2]
    for name, standing in STANDINGS.items():
        expected = sum(row["standing"] == name for row in rows)
        for axes in (left, right):
            drawn = [line for line in axes.lines if line.get_marker() == standing.marker and not line.get_alpha()]
            assert sum(len(line.get_xdata()) for line in drawn) == expected
    bars = [path.vertices for collection in right.collections for path in collection.get_paths()]
    drawn = sorted((bar[:, 0].min(), bar[:, 0].max()) for bar in bars)
    np.testing.assert_allclose(drawn, sorted((row["low"], row["high"]) for row in rows))
    low, high = right.get_xlim()
    assert low < min(row["low"] for row in rows)
    assert high > max(row["high"] for row in rows)
    assert right.get_xlabel() == f"{METRIC} (%)"


def test_eliminated_candidates_rank_last_and_are_not_colored():
    rows = candidates(6, 3)
    rows[5]["mean"] = 0.99  # after fewer epochs
    left, right = landscape_figure(rows, metric=METRIC).axes[:2]
    names = [tick.get_text() for tick in right.get_yticklabels()]
    for rank, i in ((1, 0), (5, 5)):
        assert names[rank - 1].split() == [
            str(rank),
            "d",
            *f"{rows[i]['depth']:.2f} w".split(),
            f"{rows[i]['width']:.2f}",
            "r",
            f"{rows[i]['resolution']:.2f}",
        ]
    eliminated = [line for line in left.lines if line.get_marker() == STANDINGS["eliminated"].marker]
    assert {to_hex(line.get_markerfacecolor()) for line in eliminated} == {"#ffffff"}


def test_lighter_colors_are_better():
    rows = candidates(3, 3)
    left = landscape_figure(rows, metric=METRIC).axes[0]
    best = next(line for line in left.lines if line.get_marker() == STANDINGS["winner"].marker)
    other = [line for line in left.lines if line.get_marker() == STANDINGS["tied"].marker]
    assert all(sum(best.get_markerfacecolor()) > sum(line.get_markerfacecolor()) for line in other)


def test_candidates_without_a_mean_are_left_out():
    rows = [*candidates(3, 3), {**candidates(1, 1)[0], "mean": None, "standing": "failed"}]
    figure = landscape_figure(rows, metric=METRIC)
    assert "3 candidates" in figure.get_suptitle()


def test_standings_differ_by_marker_and_label():
    assert len({standing.marker for standing in STANDINGS.values()}) == len(STANDINGS)
    assert len({standing.label for standing in STANDINGS.values()}) == len(STANDINGS)


def row(depth, width, resolution):
    return {"depth": depth, "width": width, "resolution": resolution}


def test_members_of_a_family_are_the_same_point():
    np.testing.assert_allclose(positions([row(1.2**3, 1.1**3, 1.15**3)]), positions([row(1.2, 1.1, 1.15)]))


def test_single_dimensions_are_the_corners_and_the_baseline_is_the_center():
    rows = [row(2.0, 1.0, 1.0), row(1.0, 1.4, 1.0), row(1.0, 1.0, 1.4)]
    np.testing.assert_allclose(positions(rows), CORNERS, atol=1e-12)
    np.testing.assert_allclose(positions([row(1.0, 1.0, 1.0)]), [CORNERS.mean(axis=0)])
    assert positions([]).shape == (0, 2)


def test_shares_on_the_edges_increase_towards_their_corners(assert_legible):
    figure = new(5, 5)
    axes = figure.add_subplot()
    draw_triangle(axes)
    assert_legible(figure)
    places = {text.get_text(): np.array(text.get_position()) for text in axes.texts}
    for corner, name in zip(CORNERS, "dwr", strict=True):
        distances = [np.linalg.norm(places[f"{name} {share} %"] - corner) for share in (75, 50, 25)]
        assert distances == sorted(distances)
