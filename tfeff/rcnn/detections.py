"""From scores and box codes of regions to the detections of an image."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfeff.boxes.coding import decode
from tfeff.boxes.formats import clip
from tfeff.boxes.nms import nms_per_class
from tfeff.boxes.voting import voted


@dataclass(frozen=True)
class Postprocess:
    """Decodes boxes and applies non-maximum suppression per class, then box voting. R: regions, C: classes.

    Attributes:
        nms_overlap: IoU above which the box with the lower score is suppressed.
        max_detections: maximum number of detections per image.
        min_score: detections at or below this score are dropped before suppression.
        vote_overlap: minimum IoU of the boxes that are averaged, see `voted`; None: they are not.
    """

    nms_overlap: float = 0.3
    max_detections: int = 100
    min_score: float = 0.01
    vote_overlap: float | None = None

    def __call__(
        self, regions_yxyx: np.ndarray, scores: np.ndarray, codes: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detections in decreasing order of their scores.

        Args:
            regions_yxyx: float32 [R, 4].
            scores: float32 [R, C].
            codes: float32 [R, C, 4], or [R, 1, 4] if all classes share one box.
            size: (height, width) of the image.

        Returns:
            boxes_yxyx float32 [n, 4], labels int32 [n], scores float32 [n].
        """
        decoded = clip(decode(codes, regions_yxyx[:, None]), size)
        decoded = np.broadcast_to(decoded, (*scores.shape, 4))
        rows, labels = np.nonzero(scores > self.min_score)
        boxes, score = decoded[rows, labels], scores[rows, labels]
        kept = nms_per_class(boxes, score, labels, self.nms_overlap, limit=self.max_detections)
        detected = boxes[kept]
        if self.vote_overlap is not None:
            detected = voted(detected, labels[kept], boxes, labels, score, self.vote_overlap)
        return detected.astype(np.float32), labels[kept].astype(np.int32), score[kept].astype(np.float32)

    def in_graph(
        self, regions_yxyx: tf.Tensor, scores: tf.Tensor, codes: tf.Tensor, size: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The same for tensors; `size` is int32 [2]."""
        height, width = tf.unstack(tf.cast(size, tf.float32))
        decoded = decode(codes, regions_yxyx[:, tf.newaxis], ops=keras.ops)
        limits = tf.stack([height, width, height, width])
        boxes = tf.clip_by_value(decoded, 0.0, limits)
        count = tf.shape(scores)[0]
        result = tf.image.combined_non_max_suppression(
            boxes[tf.newaxis],
            scores[tf.newaxis],
            max_output_size_per_class=tf.minimum(count, self.max_detections),
            max_total_size=self.max_detections,
            iou_threshold=self.nms_overlap,
            score_threshold=self.min_score,
            clip_boxes=False,
        )
        valid = result.valid_detections[0]
        labels = tf.cast(result.nmsed_classes[0, :valid], tf.int32)
        detected = result.nmsed_boxes[0, :valid]
        if self.vote_overlap is not None:
            every = tf.broadcast_to(boxes, tf.concat([tf.shape(scores), [4]], 0))
            used = tf.where(scores > self.min_score)
            candidates = tf.gather_nd(every, used), tf.cast(used[:, 1], tf.int32), tf.gather_nd(scores, used)
            detected = voted(detected, labels, *candidates, self.vote_overlap, ops=keras.ops)
        return detected, labels, result.nmsed_scores[0, :valid]
