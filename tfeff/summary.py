"""Cost of networks: `python -m tfeff.summary --model=efficientnet-b3`."""

import json
import os
from collections.abc import Mapping
from typing import Any

from absl import flags

from tfeff import cli
from tfeff.errors import UserError, nearest
from tfeff.execution.startup import load_tensorflow
from tfeff.reporting import tables
from tfeff.reporting.terminal import say

FLAGS = flags.FLAGS
COLUMNS = {
    "name": "model",
    "resolution": "resolution",
    "regions": "regions",
    "params": "params",
    "trainable_params": "trainable",
    "macs": "multiply-adds",
    "activation_bytes": "activation bytes",
    "latency_s": "latency [s]",
    "relative_params": "params ratio",
    "relative_macs": "multiply-adds ratio",
    "relative_latency": "latency ratio",
}
IMAGENET_CLASSES, COCO_CLASSES = 1000, 90
LATENCY_ROUNDS = 10


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string(
        "model", None, "Name of a network, detector or preset, such as efficientnet-b3 or efficientdet-d0."
    )
    flags.DEFINE_string(
        "family",
        None,
        "Name of a family: resnet, efficientnet, efficientnet-lite, efficientnet-v2, mobilenet, mobilenet-v3, regnet "
        "or convnext; of detectors: rcnn, efficientdet, efficientdet-lite or yolo.",
    )
    flags.DEFINE_integer("resolution", None, "Side of the square input in pixels. Default: that of the network.")
    flags.DEFINE_integer("num_classes", None, "Number of classes. Default: 1000; 90 for detectors.")
    flags.DEFINE_float("width_coefficient", None, "Multiplies the number of channels. Default: that of the network.")
    flags.DEFINE_float("depth_coefficient", None, "Multiplies the number of blocks. Default: that of the network.")
    flags.DEFINE_string("relative_to", None, "Name of a network; adds ratios to its cost, at its own scale.")
    flags.DEFINE_bool("latency", False, "Build the networks and time the prediction of one image on this machine.")
    flags.DEFINE_bool("json", False, "Print JSON: an object for --model, a list of objects for --family.")


def main(argv: list[str]) -> None:
    """Prints the cost of the selected networks."""
    if (FLAGS.model is None) == (FLAGS.family is None):
        raise UserError("give either --model=NAME or --family=NAME")
    if FLAGS.latency or os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        load_tensorflow()
    from tfeff.networks.backbones.preset import is_name as is_preset
    from tfeff.networks.catalog import BACKBONES, DETECTORS

    families: dict[str, Any] = {**BACKBONES, **DETECTORS}
    known = [name for members in families.values() for name in members]
    if FLAGS.family and FLAGS.family not in families:
        raise UserError(f'no family "{FLAGS.family}"; {nearest(FLAGS.family, families)}')
    for name in filter(None, (FLAGS.model, FLAGS.relative_to)):
        if name not in known and not is_preset(name):
            raise UserError(f'no network "{name}"; {nearest(name, known)}')
    summaries = [summary(name) for name in (families[FLAGS.family] if FLAGS.family else (FLAGS.model,))]
    if FLAGS.json:
        say(json.dumps(summaries if FLAGS.family else summaries[0], indent=2))
    else:
        say(tables.text([{COLUMNS[key]: value for key, value in row.items()} for row in summaries]))


def summary(name: str) -> dict[str, str | int | float]:
    """Name, resolution and cost of one network, scaled according to the flags; its latency and ratios if asked for."""
    from tfeff.networks.catalog import unchanged

    scaling = {key: FLAGS[key].value for key in ("resolution", "width_coefficient", "depth_coefficient")}
    network = Described(name, scaling)
    if (note := unchanged(network.architecture.backbone)) is not None:
        say(note, error=True)
    cost = network.cost
    row: dict[str, str | int | float] = {
        "name": name,
        "resolution": network.architecture.resolution,
        **({"regions": network.architecture.regions} if hasattr(network.architecture, "regions") else {}),
        "params": cost.params,
        "trainable_params": cost.trainable_params,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
    }
    base = Described(FLAGS.relative_to, {}) if FLAGS.relative_to else None
    if base is not None:
        row |= {"relative_params": cost.params / base.cost.params, "relative_macs": cost.macs / base.cost.macs}
    if FLAGS.latency:
        import keras
        import numpy as np

        from tfeff.training.latency import latencies

        seconds = latencies(*(one.build() for one in (network, base) if one is not None), rounds=LATENCY_ROUNDS)
        row["latency_s"] = float(np.median(seconds[:, 0]))
        if base is not None:
            row["relative_latency"] = float(np.median(seconds[:, 0] / seconds[:, 1]))
        keras.backend.clear_session()
    return row


class Described:
    """A network or detector by name, with its cost.

    Args:
        name: the name.
        scaling: options that replace its resolution and coefficients.
    """

    def __init__(self, name: str, scaling: Mapping[str, Any]) -> None:
        from tfeff import models

        self.name, self.scaling = name, scaling
        self.is_detector = name in models.detector_names()
        self.classes = FLAGS.num_classes or (COCO_CLASSES if self.is_detector else IMAGENET_CLASSES)
        describe = models.detector if self.is_detector else models.architecture
        self.architecture = describe(name, **scaling)
        self.cost = models.estimate(self.architecture, num_classes=self.classes)

    def build(self) -> Any:
        """The network with random weights."""
        from tfeff import models

        build = models.build_detector if self.is_detector else models.build
        return build(self.name, num_classes=self.classes, **self.scaling)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
