import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, models, selection, training
from tfeff.data.augment import given
from tfeff.errors import UserError
from tfeff.models.weights import lite
from tfeff.training import checkpoint, checks
from tfeff.training.plan import weights_file
from tfeff.training.workdir import run_of


def digits(**data):
    model = config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8)
    return config.Experiment(model=model, data=config.Data(**{"source": "embedded:digits", "channels": 1} | data))


def test_dataset_normalization_reaches_the_network():
    settings = digits(normalization="dataset")
    dataset = selection.choose(
        selection.request(settings), selection.read(selection.request(settings), lambda *_: None)
    )
    images = next(dataset.train.chunks(len(dataset.train))).astype(np.float64)
    assert dataset.mean == pytest.approx([images.mean()], rel=1e-5)
    assert dataset.std == pytest.approx([images.std()], rel=1e-5)
    network = training.Plan.of(settings).learned(dataset.record()).build_network()
    rescaling = next(layer for layer in network.layers if type(layer).__name__ == "Rescaling")
    standardised = np.asarray(rescaling(images))
    assert standardised.mean() == pytest.approx(0, abs=1e-4)
    assert standardised.std() == pytest.approx(1, abs=1e-4)


def test_one_device_evaluates_the_share_of_a_batch_that_it_has_in_training(monkeypatch):
    for changes, size in (((), 128), (("training.accumulation_steps=4",), 32), (("training.strategy=single",), 128)):
        assert training.Plan.of(config.override(digits(), changes)).evaluation_batch_size == size
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU:0", "GPU:1"])
    for changes, size in (((), 64), (("training.accumulation_steps=4",), 16), (("training.strategy=single",), 128)):
        assert training.Plan.of(config.override(digits(), changes)).evaluation_batch_size == size


def test_a_few_images_are_read_without_padding():
    settings = digits()
    wanted = selection.request(settings)
    images = selection.choose(wanted, selection.read(wanted, lambda *_: None)).train.take(np.array([3, 1, 4]))
    plan = training.Plan.of(settings)
    (batch,) = plan.evaluation_pipeline(images, (12, 12)).evaluation_batches()
    assert len(batch["image"]) == 128
    np.testing.assert_array_equal(plan.inputs(images, (12, 12)), batch["image"][:3])
    assert [(each["index"].numpy().tolist(), len(each["image"])) for each in plan.one_by_one(images, (12, 12))] == [
        ([0], 1),
        ([1], 1),
        ([2], 1),
    ]


@pytest.mark.slow
def test_the_normalization_of_a_run_reaches_the_network_that_starts_from_it(tmp_path):
    run = config.override(digits(normalization="dataset"), ["training.epochs=1", "schedule.warmup_epochs=0"])
    source = training.train(run, tmp_path, tensorboard=False)
    settings = config.override(digits(), [f"model.weights={tmp_path}"])
    wanted = selection.request(settings)
    images = selection.choose(wanted, selection.read(wanted, lambda *_: None))
    plan = training.Plan.of(settings)
    record, _ = plan.measured(images)
    assert record["mean"] == list(plan.learned(record).network.mean) == source.dataset()["mean"]
    assert record["std"] == source.dataset()["std"]


@pytest.mark.slow
def test_weights_of_a_run_with_other_layers_are_refused(tmp_path):
    run = config.override(digits(), ["training.epochs=1", "schedule.warmup_epochs=0"])
    training.train(run, tmp_path, tensorboard=False)
    checks.check(
        training.Plan.of(config.override(run, [f"model.weights={tmp_path}", "model.width=3"])), 1, new_run=True
    )
    bottleneck = config.override(run, [f"model.weights={tmp_path}", "model.block=bottleneck"])
    with pytest.raises(UserError, match=r"resnet has other layers than resnet \(block bottleneck instead of basic\)"):
        checks.check(training.Plan.of(bottleneck), 1, new_run=True)
    deeper = config.override(run, [f"model.weights={tmp_path}", "model.stage_blocks=1,1,1"])
    with pytest.raises(UserError, match=r"\(3 stages instead of 2\)"):
        checks.check(training.Plan.of(deeper), 1, new_run=True)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet", "imagenet", r"config: model\.weights: resnet has no published weights"),
        ("efficientnet-lite3", "imagenet", r"config: model\.weights: efficientnet-lite3 has no published weights"),
        (
            "efficientnet-lite0",
            "efficientnet-lite1",
            r"config: model\.weights: .* in the package .*, which is not inst",
        ),
        ("efficientnet-v2-s", "efficientnet-v2-m", r'config: model\.weights "eff.*\(6 stages instead of 7\)'),
        (
            "efficientnet-v2-s",
            "efficientnet-b0",
            r'config: model\.weights "eff.* has other layers .* \(of another family',
        ),
        ("efficientnet-v2-s", "imagnet", r'no file and no finished run imagnet; did you mean "imagenet"\?'),
    ],
)
def test_weights_that_do_not_exist_or_do_not_fit_are_refused_before_images_are_read(
    name, weights, message, monkeypatch
):
    monkeypatch.setattr(lite, "weights_file", lambda name: None)
    model = config.architecture(name, weights=weights)
    plan = training.Plan.of(dataclasses.replace(digits(channels=3), model=model))
    with pytest.raises(UserError, match=message):
        checks.check(plan, 1, new_run=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    changes = "training.epochs=1", "schedule.warmup_epochs=0", "model.mean=5", "model.std=3"
    return training.train(config.override(digits(), changes), tmp_path_factory.mktemp("trained"), tensorboard=False)


def test_a_checkpoint_in_a_workdir_means_its_run(trained):
    names = trained.dataset()["class_names"]
    for width in (2, 3):
        settings = config.override(digits(), [f"model.weights={trained.final}", f"model.width={width}"])
        plan = training.Plan.of(settings)
        checks.check(plan, 1, new_run=True)
        plan = dataclasses.replace(plan, class_names=tuple(reversed(names)))
        network = plan.build_network()
        report = plan.load_weights(network)
        assert "classes" in str(report.classes)
        assert isinstance(report, models.Inheritance) == (width == 3)
        source = checkpoint.load(trained.final)[0]["model/head_classifier/bias"]
        np.testing.assert_allclose(network.get_layer("head_classifier").bias, source[::-1], rtol=1e-3, atol=1e-4)
    assert run_of(str(trained.path)).path == run_of(str(trained.final)).path == trained.path
    assert run_of(str(trained.path / "config.json")) is None


def test_other_statistics_than_those_of_the_run_are_refused(trained):
    for changes, refused in (((), False), (("model.mean=5",), False), (("model.mean=6",), True)):
        plan = training.Plan.of(config.override(digits(), [f"model.weights={trained.path}", *changes]))
        if refused:
            with pytest.raises(UserError, match=r"config: model.mean: omit it: the network takes that of the run in"):
                checks.check(plan, 1, new_run=True)
        else:
            checks.check(plan, 1, new_run=True)


def test_a_mean_that_the_weights_replace_is_refused(trained, tmp_path):
    copy = shutil.copy(trained.final, tmp_path / "copy.npz")
    for mean, refused in ((5, False), (6, True)):
        plan = training.Plan.of(config.override(digits(), [f"model.weights={copy}", f"model.mean={mean}"]))
        plan = dataclasses.replace(plan, class_names=tuple(trained.dataset()["class_names"]))
        if refused:
            with pytest.raises(UserError, match=r"model\.mean: omit it: the network takes that of the weights"):
                plan.load_weights(plan.build_network())
        else:
            plan.load_weights(plan.build_network())


def test_weights_are_found_in_the_home_directory(trained, monkeypatch):
    monkeypatch.setenv("HOME", str(trained.path.parent))
    assert weights_file(f"~/{trained.path.name}") == trained.final
    assert run_of(f"~/{trained.path.name}").path == trained.path


def test_statistics_of_networks_that_read_regions_are_not_recomputed():
    changes = "task.name=faster_rcnn", "data.source=embedded:placed_digits", "model.resolution=64"
    settings = config.override(digits(), [*changes, "training.recompute_statistics=true"])
    with pytest.raises(UserError, match=r"recompute_statistics: the network reads regions"):
        checks.check(training.Plan.of(settings), 1, new_run=True)


def objects(task, *changes):
    sizes = "data.source=embedded:placed_digits", "model.resolution=64"
    needed = {"rcnn": ["model.weights=imagenet"], "fast_rcnn": ["task.proposals.directory=unused"]}.get(task, [])
    return training.Plan.of(config.override(digits(), [f"task.name={task}", *sizes, *needed, *changes]))


@pytest.mark.parametrize("task", ["faster_rcnn", "fast_rcnn", "rcnn"])
def test_networks_that_read_regions_are_not_rematerialized(task):
    with pytest.raises(UserError, match=r"training\.rematerialize: the network reads regions"):
        checks.check(objects(task, "training.rematerialize=true"), 1, new_run=False)


@pytest.mark.parametrize("task", ["yolo", "efficientdet", "faster_rcnn", "rcnn"])
def test_classes_of_objects_cannot_be_balanced(task):
    with pytest.raises(UserError, match=rf"data\.class_balanced: with task\.name={task}, an image can have objects"):
        checks.check(objects(task, "data.class_balanced=true"), 1, new_run=False)
    checks.check(objects("localization", "data.class_balanced=true", "training.monitor=iou"), 1, new_run=False)


def test_stored_features_are_not_augmented_or_shared_by_workers(monkeypatch):
    checks.check(objects("rcnn"), 1, new_run=False)
    monkeypatch.setattr(given, "find", lambda name: None)
    with pytest.raises(UserError, match=r"data\.augment: task\.name=rcnn trains on stored features"):
        checks.check(objects("rcnn", "data.augment=own"), 1, new_run=False)
    cluster = {"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(UserError, match=r"task\.name=rcnn trains on stored features, which several workers cannot"):
        checks.check(objects("rcnn"), 2, new_run=False)
    checks.check(objects("yolo"), 2, new_run=False)


@pytest.mark.parametrize("key", ["frozen=stm*", "learning_rate_factors=stm*=0.1"])
def test_patterns_are_checked_before_images_are_read(key):
    settings = config.override(digits(), [f"optimizer.{key}"])
    with pytest.raises(UserError, match=r"optimizer.*'stm\*' matches no variable.*did you mean \"stem\*\""):
        checks.check(training.Plan.of(settings), 1, new_run=True)
