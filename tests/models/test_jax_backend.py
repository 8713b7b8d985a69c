"""Networks on the JAX backend, in a separate process without TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.thoroughness import THOROUGH, only_thorough
from tfeff import models

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")

NETWORKS = {
    "resnet": {"width": 4, "stage_blocks": [1, 1, 1, 1]},
    "efficientnet-b0": {"width_coefficient": 0.25, "depth_coefficient": 0.3},
    "convnext-tiny": {"width_coefficient": 0.1, "depth_coefficient": 0.3, "layer_scale": 0.1},
}
DETECTOR = {
    "described": "efficientdet-d0",
    "backbone": "resnet",
    "levels": ["P2", "P3", "P4"],
    "neck_channels": 4,
    "neck_repeats": 1,
    "head_repeats": 1,
    "resolution": 33,
    "num_classes": 3,
    **NETWORKS["resnet"],
}
if THOROUGH:
    NETWORKS |= {
        "mobilenet-v1": {"width_coefficient": 0.25, "depth_coefficient": 0.5},
        "mobilenet-v2": {"width_coefficient": 0.35, "depth_coefficient": 0.5},
        "mobilenet-v3-small": {"width_coefficient": 0.35, "depth_coefficient": 0.5},
        "regnet-y-400mf": {"width_coefficient": 0.25, "depth_coefficient": 0.5},
    }
PROGRAM = """
import json, sys
import jax
import numpy as np
from tfeff import models
import keras
assert keras.backend.backend() == "jax"
folder, networks = sys.argv[1], json.loads(sys.argv[2])
for name, options in networks.items():
    network = models.build(name, resolution=33, num_classes=3, weights=f"{folder}/{name}.npz", **options)
    x = np.load(f"{folder}/images.npy")
    y = network.predict(x, verbose=0)
    if name == "efficientnet-b0":  # stochastic depth has random state
        trained = jax.jit(lambda w, s, x: network.stateless_call(w, s, x, training=True)[0])
        state = [[v.value for v in vs] for vs in (network.trainable_variables, network.non_trainable_variables)]
        assert np.isfinite(trained(*state, x)).all()
    models.complexity.count(network)
    np.save(f"{folder}/{name}.npy", y)
backbone = models.build("resnet", resolution=33, include_top=False, **networks["resnet"])
localizer = models.localizer(backbone, num_classes=3)
models.load_weights(localizer, f"{folder}/localizer.npz")
np.savez(f"{folder}/localizer_outputs.npz", **localizer.predict(x, verbose=0))
pyramid = models.pyramid(backbone, ["P2", "P5"])
models.load_weights(pyramid, f"{folder}/pyramid.npz")
np.savez(f"{folder}/pyramid_outputs.npz", **pyramid.predict(x, verbose=0))
detector = models.build_detector(**json.loads(sys.argv[3]), weights=f"{folder}/detector.npz")
np.savez(f"{folder}/detector_outputs.npz", **detector.predict(x, verbose=0))
assert "tensorflow" not in sys.modules
"""


@only_thorough
def test_outputs_equal_those_of_tensorflow(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0, 255, (2, 33, 33, 3)).astype("float32")
    np.save(tmp_path / "images.npy", x)
    expected = {}
    for name, options in NETWORKS.items():
        network = models.build(name, resolution=33, num_classes=3, **options)
        np.savez(tmp_path / f"{name}.npz", **{weight.path: np.asarray(weight) for weight in network.weights})
        expected[name] = np.asarray(network(x))
    backbone = models.build("resnet", resolution=33, include_top=False, **NETWORKS["resnet"])
    localizer = models.localizer(backbone, num_classes=3)
    np.savez(tmp_path / "localizer.npz", **{weight.path: np.asarray(weight) for weight in localizer.weights})
    pyramid = models.pyramid(backbone, ["P2", "P5"])
    np.savez(tmp_path / "pyramid.npz", **{weight.path: np.asarray(weight) for weight in pyramid.weights})
    detector = models.build_detector(**DETECTOR)
    np.savez(tmp_path / "detector.npz", **{weight.path: np.asarray(weight) for weight in detector.weights})
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling each initializer for each shape takes most of the time
        "PYTHONPATH": str(Path(models.__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(NETWORKS), json.dumps(DETECTOR)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, y in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), y, rtol=0, atol=1e-4, err_msg=name)
    built = {"localizer": localizer, "pyramid": pyramid, "detector": detector}
    for name, network in built.items():
        with np.load(tmp_path / f"{name}_outputs.npz") as outputs:
            for output, y in network(x).items():
                np.testing.assert_allclose(outputs[output], y, rtol=0, atol=1e-4, err_msg=f"{name}: {output}")
