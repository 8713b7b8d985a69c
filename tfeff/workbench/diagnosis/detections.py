"""The last link of a detector: where objects get lost between the network's outputs and the detections."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.boxes import iou
from tfeff.data.dataset import Objects
from tfeff.data.input.batches import Batches
from tfeff.evaluation import Detections, average_precisions, match, mean_average_precision
from tfeff.tasks.object_detection import ObjectDetection
from tfeff.tasks.task import INPUTS, Batch
from tfeff.workbench.diagnosis import label_exchange
from tfeff.workbench.diagnosis.assignment import MORE_PROPOSALS
from tfeff.workbench.diagnosis.finding import Finding, Link, listed
from tfeff.workbench.diagnosis.subject import TRAIN
from tfeff.workbench.diagnosis.thresholds import limit

Floats = npt.NDArray[np.float64]
OBJECT_KEYS = {"boxes_yxyx": np.float32, "label": np.int32, "difficult": np.bool_, "crowd": np.bool_}
"""What a batch says about objects, in the order of the fields of `Objects`, and its types there."""
OVERLAP = 0.5
"""IoU from which on a box finds an object."""
APART = 0.1
"""IoU below which a box is background."""
PROPOSED, PREDICTED, CLASSIFIED, SCORED, DETECTED, ACCEPTED = (
    "proposals",
    "predicted boxes",
    "with the right class",
    "above minimum_score",
    "after suppression",
    "above the threshold",
)
STAGES = (PROPOSED, PREDICTED, CLASSIFIED, SCORED, DETECTED, ACCEPTED)
"""What an object passes on its way to a detection. Each counts objects that all stages before have found, too."""
CAUSES = {
    PROPOSED: (
        "the first stage proposes no region for them",
        "train longer; fit task.anchor_size to the objects; raise task.proposals",
    ),
    PREDICTED: (
        "no predicted box lies on them",
        "train longer, with a higher task.box_weight; check the links boxes and assignment",
    ),
    CLASSIFIED: (
        "the boxes on them have another class",
        "train longer; check the labels; balance the classes",
    ),
    SCORED: (
        "the boxes on them score below task.suppression.minimum_score",
        "lower task.suppression.minimum_score, or train longer",
    ),
    DETECTED: (
        "suppression removes the boxes on them",
        "raise task.suppression.overlap, candidates and detections; with objects of several classes at one place, set "
        "class_agnostic=false",
    ),
    ACCEPTED: (
        "their detections score below the threshold",
        "predict with a lower --score; train longer",
    ),
}
"""Why a stage loses objects, and what to do."""
MIRRORED = {
    "x and y are exchanged": lambda b: b[:, [1, 0, 3, 2]],
    "they are upside down": lambda b: np.stack([1 - b[:, 2], b[:, 1], 1 - b[:, 0], b[:, 3]], -1),
    "they are mirrored": lambda b: np.stack([b[:, 0], 1 - b[:, 3], b[:, 2], 1 - b[:, 1]], -1),
    "they are rotated by 90 degrees clockwise": lambda b: np.stack([b[:, 1], 1 - b[:, 2], b[:, 3], 1 - b[:, 0]], -1),
    "they are rotated by 90 degrees counterclockwise": lambda b: np.stack(
        [1 - b[:, 3], b[:, 0], 1 - b[:, 1], b[:, 2]], -1
    ),
    "they are corners read as centers": lambda b: np.stack(
        [(3 * b[:, 0] - b[:, 2]) / 2, (3 * b[:, 1] - b[:, 3]) / 2, (b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2], -1
    ),
    "they are centers read as corners": lambda b: np.stack(
        [(b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2, (3 * b[:, 2] - b[:, 0]) / 2, (3 * b[:, 3] - b[:, 1]) / 2], -1
    ),
}
"""How the boxes of a split, relative to the image, can differ from those of the training."""


@dataclass
class Examined:
    """The predictions for some images of a split.

    Attributes:
        labels: of the objects, int [n].
        passed: stage -> bool [n], whether each object has passed it; without PROPOSED for one-stage detectors.
        localized: int [n], the class of the best detection on each object, -1 if there is none.
        turned: relation in MIRRORED -> objects that detections find if their boxes are changed so.
        on_objects: highest score of each box on an object.
        on_background: highest score of each box on the background.
        detections: of each image, in pixels of the network's input.
        objects: the same.
        images: number of images.
        silent: number of images without detections.
        finite: whether all outputs are finite.
    """

    labels: list[int] = field(default_factory=list)
    passed: dict[str, list[bool]] = field(default_factory=dict)
    localized: list[int] = field(default_factory=list)
    turned: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MIRRORED, 0))
    on_objects: list[float] = field(default_factory=list)
    on_background: list[float] = field(default_factory=list)
    detections: list[Detections] = field(default_factory=list)
    objects: list[Objects] = field(default_factory=list)
    images: int = 0
    silent: int = 0
    finite: bool = True

    def recall(self) -> dict[str, float]:
        """Share of objects that passed each stage."""
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
        classes = 1 + max(self.labels, default=0)
        classes = max([classes, *(1 + int(each.labels.max(initial=0)) for each in self.detections)])
        value = mean_average_precision(average_precisions(match(self.detections, self.objects, classes)))
        return float(np.nan_to_num(value))

    @property
    def highest(self) -> float:
        """The highest score of all boxes."""
        return max([*self.on_objects, *self.on_background], default=0.0)


def examine(task: ObjectDetection, network: keras.Model, pipeline: Batches, threshold: float) -> Examined:
    """Predicts for all images of a pipeline and follows each object through the stages.

    Args:
        task: of the network.
        network: trained.
        pipeline: the images.
        threshold: minimum score of detections that are shown.
    """

    def predicted(inputs: Batch) -> tuple[Any, ...]:
        outputs = task.forward(network, inputs, training=False)
        boxes, scores = task.candidates(outputs)
        proposals = task.first_stage_boxes(outputs)
        return boxes, scores, task.decode(outputs), boxes if proposals is None else proposals

    compiled = tf.function(predicted, jit_compile=False, autograph=False)
    two_stage, found = False, Examined()
    for batch in pipeline.evaluation_batches():
        boxes, scores, detected, proposals = compiled({name: batch[name] for name in INPUTS if name in batch})
        two_stage = proposals is not boxes and len(boxes.shape) == 4
        values = {name: value.numpy() for name, value in batch.items() if name != "image"}
        for row in np.flatnonzero(values["weight"] > 0):
            valid = values["valid"][row]
            present = Objects(*(values[name][row][valid].astype(kind) for name, kind in OBJECT_KEYS.items()))
            count = int(detected["count"][row])
            _follow(
                found,
                present,
                boxes[row].numpy(),
                scores[row].numpy(),
                {name: detected[name][row].numpy()[:count] for name in ("boxes", "scores", "labels")},
                proposals[row].numpy() if two_stage else None,
                task.section.suppression.minimum_score,
                threshold,
                values["window_yxyx"][row][2:],
            )
    return found


def _follow(
    found: Examined,
    present: Objects,
    boxes: Floats,
    scores: Floats,
    detected: Mapping[str, npt.NDArray[Any]],
    proposals: Floats | None,
    minimum: float,
    threshold: float,
    window: Floats,
) -> None:
    """Adds the objects of one image. Ignored ones count in no stage."""
    used = present.take(~present.ignored)
    objects, labels = used.boxes_yxyx, used.labels
    found.images += 1
    found.silent += not len(detected["scores"])
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        found.finite = False
        return
    top, best = scores.max(axis=1), scores.argmax(axis=1)
    plain = boxes if boxes.ndim == 2 else np.take_along_axis(boxes, best[:, None, None], axis=1)[:, 0]
    overlaps = iou(plain, objects)  # [candidates, objects]
    nearest = overlaps.max(axis=1, initial=0.0)
    found.on_objects += top[nearest >= OVERLAP].tolist()
    background = np.sort(top[nearest < APART])[::-1]
    found.on_background += background[:: max(1, len(background) // 500)].tolist()
    found.detections.append(Detections(detected["boxes"], detected["labels"], detected["scores"]))
    found.objects.append(present)
    shown = iou(detected["boxes"], objects)
    right = detected["labels"][:, None] == labels[None]
    accepted = detected["scores"][:, None] >= threshold
    for number, label in enumerate(labels):
        own = overlaps[:, number] if boxes.ndim == 2 else iou(boxes[:, label], objects[number][None])[:, 0]
        near = own >= OVERLAP
        steps = dict[str, bool]()
        if proposals is not None:
            steps[PROPOSED] = bool((iou(proposals, objects[number][None]) >= OVERLAP).any())
        steps[PREDICTED] = bool(near.any())
        steps[CLASSIFIED] = bool((near & (best == label)).any())
        steps[SCORED] = bool((near & (best == label) & (scores[:, label] >= minimum)).any())
        here = (shown[:, number] >= OVERLAP) & right[:, number]
        steps[DETECTED] = bool(here.any())
        steps[ACCEPTED] = bool((here & accepted[:, 0]).any())
        for stage, passed in steps.items():
            found.passed.setdefault(stage, []).append(passed)
        found.labels.append(int(label))
        on = np.flatnonzero(shown[:, number] >= OVERLAP)
        found.localized.append(int(detected["labels"][on[detected["scores"][on].argmax()]]) if len(on) else -1)
    scale = np.tile(window.astype(float), 2)
    strong = detected["boxes"][detected["scores"] >= min(threshold, np.max(detected["scores"], initial=0.0) / 2)]
    for relation, change in MIRRORED.items():
        moved = change(objects / scale) * scale
        found.turned[relation] += int((iou(strong, moved) >= OVERLAP).any(axis=0).sum()) if len(strong) else 0


def check(
    task: ObjectDetection,
    examined: Mapping[str, Examined],
    names: tuple[str, ...],
    train_counts: npt.NDArray[np.int64],
    threshold: float,
) -> Link:
    """Checks the predictions.

    Args:
        task: of the network.
        examined: predictions by role.
        names: of the classes.
        train_counts: training objects of each class.
        threshold: minimum score of detections that are shown.
    """
    findings, train = list[Finding](), examined[TRAIN]
    if not all(each.finite for each in examined.values()):
        findings.append(
            Finding(
                what="the network's outputs are not finite.",
                measured={"images": sum(each.images for each in examined.values())},
                fix="the weights have diverged; train again with a lower optimizer.learning_rate",
            )
        )
    elif train.labels:
        findings += _on_train(task, train, threshold)
        for role, each in examined.items():
            findings += _on_split(role, each, train, names)
        findings += _per_class(train, names, train_counts)
    return Link(
        name="predictions",
        question="where do objects get lost between the network's outputs and the detections?",
        findings=sorted(findings, key=lambda each: not each.broken),
        measured={
            "score_threshold": threshold,
            **{
                role: {
                    "images": each.images,
                    "objects": len(each.labels),
                    "recall": {stage: round(value, 4) for stage, value in each.recall().items()},
                    "mean_ap": round(each.mean_ap, 4) if each.finite else None,
                    "score_separation": round(each.separation, 4),
                    "highest_score": each.highest,
                }
                for role, each in examined.items()
            },
        },
    )


def learned(examined: Examined) -> bool:
    """Whether a detector finds its training objects."""
    return examined.finite and bool(examined.labels) and examined.mean_ap >= limit("low_ap")


def _on_train(task: ObjectDetection, train: Examined, threshold: float) -> list[Finding]:
    """Objects of the training images that are not found, although the network has seen them."""
    recall, minimum = train.recall(), task.section.suppression.minimum_score
    if recall[ACCEPTED] >= limit("low_recall") and learned(train):
        return []
    scores = {"mean_ap": train.mean_ap, "highest_score": train.highest, "score_separation": train.separation}
    if train.highest < minimum:
        return [
            Finding(
                what=f"task.suppression.minimum_score={minimum:g} is above all scores, so there are no detections.",
                measured=scores | {"images_without_detections": train.silent, "images": train.images},
                evidence=["see scores.png"],
                fix=f"set task.suppression.minimum_score below {train.highest:.2g}, such as 0.001; if scores stay this "
                "low after more training, see the link training",
            )
        ]
    if train.separation < limit("never_learned"):
        return [
            Finding(
                what="the network has learned nothing: it scores boxes on objects like boxes on the background.",
                measured=scores | {f"recall {stage}": value for stage, value in recall.items()},
                evidence=["see scores.png"],
                fix="train for more updates, from pretrained weights (model.weights=imagenet) if there are few images; "
                "check the links before this one",
            )
        ]
    if recall[ACCEPTED] >= limit("low_recall"):
        return [
            Finding(
                what=f"the detections do not stand out: mean average precision is {train.mean_ap:.2f} even on training "
                "images, because detections on the background score as high as those on objects.",
                measured={f"recall {name}": value for name, value in recall.items()} | scores,
                evidence=["see scores.png"],
                fix="train for more updates; check the links before this one",
            )
        ]
    before, lost = 1.0, list[tuple[float, str]]()
    for stage, value in recall.items():
        if value < (1 - limit("stage_loss")) * before:
            lost.append((value / before, stage))
        before = min(before, value)
    stage = lost[0][1] if lost else min(recall, key=lambda stage: recall[stage])
    cause, fix = CAUSES[stage]
    if stage == PROPOSED and task.proposals is not None:
        cause, fix = "no proposal has an IoU of 0.5 with them", MORE_PROPOSALS
    if stage == ACCEPTED:
        cause += f" of {threshold:.3g}"
    return [
        Finding(
            what=f"even of the training objects, only {recall[ACCEPTED]:.0%} are found. Most get lost at the stage "
            f'"{stage}": {cause}.',
            measured={f"recall {name}": value for name, value in recall.items()} | scores,
            evidence=["see recall.png"],
            fix=fix,
        )
    ]


def _on_split(role: str, each: Examined, train: Examined, names: tuple[str, ...]) -> list[Finding]:
    """Differences between a split and the training."""
    findings = list[Finding]()
    total = len(each.labels)
    if total < label_exchange.FEW:
        return []
    labels, predicted = np.array(each.labels), np.array(each.localized)
    on = predicted >= 0
    if on.mean() >= limit("low_recall"):
        found = label_exchange.exchange(labels[on], predicted[on], len(names))
        finding = label_exchange.finding(role, found, names)
        findings += [finding] if finding else []
    turned = max(each.turned, key=lambda relation: each.turned[relation])
    if each.turned[turned] >= limit("low_recall") * total and on.sum() < 0.5 * each.turned[turned]:
        findings.append(
            Finding(
                what=f"{role}: detections match the boxes of this split only if {turned}.",
                measured={"found_as_they_are": int(on.sum()), "found_if_so": each.turned[turned], "objects": total},
                fix=f"write the boxes of {role} as those of train",
            )
        )
    if role == TRAIN or findings:
        return findings
    ours, theirs = train.recall()[DETECTED], each.recall()[DETECTED]
    if ours >= limit("low_recall") and theirs < limit("generalization") * ours:
        findings.append(
            Finding(
                what=f"{role}: recall is {theirs:.0%}, but {ours:.0%} on training images: the network has "
                "memorized those, or this split is different.",
                measured={"recall": theirs, "training_recall": ours, "objects": total},
                evidence=["see recall.png, and compare train and " + role + " in objects.png"],
                fix="more images, more augmentation (task.augmentation), pretrained weights; draw the splits at random",
            )
        )
    return findings


def _per_class(train: Examined, names: tuple[str, ...], counts: npt.NDArray[np.int64]) -> list[Finding]:
    """Classes that are never detected, if others are."""
    if not learned(train):
        return []
    labels, passed = np.array(train.labels), np.array(train.passed[DETECTED])
    never = [
        c
        for c in range(len(names))
        if counts[c] >= limit("detected_class") and (labels == c).sum() >= 5 and not passed[labels == c].any()
    ]
    if not never:
        return []
    return [
        Finding(
            what=f"classes that are never detected, not even in training images: {listed([names[c] for c in never])}.",
            measured={names[c]: int(counts[c]) for c in never[:5]},
            evidence=[f"0 of {int((labels == c).sum())} examined objects of {names[c]}" for c in never[:5]],
            fix="check their boxes in objects.png and their sizes in boxes.png; collect more of them, or train longer",
        )
    ]
