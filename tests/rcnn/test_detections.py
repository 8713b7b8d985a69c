"""Detections from scores, in NumPy and in a graph, against a loop."""

import numpy as np
import pytest
import tensorflow as tf

from tfeff.boxes import iou
from tfeff.boxes.coding import decode
from tfeff.rcnn.detections import Postprocess

MIN_SCORE = 0.25


def case(seed: int, shared: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regions, scores and codes; some scores equal MIN_SCORE, which they have to exceed."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (50, 2))
    regions = np.concatenate([low, low + rng.uniform(5, 40, (50, 2))], axis=1).astype(np.float32)
    scores = rng.random((50, 3)).astype(np.float32)
    scores[::5] = MIN_SCORE
    codes = rng.normal(0, 0.1, (50, 1 if shared else 3, 4)).astype(np.float32)
    return regions, scores, codes


def by_loop(
    regions: np.ndarray, scores: np.ndarray, codes: np.ndarray, size: tuple[int, int], settings: Postprocess
) -> list[tuple[float, int, list[float]]]:
    detections = []
    for label in range(scores.shape[1]):
        kept: list[tuple[float, list[float]]] = []
        candidates: list[tuple[float, np.ndarray]] = []
        for index in np.argsort(-scores[:, label], kind="stable"):
            if scores[index, label] <= settings.min_score:
                continue
            box = decode(codes[index, label if codes.shape[1] > 1 else 0], regions[index])
            box = np.clip(box, 0, [size[0], size[1], size[0], size[1]])
            candidates.append((float(scores[index, label]), box))
            if all(iou(box[None], np.array([other]))[0, 0] <= settings.nms_overlap for _, other in kept):
                kept.append((float(scores[index, label]), box.tolist()))
        if settings.vote_overlap is not None:
            for place, (score, box) in enumerate(kept):
                near = [(s, b) for s, b in candidates if iou(np.array([box]), b[None])[0, 0] >= settings.vote_overlap]
                kept[place] = score, (sum(s * b for s, b in near) / sum(s for s, _ in near)).tolist()
        detections += [(score, label, box) for score, box in kept]
    return sorted(detections, key=lambda row: -row[0])[: settings.max_detections]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("limit", "vote_overlap"), [(5, None), (100, None), (100, 0.5)])
def test_both_implementations_match_a_loop(shared: bool, limit: int, vote_overlap: float | None) -> None:
    postprocess = Postprocess(nms_overlap=0.3, max_detections=limit, min_score=MIN_SCORE, vote_overlap=vote_overlap)
    for seed in range(10):
        regions, scores, codes = case(seed, shared)
        size = (70, 80)
        expected = by_loop(regions, scores, codes, size, postprocess)
        in_graph = postprocess.in_graph(*map(tf.constant, (regions, scores, codes, size)))
        for boxes, labels, score in (
            postprocess(regions, scores, codes, size),
            [np.asarray(part) for part in in_graph],
        ):
            np.testing.assert_allclose(score, [row[0] for row in expected])
            assert labels.tolist() == [row[1] for row in expected]
            np.testing.assert_allclose(boxes, [row[2] for row in expected], atol=1e-4)


def test_no_score_exceeds_the_minimum() -> None:
    regions, scores, codes = case(0, shared=True)
    postprocess = Postprocess(min_score=2.0, vote_overlap=0.5)
    boxes, labels, score = postprocess(regions, scores, codes, (70, 80))
    in_graph = postprocess.in_graph(*map(tf.constant, (regions, scores, codes, (70, 80))))
    assert [len(part) for part in in_graph] == [0, 0, 0]
    assert (boxes.shape, len(labels), len(score)) == ((0, 4), 0, 0)
