"""The last link of a detector: where objects get lost between the network's outputs and the detections."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.analysis.diagnosis import alternatives, predicted_labels
from tfeff.analysis.diagnosis.assignment import MORE_PROPOSALS
from tfeff.analysis.diagnosis.finding import Finding, Link, listed
from tfeff.analysis.diagnosis.saliency import OVERLAP
from tfeff.analysis.diagnosis.subject import TRAIN
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.boxes import iou, relative_from_yxyx, yxyx_from_relative
from tfeff.data.dataset import Objects
from tfeff.data.input.batches import Batches
from tfeff.evaluation import Detections, average_precisions, match, mean_average_precision
from tfeff.reporting.tables import percent
from tfeff.tasks.object_detection import ObjectDetectionTask, place
from tfeff.tasks.task import INPUTS, Batch

Floats = npt.NDArray[np.float64]
APART = 0.1
"""A box with a lower IoU with every object is background."""


class DetectionStage(StrEnum):
    """The stages between an object and its detection. Recall is measured at each stage by itself, so it need not
    decrease."""

    PROPOSED = "proposals"
    PREDICTED = "predicted boxes"
    CLASSIFIED = "with the correct class"
    SCORED = "above minimum_score"
    DETECTED = "after suppression"
    ACCEPTED = "above the threshold"


CAUSES = {
    DetectionStage.PROPOSED: (
        "the first stage proposes no region for them",
        "train longer; fit task.network.anchor_size to the objects; raise task.network.regions",
    ),
    DetectionStage.PREDICTED: (
        "no predicted box lies on them",
        "train longer, with a higher task.box_weight; check the links boxes and assignment",
    ),
    DetectionStage.CLASSIFIED: (
        "the boxes on them have another class",
        "train longer; check the labels; balance the classes",
    ),
    DetectionStage.SCORED: (
        "the boxes on them score below task.suppression.minimum_score",
        "lower task.suppression.minimum_score, or train longer",
    ),
    DetectionStage.DETECTED: (
        "suppression removes the boxes on them",
        "raise task.suppression.overlap, candidates and detections; with objects of several classes at one place, set "
        "class_agnostic=false",
    ),
    DetectionStage.ACCEPTED: (
        "their detections score below the threshold",
        "predict with a lower --score; train longer",
    ),
}
"""Why a stage loses objects, and what to do."""
BOX_CHANGES: dict[str, Callable[[Floats], Floats]] = {
    "x and y of the boxes are swapped": alternatives.swapped,
    "the boxes are upside down": alternatives.upside_down,
    "the boxes are mirrored": alternatives.mirrored,
    **{
        f"the boxes were drawn on images rotated by 90 degrees {direction}": turned
        for direction, turned in alternatives.ROTATIONS.items()
    },
    "the boxes are written with their centers, but read with their corners": lambda b: np.concatenate(
        [(3 * b[:, :2] - b[:, 2:]) / 2, (b[:, :2] + b[:, 2:]) / 2], axis=1
    ),
    "the boxes are written with their corners, but read with their centers": lambda b: np.concatenate(
        [(b[:, :2] + b[:, 2:]) / 2, (3 * b[:, 2:] - b[:, :2]) / 2], axis=1
    ),
}
"""How the boxes of a split can differ from those of the training -> converts them, relative to the image, to boxes like
those of the training."""


@dataclass
class DetectorPredictions:
    """The predictions for some images of a split, and the stages that their objects passed.

    Attributes:
        threshold: minimum score of shown detections.
        labels: labels of the objects, int [n].
        passed: stage -> bool [n], whether each object has passed it; without PROPOSED for one-stage detectors.
        localized: int [n], the class of the best detection on each object, -1 if there is none.
        found_if_corrected: key of BOX_CHANGES -> number of objects that detections find after the conversion.
        on_objects: highest score of each box on an object.
        on_background: highest score of each box on the background.
        highest: the highest score of all boxes.
        detections: detections of each image, in pixels of the network's input.
        objects: the same.
        sizes: (height, width) of each image in the network's input.
        silent: number of images without detections.
    """

    minimum_score: float
    threshold: float
    labels: list[int] = field(default_factory=list)
    passed: dict[DetectionStage, list[bool]] = field(default_factory=dict)
    localized: list[int] = field(default_factory=list)
    found_if_corrected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BOX_CHANGES, 0))
    on_objects: list[float] = field(default_factory=list)
    on_background: list[float] = field(default_factory=list)
    highest: float = 0.0
    detections: list[Detections] = field(default_factory=list)
    objects: list[Objects] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    images: int = 0
    silent: int = 0
    finite: bool = True

    def add(
        self,
        objects: Objects,
        boxes: Floats,
        scores: Floats,
        detections: Detections,
        proposals: Floats | None,
        size: tuple[int, int],
    ) -> None:
        """Follows the objects of one image through the stages. Ignored ones count in no stage.

        Args:
            boxes: all candidates, boxes_yxyx [c, 4], or [c, classes, 4] if each class has its own.
            scores: scores of the candidates, [c, classes].
            detections: what is left of them after suppression.
            proposals: proposals of the first stage, boxes_yxyx [p, 4]; None for one-stage detectors.
            size: (height, width) of the image in the network's input.
        """
        self.images += 1
        self.silent += not len(detections)
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            self.finite = False
            return
        self.detections.append(detections)
        self.objects.append(objects)
        self.sizes.append(size)
        counted = objects.take(~objects.ignored)
        self._add_scores(counted, boxes, scores)
        self._add_stages(counted, boxes, scores, detections, proposals)
        self._add_changes(counted, detections, size)

    def _add_scores(self, objects: Objects, boxes: Floats, scores: Floats) -> None:
        top, best = scores.max(axis=1), scores.argmax(axis=1)
        self.highest = max(self.highest, float(top.max(initial=0.0)))
        own = boxes if boxes.ndim == 2 else np.take_along_axis(boxes, best[:, None, None], axis=1)[:, 0]
        nearest = iou(own, objects.boxes_yxyx).max(axis=1, initial=0.0)
        self.on_objects += top[nearest >= OVERLAP].tolist()
        background = np.sort(top[nearest < APART])[::-1]
        self.on_background += background[:: max(1, len(background) // 100)].tolist()

    def _add_stages(
        self, objects: Objects, boxes: Floats, scores: Floats, detections: Detections, proposals: Floats | None
    ) -> None:
        best = scores.argmax(axis=1)
        found = iou(detections.boxes_yxyx, objects.boxes_yxyx) >= OVERLAP
        for number, (box, label) in enumerate(zip(objects.boxes_yxyx, objects.labels, strict=True)):
            near = iou(boxes if boxes.ndim == 2 else boxes[:, label], box[None])[:, 0] >= OVERLAP
            classified = near & (best == label)
            on = found[:, number]
            detected = on & (detections.labels == label)
            stages = {
                DetectionStage.PREDICTED: near,
                DetectionStage.CLASSIFIED: classified,
                DetectionStage.SCORED: classified & (scores[:, label] >= self.minimum_score),
                DetectionStage.DETECTED: detected,
                DetectionStage.ACCEPTED: detected & (detections.scores >= self.threshold),
            }
            if proposals is not None:
                stages = {DetectionStage.PROPOSED: iou(proposals, box[None])[:, 0] >= OVERLAP} | stages
            for stage, passed in stages.items():
                self.passed.setdefault(stage, []).append(bool(passed.any()))
            self.labels.append(int(label))
            strongest = int(np.where(on, detections.scores, -1.0).argmax()) if on.any() else None
            self.localized.append(-1 if strongest is None else int(detections.labels[strongest]))

    def _add_changes(self, objects: Objects, detections: Detections, size: tuple[int, int]) -> None:
        scores = detections.scores
        strong = detections.boxes_yxyx[scores >= min(self.threshold, float(np.max(scores, initial=0.0)) / 2)]
        relative = relative_from_yxyx(objects.boxes_yxyx.astype(np.float64), size)
        for name, change in BOX_CHANGES.items():
            overlaps = iou(strong, yxyx_from_relative(change(relative), size))
            self.found_if_corrected[name] += int((overlaps >= OVERLAP).any(axis=0).sum())

    def recall(self) -> dict[DetectionStage, float]:
        """Returns the share of objects that passed each stage."""
        return {stage: float(np.mean(passed)) if passed else 0.0 for stage, passed in self.passed.items()}

    @property
    def separation(self) -> float:
        """Area under the ROC curve of scores on objects against background; 0.5 is chance."""
        first, second = np.array(self.on_objects), np.sort(self.on_background)
        if not len(first) or not len(second):
            return 0.5
        below = np.searchsorted(second, first, "left") + np.searchsorted(second, first, "right")
        return float(below.mean() / 2 / len(second))

    @property
    def mean_ap(self) -> float:
        """VOC's mean average precision at an IoU of 0.5; 0 without objects."""
        labels = [each.labels for each in self.objects] + [each.labels for each in self.detections]
        classes = 1 + max((int(each.max(initial=0)) for each in labels), default=0)
        value = mean_average_precision(average_precisions(match(self.detections, self.objects, classes)))
        return float(np.nan_to_num(value))


def predict(
    task: ObjectDetectionTask, network: keras.Model, pipeline: Batches, threshold: float
) -> DetectorPredictions:
    """Predicts for all images of a pipeline and follows all objects, including those beyond `task.max_objects`.

    Boxes are clipped to the images.
    """

    def outputs_of(inputs: Batch) -> dict[str, Any]:
        outputs = task.forward(network, inputs, training=False)
        boxes, scores = task.candidates(outputs)
        result = {"boxes": boxes, "scores": scores, "detections": task.decode(outputs)}
        proposals = task.first_stage_boxes(outputs)
        return result if proposals is None else result | {"proposals": proposals}

    compiled = tf.function(outputs_of, jit_compile=False, autograph=False)
    found = DetectorPredictions(task.section.suppression.minimum_score, threshold)
    annotated = pipeline.images.dataset.objects
    for batch in pipeline.evaluation_batches():
        outputs = compiled({name: batch[name] for name in INPUTS if name in batch})
        boxes, scores, windows = outputs["boxes"].numpy(), outputs["scores"].numpy(), batch["window_yxyx"][:, 2:]
        detected = place(outputs["detections"], windows, windows)  # without the padding, as in evaluations
        proposals = outputs["proposals"].numpy() if "proposals" in outputs else None
        values = {name: value.numpy() for name, value in batch.items() if name != "image"}
        for row in np.flatnonzero(values["weight"] > 0):
            objects, count = annotated[values["index"][row]], int(detected["count"][row])
            window = values["window_yxyx"][row][2:]
            height, width = window.astype(int).tolist()
            scale, limit = np.tile(window / values["image_size"][row], 2).astype(np.float32), np.tile(window, 2)
            found.add(
                dataclasses.replace(objects, boxes_yxyx=objects.boxes_yxyx * scale),
                np.clip(boxes[row], 0, limit),
                scores[row],
                Detections(*(detected[name][row].numpy()[:count] for name in ("boxes", "labels", "scores"))),
                None if proposals is None else np.clip(proposals[row], 0, limit),
                (height, width),
            )
    return found


def check_detector(
    task: ObjectDetectionTask,
    predictions: Mapping[str, DetectorPredictions],
    names: tuple[str, ...],
    train_counts: npt.NDArray[np.int64],
) -> Link:
    """Checks the predictions."""
    findings, train = list[Finding](), predictions[TRAIN]
    if not all(each.finite for each in predictions.values()):
        findings.append(
            Finding(
                what="the network's outputs are not finite.",
                measured={"images": sum(each.images for each in predictions.values())},
                fix="the weights have diverged; train again with a lower optimizer.learning_rate",
            )
        )
    elif train.labels:
        findings += _on_train(task, train)
        for role, each in predictions.items():
            findings += _on_split(role, each, train, names)
        findings += _per_class(train, names, train_counts)
    return Link(
        name="predictions",
        question="where do objects get lost between the network's outputs and the detections?",
        findings=findings,
        measured={
            "score_threshold": train.threshold,
            **{
                role: {
                    "images": each.images,
                    "objects": len(each.labels),
                    "recall": {stage.value: round(value, 4) for stage, value in each.recall().items()},
                    "mean_ap": round(each.mean_ap, 4) if each.finite else None,
                    "score_separation": round(each.separation, 4),
                    "highest_score": each.highest,
                }
                for role, each in predictions.items()
            },
        },
        skipped="no object in the examined images" if learned(train) is None else "",
    )


def learned(train: DetectorPredictions) -> bool | None:
    """Returns whether a detector finds its training objects; None if the examined training images have none."""
    if train.finite and not train.labels:
        return None
    return train.finite and train.mean_ap >= limit("low_ap")


def _on_train(task: ObjectDetectionTask, train: DetectorPredictions) -> Iterator[Finding]:
    """Yields objects of the training images that are not found, although the network has seen them."""
    recall = train.recall()
    if recall[DetectionStage.ACCEPTED] >= limit("low_recall") and learned(train):
        return
    scores = {"mean_ap": train.mean_ap, "highest_score": train.highest, "score_separation": train.separation}
    if train.highest < train.minimum_score:
        yield Finding(
            what=f"task.suppression.minimum_score={train.minimum_score:g} is above all scores, so there are no "
            "detections.",
            measured=scores | {"images_without_detections": train.silent, "images": train.images},
            evidence=["see scores.png"],
            fix=f"set task.suppression.minimum_score below {train.highest:.2g}, such as 0.001; if scores stay this "
            "low after more training, see the link training",
        )
        return
    if train.separation < limit("never_learned"):
        yield Finding(
            what="the network has learned nothing: it scores boxes on objects like boxes on the background.",
            measured=scores | {f"recall {stage}": value for stage, value in recall.items()},
            evidence=["see scores.png"],
            fix="train for more updates, from pretrained weights (model.weights=imagenet) if there are few images; "
            "check the links before this one",
        )
        return
    if recall[DetectionStage.ACCEPTED] >= limit("low_recall"):
        yield Finding(
            what=f"the detections do not stand out: mean average precision is {train.mean_ap:.2f} even on training "
            "images, because detections on the background score as high as those on objects.",
            measured={f"recall {name}": value for name, value in recall.items()} | scores,
            evidence=["see scores.png"],
            fix="train for more updates; check the links before this one",
        )
        return
    before, lost = 1.0, list[DetectionStage]()
    for stage, value in recall.items():
        if value < (1 - limit("stage_loss")) * before:
            lost.append(stage)
        before = min(before, value)
    stage = lost[0] if lost else min(recall, key=lambda stage: recall[stage])
    cause, fix = CAUSES[stage]
    if stage == DetectionStage.PROPOSED and task.proposals is not None:
        cause, fix = "no proposal has an IoU of 0.5 with them", MORE_PROPOSALS
    if stage == DetectionStage.DETECTED and not task.suppresses:
        cause, fix = "too many other boxes score higher", "raise task.suppression.detections; train longer"
    if stage == DetectionStage.ACCEPTED:
        cause += f" of {train.threshold:.3g}"
    yield Finding(
        what=f"even of the training objects, only {percent(recall[DetectionStage.ACCEPTED])} are found. Most get lost "
        f'at the stage "{stage}": {cause}.',
        measured={f"recall {name}": value for name, value in recall.items()} | scores,
        evidence=["see recall.png"],
        fix=fix,
    )


def _on_split(
    role: str, each: DetectorPredictions, train: DetectorPredictions, names: tuple[str, ...]
) -> list[Finding]:
    """Returns differences between a split and the training."""
    findings = list[Finding]()
    total = len(each.labels)
    if total < limit("permuted_objects"):
        return []
    labels, predicted = np.array(each.labels), np.array(each.localized)
    on = predicted >= 0
    if on.mean() >= limit("low_recall"):
        found = predicted_labels.best_permutation(labels[on], predicted[on], len(names))
        finding = predicted_labels.finding(role, found, names)
        findings += [finding] if finding else []
    change, explained = max(each.found_if_corrected.items(), key=lambda item: item[1])
    if explained >= limit("low_recall") * total and on.sum() < limit("changed_boxes") * explained:
        findings.append(
            Finding(
                role=role,
                what=f"{change}, compared with train: detections match them only if this is corrected.",
                measured={"found_as_they_are": int(on.sum()), "found_if_corrected": explained, "objects": total},
                fix=f"write the boxes of {role} as those of train",
            )
        )
    if role == TRAIN or findings:
        return findings
    ours, theirs = train.recall()[DetectionStage.DETECTED], each.recall()[DetectionStage.DETECTED]
    if ours >= limit("low_recall") and theirs < limit("generalization") * ours:
        findings.append(
            Finding(
                role=role,
                what=f"recall is {percent(theirs)}, but {percent(ours)} on training images: the network has memorized "
                "those, or this split is different.",
                measured={"recall": theirs, "training_recall": ours, "objects": total},
                evidence=["see recall.png, and compare train and " + role + " in analysis.html"],
                fix="more images, more augmentation (task.augmentation), pretrained weights; draw the splits at random",
            )
        )
    return findings


def _per_class(train: DetectorPredictions, names: tuple[str, ...], counts: npt.NDArray[np.int64]) -> Iterator[Finding]:
    """Yields classes that are never detected, if others are."""
    if not learned(train):
        return
    labels, passed = np.array(train.labels), np.array(train.passed[DetectionStage.DETECTED])
    examined, detected = (np.bincount(each, minlength=len(names)) for each in (labels, labels[passed]))
    enough = (counts >= limit("detected_class")) & (examined >= limit("examined_objects"))
    never = np.flatnonzero(enough & (detected == 0)).tolist()
    if not never:
        return
    yield Finding(
        what=f"classes that are never detected, not even in training images: {listed([names[c] for c in never])}.",
        measured={names[c]: int(counts[c]) for c in never[:5]},
        evidence=[f"0 of {examined[c]} examined objects of {names[c]}" for c in never[:5]],
        fix="check their boxes in analysis.html and their sizes in boxes.png; collect more of them, or train longer",
    )
