"""Numbers of a comparison of detectors, on detections of known quality."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from tfeff import evaluation
from tfeff.analysis.comparison.cost import Cost
from tfeff.analysis.comparison.detectors.insight import Insight
from tfeff.analysis.comparison.detectors.page import class_table, difference_table, size_table
from tfeff.data.dataset import Objects
from tfeff.evaluation import Detections

IMAGES = 60


def scene(rng):
    """Returns objects of one image, far apart."""
    count = int(rng.integers(1, 5))
    corners = np.stack([np.arange(count) * 50, rng.integers(0, 100, count)], axis=1).astype(np.float32)
    boxes = np.concatenate([corners, corners + 40], axis=1)
    none = np.zeros(count, bool)
    return Objects(boxes, rng.integers(0, 2, count).astype(np.int32), none, none)


def detected(objects, quality, rng):
    """Finds each object with a probability, and as often something that is not there."""
    seen = rng.random(len(objects)) < quality
    wrong = rng.random(len(objects)) > quality
    boxes = np.concatenate([objects.boxes_yxyx[seen] + 1, objects.boxes_yxyx[wrong] + 300])
    labels = np.concatenate([objects.labels[seen], objects.labels[wrong]])
    return Detections(boxes, labels, rng.random(len(labels)).astype(np.float32))


def insight(qualities, macs=None, same=False):
    rng = np.random.default_rng(1)
    objects = [scene(rng) for _ in range(IMAGES)]
    found = [
        [detected(each, quality, np.random.default_rng((seed, image))) for image, each in enumerate(objects)]
        for seed, quality in enumerate(qualities)
    ]
    if same:
        found = found[:1] * len(qualities)
    names = [f"run{number}" for number in range(len(qualities))]
    return Insight(
        split="test",
        model_names=names,
        networks=["yolo, resnet at 64 px"] * len(names),
        workdirs=[f"/runs/{name}" for name in names],
        class_names=["cat", "dog"],
        ids=[f"{image}.jpg" for image in range(IMAGES)],
        objects=objects,
        found=found,
        thresholds=[0.1] * len(names),
        costs=[Cost(10, each, 100, {}, None) for each in macs or [1000 * (i + 1) for i in range(len(names))]],
        notes=["a note"],
    )


def cats(images, empty):
    """Some images of a cat, which only the first detector finds, and images without objects."""
    box, none = np.array([[0, 0, 40, 40]], np.float32), np.zeros(1, bool)
    cat, found = Objects(box, np.zeros(1, np.int32), none, none), Detections(box, np.zeros(1, np.int32), np.ones(1))
    nothing = np.zeros(0, np.int64)
    missed = [found.take(nothing)] * empty
    return dataclasses.replace(
        insight([0.9, 0.9]),
        ids=[f"{image}.jpg" for image in range(images + empty)],
        objects=[cat] * images + [cat.take(nothing)] * empty,
        found=[[found] * images + missed, [found.take(nothing)] * images + missed],
    )


def test_paired_intervals_are_those_of_a_direct_computation():
    """Images are drawn, repeated, matched and evaluated again."""
    result = insight([0.9, 0.7])
    (row,) = result.differences
    drawn = np.random.default_rng(0).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=1000)
    ap, coco = [], []
    for counts in drawn[:100]:
        images = np.repeat(np.arange(IMAGES), counts)
        chosen = [([found[i] for i in images], [result.objects[i] for i in images]) for found in result.found]
        ap.append([evaluation.average_precisions(evaluation.match(*each, 2)) for each in chosen])
        if len(coco) < 10:
            coco.append([evaluation.coco_scores(*each, 2) for each in chosen])
    values = np.array(ap)  # resamples, detectors, classes
    np.testing.assert_allclose(result.resampled[:, :100], values.mean(axis=2).T, atol=1e-12)
    for detector, report in enumerate(result.reports):
        np.testing.assert_allclose(report.resampled_ap[:100], values[:, detector], atol=1e-12)
    for key, resampled in result.resampled_coco.items():
        expected = [[scores[key] for scores in each] for each in coco]
        np.testing.assert_allclose(resampled[:, :10], np.transpose(expected), atol=1e-12)

    def ends(images):
        tail = stats.norm.cdf(stats.t(images - 1).ppf(0.025) * np.sqrt(images / (images - 1)))
        return [tail, 1 - tail]

    low, high = np.quantile(result.resampled[0] - result.resampled[1], ends(IMAGES))
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-12)
    assert row["low"] < row["difference"] < row["high"]
    best, other = result.ranking
    for label, each in enumerate(result.class_rows()):
        aps = [report.resampled_ap[:, label] for report in result.reports]
        found = each["differences"][result.model_names[other]]
        assert each["images"] == sum((truth.labels == label).any() for truth in result.objects) < IMAGES
        expected = np.quantile(aps[other] - aps[best], ends(each["images"]))
        assert (found["low"], found["high"]) == pytest.approx(expected)
        assert found["difference"] == each["ap"][f"run{other}"] - each["ap"][f"run{best}"]
    assert row["coco_ap"]["low"] < row["coco_ap"]["difference"] < row["coco_ap"]["high"]


def test_a_detector_does_not_differ_from_itself():
    result = insight([0.8, 0.8], same=True)
    (row,) = result.differences
    none = {"difference": 0, "low": 0, "high": 0}
    assert none.items() <= row.items()
    assert row["coco_ap"] == none
    sizes = {each["name"]: each["differences"]["run1"] for each in result.size_rows()}
    assert sizes["medium"] == none
    assert all(each["differences"] == {"run1": none} for each in result.class_rows())
    assert {each["run1"].partition(" ")[2] for each in class_table(result)} == {"(+0.0, +0.0 to +0.0)"}
    assert [each["run1"] for each in size_table(result) if each["objects"] != "medium"] == ["–", "–"]
    assert row["p_value"] == 1
    assert not row["separable"]
    assert not len(result.contrasts)
    assert "Not separable from it: run1." in result.summary


def test_a_clearly_better_detector_leads():
    result = insight([0.5, 0.98, 0.6])
    assert result.ranking == [1, 2, 0]
    assert result.summary.startswith("run1 has the highest mAP, ")
    assert "Its lead over all others is significant." in result.summary
    assert "too narrow" not in result.summary  # of 60 images
    assert [(row["first"], row["second"]) for row in result.differences] == [
        ("run1", "run2"),
        ("run1", "run0"),
        ("run2", "run0"),
    ]
    assert all(row["difference"] >= 0 for row in result.differences)


def test_the_cheapest_of_similar_detectors_is_named():
    result = insight([0.9, 0.9], macs=[100, 400])
    best = result.ranking[0]
    assert ("Of these, run0 is the cheapest, with 25 %" in result.summary) == (best == 1)


def test_images_are_ordered_by_the_difference_of_qualities():
    result = insight([0.9, 0.5])
    spread = np.abs(result.quality[0] - result.quality[1])
    assert spread[result.contrasts[0]] == spread.max()
    assert (np.diff(spread[result.contrasts]) <= 0).all()


def test_numbers_are_json():
    result = insight([0.9, 0.6])
    numbers = json.loads(json.dumps(result.to_json(), allow_nan=False))
    for row, index in zip(numbers["models"], result.ranking, strict=True):
        assert row["mean_ap"] == result.reports[index].mean_ap
        assert sum(each["count"] for each in numbers["errors"][row["name"]].values()) > 0
    for label, row in enumerate(numbers["classes"]):
        assert row["objects"] == sum((each.labels == label).sum() for each in result.objects)
    assert numbers["differences"][0]["difference"] == pytest.approx(
        numbers["models"][0]["mean_ap"] - numbers["models"][1]["mean_ap"]
    )


def test_among_many_detectors_the_hopeless_one_is_separable_from_all_others():
    found = insight([*[0.9] * 7, 0.05])
    differences = [row for row in found.differences if "run7" in (row["first"], row["second"])]
    assert len(differences) == 7
    assert all(row["separable"] for row in differences)


@pytest.mark.parametrize("empty", [0, 495])
def test_images_without_objects_do_not_make_a_difference_significant(empty):
    """The exact p-value of equal signs in five images is 2 / 2^5."""
    result = cats(5, empty)
    (row,) = result.differences
    assert row["difference"] == 1
    assert 0.05 < row["p_value"] < 0.07
    assert "(95 % interval 1.0000 to 1.0000, too narrow for so few images)" in result.summary


@pytest.mark.parametrize(
    ("images", "interval"), [(1, "too few images"), (5, "too few images"), (6, "-100.0 to -100.0")]
)
def test_differences_of_classes_and_sizes_in_few_images_have_no_interval(images, interval):
    result = cats(images, 50)
    cat, dog = class_table(result)
    assert (cat["run1"], dog["run1"]) == (f"0.0000 (-100.0, {interval})", "–")
    assert [row["run1"] for row in size_table(result)] == ["–", f"0.0000 (-100.0, {interval})", "–"]
    assert difference_table(result)[0]["95 % interval"] == interval.replace("-", "+")
    low = result.to_json()["classes"][0]["differences"]["run1"]["low"]
    assert low == (-1 if images == 6 else None)
