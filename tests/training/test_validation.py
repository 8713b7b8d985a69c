"""How often the validation images pass through the network, how many at once, and on which device."""

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tfeff import config, selection, training
from tfeff.tasks.classification import TEMPERATURE, ClassificationTask
from tfeff.tasks.task import BatchPredictor
from tfeff.training import checkpoint


def test_several_devices_share_the_predictions_of_one() -> None:
    """Detections, whose tensors are of all types, come in the order of the images, without those of padding."""
    script = """
        from types import SimpleNamespace
        import numpy as np, tensorflow as tf
        from tfeff import config, models, tasks
        from tfeff.data.input.batches import Batches
        from tfeff.data.input.box_transform import BoxTransform
        from tfeff.data.input.cache import ImageCache
        from tfeff.data.input.reader import Reader
        from tfeff.data.sources import catalog
        from tfeff.data.sources.source import Options
        from tfeff.training.interruption import Interruption
        from tfeff.training.step import Step
        from tfeff.training.validation import Validation

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        options = Options(channels=1, fractions={"train": 0.9, "test": 0.1})
        source = catalog.open_objects("embedded:placed_digits:48", options)
        images = source.load("test").take(np.arange(13))
        batches = Batches(BoxTransform(Reader(ImageCache.open(images)), (48, 48), max_objects=3), 4)
        section = config.YoloSettings()
        task = tasks.create(section)
        described = section.describe(config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), resolution=48))

        def evaluated(strategy):
            with strategy.scope():
                network = task.network(described, num_classes=10, channels=1)
                rng = np.random.default_rng(0)
                for weight in network.weights:
                    values = rng.normal(0, 0.05, weight.shape)
                    weight.assign(1 + abs(values) if weight.name in ("gamma", "moving_variance") else values)
            step = Step(network, None, strategy, task=task, batch_size=4)
            found = []

            def scoring(predictions):
                found.append(predictions)
                return {}

            hook = Validation(batches.evaluation_batches(), scoring, batch_size=4, monitor="loss", every=1)
            loop = SimpleNamespace(step=step, interruption=Interruption())
            hook.start(loop)
            sums, _ = hook._evaluated(loop)
            return sums, found[0]

        (sums, one), (others, two) = map(
            evaluated, (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
        )
        np.testing.assert_allclose(others, sums, rtol=1e-5)
        assert one["scores"].std() > 0
        assert one.keys() == two.keys() and {"image_size", "window_yxyx"} < one.keys(), one.keys()
        for name, values in one.items():
            assert len(values) == 13 and values.dtype == two[name].dtype, name
            np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-4, err_msg=name)
        print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.endswith("equal\n"), done.stderr[-3000:]


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
