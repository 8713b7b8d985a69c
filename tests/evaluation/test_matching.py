import numpy as np
import pytest

from tfeff.evaluation.matching import match

BOX = [0, 0, 10, 10]


def verdicts(found, truth):
    matching = match([found], [truth], 3)
    verdict = np.empty(len(found), object)
    verdict[matching.index] = np.where(matching.true_positive, "true", np.where(matching.ignored, "ignored", "false"))
    return verdict.tolist(), matching


def test_the_highest_score_matches_and_the_others_are_duplicates(make_detections, make_objects):
    found = make_detections([BOX] * 4, [0] * 4, [0.3, 0.9, 0.9, 0.5])
    verdict, matching = verdicts(found, make_objects([BOX], [0]))
    assert verdict == ["false", "true", "false", "false"]
    assert matching.index.tolist() == [1, 2, 3, 0]
    assert matching.object_found.tolist() == [True]


def test_only_the_object_with_the_highest_iou_can_match(make_detections, make_objects):
    # The second box overlaps the first object most, which is matched already; it does not fall back to the other one.
    truth = make_objects([[0, 0, 10, 10], [0, 3, 10, 13]], [0, 0])
    verdict, matching = verdicts(make_detections([[0, 0, 10, 10], [0, 1, 10, 11]], [0, 0], [0.9, 0.8]), truth)
    assert verdict == ["true", "false"]
    assert matching.best_object.tolist() == [0, 0]
    assert matching.object_found.tolist() == [True, False]


@pytest.mark.parametrize("kind", ["difficult", "crowd"])
def test_detections_of_ignored_objects_are_ignored(kind, make_detections, make_objects):
    truth = make_objects([BOX, [50, 50, 60, 60]], [0, 0], **{kind: [True, False]})
    verdict, matching = verdicts(make_detections([BOX, BOX], [0, 0], [0.9, 0.8]), truth)
    assert verdict == ["ignored", "ignored"]
    assert matching.objects.tolist() == [1, 0, 0]


def test_an_iou_equal_to_the_threshold_matches(make_detections, make_objects):
    truth = make_objects([[0, 0, 2, 2]], [1])
    assert verdicts(make_detections([[0, 0, 2, 1]], [1], [0.1]), truth)[0] == ["true"]
    assert verdicts(make_detections([[0, 0, 2, 0.99]], [1], [0.1]), truth)[0] == ["false"]
    assert verdicts(make_detections([[0, 0, 2, 2]], [0], [0.1]), truth)[0] == ["false"]


def test_ties_go_to_the_earlier_image_and_the_lower_index(make_case):
    found, truth = make_case(3, images=10)
    matching = match(found, truth, 3)
    order = list(zip(-matching.score, matching.image, matching.index, strict=True))
    assert order == sorted(order)
    assert len(order) == sum(map(len, found))


def test_the_order_of_images_does_not_matter(make_case):
    found, truth = make_case(4, images=20)
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(20)
    results = []
    for chosen in (np.arange(20), shuffled):
        matching = match([found[i] for i in chosen], [truth[i] for i in chosen], 3)
        rows = zip(chosen[matching.image], matching.index, matching.true_positive, matching.ignored, strict=True)
        results.append(sorted(tuple(map(int, row)) for row in rows))
    assert results[0] == results[1]


def test_overlaps_and_true_positives_equal_those_by_keras_cv(make_case):
    from keras_cv.bounding_box import compute_iou

    found, truth = make_case(5, images=20)
    matching = match(found, truth, 3)
    taken = set()
    starts = np.searchsorted(matching.object_image, np.arange(20))
    for row in range(len(matching.score)):
        image, label = matching.image[row], matching.label[row]
        objects = np.flatnonzero(truth[image].labels == label)
        best, highest = -1, 0.0
        if len(objects):
            box = found[image].boxes_yxyx[matching.index[row]]
            overlaps = np.asarray(compute_iou(box[None], truth[image].boxes_yxyx[objects], "yxyx"))[0]
            best, highest = starts[image] + objects[overlaps.argmax()], overlaps.max()
        assert matching.best_overlap[row] == pytest.approx(highest, abs=1e-6)
        if highest > 0:
            assert matching.best_object[row] == best
        first = highest >= 0.5 and matching.object_counted[best] and best not in taken
        assert matching.true_positive[row] == first
        taken |= {best} if first else set()
    assert 5 < len(taken) == matching.object_found.sum()


def test_no_detections_and_no_objects(make_detections, make_objects):
    matching = match([make_detections()], [make_objects()], 2)
    assert matching.true_positive.shape == matching.object_found.shape == (0,)
    assert match([], [], 2).objects.tolist() == [0, 0]
