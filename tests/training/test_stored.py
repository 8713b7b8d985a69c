"""What is stored of images belongs to their labels, too."""

import dataclasses

import keras
import numpy as np

from tfeff import config, selection, training
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
