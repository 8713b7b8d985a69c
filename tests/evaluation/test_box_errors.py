"""Injected mistakes of annotators are found and ranked by the detections of a perfect detector."""

import numpy as np
import pytest

from tfeff.data.dataset import Objects
from tfeff.evaluation import Detections
from tfeff.evaluation.box_errors import BOX, CLASS, KINDS, MISSING, UNCONFIRMED, box_errors


def objects(*rows: tuple[tuple[int, int, int, int], int], ignored: bool = False) -> Objects:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    flags = np.full(len(rows), ignored)
    return Objects(boxes, np.array([label for _, label in rows], np.int32), flags, np.zeros(len(rows), bool))


def detections(*rows: tuple[tuple[int, int, int, int], int, float]) -> Detections:
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float32),
    )


HERE, MOVED, THERE = (10, 10, 50, 50), (30, 10, 70, 50), (100, 100, 140, 150)  # IoU of the first two: 1/3
NEIGHBOR, NEAR = (40, 10, 80, 50), (20, 10, 60, 50)


def suspects(found: Detections, present: Objects, threshold: float = 0.5) -> dict[str, list]:
    result = box_errors([found], [present], threshold=threshold)
    assert list(result) == list(KINDS)
    return {
        kind: [(one.annotated, one.detected, round(one.suspicion, 3)) for one in each]
        for kind, each in result.items()
        if each
    }


@pytest.mark.parametrize(
    ("found", "present", "expected"),
    [
        (detections((HERE, 0, 0.9)), objects((HERE, 0)), {}),
        (detections((HERE, 0, 0.9), (THERE, 1, 0.8)), objects((HERE, 0)), {MISSING: [(None, 1, 0.8)]}),
        # of two detections at one place, the better one; weak ones contradict nothing
        (detections((THERE, 1, 0.7), (THERE, 0, 0.8), (HERE, 0, 0.4)), objects(), {MISSING: [(None, 1, 0.8)]}),
        (detections((HERE, 1, 0.9), (HERE, 0, 0.2)), objects((HERE, 0)), {CLASS: [(0, 0, 0.7)]}),
        (detections((HERE, 1, 0.9), (HERE, 0, 0.95)), objects((HERE, 0)), {}),
        (detections((MOVED, 0, 0.9)), objects((HERE, 0)), {BOX: [(0, 0, 0.6)]}),
        (detections((MOVED, 0, 0.9), (HERE, 0, 0.8)), objects((HERE, 0)), {}),
        (detections(), objects((HERE, 0)), {UNCONFIRMED: [(0, None, 1.0)]}),
        (detections((HERE, 0, 0.3)), objects((HERE, 0)), {UNCONFIRMED: [(0, None, 0.7)]}),
        # a detection that shows that a box is misplaced is not also a missing object
        (detections(((34, 10, 74, 50), 0, 0.9)), objects((HERE, 0)), {BOX: [(0, 0, 0.675)]}),
        (detections((HERE, 0, 0.9)), objects((HERE, 1), ignored=True), {}),
        (detections(), objects(), {}),
        # the object of another annotation says nothing about this one; its IoU with this one is 1/7
        (
            detections((NEIGHBOR, 0, 0.9)),
            objects((HERE, 0), (NEIGHBOR, 1)),
            {CLASS: [(1, 0, 0.9)], UNCONFIRMED: [(0, None, 1.0)]},
        ),
        (detections((NEIGHBOR, 0, 0.9)), objects((HERE, 0)), {BOX: [(0, 0, round(0.9 * 6 / 7, 3))]}),
        # with an IoU of 1/15, it is another object
        (
            detections(((45, 10, 85, 50), 0, 0.9)),
            objects((HERE, 0)),
            {MISSING: [(None, 0, 0.9)], UNCONFIRMED: [(0, None, 1.0)]},
        ),
        # each of two objects of different classes at one place is confirmed by its own detection; the IoU is 3/5
        (detections((HERE, 0, 0.7), (NEAR, 1, 0.9)), objects((HERE, 0), (NEAR, 1)), {}),
        # the other object does not explain a detection of a third class
        (
            detections((HERE, 2, 0.7), (NEAR, 1, 0.9)),
            objects((HERE, 0), (NEAR, 1)),
            {CLASS: [(0, 0, 0.7)]},
        ),
        # one object is annotated twice, with different classes
        (detections((HERE, 0, 0.9)), objects((HERE, 0), (NEAR, 1)), {CLASS: [(1, 0, 0.9)]}),
        # half of the threshold is enough where something is annotated
        (detections((HERE, 1, 0.26)), objects((HERE, 0)), {CLASS: [(0, 0, 0.26)]}),
        (detections((HERE, 1, 0.24)), objects((HERE, 0)), {UNCONFIRMED: [(0, None, 0.76)]}),
        (detections((MOVED, 0, 0.26)), objects((HERE, 0)), {BOX: [(0, 0, 0.173)]}),
        # an IoU of 0.524 confirms the object, but its box is suspicious; one of 0.6 is good
        (detections(((10, 22.5, 50, 62.5), 0, 0.9)), objects((HERE, 0)), {BOX: [(0, 0, 0.429)]}),
        (detections(((10, 20, 50, 60), 0, 0.9)), objects((HERE, 0)), {}),
        # of two reasons, the more confident one
        (detections((HERE, 1, 0.7), (MOVED, 0, 0.9)), objects((HERE, 0)), {BOX: [(0, 1, 0.6)]}),
        (detections((HERE, 1, 0.9), (MOVED, 0, 0.7)), objects((HERE, 0)), {CLASS: [(0, 0, 0.9)]}),
    ],
)
def test_what_contradicts_an_annotation(found: Detections, present: Objects, expected: dict) -> None:
    assert suspects(found, present) == expected


def test_a_crowd_explains_detections_inside_it() -> None:
    crowd = objects(((0, 0, 100, 100), 0))
    crowd = Objects(crowd.boxes_yxyx, crowd.labels, crowd.difficult, np.array([True]))
    assert suspects(detections(((10, 10, 20, 20), 0, 0.9)), crowd) == {}
    assert suspects(detections(((95, 95, 115, 115), 0, 0.9)), crowd) == {MISSING: [(None, 0, 0.9)]}


def test_injected_mistakes_of_each_kind_come_first() -> None:
    """A noisy detector of 200 objects, of which ten each are removed, moved, given another class, or invented."""
    rng = np.random.default_rng(0)
    predicted, annotated, mistakes = [], [], {kind: set() for kind in KINDS}
    for image in range(200):
        label, corner = int(rng.integers(3)), rng.integers(0, 100, 2)
        box = np.array([*corner, *(corner + 40)], float)
        seen = box + rng.normal(0, 2, 4)
        rows = [(tuple(seen), label, rng.uniform(0.5, 1))]
        if rng.random() < 0.3:
            rows.append((tuple(seen + rng.normal(0, 3, 4)), (label + 1) % 3, rng.uniform(0, 0.4)))
        kind = [MISSING, BOX, CLASS, UNCONFIRMED, ""][min(image // 10, 4)]
        if kind:
            mistakes[kind].add(image)
        own = [(tuple(box), label)]
        if kind == MISSING:
            own = []
        elif kind == BOX:
            own = [(tuple(box + 12), label)]
        elif kind == CLASS:
            own = [(tuple(box), (label + 2) % 3)]
        elif kind == UNCONFIRMED:
            own.append(((200, 200, 240, 240), label))
        predicted.append(detections(*rows))
        annotated.append(objects(*own))
    found = box_errors(predicted, annotated, threshold=0.45)
    for kind, images in mistakes.items():
        assert {one.image for one in found[kind][:10]} == images, kind
