import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tests.thoroughness import thorough
from tfeff import config
from tfeff.data.images import graph_decoding, resizing
from tfeff.errors import UserError
from tfeff.serving.detector import load
from tfeff.serving.savedmodel import export
from tfeff.tasks import ClassificationTask

DIGITS = [str(digit) for digit in range(10)]


def network(resolution, channels, classes, dtype="float32"):
    """Returns a small convolutional network with random batch statistics, so that logits vary between images."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((resolution, resolution, channels))
    x = keras.layers.Rescaling(1 / 64, -2.0, dtype="float32")(inputs)
    for stride in (1, 2):
        x = keras.layers.Conv2D(12, 3, stride, padding="same", use_bias=False, dtype=dtype)(x)
        x = keras.layers.BatchNormalization(
            moving_mean_initializer="random_normal", beta_initializer="random_normal", dtype=dtype
        )(x)
        x = keras.layers.Activation("silu", dtype=dtype)(x)
    x = keras.layers.Dropout(0.5, dtype=dtype)(keras.layers.Flatten(dtype=dtype)(x))
    spread = keras.initializers.RandomNormal(stddev=0.5)
    return keras.Model(inputs, keras.layers.Dense(classes, kernel_initializer=spread, dtype=dtype)(x))


def digit_images(count):
    """Handwritten digits of different sizes, uint8 [h, w, 1]."""
    sizes = np.random.default_rng(0).integers(9, 70, (count, 2))
    for image, (height, width) in zip(load_digits().images, sizes, strict=False):
        scaled = cv2.resize(image * (255 / 16), (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        yield np.clip(scaled, 0, 255).astype(np.uint8)[:, :, np.newaxis]


def encoded(image, suffix):
    return cv2.imencode(suffix, image)[1].tobytes()


def predict(model, images, image_size, fit=resizing.fit):
    """Returns the Keras model's probabilities, computed eagerly."""
    resolution = model.input_shape[1:3]
    fitted = np.stack([fit(image, image_size or resolution) for image in images])
    logits = model(resizing.resize(fitted, resolution), training=False)
    return tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()


def serve(loaded, files):
    return {name: value.numpy() for name, value in loaded.signatures["serving_bytes"](encoded=files).items()}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(model, directory of its SavedModel): images are resized to 24 × 20, then to the network's 16 × 16."""
    model = network(16, 1, 10)
    directory = tmp_path_factory.mktemp("digits") / "saved_model"
    return model, export(model, DIGITS, directory, image_size=(24, 20), size=(16, 16), channels=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image_size", "crop"), [(None, False), ((24, 20), False), thorough((16, 16), False), ((24, 24), True)]
)
def test_encoded_images_of_mixed_sizes_match_the_model(image_size, crop, tmp_path):
    model, task = network(16, 1, 10), ClassificationTask(config.ClassificationSettings(crop=crop))
    export(model, DIGITS, tmp_path / "model", image_size=image_size, size=(16, 16), channels=1, task=task)
    images = list(digit_images(150))
    served = serve(tf.saved_model.load(tmp_path / "model"), [encoded(image, ".png") for image in images])
    expected = predict(model, images, image_size, resizing.crop if crop else resizing.fit)
    assert expected.max(axis=1).std() > 0.05  # the predictions vary between images
    assert served["probabilities"].dtype == np.float32
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5, rtol=0)
    assert [label.decode() for label in served["label"]] == [DIGITS[i] for i in expected.argmax(axis=1)]


@pytest.mark.slow
@pytest.mark.parametrize("image_size", [None, (21, 21)])
def test_the_centers_of_whole_images_match_the_model(image_size, tmp_path):
    model = network(16, 1, 10)
    task = ClassificationTask(config.ClassificationSettings(center_crop=0.75, interpolation="bicubic"))
    export(model, DIGITS, tmp_path / "model", image_size=image_size, size=(16, 16), channels=1, task=task)
    images = list(digit_images(50))
    loaded = tf.saved_model.load(tmp_path / "model")
    served = serve(loaded, [encoded(image, ".png") for image in images])

    def center(image, size):
        whole = image if image_size is None else resizing.whole(image, image_size, "bicubic")
        return resizing.center(whole, (16, 16), 0.75, "bicubic")

    expected = predict(model, images, None, center)
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5, rtol=0)
    same = loaded.signatures["serving_default"](images=images[0][np.newaxis])
    np.testing.assert_allclose(same["probabilities"], expected[:1], atol=1e-5, rtol=0)
    assert not np.allclose(expected, predict(model, images, None), atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "image_size", "stated"),
    [
        (config.ClassificationSettings(), (24, 20), [24, 20]),
        (config.ClassificationSettings(), None, [16, 16]),
        (config.ClassificationSettings(center_crop=0.75), (24, 24), [24, 24]),
        (config.ClassificationSettings(center_crop=0.75), None, None),
    ],
)
def test_the_metadata_states_the_size_to_which_images_are_fitted_first(task, image_size, stated, tmp_path):
    sizes = {"image_size": image_size, "size": (16, 16), "channels": 1}
    written = export(network(16, 1, 10), DIGITS, tmp_path / "model", task=ClassificationTask(task), **sizes)
    assert json.loads((written / "metadata.json").read_text())["image_size"] == stated


def test_images_and_their_lossless_files_agree(digits):
    _, directory = digits
    loaded = tf.saved_model.load(directory)
    for image in digit_images(5):
        served = loaded.signatures["serving_default"](images=image[np.newaxis])
        np.testing.assert_allclose(
            served["probabilities"], serve(loaded, [encoded(image, ".png")])["probabilities"], atol=1e-6
        )


def test_jpeg_and_png_share_a_batch_and_channels_are_converted(digits):
    model, directory = digits
    gray, other = digit_images(2)
    color = np.repeat(other, 3, axis=2)
    files = [encoded(gray, ".jpg"), encoded(color, ".png")]
    decoded = [graph_decoding.decode(file, 1).numpy() for file in files]
    served = serve(tf.saved_model.load(directory), files)
    np.testing.assert_allclose(served["probabilities"], predict(model, decoded, (24, 20)), atol=1e-5)


def test_photos_match_the_model(dataset, tmp_path):
    model = network(40, 3, 2)
    export(model, ["ants", "bees"], tmp_path / "model", image_size=(64, 64), size=(40, 40), channels=3)
    files = [path.read_bytes() for path in sorted(dataset("hymenoptera", per_folder=10).rglob("*.jpg"))]
    assert len(files) == 40
    images = [graph_decoding.decode(file, 3).numpy() for file in files]
    served = serve(tf.saved_model.load(tmp_path / "model"), files)
    np.testing.assert_allclose(served["probabilities"], predict(model, images, (64, 64)), atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", thorough("mixed_float16")])
def test_a_mixed_precision_model_outputs_float32(policy, tmp_path):
    model = network(16, 1, 10, dtype=policy)
    export(model, DIGITS, tmp_path / "model", image_size=(24, 20), size=(16, 16), channels=1)
    images = list(digit_images(8))
    served = serve(tf.saved_model.load(tmp_path / "model"), [encoded(image, ".png") for image in images])
    assert served["probabilities"].dtype == np.float32
    np.testing.assert_allclose(served["probabilities"].sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(served["probabilities"], predict(model, images, (24, 20)), atol=0.05)


@pytest.fixture(scope="module")
def variables(digits, tmp_path_factory):
    """As `digits`, with the weights as variables."""
    model, out = digits[0], tmp_path_factory.mktemp("variables") / "saved_model"
    return model, export(model, DIGITS, out, image_size=(24, 20), size=(16, 16), channels=1, freeze=False)


SERVER = """
import sys
from pathlib import Path
sys.modules["tfeff"] = None  # importing it fails
import numpy as np
import tensorflow as tf
directory, images, out = sys.argv[1:]
model = tf.saved_model.load(directory)
files = list(np.load(images, allow_pickle=True)["files"])
served = model.signatures["serving_bytes"](encoded=tf.constant(files))
names = [name.decode() for name in model.class_names().numpy()]
with open(model.classes_file.asset_path.numpy(), encoding="utf-8") as lines:
    assert lines.read().split("\\n") == [*names, ""]
np.savez(out, names=names, variables=len(model.model_variables), **served)
assert not any(name.startswith("tfeff.") for name in sys.modules)
"""


@pytest.mark.slow
def test_serving_does_not_require_tfeff(digits, tmp_path):
    model, directory = digits
    images = list(digit_images(20))
    files = np.array([encoded(image, ".png") for image in images], object)
    np.savez(tmp_path / "images.npz", files=files)
    moved = tmp_path / "moved"  # a SavedModel must not depend on its directory
    directory.rename(moved)
    try:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        arguments = [str(moved), str(tmp_path / "images.npz"), str(tmp_path / "served.npz")]
        subprocess.run([sys.executable, "-c", SERVER, *arguments], check=True, cwd=tmp_path, env=environment)
    finally:
        moved.rename(directory)
    served = np.load(tmp_path / "served.npz")
    np.testing.assert_allclose(served["probabilities"], predict(model, images, (24, 20)), atol=1e-5)
    assert served["names"].tolist() == DIGITS
    assert served["variables"] == 0


def test_weights_can_be_variables_of_the_savedmodel(variables):
    model, directory = variables
    stored = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    values = [stored.get_tensor(key) for key in stored.get_variable_to_shape_map() if key.endswith("VARIABLE_VALUE")]
    for weight in model.get_weights():
        assert any(value.shape == weight.shape and (value == weight).all() for value in values)


def test_a_savedmodel_with_variables_can_be_trained_further(variables):
    _, directory = variables
    loaded = tf.saved_model.load(directory)
    serving, files = loaded.signatures["serving_bytes"], [encoded(image, ".png") for image in digit_images(20)]
    truth = tf.constant(load_digits().target[:20])

    def loss():
        probabilities = serving(encoded=tf.constant(files))["probabilities"]
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(truth, probabilities))

    before = loss()
    trained = [variable for variable in loaded.model_variables if variable.trainable]
    assert len(trained) == 8  # two convolutions without a bias, gamma and beta of two normalizations, the classifier
    for _ in range(5):
        with tf.GradientTape() as tape:
            value = loss()
        for variable, gradient in zip(trained, tape.gradient(value, trained), strict=True):
            variable.assign_sub(0.01 * gradient / tf.norm(gradient))
    assert loss() < before


def test_variables_and_constants_give_the_same_predictions(digits, variables):
    model, directory = variables
    images = list(digit_images(50))
    loaded = tf.saved_model.load(directory)
    served = serve(loaded, [encoded(image, ".png") for image in images])
    np.testing.assert_allclose(served["probabilities"], predict(model, images, (24, 20)), atol=1e-5)
    frozen = serve(tf.saved_model.load(digits[1]), [encoded(image, ".png") for image in images])
    np.testing.assert_allclose(frozen["probabilities"], served["probabilities"], atol=1e-5)
    assert frozen["label"].tolist() == served["label"].tolist()
    stored = [tf.train.list_variables(str(path / "variables" / "variables")) for path in (digits[1], directory)]
    assert [len(weights) - 1 for weights in stored] == [0, len(model.variables)]  # each also lists its object graph


def test_the_metadata_describes_the_images(digits):
    about = json.loads((digits[1] / "metadata.json").read_text())
    fit = {"fit": "stretch", "interpolation": "bilinear", "image_size": [24, 20]}
    assert about.pop("crc32")
    assert about == {"input": [None, None, 1], **fit, "class_names": DIGITS, "precision": "float32"}


def test_an_empty_batch(digits):
    _, directory = digits
    loaded = tf.saved_model.load(directory)
    for served in (
        loaded.signatures["serving_bytes"](encoded=tf.constant([], tf.string)),
        loaded.signatures["serving_default"](images=tf.zeros([0, 30, 40, 1], tf.uint8)),
    ):
        assert served["probabilities"].shape == (0, 10)
        assert served["label"].shape == (0,)


@pytest.mark.parametrize("corruption", [lambda file: b"not an image", lambda file: file[:60], lambda file: b""])
def test_a_corrupt_file_fails_with_an_error_that_names_the_decoder(digits, corruption):
    _, directory = digits
    good, bad = (encoded(image, ".jpg") for image in digit_images(2))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?i)decode_?image|decode_?jpeg"):
        serve(tf.saved_model.load(directory), [good, corruption(bad)])


def test_class_names_in_other_scripts(tmp_path):
    names = ["Ameise 🐜", "蜂", "a, b"]
    export(network(16, 1, 3), names, tmp_path / "model", image_size=None, size=(16, 16), channels=1)
    loaded = tf.saved_model.load(tmp_path / "model")
    assert [name.decode() for name in loaded.class_names().numpy()] == names


@pytest.mark.slow
def test_an_earlier_export_is_replaced_only_with_overwrite(tmp_path):
    target = tmp_path / "runs" / "saved_model"
    settings = {"image_size": None, "size": (16, 16), "channels": 1}
    export(network(16, 1, 2), ["a", "b"], target, **settings)
    with pytest.raises(UserError, match="earlier export"):
        export(network(16, 1, 3), ["a", "b", "c"], target, **settings)
    export(network(16, 1, 3), ["a", "b", "c"], target, overwrite=True, **settings)
    assert len(tf.saved_model.load(target).class_names()) == 3
    assert os.listdir(target.parent) == ["saved_model"]


def test_a_full_disk_keeps_the_earlier_export(digits):
    model, directory = digits
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # writing past 4 KiB fails, as on a full disk
    try:
        with pytest.raises(UserError, match="could not be written"):
            export(model, DIGITS, directory, image_size=(24, 20), size=(16, 16), channels=1, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    assert os.listdir(directory.parent) == ["saved_model"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], "2 class names"),
        (["a", "b\nc", "d"], "single line"),
        (["a", "b", "c\n"], "single line"),
        (["a", "", "b"], "single line"),
    ],
)
def test_invalid_class_names_are_rejected(names, message, tmp_path):
    with pytest.raises(UserError, match=message):
        export(network(16, 1, 3), names, tmp_path / "model", image_size=None, size=(16, 16), channels=1)
    assert not os.listdir(tmp_path)


def test_a_model_with_softmax_is_rejected(tmp_path):
    model = network(16, 1, 3)
    model = keras.Model(model.input, keras.layers.Softmax()(model.output))
    with pytest.raises(UserError, match="outputs probabilities"):
        export(model, ["a", "b", "c"], tmp_path / "model", image_size=None, size=(16, 16), channels=1)


@pytest.mark.parametrize("name", ["saved_model.pb", "assets/classes.txt", "variables/variables.index"])
def test_damaged_files_are_errors(digits, tmp_path, name):
    directory = Path(shutil.copytree(digits[1], tmp_path / "copy"))
    assert load(directory).signatures
    content = bytearray((directory / name).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{directory / name}: damaged, edited or missing; export the model again"):
        load(directory)
    (directory / name).unlink()
    with pytest.raises(UserError, match=f"{name}: damaged, edited or missing"):
        load(directory)
