import numpy as np
from PIL import Image

from tools.draw_proposals import boxes_figure, frames, hierarchy_figure, save_animation

# Four quadrants. The upper two are merged first, then the lower two, then all.
LABELS = np.repeat(np.repeat(np.array([[0, 1], [2, 3]], np.int32), 10, axis=0), 12, axis=1)
PARENTS = np.array([4, 4, 5, 5, 6, 6, -1], np.int32)
IMAGE = np.stack([LABELS * 40] * 3, axis=-1).astype(np.uint8)


def test_each_frame_shows_its_regions_in_their_mean_colors():
    four, three, two, one = frames(IMAGE, LABELS, PARENTS, (4, 3, 2, 1))
    assert sorted(set(four[..., 0].ravel().tolist())) == [0, 40, 80, 120, 255]
    assert sorted(set(three[..., 0].ravel().tolist())) == [20, 80, 120, 255]
    assert sorted(set(two[..., 0].ravel().tolist())) == [20, 100, 255]
    assert one[..., 0].tolist() == np.full(LABELS.shape, 60).tolist()
    assert (two[10] == 255).all()
    assert not (two[9] == 255).any()


def test_counts_above_the_number_of_regions_show_all_regions():
    assert np.array_equal(*frames(IMAGE, LABELS, PARENTS, (4, 99)))


def test_figure_and_animation(tmp_path):
    figure = hierarchy_figure(IMAGE, LABELS, PARENTS, (4, 3, 2, 1))
    assert [axes.get_title() for axes in figure.axes[:5]] == [
        "image",
        "4 regions",
        "3 regions",
        "2 regions",
        "1 region",
    ]
    save_animation(frames(IMAGE, LABELS, PARENTS, (4, 2, 1)), tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as animation:
        assert animation.n_frames == 3
        assert animation.size == (24, 20)


def test_boxes_are_on_pixel_edges():
    figure = boxes_figure(np.zeros((50, 80, 3), np.uint8), [[10, 20, 30, 60]], objects_yxyx=[[0, 0, 50, 80]], title="x")
    (box, whole) = (line.get_xydata() for line in figure.axes[0].lines)
    assert box.min(0).tolist() == [19.5, 9.5]
    assert box.max(0).tolist() == [59.5, 29.5]
    assert whole.max(0).tolist() == [79.5, 49.5]
    assert boxes_figure(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4))).axes[0].lines[:] == []
