"""Keypoints without `kpt_shape` are distinguished from polygons."""

import numpy as np
import pytest
from PIL import Image

from tfeff.data.sources.source import Options
from tfeff.data.sources.yolo import YOLO
from tfeff.data.sources.yolo_keypoints import guessed, tracked


def poses(count, points, width, seed=0):
    """Returns boxes with points inside them, and flags; the first point of each box is not labeled."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        w, h = rng.uniform(0.1, 0.4, 2)
        x, y = rng.uniform(w / 2, 1 - w / 2), rng.uniform(h / 2, 1 - h / 2)
        inside = np.stack(
            [rng.uniform(x - w / 2, x + w / 2, points), rng.uniform(y - h / 2, y + h / 2, points)], axis=1
        )
        inside[0] = 0
        if width == 3:
            inside = np.concatenate([inside, rng.integers(1, 3, (points, 1))], axis=1)
            inside[0, 2] = 0
        lines.append([x, y, w, h, *inside.ravel()])
    return lines


def polygons(count, corners, seed=0, spread=0.2, radii=(0.05, 0.3)):
    """Returns regular polygons that are turned, around the middle of the image."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        (x, y), radius = rng.uniform(0.5 - spread, 0.5 + spread, 2), rng.uniform(*radii)
        angles = rng.uniform(0, 7) + np.arange(corners) * 2 * np.pi / corners
        lines.append(np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1).ravel().tolist())
    return lines


@pytest.mark.parametrize(("points", "width"), [(17, 3), (17, 2), (5, 3), (5, 2), (4, 3), (2, 2)])
def test_poses_are_found(points, width):
    assert guessed(poses(20, points, width)) == points * width
    assert guessed([*poses(20, points, width), [0.5, 0.5, 0.2, 0.2]]) == points * width  # an object without keypoints


@pytest.mark.parametrize("corners", [3, 4, 5, 6, 7, 8, 10, 38])
@pytest.mark.parametrize("confidence", [(), (1.0,)])
@pytest.mark.parametrize(
    ("spread", "radii"), [(0.2, (0.05, 0.3)), (0.05, (0.01, 0.05)), (0.1, (0.1, 0.2)), (0, (0.3, 0.5))]
)
def test_polygons_are_not_poses(corners, confidence, spread, radii):
    for seed in range(20):
        lines = polygons(10 + seed, corners, seed, spread, radii)
        assert guessed([[*line, *confidence] for line in lines]) == 0


def test_corners_of_upright_boxes_are_not_poses():
    rng = np.random.default_rng(0)
    for side in (0.02, 0.1, 0.3):
        left, top = rng.uniform(0.3, 0.4, (2, 50))
        right, bottom = left + rng.uniform(side / 2, side, 50), top + rng.uniform(side / 2, side, 50)
        assert guessed(np.stack([left, top, right, top, right, bottom, left, bottom], axis=1).tolist()) == 0


def test_a_few_poses_could_be_polygons():
    assert guessed(poses(9, 17, 2)) == 0
    assert guessed(poses(1, 10, 3)) == 0  # nine labeled points
    assert guessed(poses(1, 11, 3)) == 33
    assert guessed(poses(10, 17, 2) + poses(10, 5, 2)) == 0
    assert guessed([]) == 0
    assert guessed([[0.5, 0.5, 0.2, 0.2]]) == 0


def test_their_boxes_are_read_and_that_is_said(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number, line in enumerate(poses(40, 5, 3)):
        Image.new("RGB", (100, 100)).save(tmp_path / f"images/{number:02}.png")
        (tmp_path / f"labels/{number:02}.txt").write_text(f"0 {' '.join(map(str, line))}\n")
    (tmp_path / "labels/03.txt").write_text("0 0.5 0.5 0.5 0.5 0.1 0.2 0.3\n")
    images = YOLO(tmp_path, Options()).load("all")
    x, y, w, h = poses(1, 5, 3)[0][:4]
    np.testing.assert_allclose(
        images.objects[0].boxes_yxyx, 100 * np.array([[y - h / 2, x - w / 2, y + h / 2, x + w / 2]]), rtol=1e-5
    )
    assert "15 numbers after each box look like keypoints, though no YAML file has a kpt_shape" in " ".join(
        images.notes
    )
    assert "39 lines have keypoints, which are not used" in " ".join(images.notes)
    assert images.defects.counts == {"invalid line": 1}


def boxes(count, *ends):
    """Returns boxes, and what follows them: a sequence of each number."""
    return [[*line[:4], *(each[number] for each in ends)] for number, line in enumerate(poses(count, 1, 2))]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (boxes(3, (0.9, 0.8, 0.7), (1, 1, 1)), True),
        (boxes(2, (0.9, 0.8), (1, 1)), False),  # too few to tell from triangles
        (boxes(2, (0.9, 0.8), (1, 2)), True),
        (boxes(2, (0.9, 1.8), (1, 2)), False),
        (boxes(2, (0.9, 0.8), (1, 2.5)), False),
        (boxes(2, (0, 3)), True),
        (boxes(3, (0, 1, 1)), False),  # confidences
        (boxes(3, (0.2, 1, 4)), False),
        (boxes(3), False),
        (
            [[0.1, 0.1, 0.5, 0.5, 0.3, 1]] * 9,
            False,
        ),  # triangles down to the border: as a box, it would be partly outside
        ([[*line, 0.9, 7] for line in polygons(5, 6)], True),
        ([[*line, 0.5, 1] for line in polygons(50, 6)], False),  # polygons down to the border
        (poses(50, 4, 3), False),
        (poses(50, 1, 3), False),
        (poses(50, 17, 3), False),
        (polygons(50, 3), False),
        ([], False),
    ],
)
def test_lines_of_trackers_are_told_from_polygons(lines, expected):
    assert tracked(lines) == expected


@pytest.mark.parametrize("ending", [" 0.9 1", " 0.9 12", " 7"])
def test_boxes_of_trackers_are_read_and_that_is_said(tmp_path, ending):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number in range(4):
        Image.new("RGB", (100, 200)).save(tmp_path / f"images/{number}.png")
        (tmp_path / f"labels/{number}.txt").write_text(f"0 0.5 0.25 0.2 0.1{ending}\n")
    images = YOLO(tmp_path, Options()).load("all")
    for found in images.objects:
        np.testing.assert_allclose(found.boxes_yxyx, [[40, 40, 60, 60]], rtol=1e-5)
    assert not images.defects.counts
    assert "a number that looks like that of a track" in " ".join(images.notes)
    assert "4 lines end with the number of a track, which is ignored" in " ".join(images.notes)
    assert "polygons or rotated" not in " ".join(images.notes)
