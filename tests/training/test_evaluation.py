import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, selection, tasks, training
from tfeff.serving import run

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1, train_examples=144),
        training=config.Training(epochs=3, batch_size=32, precision="float32", validation_epochs=2),
    )
    return training.train(settings, tmp_path_factory.mktemp("run"), tensorboard=False)


@pytest.mark.slow
def test_a_given_network_is_not_rebuilt(finished, monkeypatch, tmp_path):
    model = training.trained_model(finished)
    alone = training.evaluate_run(finished, "test", training.Reporter(quiet=True))
    monkeypatch.setattr(training.Plan, "build_network", None)
    evaluation = training.finish_run(finished, training.Reporter(quiet=True), model)
    assert evaluation.report == alone.report
    assert (run.exportable(finished, model).saved_model(tmp_path / "saved_model") / "saved_model.pb").is_file()


@pytest.mark.slow
def test_the_name_of_a_split_can_have_a_slash(image_folder, tmp_path):
    root = image_folder({"ant": 12, "bee": 12})
    rows = [
        f"{path},{path.parent.name},{'test/2021' if i % 2 else 'train'}" for i, path in enumerate(root.rglob("*/*"))
    ]
    (root / "images.csv").write_text("\n".join(["image,label,split", *rows]))
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(
            source=f"csv:{root}/images.csv", test_split="test/2021", image_size=8, validation_fraction=0.0
        ),
        training=config.Training(epochs=1, batch_size=4, precision="float32"),
    )
    workdir, quiet = training.train(settings, tmp_path / "run", tensorboard=False), training.Reporter(quiet=True)
    evaluation = training.finish_run(workdir, quiet)
    assert evaluation.split == "test/2021"
    assert json.loads((workdir.path / "evaluation_test_2021.json").read_text())["split"] == "test/2021"
    assert (workdir.path / "predictions_test_2021.csv").is_file()
    assert workdir.page.is_file()


def test_images_of_groups_are_no_independent_images(image_folder, tmp_path):
    root = image_folder({f"{split}/{name}": 12 for split in ("train", "test") for name in ("ant", "bee")})
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(source=f"folder:{root}", groups=r"(\w+/\d\d)\d\.png", image_size=8, validation_fraction=0.0),
        training=config.Training(epochs=1, batch_size=4, precision="float32"),
    )
    workdir = training.train(settings, tmp_path / "run", tensorboard=False)
    evaluation = training.evaluate_run(workdir, None, training.Reporter(quiet=True))
    assert [note for note in evaluation.notes if "24 images of 4 groups as independent" in note]


def test_result_has_the_metrics_of_the_kept_epoch(finished):
    training.finish_run(finished, training.Reporter(quiet=True))
    result = json.loads((finished.path / "result.json").read_text())
    assert ["validation_accuracy" in row for row in finished.rows()] == [False, True, True]
    assert result["kept_epoch"] == 3
    assert result["validation_accuracy"] == finished.rows()[-1]["validation_accuracy"]


@pytest.mark.slow
def test_tta_in_evaluation_and_export(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    several = training.Workdir(tmp_path / "run")
    settings = config.override(finished.config(), ["task.tta.mirrored=true", "task.tta.shift=1"])
    (several.path / "config.json").write_text(config.to_json(settings))
    model = training.trained_model(finished)
    images = selection.evaluation_images(
        selection.request(settings), "test", finished.dataset(), finished.fingerprint, lambda *_: None
    )
    labels, probabilities = [], []
    for batch in training.Plan.of(settings).evaluation_pipeline(images, model.size).evaluation_batches():
        padded = tf.pad(batch["image"], [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT")
        corners = (1, 0.5), (0, 0.25), (2, 0.25)  # offset of the shifted view, and its weight
        views = [
            weight * tf.nn.softmax(model(padded[:, at : at + 8, at : at + 8][:, :, ::step], training=False))
            for at, weight in corners
            for step in (1, -1)
        ]
        kept = batch["weight"].numpy() > 0
        labels.append(batch["label"].numpy().argmax(axis=-1)[kept])
        probabilities.append((np.sum(views, axis=0) / 2)[kept])
    labels, probabilities = np.concatenate(labels), np.concatenate(probabilities)
    report = training.evaluate_run(several, "test", training.Reporter(quiet=True)).report
    assert report["top1"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
    exported = run.exportable(several).saved_model(tmp_path / "saved_model")
    served = tf.saved_model.load(str(exported)).signatures["serving_default"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    asked = tf.nn.softmax(tasks.create(settings.task).predictor(model)(tf.cast(pixels, tf.float32), training=False))
    np.testing.assert_allclose(served(images=tf.constant(pixels))["probabilities"], asked, atol=1e-5)
