"""How often the validation images pass through the network."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, training
from tfeff.tasks.classification import TEMPERATURE, ClassificationTask
from tfeff.tasks.task import BatchPredictor, Predictions
from tfeff.training.validation import Validation


@pytest.mark.parametrize("devices", [1, 2])
def test_only_one_device_predicts_while_it_evaluates(devices: int) -> None:
    task, passed = ClassificationTask(), list[Predictions | None]()
    sums = np.array([2.0, 1.0, 2.0])  # loss, accuracy and number of images

    def scoring(predictions: Predictions | None) -> Mapping[str, float]:
        passed.append(predictions)
        return {"score": 0.5}

    def evaluate_and_predict(batch: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        assert devices == 1
        return sums, {"probabilities": batch["image"]}

    strategy = SimpleNamespace(num_replicas_in_sync=devices, distribute_datasets_from_function=lambda make: make(None))
    step = SimpleNamespace(
        task=task,
        batch_size=3,
        strategy=strategy,
        evaluate=lambda batch: sums,
        evaluate_and_predict=evaluate_and_predict,
    )
    batches = tf.data.Dataset.from_tensor_slices(
        {"image": [[0.0, 1.0, 2.0], [3.0, 4.0, -1.0]], "weight": [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]}
    )
    loop: Any = SimpleNamespace(step=step, epochs=9, until=1, state=SimpleNamespace(average=None))
    validation = Validation(batches, scoring, monitor="loss", every=9)
    validation.start(loop)
    row = {"epoch": 1}
    validation.epoch(loop, row)
    assert row == {"epoch": 1, "validation_loss": 1.0, "validation_accuracy": 0.5, "validation_score": 0.5}
    if devices == 1:
        assert passed[0] is not None
        np.testing.assert_array_equal(passed[0]["probabilities"], [0, 1, 2, 3, 4])
    else:
        assert passed == [None]


def test_a_run_on_one_device_predicts_its_validation_images_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchPredictor, "__call__", lambda *_: pytest.fail("the images were predicted again"))
    experiment = config.Experiment(
        task=config.ClassificationSettings(temperature_scaling=True),
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(channels=1, train_examples=64),
        training=config.Training(epochs=1, batch_size=32, precision="float32"),
    )
    workdir = training.train(experiment, tmp_path, tensorboard=False)
    assert workdir.rows()[-1][f"validation_{TEMPERATURE}"] > 0
