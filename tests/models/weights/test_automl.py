"""Checkpoints of google/automl's EfficientDet, and TensorFlow's format."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SHARED
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.layers.kinds import KerasLayers
from tfeff.models.weights import automl, loading
from tfeff.models.weights.automl import AVERAGE, find_checkpoint, read_variables

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
    """Compares outputs with those of the reference, whose input is normalized."""
    mean, std = models.standardization(network)
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


def test_predictions_for_other_anchors_stay_out(variables: dict[str, np.ndarray]) -> None:
    options = {"resolution": 32, "num_classes": 90, "neck_repeats": 1, "head_repeats": 1}
    network = models.build_detector("efficientdet-d0", anchor_aspects=(1.0, 3.0, 0.33), **options)
    report = models.load_weights(network, CHECKPOINT)
    assert not [path for path in report.loaded if "_predict" in path]
    skipped = {each.name for each in report.skipped}
    assert {"box_head_predict_pointwise/kernel", "box_net/box-predict/bias (for other anchors)"} <= skipped


def test_the_preprocessing_is_that_of_the_backbone(variables: dict[str, np.ndarray]) -> None:
    """Whatever detector gives the defaults."""
    network = models.build_detector(
        "efficientdet-d0", backbone="efficientnet-lite0", resolution=32, num_classes=2, mean=(1.0,), std=(2.0,)
    )
    arrays = loading.read_foreign(network, CHECKPOINT)
    assert models.standardization(network)[0] == pytest.approx((127.0,) * 3)
    kernel = variables["efficientnet-b0/stem/conv2d/kernel"]
    np.testing.assert_allclose(arrays["stem_conv/kernel"], kernel * (2.0 / 128.0), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"levels": ("P3", "P4", "P5", "P6")}, {"neck": "simplified_panet"}], ids=str)
def test_nodes_of_another_neck_stay_as_they_are(options: dict, variables: dict[str, np.ndarray]) -> None:
    """Their numbers are those of nodes that fuse other maps."""
    network = models.build_detector("efficientdet-d0", resolution=32, num_classes=90, **options)
    before = {each.path: np.array(each) for each in network.weights}
    report = models.load_weights(network, CHECKPOINT)
    assert not [path for path in report.loaded if path.startswith("neck_cell")]
    assert {"neck_p6_conv/kernel", "box_head_conv1_pointwise/kernel"} <= set(report.loaded)
    for each in network.weights:
        if each.path.startswith("neck_cell"):
            np.testing.assert_array_equal(each, before[each.path], err_msg=each.path)


def test_a_checkpoint_of_another_network_is_an_error(tmp_path: Path, network: models.Network) -> None:
    tf.train.Checkpoint(a=tf.Variable(1.0, name="other")).write(str(tmp_path / "model"))
    with pytest.raises(UserError, match="no variable matches"):
        models.load_weights(network, tmp_path / "model")


DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "int8", "int16", "bool")


def save(prefix: Path, tensors: dict[str, np.ndarray]) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(tensor) for tensor in tensors.values()],
    )


def test_every_type(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {f"types/{dtype}": (rng.uniform(0, 2, (2, 3)) * 50).astype(dtype) for dtype in DTYPES}
    tensors |= {"scalar": np.float32(3), "empty": np.zeros((0, 4), np.float32), "a": np.arange(5.0)}
    save(tmp_path / "model", tensors)
    variables = read_variables(tmp_path / "model")
    assert set(variables) == set(tensors)
    for name, expected in tensors.items():
        assert variables[name].dtype == expected.dtype
        np.testing.assert_array_equal(variables[name], expected, err_msg=name)


class Average(tf.compat.v1.train.Optimizer):
    """A variable with the slot in which optimizers keep moving averages."""

    def average(self, variable: tf.Variable, value: float) -> None:
        self._zeros_slot(variable, "average", "Average").assign(tf.fill(variable.shape, value))


def test_checkpoints_of_objects_have_the_names_of_variables(tmp_path: Path) -> None:
    module, optimizer = tf.Module(), Average(use_locking=False, name="average")
    module.cells = [tf.Variable([1.0, 2.0], name="cell_0/kernel"), tf.Variable(3.0, name="cell_1/WSM")]
    optimizer.average(module.cells[0], 7.0)
    tf.train.Checkpoint(model=module, optimizer=optimizer, step=tf.Variable(5, name="step")).write(
        str(tmp_path / "model")
    )
    variables = {name: value.tolist() for name, value in read_variables(tmp_path / "model").items()}
    variables.pop("save_counter", None)
    assert variables == {
        "cell_0/kernel": [1.0, 2.0],
        "cell_0/kernel/ExponentialMovingAverage": [7.0, 7.0],
        "cell_1/WSM": 3.0,
        "step": 5,
    }


def test_paths_of_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "model-7", {"a": np.zeros(2)})
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model-7"\nall_model_checkpoint_paths: "model-5"\n')
    for path in ("", "model-7", "model-7.index", "model-7.data-00000-of-00001"):
        assert find_checkpoint(tmp_path / path) == tmp_path / "model-7"
    for path in ("model-5", "model-7.npz", "other"):
        assert find_checkpoint(tmp_path / path) is None
    assert find_checkpoint(tmp_path.parent) is None
    assert find_checkpoint(Path("/")) is None


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_damaged_files_are_errors(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "model", {f"v{index}": np.zeros(20) for index in range(30)})
    path = tmp_path / f"model.{suffix}"
    contents = path.read_bytes()
    for length in (0, 10, 60, len(contents) // 2, len(contents) - 1):
        path.write_bytes(contents[:length])
        with pytest.raises(UserError, match=r"weights .*model: "):
            read_variables(tmp_path / "model")
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_variables(tmp_path / "model")


def test_random_bytes_never_crash(tmp_path: Path) -> None:
    save(tmp_path / "model", {f"v{index}": np.zeros(3) for index in range(30)})
    path, rng = tmp_path / "model.index", np.random.default_rng(0)
    contents = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(300):
        damaged = contents.copy()
        damaged[rng.integers(0, len(damaged) - 8, 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(UserError):
            read_variables(tmp_path / "model")
