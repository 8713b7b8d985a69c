"""What networks cost: `python -m tfeff.summary --model=efficientnet-b3`."""

import dataclasses
import json
import os

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError
from tfeff.reporting import tables

FLAGS = flags.FLAGS
COLUMNS = {
    "name": "model",
    "resolution": "resolution",
    "params": "params",
    "trainable_params": "trainable",
    "macs": "multiply-adds",
    "activation_bytes": "activation bytes",
}


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("model", None, "A network, such as efficientnet-b3.")
    flags.DEFINE_string("family", None, "A whole family instead: resnet, efficientnet, efficientnet-lite or mobilenet.")
    flags.DEFINE_integer("resolution", None, "Side of the square input in pixels; the network's own if not given.")
    flags.DEFINE_integer("num_classes", 1000, "Outputs of the classifier.")
    flags.DEFINE_float("width_coefficient", None, "Multiplies the channels; the network's own if not given.")
    flags.DEFINE_float("depth_coefficient", None, "Multiplies the blocks; the network's own if not given.")
    flags.DEFINE_bool("json", False, "Print JSON: an object for --model, a list of them for --family.")


def main(argv: list[str]) -> None:
    """Count the networks that the flags name and print them."""
    if (FLAGS.model is None) == (FLAGS.family is None):
        raise UserError("give either --model=NAME or --family=NAME")
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        verbs.load_tensorflow()
    from tfeff import models

    names = models.names(FLAGS.family) if FLAGS.family else (FLAGS.model,)
    counted = [summary(name) for name in names]
    if FLAGS.json:
        print(json.dumps(counted if FLAGS.family else counted[0], indent=2))
    else:
        print(tables.text([{COLUMNS[key]: value for key, value in row.items()} for row in counted]))


def summary(name: str) -> dict[str, str | int]:
    """Name, resolution and cost of one network, scaled as the flags say."""
    from tfeff import models

    network = models.build(
        name,
        num_classes=FLAGS.num_classes,
        resolution=FLAGS.resolution,
        width_coefficient=FLAGS.width_coefficient,
        depth_coefficient=FLAGS.depth_coefficient,
    )
    cost = dataclasses.asdict(models.complexity.count(network))
    keys = ("params", "trainable_params", "macs", "activation_bytes")
    return {"name": name, "resolution": network.resolution, **{key: cost[key] for key in keys}}


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
