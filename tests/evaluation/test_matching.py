import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.evaluation import matching as matching_module
from tfeff.evaluation.detection_errors import detection_errors
from tfeff.evaluation.matching import Detections, image_quality, match, validate, worst_first


def test_arrays_of_different_lengths_are_rejected():
    with pytest.raises(UserError, match=r"not \(2, 4\), \(1,\) and \(2,\)"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.int32), np.zeros(2, np.float32))


def test_detections_are_selected_by_indices_and_by_a_mask(make_detections):
    three = make_detections([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0, 1, 2], [0.1, 0.2, 0.3])
    assert three.take(np.array([2, 0])).labels.tolist() == [2, 0]
    assert three.take(three.scores > 0.15).boxes_yxyx[:, 3].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        ([([0, 0, 1, 1], 2, 0.5)], [], r"image 0: a detection has class 2; classes must be in \[0, 2\)"),
        ([([0, 0, 1, 1], -1, 0.5)], [], "a detection has class -1"),
        ([], [([0, 0, 1, 1], 5)], "an object has class 5"),
        ([([0, 0, 1, np.nan], 0, 0.5)], [], "NaN or infinite"),
        ([([0, 0, 1, 1], 0, np.inf)], [], "NaN or infinite"),
    ],
)
def test_invalid_input_is_rejected(found, truth, message, make_detections, make_objects):
    with pytest.raises(UserError, match=message):
        validate([make_detections(*zip(*found, strict=True))], [make_objects(*zip(*truth, strict=True))], 2)


def test_different_numbers_of_images_are_rejected(make_objects):
    with pytest.raises(UserError, match="0 images but ground truth for 1"):
        validate([], [make_objects()], 2)


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


def test_images_are_counted_if_they_have_objects_that_are_not_ignored(make_detections, make_objects):
    truth = [
        make_objects([BOX] * 3, [0, 0, 2]),
        make_objects(),
        make_objects([BOX] * 2, [0, 1], difficult=[False, True]),
        make_objects([BOX], [1], crowd=[True]),
    ]
    matching = match([make_detections()] * 4, truth, 3)
    assert matching.class_images.tolist() == [2, 0, 1]
    assert matching.images_with_objects == 2
    empty = match([make_detections()], [make_objects()], 3)
    assert (empty.class_images.tolist(), empty.images_with_objects) == ([0, 0, 0], 0)


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


def test_detections_inside_a_crowd_are_ignored(make_detections, make_objects):
    # The IoU of a person and the crowd is 0.09. Another class and a box that is half outside are no part of it.
    crowd, person = [0, 0, 100, 100], [10, 10, 40, 40]
    truth = make_objects([crowd, [200, 200, 210, 210]], [0, 0], crowd=[True, False])
    boxes = [person, person, person, [200, 200, 210, 210], [80, 0, 130, 30]]
    verdict, matching = verdicts(make_detections(boxes, [0, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.5]), truth)
    assert verdict == ["ignored", "ignored", "false", "true", "false"]
    assert matching.best_object[matching.index == 0].tolist() == [1]


def test_an_object_in_a_crowd_can_be_found_once_and_its_duplicates_are_ignored(make_detections, make_objects):
    truth = make_objects([[0, 0, 10, 12], BOX], [0, 0], crowd=[True, False])
    assert verdicts(make_detections([BOX, BOX], [0, 0], [0.9, 0.8]), truth)[0] == ["true", "ignored"]


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


@pytest.mark.parametrize("pairs", [1, 7])
def test_pairs_are_compared_in_parts(pairs, make_case, monkeypatch):
    found, truth = make_case(4, images=20, crowd=True)

    def results():
        matching = match(found, truth, 3)
        return [*vars(matching).values(), *vars(detection_errors(matching, found, truth)).values()]

    at_once = results()
    monkeypatch.setattr(matching_module, "_PAIRS", pairs)
    for whole, part in zip(at_once, results(), strict=True):
        np.testing.assert_equal(part, whole)


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


BOX_IMAGE_QUALITY, OFF, FAR = [0, 0, 10, 10], [0, 2, 10, 12], [50, 50, 60, 60]  # the IoU of OFF and BOX is 8 / 12


def test_quality_equals_its_definition(make_detections, make_objects):
    found = [
        make_detections([BOX_IMAGE_QUALITY], [0], [0.9]),
        make_detections([OFF, FAR], [0, 0], [0.9, 0.8]),
        make_detections([OFF, FAR], [0, 0], [0.9, 0.1]),
        make_detections(),
        make_detections([FAR], [1], [0.9]),
        make_detections([BOX_IMAGE_QUALITY], [0], [0.9]),
    ]
    truth = (
        [make_objects([BOX_IMAGE_QUALITY], [0])] * 3
        + [make_objects()] * 2
        + [make_objects([BOX_IMAGE_QUALITY], [0], difficult=[True])]
    )
    quality = image_quality(match(found, truth, 2), 0.5)
    np.testing.assert_allclose(quality, [1.0, (8 / 12) / 1.5, 8 / 12, np.nan, 0.0, np.nan])


@pytest.mark.parametrize("seed", range(5))
def test_quality_does_not_depend_on_other_images(seed, make_case):
    found, truth = make_case(seed, images=8)
    quality = image_quality(match(found, truth, 3), 0.3)
    single = [image_quality(match([x], [y], 3), 0.3)[0] for x, y in zip(found, truth, strict=True)]
    np.testing.assert_allclose(quality, single)
    assert np.nanmax(quality) <= 1
    assert np.nanmin(quality) >= 0
    order = worst_first(quality)
    assert (np.diff(quality[order]) >= 0).all()
    assert sorted([*order, *np.flatnonzero(np.isnan(quality))]) == list(range(8))
