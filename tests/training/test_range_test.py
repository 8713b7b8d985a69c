import math
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from tests.tasks.digits_of_many_sizes import write_coco
from tests.thoroughness import only_thorough
from tfeff import config, selection, training
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.training.assembly import AssemblyCache
from tfeff.training.range_test import averaged, lowest, write_range_test


def experiment(**data):
    return config.Experiment(
        task=config.ClassificationSettings(label_smoothing=0.1),
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
        data=config.Data(**{"source": "embedded:digits", "channels": 1, "validation_fraction": 0.0} | data),
        optimizer=config.Optimizer(learning_rate=0.1),
        training=config.Training(
            epochs=1,
            batch_size=32,
            deterministic=True,
        ),
    )


def read(settings):
    return selection.read(selection.request(settings), lambda *_: None)


def test_the_lowest_loss_ignores_outliers():
    rates = np.geomspace(1e-3, 10, 120)
    losses = 2 + (np.log10(rates) + 0.5) ** 2 + np.random.default_rng(0).normal(0, 0.05, 120)
    losses[10] = 1.0
    rate, loss = lowest(rates, averaged(losses))
    assert rate == pytest.approx(10**-0.5, rel=0.3)
    assert loss == pytest.approx(2, abs=0.1)


@only_thorough
def test_the_rate_trains_better_than_distant_rates(tmp_path):
    settings = experiment()
    stores = read(settings)
    rate = training.range_test(training.Plan.of(settings), stores).rate
    assert training.range_test(training.Plan.of(settings), stores).rate == rate
    assert keras.mixed_precision.dtype_policy().name == "float32"
    losses, assemblies = {}, AssemblyCache()
    for factor in (0.01, 1, 100):
        run = config.override(settings, [f"optimizer.learning_rate={factor * rate}", "training.epochs=2"])
        workdir = training.train(run, tmp_path / str(factor), caches=stores, assemblies=assemblies, tensorboard=False)
        losses[factor] = workdir.rows()[-1]["train_loss"]
    assert min(losses, key=losses.__getitem__) == 1


@pytest.mark.slow
def test_error_if_nothing_is_learned(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(50):
            Image.new("L", (8, 8), 128).save(tmp_path / name / f"{index}.png")
    settings = experiment(source=f"folder:{tmp_path}")
    with pytest.raises(UserError, match=r"learned nothing in \d+ steps at rates from 0\.001 to .* labels"):
        training.range_test(training.Plan.of(settings), read(settings))


def test_rates_grow_from_a_hundredth_to_a_hundred_times_the_configured_rate():
    settings = config.override(experiment(train_examples=320), ["optimizer.learning_rate=1e-9"])
    with pytest.raises(UserError, match="learned nothing in 120 steps at rates from 1e-11 to 1e-07"):
        training.range_test(training.Plan.of(settings), read(settings))


@pytest.mark.slow
def test_the_augmentation_stays_on_until_the_last_update():
    """120 updates are 12 epochs of these images, of which the run would make the second one without augmentation."""
    settings = config.override(
        experiment(train_examples=320), ["training.epochs=2", "task.augmentation.brightness=0.9"]
    )
    losses = []
    for plain in (0, 1):
        plan = training.Plan.of(config.override(settings, [f"task.plain_epochs={plain}"]))
        losses.append(training.range_test(plan, read(settings)).losses)
    assert losses[0] == losses[1]


def test_the_network_is_that_of_a_run(tmp_path, monkeypatch):
    source = write_coco(tmp_path / "digits", 6)
    changes = ["task.name=anchor_yolo", f"data.source=coco:{source}", "data.channels=3", "training.batch_size=4"]
    settings = config.override(experiment(), ["model.stage_blocks=1,1,1,1", "model.resolution=64", *changes])
    settings = config.override(settings, ["task.network.levels=P3"])
    plan, stores, built = training.Plan.of(settings), read(settings), []
    monkeypatch.setattr(training.Plan, "build_network", lambda plan: built.append(plan.network) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.range_test(plan, stores)
    record, _ = plan.measured(selection.choose(plan.images, stores))
    assert built[0].anchors == tuple(record["measured"]["anchors"]) != settings.description.anchors


def test_error_if_the_loss_diverges_immediately():
    settings = config.override(experiment(), ["optimizer.learning_rate=1e20", "model.batch_norm=false"])
    with pytest.raises(UserError, match="learned nothing"):
        training.range_test(training.Plan.of(settings), read(settings))


def test_error_if_the_first_loss_is_not_finite():
    settings = config.override(experiment(), ["model.mean=0", "model.std=1e-38", "model.batch_norm=false"])
    with pytest.raises(UserError, match=r"the loss of the first batch is (nan|inf).*model\.std"):
        training.range_test(training.Plan.of(settings), read(settings))


@pytest.mark.slow
def test_teachers_are_imitated(tmp_path):
    teacher = training.train(experiment(train_examples=200), tmp_path / "teacher")
    settings = experiment(train_examples=200)
    taught = config.override(settings, [f"task.teacher.runs={teacher.path}", "task.teacher.weight=1"])
    stores = read(settings)
    found, plain = (training.range_test(training.Plan.of(each), stores) for each in (taught, settings))
    assert math.isinf(found.constant)
    assert math.isfinite(plain.constant)
    # The first loss is the divergence from the teacher, which is as uncertain as the network, not from labels.
    assert found.losses[0] < plain.losses[0]
    assert found.to_json()["constant_loss"] is None


def test_images_without_labels_are_refused(tmp_path):
    changes = [f"task.teacher.runs={tmp_path}", f"data.unlabeled={tmp_path}"]
    with pytest.raises(UserError, match=r"data.unlabeled: the learning-rate range test reads only images with"):
        training.range_test(training.Plan.of(config.override(experiment(), changes)), None)


def test_the_shares_of_several_devices_are_taken_one_after_the_other(tmp_path, monkeypatch):
    class StartedError(Exception):
        """Nothing is tested."""

    def start(plan, *_):
        raise StartedError(plan.training.batch_size, plan.training.accumulation_steps)

    monkeypatch.setattr(sys.modules[write_range_test.__module__], "range_test", start)
    monkeypatch.setattr(training.distribution, "strategy", lambda name: SimpleNamespace(num_replicas_in_sync=4))
    with pytest.raises(StartedError) as started:
        write_range_test(experiment(train_examples=320), tmp_path / "out")
    assert started.value.args == (32, 4)
    with pytest.raises(UserError, match=r"training.batch_size is 30; it should be a multiple of 4 \(4 devices"):
        write_range_test(config.override(experiment(), ["training.batch_size=30"]), tmp_path / "out")
    monkeypatch.setattr(workers, "worker_count", lambda: 2)
    with pytest.raises(UserError, match="several workers are not supported"):
        write_range_test(experiment(), tmp_path / "out")


def test_stored_features_are_refused_before_images_are_read(tmp_path):
    overrides = ["model.weights=imagenet", "model.name=efficientnet-lite0"]
    settings = config.override(config.load("digits_rcnn", config.Experiment), overrides)
    with pytest.raises(UserError, match=r"--range_test: task\.name=rcnn trains on stored features"):
        write_range_test(settings, tmp_path)
