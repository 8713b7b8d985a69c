import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfeff.evaluation.coco import FIGURES, coco_scores, to_coco_results


def directly(found, there, classes, folder):
    """COCO's twelve figures as its own example has them: from two files."""
    annotations = []
    for image, real in enumerate(there):
        for (top, left, bottom, right), label, crowd in zip(real.boxes_yxyx, real.labels, real.crowd, strict=True):
            x, y, w, h = float(left), float(top), float(right) - float(left), float(bottom) - float(top)
            row = {"id": len(annotations) + 1, "image_id": image + 100, "category_id": int(label) + 7}
            annotations.append(row | {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(crowd)})
    truth = {
        "info": {},
        "images": [{"id": image + 100, "width": 500, "height": 500} for image in range(len(there))],
        "categories": [{"id": label + 7, "name": str(label)} for label in range(classes)],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    results = to_coco_results(
        found, [image + 100 for image in range(len(there))], [label + 7 for label in range(classes)]
    )
    (folder / "detections.json").write_text(json.dumps(results))
    coco = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(coco, coco.loadRes(str(folder / "detections.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    per_class = []
    for label in range(classes):
        of_class = evaluation.eval["precision"][:, :, label, 0, 2]
        per_class.append(of_class[of_class > -1].mean() if (of_class > -1).any() else -1)
    return evaluation.stats, per_class


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_pycocotools(seed, make_case, tmp_path, capsys):
    found, there = make_case(seed, images=25, side=(100.0, 400.0)[seed % 2], crowd=True, classes=4)
    scores = coco_scores(found, there, 5)  # one class without objects
    assert capsys.readouterr().out == ""
    expected, per_class = directly(found, there, 5, tmp_path)
    given = np.nan_to_num([getattr(scores, name) for name in FIGURES], nan=-1)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.nan_to_num(scores.ap_per_class, nan=-1), per_class, rtol=0, atol=1e-12)
    assert expected[0] > 0.05


def test_without_detections_scores_are_zero_and_without_objects_undefined(make_detections, make_objects):
    box = [[0, 0, 50, 50]]
    nothing = coco_scores([make_detections()], [make_objects(box, [0])], 2)
    assert (nothing.ap, nothing.ar100, nothing.ap_medium) == (0, 0, 0)
    assert np.isnan([nothing.ap_small, nothing.ap_per_class[1]]).all()
    strays = coco_scores([make_detections(box, [0], [0.5])], [make_objects()], 2)
    assert np.isnan([strays.ap, strays.ar100]).all()
    assert np.isnan(coco_scores([make_detections()], [make_objects()], 1).ap)


def test_results_are_plain_and_boxes_come_as_left_top_width_height(make_detections):
    found = [make_detections([[1, 2, 11, 22]], [0], [0.25]), make_detections()]
    assert json.loads(json.dumps(to_coco_results(found, ["a", "b"]))) == [
        {"image_id": "a", "category_id": 0, "bbox": [2.0, 1.0, 20.0, 10.0], "score": 0.25}
    ]
