import numpy as np
import pytest

from tfeff.evaluation.matching import match

BOX = [0, 0, 10, 10]


def judged(found, there):
    matching = match([found], [there], 3)
    verdict = np.empty(len(found), object)
    verdict[matching.index] = np.where(matching.hit, "right", np.where(matching.passed_over, "-", "wrong"))
    return verdict.tolist(), matching


def test_the_surest_finds_and_the_others_repeat(make_detections, make_objects):
    found = make_detections([BOX] * 4, [0] * 4, [0.3, 0.9, 0.9, 0.5])
    verdict, matching = judged(found, make_objects([BOX], [0]))
    assert verdict == ["wrong", "right", "wrong", "wrong"]
    assert matching.index.tolist() == [1, 2, 3, 0]
    assert matching.object_found.tolist() == [True]


def test_only_the_object_overlapped_most_is_looked_at(make_detections, make_objects):
    # The second box lies on the first object most, which is taken; the other object does not console it.
    there = make_objects([[0, 0, 10, 10], [0, 3, 10, 13]], [0, 0])
    verdict, matching = judged(make_detections([[0, 0, 10, 10], [0, 1, 10, 11]], [0, 0], [0.9, 0.8]), there)
    assert verdict == ["right", "wrong"]
    assert matching.best.tolist() == [0, 0]
    assert matching.object_found.tolist() == [True, False]


@pytest.mark.parametrize("kind", ["difficult", "crowd"])
def test_what_does_not_count_makes_neither_right_nor_wrong(kind, make_detections, make_objects):
    there = make_objects([BOX, [50, 50, 60, 60]], [0, 0], **{kind: [True, False]})
    verdict, matching = judged(make_detections([BOX, BOX], [0, 0], [0.9, 0.8]), there)
    assert verdict == ["-", "-"]
    assert matching.objects.tolist() == [1, 0, 0]


def test_an_overlap_of_exactly_enough_is_enough(make_detections, make_objects):
    there = make_objects([[0, 0, 2, 2]], [1])
    assert judged(make_detections([[0, 0, 2, 1]], [1], [0.1]), there)[0] == ["right"]
    assert judged(make_detections([[0, 0, 2, 0.99]], [1], [0.1]), there)[0] == ["wrong"]
    assert judged(make_detections([[0, 0, 2, 2]], [0], [0.1]), there)[0] == ["wrong"]


def test_ties_go_to_the_earlier_image_and_the_lower_index(make_case):
    found, there = make_case(3, images=10)
    matching = match(found, there, 3)
    order = list(zip(-matching.score, matching.image, matching.index, strict=True))
    assert order == sorted(order)
    assert len(order) == sum(map(len, found))


def test_shuffled_images_are_judged_alike(make_case):
    found, there = make_case(4, images=20)
    rng = np.random.default_rng(0)
    places = rng.permutation(20)
    verdicts = []
    for chosen in (np.arange(20), places):
        matching = match([found[i] for i in chosen], [there[i] for i in chosen], 3)
        named = zip(chosen[matching.image], matching.index, matching.hit, matching.passed_over, strict=True)
        verdicts.append(sorted(tuple(map(int, row)) for row in named))
    assert verdicts[0] == verdicts[1]


def test_overlaps_and_true_positives_equal_those_by_keras_cv(make_case):
    from keras_cv.bounding_box import compute_iou

    found, there = make_case(5, images=20)
    matching = match(found, there, 3)
    taken = set()
    starts = np.searchsorted(matching.object_image, np.arange(20))
    for row in range(len(matching.score)):
        image, label = matching.image[row], matching.label[row]
        objects = np.flatnonzero(there[image].labels == label)
        best, highest = -1, 0.0
        if len(objects):
            box = found[image].boxes_yxyx[matching.index[row]]
            overlaps = np.asarray(compute_iou(box[None], there[image].boxes_yxyx[objects], "yxyx"))[0]
            best, highest = starts[image] + objects[overlaps.argmax()], overlaps.max()
        assert matching.best_overlap[row] == pytest.approx(highest, abs=1e-6)
        if highest > 0:
            assert matching.best[row] == best
        first = highest >= 0.5 and matching.object_counts[best] and best not in taken
        assert matching.hit[row] == first
        taken |= {best} if first else set()
    assert 5 < len(taken) == matching.object_found.sum()


def test_nothing_at_all(make_detections, make_objects):
    matching = match([make_detections()], [make_objects()], 2)
    assert matching.hit.shape == matching.object_found.shape == (0,)
    assert match([], [], 2).objects.tolist() == [0, 0]
