"""The factors of fusion during training."""

import numpy as np
import pytest

from tools.compare_necks import fusion_figure

NODES = {"P4_td": ("P4", "P5"), "P3_out": ("P3", "P4_td"), "P4_out": ("P4", "P4_td", "P3_out")}
EPOCHS = [1, 5, 10]


def factors(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.dirichlet(np.ones(len(inputs)), len(EPOCHS)) for name, inputs in NODES.items()}


@pytest.mark.parametrize("fusions", [("fast",), ("fast", "softmax")])
def test_texts_do_not_overlap(fusions, assert_legible) -> None:
    found = {name: factors(seed) for seed, name in enumerate(fusions)}
    assert_legible(fusion_figure(NODES, EPOCHS, found, title="Factors of BiFPN"))


def test_each_input_of_each_node_has_a_line() -> None:
    found = {"fast": factors(0)}
    figure = fusion_figure(NODES, EPOCHS, found, title="")
    drawn = {
        axes.get_title(): [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == len(EPOCHS)]
        for axes in figure.axes
        if axes.lines
    }
    assert len(drawn) == len(NODES)
    for lines, values in zip(drawn.values(), found["fast"].values(), strict=True):
        np.testing.assert_allclose(np.array(lines).T, values)
