import numpy as np

from tfeff.reporting.dataset import box_figures


def test_the_boxes_of_every_split_are_drawn_in_a_color_of_its_own():
    splits = ("train", "validation", "test", "field")
    boxes = {name: np.array([[0.0, 0.0, 10.0, 20.0 + number]]) for number, name in enumerate(splits)}
    figures = box_figures(boxes, {name: np.array([[50.0, 50.0]]) for name in splits})
    for name in ("box_sizes", "box_shapes"):
        handles, labels = figures[name].axes[0].get_legend_handles_labels()
        assert tuple(labels) == splits
        assert len({each.get_edgecolor() for each in handles}) == 4
