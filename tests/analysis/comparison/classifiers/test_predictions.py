import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, training
from tfeff.analysis.comparison.classifiers import predictions
from tfeff.analysis.comparison.run import open_runs, read_split
from tfeff.errors import UserError

QUIET = training.Reporter(quiet=True)
pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])  # without and with test-time augmentation
def test_accuracy_is_that_of_the_evaluation(runs, index, tmp_path):
    (model,) = open_runs([runs[index].path])
    images = read_split(model, "test", QUIET).images
    predicted = predictions.predict(model, images, tmp_path / "p.npz")
    report = training.evaluate_run(runs[index], "test", QUIET).report
    assert np.mean(predicted.probabilities.argmax(axis=1) == images.dataset.labels) == report["top1"]
    own = predicted.probabilities[np.arange(len(images)), images.dataset.labels]
    assert -np.log(own.astype(np.float64)).mean() == pytest.approx(report["log_loss"], rel=1e-5)


def test_features_are_the_means_of_the_last_feature_maps(runs, tmp_path):
    (model,) = open_runs([runs[1].path])
    images = read_split(model, "test", QUIET).images.take(np.arange(10))
    features = predictions.predict(model, images, tmp_path / "p.npz").features
    maps = keras.Model(model.network.input, model.network.get_layer("head_pool").input)
    (batch,) = training.Plan.of(model.settings).evaluation_pipeline(images, model.network.size).evaluation_batches()
    np.testing.assert_allclose(features, np.asarray(maps(batch["image"][:10])).mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet-v3-small", "convnext-tiny"])
def test_gradients_of_the_last_layer_are_products_of_errors_and_what_it_reads(runs, name, tmp_path):
    (model,) = open_runs([runs[0].path])
    small = {"width_coefficient": 0.25} if name.startswith("mobile") else {"stage_blocks": (1, 1, 1, 1), "width": 8}
    settings = dataclasses.replace(model.settings, model=config.architecture(name, resolution=32, **small))
    plan = training.Plan.of(settings).learned(runs[0].dataset())
    network = plan.build_network()
    model.__dict__.update(plan=plan, network=network)
    images = read_split(model, "test", QUIET).images.take(np.arange(4))
    found = predictions.predict(model, images, tmp_path / "p.npz", read=True)
    (batch,) = plan.evaluation_pipeline(images, network.size).evaluation_batches()
    kernel = network.get_layer("head_classifier").kernel
    for index, (probabilities, features) in enumerate(zip(found.probabilities, found.features, strict=True)):
        label = int(probabilities.argmax())
        with tf.GradientTape() as tape:
            logits = network(batch["image"][index : index + 1], training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([label], logits)
        expected = np.outer(features, probabilities - np.eye(10)[label])
        np.testing.assert_allclose(tape.gradient(loss, kernel.value), expected, atol=1e-5)


@pytest.mark.slow
def test_predictions_are_computed_once_for_the_same_weights_and_images(runs, tmp_path, monkeypatch):
    path = tmp_path / "folder" / "p.npz"
    (model,) = open_runs([runs[0].path])
    images = read_split(model, "test", QUIET).images.take(np.arange(20))
    first = predictions.predict(model, images, path)
    calls = []
    compute = predictions._predict
    monkeypatch.setattr(predictions, "_predict", lambda *args: calls.append(args) or compute(*args))
    again = predictions.predict(model, images, path)
    np.testing.assert_array_equal(again.probabilities, first.probabilities)
    np.testing.assert_array_equal(again.features, first.features)
    assert not calls
    predictions.predict(model, images.take(np.arange(19)), path)
    predictions.predict(model, images, path)
    assert len(calls) == 2
    path.write_bytes(path.read_bytes()[:100])  # of a full disk
    predictions.predict(model, images, path)
    assert len(calls) == 3
    arrays, record = training.checkpoint.load(runs[0].final)
    arrays["model/head_classifier/bias"] += 1.0 * np.arange(10, dtype=np.float32)
    training.checkpoint.save(runs[0].final, arrays, record)
    (changed,) = open_runs([runs[0].path])
    other = predictions.predict(changed, images, path)
    assert len(calls) == 4
    assert (other.probabilities[:, 9] > first.probabilities[:, 9]).all()


def test_diverged_networks_are_reported(runs, tmp_path):
    arrays, record = training.checkpoint.load(runs[0].final)
    arrays["model/head_classifier/kernel"][:] = 3e38  # finite, but the logits are not
    training.checkpoint.save(runs[0].final, arrays, record)
    (model,) = open_runs([runs[0].path])
    images = read_split(model, "test", QUIET).images.take(np.arange(5))
    with pytest.raises(UserError, match=r"small: probabilities of the network are not finite"):
        predictions.predict(model, images, tmp_path / "p.npz")
