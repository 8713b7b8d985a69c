"""TensorFlow checkpoints, compared with TensorFlow's own reader."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.models.weights.tensorflow_checkpoint import find_checkpoint, read_variables

DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "int8", "int16", "bool")


def save(prefix: Path, tensors: dict[str, np.ndarray]) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(tensor) for tensor in tensors.values()],
    )


def test_every_type_and_many_variables(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {f"types/{dtype}": (rng.uniform(0, 2, (2, 3)) * 50).astype(dtype) for dtype in DTYPES}
    tensors |= {"scalar": np.float32(3), "empty": np.zeros((0, 4), np.float32), "a": np.arange(5.0)}
    # The names take several blocks of the index.
    tensors |= {f"layer{index}/{'long' * 40}/kernel": np.full(2, index, np.float32) for index in range(3000)}
    save(tmp_path / "model", tensors)
    assert (tmp_path / "model.index").stat().st_size > 1 << 17
    variables = read_variables(tmp_path / "model")
    reader = tf.train.load_checkpoint(str(tmp_path / "model"))
    assert set(variables) == set(tensors) == set(reader.get_variable_to_shape_map())
    for name, expected in tensors.items():
        assert variables[name].dtype == expected.dtype
        np.testing.assert_array_equal(variables[name], expected, err_msg=name)


class Average(tf.compat.v1.train.Optimizer):
    """Has the slot in which optimizers keep moving averages."""

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
