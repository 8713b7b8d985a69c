import numpy as np
import pytest

from tfeff.reporting.candidates import CORNERS
from tfeff.reporting.direction import direction_figure

OTHERS = [
    {"direction": name, "answer minus it": 0.02 * index, "95 % from": 0.02 * index - 0.01, "to": 0.02 * index + 0.03}
    for index, name in enumerate(("published proportions", "depth alone", "width alone", "resolution alone"))
]
REGION = np.random.default_rng(0).dirichlet((4, 4, 4), 200)


def figure(others=OTHERS, region=REGION, count=20):
    rng = np.random.default_rng(1)
    trained = [
        {"depth": a, "width": b, "resolution": c, "phi": (0.0, 0.5, 1.5, 2.5)[index % 4]}
        for index, (a, b, c) in enumerate((1 + rng.random((count, 3))).tolist())
    ]
    return direction_figure(
        trained,
        others,
        answer=np.array([0.2, 0.5, 0.3]),
        region=region,
        reference=("published 1.2, 1.1, 1.15", np.array([0.3, 0.3, 0.4])),
        extents=[1.0, 0.6, 0.2],
        counts=[0, 6, 12],
        metric="validation accuracy",
    )


@pytest.mark.parametrize(("others", "region", "count"), [(OTHERS, REGION, 20), ([], None, 1)])
def test_texts_do_not_overlap(others, region, count, assert_legible):
    assert_legible(figure(others, region, count))


def test_answer_region_and_networks_are_drawn_at_their_shares():
    lines = figure().axes[0].lines
    (dots,) = [line for line in lines if len(line.get_xdata()) == 200]
    np.testing.assert_allclose(np.stack(dots.get_data(), axis=-1), REGION @ CORNERS)
    (answer,) = [line for line in lines if line.get_marker() == "*"]
    np.testing.assert_allclose(np.concatenate(answer.get_data()), [0.2, 0.5, 0.3] @ CORNERS)
    trained = [line for line in lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [len(line.get_xdata()) for line in trained] == [5, 5, 5]  # the baseline has no direction
    named = [text.get_text() for text in figure().legends[0].get_texts()]
    assert [text for text in named if "trained" in text] == [f"trained at φ = {phi}" for phi in (0.5, 1.5, 2.5)]


def test_losses_have_their_intervals():
    upper, lower = figure().axes[1:3]
    bars = [path.vertices for collection in upper.collections for path in collection.get_paths()]
    ends = sorted((bar[:, 0].min(), bar[:, 0].max()) for bar in bars)
    np.testing.assert_allclose(ends, sorted((row["95 % from"], row["to"]) for row in OTHERS))
    assert upper.get_xlabel() == "answer minus it, validation accuracy (%)"
    np.testing.assert_allclose(lower.lines[0].get_xydata(), [(0, 1.0), (6, 0.6), (12, 0.2)])
