"""Compares Faster R-CNN or RetinaNet with torchvision's: outputs of all stages, losses and detections.

    python tools/compare_torchvision.py --peer_python=PEER/bin/python --images=IMAGES --out=DIR \\
        [--network=retinanet] [--frozen] [--double]

PEER is an environment with torchvision (`pip install torchvision`), IMAGES a folder of photographs. Both sides get the
same random weights. --frozen: batch normalization frozen and without epsilon, as in the published weights. --double:
float64.
"""

import argparse
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import command_line
import keras
import numpy as np
import tensorflow as tf

from tfeff import config, models
from tfeff.models.derived import Stages
from tfeff.reporting import tables
from tfeff.tasks import create, efficientdet, faster_rcnn, two_stage
from tfeff.tasks.task import Batch

YXYX = [1, 0, 3, 2]
"""Turns boxes (x1, y1, x2, y2) and codes (x, y, w, h) into our order, and back."""
NEAR = 1e-3
"""Largest distance, in pixels, of corners of equal detections."""
THEIRS = {
    "objectness_loss": "loss_objectness",
    "proposal_loss": "loss_rpn_box_reg",
    "class_loss": "loss_classifier",
    "box_loss": "loss_box_reg",
}


def indices(masks: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the marked candidates of each image, padded.

    Args:
        masks: bool [b, n].

    Returns:
        int32 [b, s]; bool [b, s], False for padding.
    """
    rows = [np.flatnonzero(mask) for mask in masks]
    size = max(map(len, rows))
    padded = np.stack([np.pad(row, (0, size - len(row))) for row in rows])
    return tf.constant(padded, tf.int32), tf.constant(np.stack([np.arange(size) < len(row) for row in rows]))


class GivenProposals(faster_rcnn.FasterRCNNTask):
    """Faster R-CNN whose proposals and samples come from elsewhere."""

    given: tuple[tf.Tensor, tf.Tensor]

    def regions(self, network: keras.Model, batch: Batch, outputs: dict[str, Any], *, training: bool) -> Any:
        """Returns the given proposals; adds the anchors to the outputs."""
        super().regions(network, batch, outputs, training=training)
        return self.given


def targets(expected: dict[str, np.ndarray], part: slice, dtype: str) -> dict[str, tf.Tensor]:
    """Returns a batch of images and their random objects."""
    boxes, labels = expected["object_boxes"][part][..., YXYX], expected["object_labels"][part].astype(int)
    none = tf.zeros(labels.shape, tf.bool)
    return {
        "image": tf.constant(expected["images"][part], dtype),
        "boxes_yxyx": tf.constant(boxes, dtype),
        "label": tf.constant(labels - 1, tf.int32),
        "valid": tf.constant(labels > 0),
        "difficult": none,
        "crowd": none,
        "weight": tf.ones(len(labels)),
        "key": tf.zeros((len(labels), 2), tf.int32),
    }


def losses(network: keras.Model, expected: dict[str, np.ndarray], dtype: str) -> dict[str, float]:
    """Returns our losses for the other side's proposals and samples."""
    task = GivenProposals()
    network.trainable = False  # batch normalization as in inference
    count = expected["training_proposal_count"]
    proposals = expected["training_proposals"][..., YXYX]
    sums: dict[str, float] = {}
    for start in range(len(proposals)):
        part = slice(start, start + 1)
        batch = targets(expected, part, dtype)
        # Both sides append the objects to the proposals of an image.
        task.given = tf.constant(proposals[part, : count[start]], dtype), tf.ones((1, count[start]), tf.bool)
        anchors, regions = indices(expected["rpn_sampled"][part]), indices(expected["head_sampled"][part])
        with (
            mock.patch.object(faster_rcnn, "sample", return_value=anchors),
            mock.patch.object(two_stage, "sample", return_value=regions),
        ):
            outputs = task.forward(network, batch, training=True)
            totals = task.totals(batch, outputs, training=True)
        for name, value in totals.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return {name: sums[name] / sums[count] for name, count in task.losses.items()}


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def matched(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, object]:
    """Pairs each of the other side's detections with ours of the same class and image that is nearest, one to one."""
    distances, differences = [], []
    for image, count in enumerate(expected["count"]):
        ours = slice(found["count"][image])
        boxes, labels, scores = (found[name][image][ours] for name in ("boxes", "labels", "scores"))
        free = np.ones(len(labels), bool)
        for index in range(count):
            same = np.flatnonzero(free & (labels == expected["detected_labels"][image, index] - 1))
            distance = np.abs(boxes[same] - expected["detected_boxes"][image, index][YXYX]).max(axis=-1)
            if distance.min(initial=np.inf) < NEAR:
                nearest = same[distance.argmin()]
                free[nearest] = False
                distances.append(distance.min())
                differences.append(abs(scores[nearest] - expected["detected_scores"][image, index]))
    total = expected["count"].sum()
    return {
        "value": f"detections: {len(distances)} of {total} found within {NEAR:g} pixels, by us {found['count'].sum()}",
        "pixels": float(np.max(distances, initial=0.0)),
        "scores": float(np.max(differences, initial=0.0)),
    }


def compare(directory: Path, dtype: str) -> list[dict[str, object]]:
    """Returns the table."""
    with np.load(directory / "expected.npz") as stored:
        expected = dict(stored)
    height, width = expected["images"].shape[1:3]
    network = models.build_detector(
        "faster-rcnn",
        num_classes=expected["logits"].shape[-1] - 1,
        resolution=width,
        aspect=width / height,
        weights=str(directory / "weights.pth"),
    )
    stages = Stages.of(network)
    task = faster_rcnn.FasterRCNNTask()
    found: dict[str, list[np.ndarray]] = {}
    detected = []
    for start in range(len(expected["images"])):
        part = slice(start, start + 1)
        images = tf.constant(expected["images"][part], dtype)
        first = stages.images(images, training=False)
        boxes = tf.constant(expected["proposals"][part][..., YXYX], dtype)
        second = stages.regions([*first["maps"], boxes], training=False)
        outputs = {f"map_{index}": value for index, value in enumerate(first["maps"])}
        outputs |= {name: first[name] for name in ("objectness", "proposal_codes")}
        for name, value in (outputs | second).items():
            found.setdefault(name, []).append(np.asarray(value))
        decoded = task.decode(task.forward(network, {"image": images}, training=False))
        detected.append({name: np.asarray(value) for name, value in decoded.items()})
    arrays = {name: np.concatenate(parts) for name, parts in found.items()}
    count = arrays["logits"].shape[:2]
    rows = {f"map {index}": (arrays[f"map_{index}"], expected[f"map_{index}"]) for index in range(4)}
    rows["anchors"] = network.description.anchors.boxes(network.size), expected["anchors"][:, YXYX]
    rows["objectness"] = arrays["objectness"][..., 0], expected["objectness"]
    rows["proposal codes"] = arrays["proposal_codes"], expected["proposal_codes"][..., YXYX]
    rows["logits of given regions"] = arrays["logits"], np.roll(expected["logits"], -1, axis=-1)
    rows["codes of given regions"] = arrays["codes"].reshape(*count, -1, 4), expected["codes"][:, :, 1:][..., YXYX]
    detections = {name: np.concatenate([part[name] for part in detected]) for name in detected[0]}
    return [
        *({"value": name, "relative difference": relative(*pair)} for name, pair in rows.items()),
        *(
            {"value": name, "relative difference": abs(value / float(expected[THEIRS[name]]) - 1)}
            for name, value in losses(network, expected, dtype).items()
        ),
        matched(detections, expected),
    ]


def compare_retinanet(directory: Path, dtype: str) -> list[dict[str, object]]:
    """Returns the table of RetinaNet.

    torchvision's losses are means over images of what is divided by an image's positive anchors, its box loss is L1,
    and its detections are chosen by level.
    """
    with np.load(directory / "expected.npz") as stored:
        expected = dict(stored)
    height, width = expected["images"].shape[1:3]
    classes = expected["logits"].shape[-1] - 1
    network = models.build_detector(
        "retinanet",
        num_classes=classes,
        resolution=width,
        aspect=width / height,
        weights=str(directory / "weights.pth"),
    )
    narrow = 1e-6
    suppression = config.Suppression(minimum_score=0.05, candidates=20_000, detections=300)
    settings = config.RetinaNetSettings(suppression=suppression, huber_delta=narrow, box_weight=4 / narrow)
    task, pyramid = create(settings), keras.Model(network.input, list(network.pyramid.values()))
    found: dict[str, list[np.ndarray]] = {}
    for start in range(len(expected["images"])):
        batch = targets(expected, slice(start, start + 1), dtype)
        maps = pyramid(batch["image"], training=False)
        outputs = task.forward(network, batch, training=False)
        totals = task.totals(batch, outputs, training=False)
        positive = tf.maximum(totals[efficientdet.POSITIVES], 1.0)
        own = {f"map_{index}": value for index, value in enumerate(maps)}
        own |= {name: outputs[name] for name in ("logits", "codes")} | task.decode(outputs)
        own |= {name: totals[name][tf.newaxis] / positive for name in ("class_loss", "box_loss")}
        for name, value in own.items():
            found.setdefault(name, []).append(np.asarray(value))
    arrays = {name: np.concatenate(parts) for name, parts in found.items()}
    # Anchors of a position are ordered by scale, then aspect; torchvision's by aspect, then scale.
    theirs = {name: expected[name] for name in ("logits", "codes")} | {"anchors": expected["anchors"][None]}
    theirs = {
        name: value.reshape(len(value), -1, 3, 3, value.shape[-1]).swapaxes(2, 3).reshape(value.shape)
        for name, value in theirs.items()
    }
    ours = arrays | {"anchors": network.description.anchors.boxes(network.size)[None]}
    pairs = {f"map_{index}": expected[f"map_{index}"] for index in range(len(network.pyramid))} | {
        "anchors": theirs["anchors"][..., YXYX],
        "logits": theirs["logits"][..., 1:],
        "codes": theirs["codes"][..., YXYX],
    }
    rows: list[dict[str, object]] = [
        {"value": name, "relative difference": relative(ours[name], value)} for name, value in pairs.items()
    ]
    for name, theirs_name in (("class_loss", "loss_classification"), ("box_loss", "loss_bbox_regression")):
        difference = abs(float(arrays[name].mean()) / float(expected[theirs_name]) - 1)
        rows.append({"value": name, "relative difference": difference})
    return [*rows, matched(arrays, expected)]


def main() -> None:
    """Runs both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    parser.add_argument("--network", default="faster-rcnn", choices=("faster-rcnn", "retinanet"))
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--double", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    flags = [f"--{name}" for name in ("frozen", "double") if getattr(arguments, name)]
    side = Path(__file__).parent / "torchvision_side.py"
    command = [arguments.peer_python, str(side), f"--images={arguments.images}", f"--out={arguments.out}", *flags]
    command.append(f"--network={arguments.network}")
    subprocess.run(command, check=True)
    dtype = "float64" if arguments.double else "float32"
    keras.config.set_floatx(dtype)
    table = compare_retinanet if arguments.network == "retinanet" else compare
    print(tables.markdown(table(arguments.out, dtype)))


if __name__ == "__main__":
    command_line.run(main)
