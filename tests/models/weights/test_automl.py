"""The checkpoint of google/automl's EfficientDet-D0, and its outputs."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SHARED
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.layers.backend import KerasLayers
from tfeff.models.weights import automl
from tfeff.models.weights.tensorflow_checkpoint import AVERAGE, read_variables

CHECKPOINT = SHARED / "reference" / "efficientdet-d0"
LEVELS = range(3, 8)
pytestmark = pytest.mark.skipif(not CHECKPOINT.is_dir(), reason=f"needs {CHECKPOINT}")


@pytest.fixture(scope="module")
def network() -> models.Network:
    """D0 with its 90 classes; weights are random."""
    return models.build_detector("efficientdet-d0", num_classes=90, resolution=128)


@pytest.fixture(scope="module")
def variables() -> dict[str, np.ndarray]:
    return read_variables(CHECKPOINT / "model")


def compare(network: models.Network, names: tuple[tuple[str, str, int], ...]) -> None:
    """Compare outputs with those of the reference, whose input is normalized."""
    mean, std = models.preprocessing.statistics(network.get_layer(models.preprocessing.STANDARDIZATION))
    with np.load(CHECKPOINT / "io.npz") as io:
        outputs = network((io["input"] * std + mean).astype("float32"), training=False)
        for name, prefix, values in names:
            expected = np.concatenate([io[f"{prefix}_{level}"].reshape(2, -1, values) for level in LEVELS], axis=1)
            np.testing.assert_allclose(outputs[name], expected, rtol=0, atol=1e-4)


def test_every_variable_is_used_and_outputs_are_equal(
    network: models.Network, variables: dict[str, np.ndarray]
) -> None:
    assert len(variables) == 709
    report = models.load_weights(network, CHECKPOINT)
    assert not report.skipped
    assert set(report.loaded) == {weight.path for weight in network.weights}
    # Each fusion weight is a variable there.
    fused = sum(weight.shape[0] - 1 for weight in network.weights if weight.path.endswith("_fusion/weights"))
    assert len(report.loaded) + fused == 709
    compare(network, (("logits", "class", 90), ("codes", "box", 4)))


def test_another_number_of_classes(network: models.Network, variables: dict[str, np.ndarray]) -> None:
    described = models.detector("efficientdet-d0", resolution=128)
    outputs = described.predictions(KerasLayers(), network.pyramid, num_classes=3)
    other = models.Network(network.inputs[0], outputs, name="three_classes")
    other.levels = network.levels
    report = models.load_weights(other, CHECKPOINT / "model.index")
    assert [str(skipped) for skipped in report.skipped] == [
        "class_head_predict_pointwise/kernel: (1, 1, 64, 27) in the network, (1, 1, 64, 810) in the source",
        "class_head_predict_pointwise/bias: (27,) in the network, (810,) in the source",
    ]
    compare(other, (("codes", "box", 4),))


def test_moving_averages_replace_their_variables_and_others_are_listed(
    network: models.Network, variables: dict[str, np.ndarray]
) -> None:
    name = "class_net/class-0/bias"
    extended = {"global_step": np.int64(3), f"{name}{AVERAGE}": np.full(64, 7.0), **variables}
    arrays = automl.rename(network, extended)
    np.testing.assert_array_equal(arrays["class_head_conv1_pointwise/bias"], 7.0)
    assert set(arrays) - {weight.path for weight in network.weights} == {"global_step"}


def test_variables_of_another_neck_or_backbone_are_listed(variables: dict[str, np.ndarray]) -> None:
    network = models.build_detector(
        "efficientdet-d0", backbone="resnet", width=4, resolution=32, num_classes=90, levels=("P2", "P3"),
        neck_repeats=1, head_repeats=1,
    )  # fmt: skip
    report = models.load_weights(network, CHECKPOINT)
    assert "class_head_predict_pointwise/kernel" in report.loaded
    here = {skipped.name for skipped in report.skipped if skipped.shape_here is not None}
    there = {skipped.name for skipped in report.skipped if skipped.shape_there is not None}
    assert here | set(report.loaded) == {weight.path for weight in network.weights}
    assert "efficientnet-b0/blocks_0/conv2d/kernel" in there


def test_a_checkpoint_of_another_network_is_an_error(tmp_path: Path, network: models.Network) -> None:
    tf.train.Checkpoint(a=tf.Variable(1.0, name="other")).write(str(tmp_path / "model"))
    with pytest.raises(UserError, match="no variable matches"):
        models.load_weights(network, tmp_path / "model")
