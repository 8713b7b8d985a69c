"""Training by imitation of finished runs, with and without unlabeled images."""

import random

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.thoroughness import only_thorough
from tests.training.test_loop import assert_same_arrays, experiment, final, measures
from tfeff import config, models, training
from tfeff.config.task_parts import Teacher
from tfeff.data.sources import unlabeled
from tfeff.errors import UserError
from tfeff.tasks.classification import ClassificationTask
from tfeff.training import exposure, teachers
from tfeff.training.distillation import LABELED, Distilled
from tfeff.training.unlabeled import WithUnlabeled


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return training.train(experiment("training.epochs=6"), tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "unlabeled/more").mkdir(parents=True)
    for number in range(40):
        pixels = rng.integers(0, 255, (8, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "unlabeled" / ("more" * (number % 2)) / f"{number}.png")
    return tmp_path / "unlabeled"


@pytest.mark.slow
def test_a_student_does_not_resume_with_another_teacher(tmp_path):
    first = training.train(experiment("training.epochs=1"), tmp_path / "teacher")
    settings = experiment(f"task.teacher.runs={first.path}")
    training.train(settings, tmp_path / "student", until_epoch=1)
    training.train(experiment("training.epochs=2"), first.path)
    with pytest.raises(UserError, match=r"task\.teacher\.runs: .*teacher has other weights than when this run began"):
        training.train(settings, tmp_path / "student")


@pytest.mark.slow
def test_images_without_labels_have_an_order_of_their_own(tmp_path, teacher, photographs, monkeypatch):
    pipeline, seeds = training.Plan.training_pipeline, []

    def recorded(self, *arguments, **options):
        seeds.append(self.settings.seed)
        return pipeline(self, *arguments, **options)

    monkeypatch.setattr(training.Plan, "training_pipeline", recorded)
    changes = f"task.teacher.runs={teacher.path}", f"data.unlabeled=folder:{photographs}", "training.epochs=1"
    training.train(experiment(*changes), tmp_path / "student")
    assert len(set(seeds)) == len(seeds) == 2


@pytest.mark.slow
def test_a_teacher_is_imitated_alone(tmp_path, teacher):
    settings = experiment(f"task.teacher.runs={teacher.path}", "task.teacher.weight=1", "training.epochs=6")
    rows = training.train(settings, tmp_path / "student").rows()
    assert rows[-1]["train_teacher_loss"] < 0.7 * rows[0]["train_teacher_loss"]
    assert rows[-1]["train_loss"] == pytest.approx(rows[-1]["train_teacher_loss"], rel=1e-5)
    assert rows[-1]["validation_loss"] > 0.1  # of the labels
    assert "validation_teacher_loss" not in rows[-1]


def test_a_published_teacher_takes_no_random_numbers_of_the_process(monkeypatch):
    changes = "task.teacher.runs=resnet50", "task.teacher.weight=0", "task.teacher.features=1"
    plan, state = training.Plan.of(experiment(*changes)), random.getstate()
    network = plan.build_network()
    monkeypatch.setattr(models, "build", lambda *_, **__: random.random() and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        teachers.taught(plan, network)
    assert random.getstate() == state


def test_a_network_that_is_its_own_teacher_has_nothing_to_learn(teacher):
    network = training.trained_model(teacher)
    section = Teacher(runs=("x",), features=1.0, weight=0.25)
    task = Distilled(ClassificationTask(config.ClassificationSettings(teacher=section)), section, [network])
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (6, 8, 8, 1)), tf.float32)
    labels = tf.one_hot([0, 1, 2, 3, 4, 5], 10)
    batch = {"image": images, "label": labels, "weight": tf.ones(6)}
    outputs = task.forward(network, batch, training=True)
    # The network itself normalizes by the batch, its teacher does not.
    (logits, features), _ = outputs
    targets = ClassificationTask().teacher_targets([(logits, features)], section)
    outputs = (logits, features), targets
    totals = task.totals(batch, outputs, training=True)
    assert float(totals["teacher_loss"]) == pytest.approx(0, abs=1e-4)
    plain = ClassificationTask().totals(batch, logits, training=True)
    assert float(totals["label_loss"]) == pytest.approx(0.75 * float(plain["loss"]), rel=1e-6)

    half = batch | {LABELED: tf.constant([True] * 3 + [False] * 3)}
    totals = task.totals(half, outputs, training=True)
    first = ClassificationTask().totals({key: value[:3] for key, value in batch.items()}, logits[:3], training=True)
    assert float(totals["label_loss"]) == pytest.approx(0.75 * float(first["loss"]), rel=1e-6)
    assert (float(totals["images"]), float(totals["taught_images"])) == (3, 6)
    totals = task.totals(half, logits, training=False)
    assert float(totals["label_loss"]) == pytest.approx(float(first["loss"]), rel=1e-6)
    assert float(totals["images"]) == 3


@pytest.mark.slow
def test_images_without_labels_take_part(tmp_path, teacher, photographs, capsys):
    changes = f"task.teacher.runs={teacher.path}", f"data.unlabeled={photographs}", "training.deterministic=true"
    whole = training.train(experiment(*changes), tmp_path / "whole")
    assert "40 images without labels" in capsys.readouterr().out
    assert whole.dataset()["unlabeled_examples"] == 40
    without = training.train(experiment(changes[0], changes[2]), tmp_path / "without")
    assert measures(whole) != measures(without)
    training.train(experiment(*changes), tmp_path / "parts", until_epoch=1)
    parts = training.train(experiment(*changes), tmp_path / "parts")
    assert_same_arrays(final(whole), final(parts))
    assert measures(whole) == measures(parts)
    (photographs / "0.png").unlink()
    (photographs / "corrupt.png").write_bytes(b"no image")
    changes = *changes, "data.corrupt_images=skip"
    training.train(experiment(*changes), tmp_path / "changed", until_epoch=1)
    assert f"{photographs}: skipped a corrupt image: {photographs}/corrupt.png" in capsys.readouterr().out
    record = training.Workdir(tmp_path / "changed").dataset()
    training.Workdir(tmp_path / "changed").write_dataset(record | {"unlabeled_examples": 38})
    with pytest.raises(UserError, match=r"39 images of .* can be read, but 38 when this run began"):
        training.train(experiment(*changes), tmp_path / "changed")
    (photographs / "2.png").unlink()
    with pytest.raises(UserError, match="unlabeled"):
        training.train(experiment(*changes), tmp_path / "changed")


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_student_is_evaluated_on_what_it_held_out_and_knows_its_images_without_labels(tmp_path, teacher, photographs):
    settings = experiment(f"task.teacher.runs={teacher.path}", f"data.unlabeled={photographs}", "training.epochs=1")
    run = training.train(settings, tmp_path / "student")
    evaluated = training.evaluate_run(run, "validation", training.Reporter(quiet=True))
    assert evaluated.report["examples"] == run.dataset()["validation_examples"]
    others = unlabeled.load(str(photographs), ("cat",), 1, objects=False)
    assert exposure.known((str(run.path),), others) == {str(run.path): 40}
    assert exposure.known((str(teacher.path),), others) == {}


@pytest.mark.slow
def test_images_that_the_run_is_judged_by_are_left_out_of_those_without_labels(tmp_path, image_folder, capsys):
    photographs = image_folder({"train/a": 40, "train/b": 40, "test/a": 5, "test/b": 6}, size=(8, 8))
    source = {"source": f"folder:{photographs}", "train_examples": None, "validation_fraction": 0.2}
    teacher = training.train(experiment(**source), tmp_path / "teacher").path
    changes = f"task.teacher.runs={teacher}", f"data.unlabeled={photographs}"
    run = training.train(experiment(*changes, **source), tmp_path / "student")
    out = capsys.readouterr().out
    assert "16 of them are validation images, which are left out" in out
    assert "11 of them are test images, which are left out" in out
    assert run.dataset()["unlabeled_examples"] == 64
    training.train(experiment(*changes, "data.validation_examples=4", **source), tmp_path / "few", until_epoch=1)
    assert "16 of them are validation images, which are left out" in capsys.readouterr().out
    changes = changes[0], f"data.unlabeled={photographs / 'test'}"
    with pytest.raises(UserError, match=r"all images of .* are test images"):
        training.train(experiment(*changes, **source), tmp_path / "none")


def test_all_images_are_plain_from_the_same_step_on(tmp_path, teacher, photographs, monkeypatch):
    class JoinedError(Exception):
        """Nothing is trained."""

    def join(self, labeled, unlabeled, **_):
        raise JoinedError(labeled.transform.plain_from * labeled.steps_per_epoch, unlabeled._step)

    monkeypatch.setattr(WithUnlabeled, "__init__", join)
    changes = f"task.teacher.runs={teacher.path}", f"data.unlabeled={photographs}", "task.plain_epochs=5"
    changes = *changes, "training.epochs=20", "task.augmentation.brightness=0.2"
    with pytest.raises(JoinedError) as joined:
        training.train(experiment(*changes), tmp_path / "run")
    assert joined.value.args == (60, 60)


def test_features_are_compared_without_dropout():
    task = ClassificationTask(config.ClassificationSettings(teacher=Teacher(runs=("x",), features=1.0)))
    network = models.build("efficientnet-lite0", num_classes=3, resolution=32, width_coefficient=0.1, dropout=0.9)
    batch = {"image": tf.constant(np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)), tf.float32)}
    _, features = task.forward_with_features(network, batch, training=True)
    assert features.shape == (8, network.get_layer("head_dropout").input.shape[-1])
    zeros = float(tf.reduce_mean(tf.cast(features == 0, tf.float32)))
    assert zeros < 0.7  # by ReLU6; with dropout, above 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("task.teacher.runs=nowhere",), 'task.teacher.runs: "nowhere": no finished run'),
        (("task.teacher.runs=resnet50",), "published network, which knows other classes"),
        (("task.teacher.runs={teacher}", "data.channels=3"), "takes images of 1 channels, not 3"),
        (("task.teacher.runs={teacher}", "training.rematerialize=true"), "remove training.feature_variants"),
        (
            (
                *("task.teacher.runs={teacher}", "task.teacher.features=1"),
                *("training.batch_size=8", "training.accumulation_steps=8"),
            ),
            r"batch_size is 8 in 8 parts .*; task.teacher.features compares the images of a part; use at least 16",
        ),
        (("data.unlabeled={teacher}",), "need a teacher"),
        (("task.teacher.runs={teacher}", "data.unlabeled=nowhere"), "no folder"),
        (("task.teacher.runs={teacher}", "data.unlabeled={teacher}/checkpoints"), "no images in"),
        (
            ("task.teacher.runs={teacher}", "data.unlabeled={photographs}", "data.unlabeled_per_label=2"),
            "use at most 1.25",
        ),
        (
            (
                *("task.teacher.runs={teacher}", "data.unlabeled={photographs}", "data.unlabeled_per_label=2"),
                *("task.plain_epochs=1", "task.augmentation.brightness=0.2"),
            ),
            "use at most 1.25",
        ),
        (
            (
                *("task.teacher.runs={teacher}", "data.unlabeled={photographs}", "data.unlabeled_per_label=0.3"),
                "training.accumulation_steps=4",
            ),
            r"10 unlabeled images in a batch cannot be divided into 4 parts .*; set data.unlabeled_per_label=0.375",
        ),
    ],
    ids=str,
)
def test_errors(tmp_path, teacher, photographs, changes, message):
    changes = [each.format(teacher=teacher.path, photographs=photographs) for each in changes]
    with pytest.raises(UserError, match=message):
        training.train(experiment(*changes), tmp_path / "student")


def test_a_classifier_that_was_trained_on_images_of_other_shapes_is_named(teacher, caplog):
    message = "trained on images that were stretched to a square, and those of this run are cropped"
    for change, named in (("task.crop=false", False), ("task.center_crop=0.875", True)):
        plan = training.Plan.of(experiment(f"task.teacher.runs={teacher.path}", change)).learned(teacher.dataset())
        teachers.taught(plan, plan.build_network())
        assert (message in caplog.text) == named


def test_detectors_that_were_trained_on_images_of_other_shapes_are_refused(tmp_path):
    changes = "task.name=yolo", "data.source=embedded:placed_digits", "model.stage_blocks=1,1,1", "model.resolution=64"
    settings = config.override(experiment(), changes)
    with config.claimed(tmp_path / "teacher", config.override(settings, ["task.stretch=true"])):
        record = {"class_names": ["0", "1"], "mean": [], "std": []}
        training.Workdir(tmp_path / "teacher").write_dataset(record)
    student = config.override(settings, [f"task.teacher.runs={tmp_path / 'teacher'}"])
    with pytest.raises(UserError, match=r"teacher\" was trained with task.stretch=true; set task.stretch=true"):
        teachers.taught(training.Plan.of(student).learned(record), models.build("resnet", resolution=8))


def test_teachers_of_other_classes_are_refused(tmp_path, teacher, photographs):
    for name in ("ants", "bees"):
        (photographs / "more").rename(photographs / name) if name == "ants" else (photographs / name).mkdir()
    for path in sorted(photographs.glob("*.png")):
        path.rename(photographs / "bees" / path.name)
    settings = experiment(
        f"task.teacher.runs={teacher.path}", "training.batch_size=8", source=f"folder:{photographs}", train_examples=20
    )
    with pytest.raises(UserError, match=r"knows the classes 0, 1, .*; the training images have ants, bees"):
        training.train(settings, tmp_path / "student")


@only_thorough
def test_a_detector_imitates_another_one(tmp_path):
    task = config.YoloSettings(network=config.detector("yolo", neck="fpn", levels=("P3", "P4"), neck_channels=8))
    settings = config.Experiment(
        task=task,
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), stem="7x7", resolution=64),
        data=config.Data(source="embedded:placed_digits", train_examples=32, channels=1, validation_examples=16),
        training=config.Training(epochs=1, batch_size=8, precision="float32"),
    )
    first = training.train(settings, tmp_path / "teacher")
    changes = [f"task.teacher.runs={first.path}", "task.teacher.weight=1", "model.width=6", "training.epochs=3"]
    rows = training.train(config.override(settings, changes), tmp_path / "student").rows()
    assert rows[-1]["train_teacher_loss"] < rows[0]["train_teacher_loss"]
    with pytest.raises(UserError, match="predicts at other positions"):
        training.train(config.override(settings, [*changes, "model.resolution=96"]), tmp_path / "other")
