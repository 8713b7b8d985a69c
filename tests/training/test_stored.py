"""What is stored of images belongs to their labels, too."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

from tfeff import config, selection, training
from tfeff.training import stored
from tfeff.training.stored import fingerprint

SETTINGS = config.Experiment(data=config.Data(channels=1, train_examples=20))


def test_the_same_images_with_other_labels_are_stored_apart() -> None:
    images = selection.read(selection.request(SETTINGS), lambda *_: None).train
    pixels = keras.Input((8, 8, 1))
    network = keras.Model(pixels, keras.layers.Flatten()(pixels))

    def key(labels: np.ndarray) -> str:
        dataset = dataclasses.replace(images.dataset, labels=labels)
        relabeled = dataclasses.replace(images, dataset=dataset)
        return fingerprint([network], training.Plan.of(SETTINGS).evaluation_pipeline(relabeled, (8, 8)))

    labels = images.dataset.labels
    assert key(labels.copy()) == key(labels)
    assert key(np.roll(labels, 1)) != key(labels)


def test_rows_of_variants_without_the_padding_of_their_last_batch() -> None:
    def compute(variant: int) -> list[dict[str, np.ndarray]]:
        rows = np.arange(6).reshape(6, 1) + 10 * variant
        return [{"a": part.astype(np.float32), "b": part[:, 0] > 2} for part in np.split(rows, [4])]

    found = stored.tensors(stored.of_variants(2, 5, compute))
    np.testing.assert_array_equal(found["a"], [[0], [1], [2], [3], [4], [10], [11], [12], [13], [14]])
    np.testing.assert_array_equal(found["b"], [False] * 3 + [True] * 7)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_stored_is_in_memory_once() -> None:
    """256 MB, in a process of its own."""
    script = (
        "from pathlib import Path; import numpy as np; from tfeff.training import stored\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1000\n"
        "batches = lambda variant: ({'image': np.full((250, 16_000), variant, np.float32)} for _ in range(8))\n"
        "before = peak()\n"
        "found = stored.tensors(stored.of_variants(2, 2000, batches))['image']\n"
        "print(found.shape, float(found[-1, -1]), peak() - before)"
    )
    shape, last, megabytes = subprocess.check_output([sys.executable, "-c", script], text=True).rsplit(" ", 2)
    assert (shape, last) == ("(4000, 16000)", "1.0")
    assert int(megabytes) < 1.5 * 256
