"""Compares a run's SavedModel with its network: `python tools/verify_export.py --workdir=DIR IMAGE...`.

The network gets images decoded and resized by the training pipeline. The SavedModel gets the encoded files in batches,
and the decoded images one by one. Prints the largest difference of a probability and exits with code 1 if it exceeds
1e-5.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import command_line
import numpy as np
import tensorflow as tf

from tfeff import tasks, training
from tfeff.data.images import decoding, resizing
from tfeff.errors import UserError
from tfeff.serving import run
from tfeff.tasks.task import ImageReading
from tfeff.training import Workdir

BATCH = 25
TOLERANCE = 1e-5


def main() -> None:
    """Compares the predictions and prints the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="Workdir of a finished classification run.")
    parser.add_argument("images", nargs="+", type=Path, help="Image files.")
    arguments = parser.parse_args()
    workdir = Workdir(arguments.workdir)
    channels, task = workdir.config().data.channels, tasks.create(workdir.config().task)
    if task.reading != ImageReading():
        raise UserError(f"{arguments.workdir}: only for images that are stretched, with bilinear interpolation")
    height, width = workdir.dataset()["image_size"]
    network = task.predictor(training.trained_model(workdir))
    forward = tf.function(lambda pixels: tf.nn.softmax(network(pixels, training=False)), jit_compile=False)
    size = network.size

    with tempfile.TemporaryDirectory() as directory:
        served = tf.saved_model.load(str(run.exportable(workdir).saved_model(Path(directory) / "saved_model")))
        from_images, from_bytes = served.signatures["serving_default"], served.signatures["serving_bytes"]
        largest = {"serving_bytes": 0.0, "serving_default": 0.0}
        sizes = set()
        spread = []
        for start in range(0, len(arguments.images), BATCH):
            paths = arguments.images[start : start + BATCH]
            files = [path.read_bytes() for path in paths]
            pixels = [decoding.decode(file, str(path)) for file, path in zip(files, paths, strict=True)]
            decoded = [tf.constant(decoding.in_channels(each, channels)) for each in pixels]
            sizes |= {tuple(image.shape) for image in decoded}
            loaded = tf.stack([resizing.fit(image, (height, width)) for image in decoded])
            expected = forward(resizing.resize(loaded, size)).numpy()
            spread.append(expected)
            by_bytes = from_bytes(encoded=tf.constant(files))["probabilities"].numpy()
            largest["serving_bytes"] = max(largest["serving_bytes"], float(np.abs(by_bytes - expected).max()))
            by_pixels = [from_images(images=image[tf.newaxis])["probabilities"].numpy()[0] for image in decoded]
            largest["serving_default"] = max(largest["serving_default"], float(np.abs(by_pixels - expected).max()))
    deviation = np.concatenate(spread).std(axis=0).mean()
    print(
        f"{len(arguments.images)} images of {len(sizes)} sizes; standard deviation of the probabilities over images "
        f"{deviation:.3f}"
    )
    for signature, difference in largest.items():
        print(f"{signature}: largest difference {difference:.2e}")
    sys.exit(int(max(largest.values()) > TOLERANCE))


if __name__ == "__main__":
    command_line.run(main)
