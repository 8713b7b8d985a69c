"""The link of the assignment: whether each object has an anchor or cell that learns it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff import config
from tfeff.analysis.diagnosis.finding import Finding, Link, share
from tfeff.analysis.diagnosis.preparation import PreparedImages
from tfeff.analysis.diagnosis.subject import Subject
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.boxes.anchors import anchor_sizes
from tfeff.errors import UserError
from tfeff.reporting.tables import percent
from tfeff.tasks.object_detection import ObjectDetectionTask
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID
from tfeff.training import Plan

MORE_PROPOSALS = (
    "raise task.proposals.max_proposals or set task.proposals.mode=quality, with a new task.proposals.directory"
)
"""What to do if proposals cover too few objects. A store holds the proposals of one setting."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Assignment:
    """The objects of training images and how well anchors or cells cover them.

    Attributes:
        sides: height and width of each object in pixels of the network's input, float64 [n, 2].
        learned: bool [n], see `Coverage`.
        overlap: float64 [n], see `Coverage`.
        sizes_hw: sizes (height, width) of the anchors or cells, float64 [m, 2].
        stride: stride of the finest level, in pixels.
    """

    sides: Floats
    learned: npt.NDArray[np.bool_]
    overlap: Floats
    sizes_hw: Floats
    stride: float

    def by(self, values: Floats, edges: Sequence[float]) -> list[dict[str, Any]]:
        """Returns objects, share that is learned and median of the highest IoU, for each range of some values."""
        rows = []
        for low, high in pairwise(edges):
            here = (values >= low) & (values < high)
            if here.any():
                rows.append(
                    {
                        "from": low,
                        "to": high,
                        "objects": int(here.sum()),
                        "learned": round(float(self.learned[here].mean()), 3),
                        "median_overlap": round(float(np.median(self.overlap[here])), 3),
                    }
                )
        return rows


def assign(task: ObjectDetectionTask, description: Any, prepared: PreparedImages, scale: float = 1.0) -> Assignment:
    """Assigns anchors or cells by the task's own rules to objects, at `scale` times the size of the prepared images."""
    size = description.size
    geometry = task.geometry(description, size)
    sides, learned, overlap, reference = [], [], [], []
    for batch in prepared.batches:
        targets = {name: tf.constant(batch[name]) for name in ("valid", "difficult", "crowd", "label")}
        if PROPOSED_VALID in batch:
            targets[PROPOSED_VALID] = tf.constant(batch[PROPOSED_VALID])
        for name in {"boxes_yxyx", PROPOSED} & batch.keys():
            targets[name] = tf.constant(batch[name] * np.float32(scale))
        covered = task.coverage(targets, geometry)
        reference.append(covered.sizes_hw)
        used = batch["valid"] & ~batch["difficult"] & ~batch["crowd"] & (batch["weight"] > 0)[:, None]
        boxes = batch["boxes_yxyx"][used] * scale
        sides.append(boxes[:, 2:] - boxes[:, :2])
        learned.append(covered.learned.numpy()[used])
        overlap.append(covered.overlap.numpy()[used])
    stride = min(2.0 ** int(level.removeprefix("P")) for level in description.levels)
    return Assignment(
        np.concatenate(sides).astype(float),
        np.concatenate(learned),
        np.concatenate(overlap).astype(float),
        np.unique(np.concatenate(reference), axis=0).astype(float),
        stride,
    )


def check_assignment(subject: Subject, assignment: Assignment | None, prepared: PreparedImages | str) -> Link:
    """Checks the assignment of the training objects."""
    name, question = "assignment", "is every object assigned to an anchor or cell?"
    if assignment is None or isinstance(prepared, str):
        return Link(name=name, question=question, skipped="there are no prepared objects")
    if not len(assignment.sides):
        return Link(name=name, question=question, skipped="the training images have no objects")
    findings = list[Finding]()
    count, lengths = len(assignment.sides), assignment.sides.max(axis=1)
    roots = np.sqrt(assignment.sides.prod(axis=1))
    tiny = lengths < assignment.stride / 2
    by_size = assignment.by(roots, [0, 4, 8, 16, 32, 64, 128, 256, 1e9])
    measured = {
        "objects": count,
        "tiny": round(float(tiny.mean()), 4),
        "learned": round(float(assignment.learned.mean()), 4),
        "overlap_quartiles": [round(float(value), 3) for value in np.quantile(assignment.overlap, (0.25, 0.5, 0.75))],
        "by_size": by_size,
        "by_aspect": assignment.by(assignment.sides[:, 1] / assignment.sides[:, 0], [0, 0.25, 0.5, 1, 2, 4, 1e9]),
    }
    poor = (assignment.overlap < limit("low_overlap")) | ~assignment.learned
    if tiny.mean() > limit("tiny_objects"):
        findings.append(
            Finding(
                what=f"{share(int(tiny.sum()), count, 'objects')} are shorter than half a cell of the finest level: "
                f"{assignment.stride:g} pixels at the network's resolution.",
                measured={"median_side": float(np.median(roots)), "finest_stride": assignment.stride},
                evidence=[f"input of {subject.description.size[0]} x {subject.description.size[1]} pixels"],
                fix=_better(subject, prepared, assignment)
                or "raise model.resolution, cut images into tiles, or add finer levels (task.network.levels=P2,...)",
            )
        )
    elif (~assignment.learned).mean() > limit("unlearned_objects"):
        findings.append(
            Finding(
                what=f"{share(int((~assignment.learned).sum()), count, 'objects')} have no anchor, cell or proposal "
                "that covers them.",
                measured={"objects": int((~assignment.learned).sum()), "median_side": float(np.median(roots))},
                evidence=[_worst(by_size)],
                fix=_better(subject, prepared, assignment)
                or "raise model.resolution, or add finer levels (task.network.levels)",
            )
        )
    elif poor.mean() > limit("low_overlap_share"):
        findings.append(
            Finding(
                what=f"for {share(int(poor.sum()), count, 'objects')}, even the best anchor or box has an IoU below "
                f"{limit('low_overlap'):g}: sizes or shapes do not fit.",
                measured={
                    "median_overlap": float(np.median(assignment.overlap)),
                    "median_object": np.median(assignment.sides, axis=0).round(1).tolist(),
                    "smallest_anchor": assignment.sizes_hw[assignment.sizes_hw.prod(axis=1).argmin()].round(1).tolist(),
                    "largest_anchor": assignment.sizes_hw[assignment.sizes_hw.prod(axis=1).argmax()].round(1).tolist(),
                },
                evidence=[_worst(by_size), "see boxes.png"],
                fix=_better(subject, prepared, assignment)
                or "change model.resolution, or the anchor_size, anchor_aspects or levels of task.network",
            )
        )
    return Link(name=name, question=question, findings=findings, measured=measured)


def _worst(rows: list[dict[str, Any]]) -> str:
    """Returns the range of sizes with the poorest overlap."""
    row = min(rows, key=lambda row: (row["learned"], row["median_overlap"]))
    upper = f"to {row['to']:g}" if row["to"] < 1e9 else "and more"
    return (
        f"worst: {row['objects']} objects of {row['from']:g} {upper} pixels (square root of the area), "
        f"{percent(row['learned'])} learned, median IoU {row['median_overlap']:.2f}"
    )


def _better(subject: Subject, prepared: PreparedImages, assignment: Assignment) -> str:
    """Returns the settings that cover the objects best, if they do so clearly better; else an empty text."""
    assert subject.settings is not None
    if subject.task.proposals is not None:
        return MORE_PROPOSALS
    settings, described = subject.settings, subject.description
    candidates = list[tuple[str, ...]]()
    if hasattr(described, "anchor_size"):
        side = described.anchor_size
        shapes = anchor_sizes(np.maximum(assignment.sides, 0.5), 3)
        aspects = sorted({round(float(width / height), 2) for height, width in shapes}, reverse=True)
        widths = f"task.network.anchor_aspects={','.join(f'{aspect:g}' for aspect in aspects)}"
        candidates.append((widths,))
        for factor in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 2, 4):
            size = f"task.network.anchor_size={side * factor:g}"
            candidates += [(size,), (size, widths)]
    else:
        first = min(int(level.removeprefix("P")) for level in described.levels)
        if first > 2:
            levels = [f"P{first - 1}", *described.levels]
            candidates.append((f"task.network.levels={','.join(levels)}",))
    for factor in (1.5, 2.0, 3.0):
        candidates.append((f"model.resolution={round(described.resolution * factor / 32) * 32}",))
    before = _score(assignment)
    scored = [(before, "")]
    for overrides in candidates:
        try:
            changed = config.override(settings, overrides)
            plan = Plan.of(changed)
            measured, _ = plan.task.measured(subject.train, plan.network)
            plan = plan.learned(subject.record | {"measured": measured})
            task, other = plan.task, plan.network
            assert isinstance(task, ObjectDetectionTask)
            scale = other.resolution / described.resolution
            scored.append(
                (_score(assign(task, other, prepared, scale)), " ".join(f"--config.{each}" for each in overrides))
            )
        except UserError:
            continue
    best, text = max(scored, key=lambda each: each[0])
    if best < before + limit("better_settings"):
        return ""
    return f"try {text}: it covers {percent(best)} of the objects well, instead of {percent(before)}"


def _score(assignment: Assignment) -> float:
    """Returns the share of objects that are learned by an anchor or cell that fits."""
    long = assignment.sides.max(axis=1) >= assignment.stride / 2
    return float((assignment.learned & long & (assignment.overlap >= limit("low_overlap"))).mean())
