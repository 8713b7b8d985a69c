import dataclasses

import pytest
import tensorflow as tf

from tests.thoroughness import only_thorough
from tfeff.data.augment.policy import Augmentation
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.device_batches import DeviceBatches
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.reader import Reader
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options

QUICK = ("efficientdet", "faster_rcnn")


@pytest.fixture
def tool(import_tool):
    """Returns the tool; skips tests of a build without kernels for GPUs."""
    module = import_tool("host_operators")
    if not module._gpu_kernels("MatMul"):
        pytest.skip("this TensorFlow has no kernels for GPUs")
    return module


def found(tool, function, *shapes):
    """Returns the operators of a function that run on the host."""
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    graph = tf.function(function, signature, autograph=False).get_concrete_function().graph
    return sorted({each.operator for each in tool.of_graph(graph)})


def test_operators_without_a_kernel_and_arguments_on_the_host(tool):
    def soft(boxes, scores):
        return tf.raw_ops.NonMaxSuppressionV5(
            boxes=boxes,
            scores=scores,
            max_output_size=5,
            iou_threshold=0.5,
            score_threshold=0.0,
            soft_nms_sigma=0.5,
        )

    assert found(tool, soft, (9, 4), (9,)) == ["NonMaxSuppressionV5"]
    assert found(tool, lambda x: tf.argmax(x, output_type=tf.int32) + 1, (7, 3)) == ["AddV2"]
    assert found(tool, lambda x: tf.argmax(x) + 1, (7, 3)) == []
    # The number of rows of the result is a value of the device.
    assert found(tool, lambda x: tf.zeros(tf.cast(x[0], tf.int64)), (3,)) == ["Fill"]


def test_shapes_and_counters_of_loops_are_on_the_host_anyway(tool):
    assert found(tool, lambda x: tf.reshape(x, (tf.shape(x)[0] * 2, -1)), (None, 4)) == []
    assert found(tool, lambda x: tf.map_fn(lambda row: row * 2.0, x), (None, 4)) == []


def test_functions_inside_of_functions(tool):
    def one_more(x):
        return tf.cast(tf.cast(x, tf.int32) + 1, tf.float32)

    called = tf.function(one_more, autograph=False)
    assert found(tool, lambda x: tf.map_fn(one_more, x), (3, 4)) == ["AddV2"]
    assert found(tool, lambda x: tf.cond(x[0] > 0, lambda: one_more(x), lambda: x), (3,)) == ["AddV2"]
    assert found(tool, lambda x: called(x), (3,)) == ["AddV2"]
    # Only the second pass through the loop adds a value of the device.
    assert found(
        tool, lambda x: tf.while_loop(lambda n, _: n < 9, lambda n, y: (n + tf.cast(y, tf.int32), x[0]), (0, 1.0)), (3,)
    ) == ["AddV2", "Less"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=only_thorough)
        for name in (
            "classification", "embedding", "localization", "efficientdet", "retinanet", "yolo", "anchor_yolo", "grid",
            "fast_rcnn", "faster_rcnn",
        )
    ],
)  # fmt: skip
def test_training_and_validation_stay_on_the_device(tool, name, monkeypatch):
    if name == "efficientdet":  # cells of its neck and layers of its heads only repeat
        network = dataclasses.replace(tool.TASKS[name].network, neck_repeats=1, head_repeats=1)
        monkeypatch.setitem(tool.TASKS, name, dataclasses.replace(tool.TASKS[name], network=network))
    for work, graph in tool.graphs(name).items():
        assert tool.of_graph(graph) == [], work


@pytest.mark.parametrize(
    "augmentation",
    [
        {"horizontal_flip": True, "crop_padding": 2, "rotation": 9.0, "brightness": 0.1, "saturation": 0.1},
        {"crop_area": 0.3, "autoaugment": True, "random_erasing": 0.5, "cutmix_alpha": 1.0},
    ],
)
def test_batches_are_finished_on_the_device(tool, augmentation):
    images = catalog.open_labels("embedded:digits", Options(channels=3)).load("train")
    transform = ImageTransform(Reader(ImageCache.open(images)), (6, 6), augmentation=Augmentation(**augmentation))
    batches = DeviceBatches(Batches(transform, 8))
    spec = batches.training_batches(1).element_spec
    graph = tf.function(batches.finish, autograph=False).get_concrete_function(spec).graph
    assert not list(tool.hosted(graph, [True] * len(graph.inputs))[0])
