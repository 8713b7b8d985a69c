"""Cost of networks: `python -m tfeff.summary --model=efficientnet-b3`."""

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
    flags.DEFINE_string("model", None, "Name of a network, such as efficientnet-b3.")
    flags.DEFINE_string("family", None, "Name of a family: resnet, efficientnet, efficientnet-lite or mobilenet.")
    flags.DEFINE_integer("resolution", None, "Side of the square input in pixels. Default: that of the network.")
    flags.DEFINE_integer("num_classes", 1000, "Number of classes.")
    flags.DEFINE_float("width_coefficient", None, "Multiplies the number of channels. Default: that of the network.")
    flags.DEFINE_float("depth_coefficient", None, "Multiplies the number of blocks. Default: that of the network.")
    flags.DEFINE_bool("json", False, "Print JSON: an object for --model, a list of objects for --family.")


def main(argv: list[str]) -> None:
    """Prints the cost of the selected networks."""
    if (FLAGS.model is None) == (FLAGS.family is None):
        raise UserError("give either --model=NAME or --family=NAME")
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        verbs.load_tensorflow()
    from tfeff import models

    names = models.names(FLAGS.family) if FLAGS.family else (FLAGS.model,)
    summaries = [summary(name) for name in names]
    if FLAGS.json:
        print(json.dumps(summaries if FLAGS.family else summaries[0], indent=2))
    else:
        print(tables.text([{COLUMNS[key]: value for key, value in row.items()} for row in summaries]))


def summary(name: str) -> dict[str, str | int]:
    """Name, resolution and cost of one network, scaled according to the flags."""
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
