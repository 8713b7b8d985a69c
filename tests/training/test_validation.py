"""How often the validation images pass through the network, how many at once, and on which device."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tfeff import config, selection, training
from tfeff.tasks.classification import TEMPERATURE, ClassificationTask
from tfeff.tasks.task import BatchPredictor
from tfeff.training import checkpoint


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_validation_and_evaluation_take_as_many_images_at_once_as_the_parts_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, forward = [], ClassificationTask.forward

    def recorded(task, network, batch, *, training):
        seen.append((training, batch["image"].shape[0]))
        return forward(task, network, batch, training=training)

    monkeypatch.setattr(ClassificationTask, "forward", recorded)
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(channels=1, train_examples=64),
        training=config.Training(epochs=1, batch_size=32, precision="float32", accumulation_steps=4),
    )
    run = training.train(settings, tmp_path, tensorboard=False)
    assert set(seen) == {(True, 8), (False, 8)}
    seen.clear()
    training.evaluate_run(run, "validation", training.Reporter(quiet=True))
    assert set(seen) == {(False, 8)}


def test_parts_of_batches_change_no_sum() -> None:
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(channels=1, train_examples=90),
        training=config.Training(batch_size=32),
    )
    wanted = selection.request(settings)
    images = selection.choose(wanted, selection.read(wanted, lambda *_: None)).train
    sums = []
    for parts in (1, 4):
        plan = training.Plan.of(config.override(settings, [f"training.accumulation_steps={parts}"]))
        plan = dataclasses.replace(plan, class_names=images.dataset.class_names)
        network = plan.build_network()
        step = plan.build_step(network, plan.build_optimizer(network))
        batches = plan.batches(images, network, "validation", lambda *_: None).evaluation_batches()
        sums.append(np.sum([step.evaluate(batch) for batch in batches], axis=0))
    np.testing.assert_allclose(*sums, rtol=1e-5)


@pytest.mark.slow
def test_epochs_count_once_for_patience_if_a_run_is_continued(tmp_path: Path) -> None:
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(channels=1, train_examples=64, validation_examples=20),
        optimizer=config.Optimizer(learning_rate=1e-9),
        training=config.Training(
            epochs=4, batch_size=32, precision="float32", validation_epochs=3, minimum_change=9.0, keep="best"
        ),
    )
    for epochs in (4, 6):
        longer = config.override(settings, [f"training.epochs={epochs}"])
        run = training.train(longer, tmp_path, tensorboard=False)
    record = checkpoint.load_record(run.checkpoints.latest())
    assert record["stopping"]["observed"] == 6
    assert record["stopping"]["waited"] == 3  # epoch 3 was the best one
