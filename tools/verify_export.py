"""Does a run's SavedModel predict what its network predicts? `python tools/verify_export.py --workdir=DIR IMAGE...`

The network gets its images through the training pipeline's own decoding and resizing; the SavedModel gets the files'
bytes in batches, and their pixels one by one. Prints the largest difference of a probability; exit code 1 above 1e-5.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfeff.data.images import graph_decoding, resizing
from tfeff.serving import run
from tfeff.training import Workdir, build

BATCH = 25
TOLERANCE = 1e-5


def main() -> None:
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("images", nargs="+", type=Path)
    arguments = parser.parse_args()
    workdir = Workdir(arguments.workdir)
    channels = workdir.config().data.channels
    height, width = workdir.dataset()["image_size"]
    network = build.predictor(workdir.config(), build.trained_model(workdir))
    forward = tf.function(lambda pixels: tf.nn.softmax(network(pixels, training=False)), jit_compile=False)
    size = (network.resolution, network.resolution)

    with tempfile.TemporaryDirectory() as directory:
        served = tf.saved_model.load(str(run.export(workdir, Path(directory) / "saved_model")))
        from_images, from_bytes = served.signatures["serving_default"], served.signatures["serving_bytes"]
        worst = {"serving_bytes": 0.0, "serving_default": 0.0}
        sizes = set()
        spread = []
        for start in range(0, len(arguments.images), BATCH):
            files = [path.read_bytes() for path in arguments.images[start : start + BATCH]]
            decoded = [graph_decoding.decode(tf.constant(file), channels) for file in files]
            sizes |= {tuple(image.shape) for image in decoded}
            loaded = tf.stack([resizing.fit(image, (height, width)) for image in decoded])
            expected = forward(resizing.resize(loaded, size)).numpy()
            spread.append(expected)
            by_bytes = from_bytes(encoded=tf.constant(files))["probabilities"].numpy()
            worst["serving_bytes"] = max(worst["serving_bytes"], float(np.abs(by_bytes - expected).max()))
            by_pixels = [from_images(images=image[tf.newaxis])["probabilities"].numpy()[0] for image in decoded]
            worst["serving_default"] = max(worst["serving_default"], float(np.abs(by_pixels - expected).max()))
    deviation = np.concatenate(spread).std(axis=0).mean()
    print(f"{len(arguments.images)} images of {len(sizes)} sizes; their probabilities deviate by {deviation:.3f}")
    for signature, difference in worst.items():
        print(f"{signature}: largest difference {difference:.2e}")
    sys.exit(int(max(worst.values()) > TOLERANCE))


if __name__ == "__main__":
    main()
