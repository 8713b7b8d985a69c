"""One side of a comparison of detectors, in a process of its own: `python tools/detector_sides.py SIDE [--steps=N]`.

Prints "ready" and versions when it is warm; then, for each line of its input, runs one round and prints its seconds and
its CPU seconds.
All weights are random. Every side imports its framework itself, so an environment needs only those of its own sides.
"""

import argparse
import copy
import functools
import importlib.metadata
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

Step = Callable[[], object]
"""Predicts one image, or trains one batch, and waits for the result."""

D0_CLASSES, COCO_CLASSES = 90, 80
D0_SIDE, YOLO_SIDE, TRAINING_SIDE = 512, 640, 320
TWO_STAGE_SIZE = (480, 640)
BATCH, TWO_STAGE_BATCH, OBJECTS = 16, 2, 8
"""Images of a training batch, and objects of each image."""
BACKGROUND_BIAS = -7.5
"""Initial bias of google/automl's logits: with its own, all anchors pass the minimum score, which slows its suppression
down. With trained weights few do."""
WARM_UP_STEPS, TRIAL_STEPS = 3, 7
"""Steps of a way to run a PyTorch model: untimed, and timed to choose the fastest."""
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
YOLO: Mapping[str, Any] = {
    "backbone": "resnet",
    "width": 16,
    "stage_blocks": (1, 1, 1, 1),
    "stem": "7x7",
    "neck_channels": 80,
}
"""A YOLO with the multiply-adds of YOLOv8n. The kernels of convolutions compute 16 channels at once, so all numbers of
channels are multiples of 16."""


def d0() -> tuple[Any, Any]:
    """Returns our EfficientDet-D0 and its task."""
    from tfeff import config, models
    from tfeff.tasks.efficientdet import EfficientDetTask

    return models.build_detector("efficientdet-d0", num_classes=D0_CLASSES), EfficientDetTask(
        config.EfficientDetSettings()
    )


def yolo(side: int) -> tuple[Any, Any]:
    """Returns our YOLO and its task."""
    from tfeff import config, models
    from tfeff.tasks.yolo import YoloTask

    network = models.build_detector("yolo", num_classes=COCO_CLASSES, resolution=side, **YOLO)
    return network, YoloTask(config.YoloSettings(max_objects=OBJECTS))


def faster_rcnn(policy: str = "float32") -> tuple[Any, Any]:
    """Returns our Faster R-CNN with a ResNet-50, 1,000 proposals, and its task."""
    import keras

    from tfeff import config, models
    from tfeff.tasks.faster_rcnn import FasterRCNNTask

    keras.config.set_dtype_policy(policy)
    network = models.build_detector("faster-rcnn", num_classes=COCO_CLASSES, resolution=TWO_STAGE_SIZE[1])
    return network, FasterRCNNTask(config.FasterRCNNSettings(max_objects=OBJECTS))


def image(height: int, width: int) -> np.ndarray:
    """Returns raw pixels, (1, height, width, 3)."""
    return np.random.default_rng(0).uniform(0, 255, (1, height, width, 3)).astype(np.float32)


def torch_image(height: int, width: int) -> Any:
    """Returns a normalized image, (1, 3, height, width)."""
    import torch

    torch.set_num_threads(THREADS)
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


class Undecoded:
    """A stand-in for a task that exports a network without decoding and suppression."""

    kind, proposals = SimpleNamespace(detects=True), None

    def forward(self, network: Any, batch: Mapping[str, Any], *, training: bool) -> Any:
        """Returns the network's own outputs."""
        return network(batch["image"], training=training)

    def decode(self, outputs: Any) -> Any:
        """Returns the same outputs."""
        return outputs


def undecoded(build: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Returns a detector's network alone."""
    network, _ = build()
    return network, Undecoded()


def frozen(network: Any, task: Any) -> Step:
    """Returns a function that runs the detector as a TensorFlow graph whose variables have become constants."""
    from tfeff.serving import portable

    return constant(portable.function(network, task, batch_size=1), image(*network.size))


def constant(function: Any, pixels: np.ndarray) -> Step:
    """Returns a function of one image, without variables."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph, images = convert_variables_to_constants_v2(function.get_concrete_function()), tf.constant(pixels)
    return lambda: tf.nest.map_structure(np.asarray, graph(images))


def litert(network: Any, task: Any) -> Step:
    """Returns a function that runs the detector in LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    from tfeff.serving import litert

    model, pixels = litert.convert(network, task)[litert.FILE], image(*network.size)
    run = Interpreter(model_content=model, num_threads=THREADS).get_signature_runner()
    return lambda: run(images=pixels)


def onnx(network: Any, task: Any) -> Step:
    """Returns a function that runs the detector in ONNX Runtime."""
    import onnxruntime

    from tfeff.serving import onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    model = onnx.convert(network, task)[onnx.FILE]
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image(*network.size)}
    return lambda: session.run(None, feed)


def openvino(network: Any, task: Any) -> Step:
    """Returns a function that runs the detector in OpenVINO."""
    from tfeff.serving import openvino

    with tempfile.TemporaryDirectory() as directory:
        for name, contents in openvino.convert(network, task).items():
            Path(directory, name).write_bytes(contents)
        return in_openvino(Path(directory, openvino.FILE), image(*network.size))


def in_openvino(model: Any, pixels: np.ndarray) -> Step:
    """Returns a model, or its file, in OpenVINO, computing in float32."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": THREADS,
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return lambda: compiled(pixels)


RUNTIMES = (frozen, litert, onnx, openvino)


def ours(build: Callable[[], tuple[Any, Any]], runtime: Callable[..., Step]) -> Step:
    """Returns our detector, or its network, in a runtime: the model that `tfeff.export` writes for it."""
    return runtime(*build())


def automl_d0() -> Step:
    """Loads the frozen graph of google/automl's D0 with its `postprocess_global`, for a normalized image."""
    import hparams_config
    import tensorflow as tf
    from tf2 import efficientdet_keras

    hparams = hparams_config.get_efficientdet_config("efficientdet-d0")
    hparams.is_training_bn = False
    model = efficientdet_keras.EfficientDetModel(config=hparams)
    model.build((1, D0_SIDE, D0_SIDE, 3))
    for variable in model.class_net.weights:
        if "class-predict" in variable.name and "bias" in variable.name:
            variable.assign(tf.fill(variable.shape, BACKGROUND_BIAS))
    function = tf.function(
        lambda images: model(images, training=False, pre_mode=None, post_mode="global"),
        input_signature=[tf.TensorSpec((1, D0_SIDE, D0_SIDE, 3))],
    )
    return constant(function, image(D0_SIDE, D0_SIDE) / 127.5 - 1)


def effdet_d0(*, detections: bool) -> Step:
    """Builds effdet's D0, with or without its post-processing."""
    import effdet
    import torch

    torch.manual_seed(0)
    model = effdet.create_model("tf_efficientdet_d0", pretrained=False, pretrained_backbone=False)
    model = effdet.DetBenchPredict(model) if detections else model
    return inference(model.eval(), torch_image(D0_SIDE, D0_SIDE), torch)


def yolov8n() -> Any:
    """Builds YOLOv8n of ultralytics."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    return DetectionModel("yolov8n.yaml", nc=COCO_CLASSES, verbose=False)


def yolov8n_network() -> Step:
    """Builds YOLOv8n with batch normalization folded into convolutions, up to the logits and distributions."""
    import torch

    return inference(undecoded_yolov8n(), torch_image(YOLO_SIDE, YOLO_SIDE), torch)


def yolov8n_network_openvino() -> Step:
    """Returns the same in OpenVINO."""
    import openvino
    import torch

    class Outputs(torch.nn.Module):
        """The outputs as a tuple: OpenVINO converts no dictionaries."""

        def __init__(self) -> None:
            super().__init__()
            self.model = undecoded_yolov8n()

        def forward(self, images: Any) -> Any:
            """Returns distributions and logits."""
            outputs = self.model(images)
            return outputs["boxes"], outputs["scores"]

    images = torch_image(YOLO_SIDE, YOLO_SIDE)
    # Traced first, because the conversion would put the head into evaluation, with decoding.
    model = openvino.convert_model(torch.jit.trace(Outputs(), images), input=tuple(images.shape))
    return in_openvino(model, images.numpy())


def undecoded_yolov8n() -> Any:
    """Builds YOLOv8n for inference, without decoding."""
    model = yolov8n().eval().fuse(verbose=False)
    model.model[-1].train()  # its head has no batch normalization left
    return model


def inference(model: Any, images: Any, torch: Any) -> Step:
    """Calls a PyTorch model in inference mode, in the fastest of four ways: two memory formats, compiled or not."""

    def placed(memory_format: Any, *, compiled: bool) -> Step:
        inputs = images.contiguous(memory_format=memory_format)
        called = copy.deepcopy(model).to(memory_format=memory_format)
        called = torch.compile(called) if compiled else called

        def step() -> object:
            with torch.inference_mode():
                return called(inputs)

        return step

    return fastest_way(placed, torch)


def fastest_way(build: Callable[..., Step], torch: Any) -> Step:
    """Returns the fastest of a PyTorch side's steps in two memory formats, compiled or not.

    Args:
        build: makes the step of a memory format; `compiled` says whether by `torch.compile`.
        torch: the module.
    """

    def built(memory_format: Any, *, compiled: bool) -> Step:
        # Otherwise the compiler takes strides that differ from those of an earlier way for dynamic ones.
        torch._dynamo.reset()
        torch.manual_seed(0)
        step = build(memory_format, compiled=compiled)
        for _ in range(WARM_UP_STEPS):
            step()
        return step

    seconds = {}
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for compiled in (False, True):
            step, times = built(memory_format, compiled=compiled), []
            for _ in range(TRIAL_STEPS):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
            seconds[memory_format, compiled] = statistics.median(times)
            name = f"{memory_format}, {'compiled' if compiled else 'eager'}"
            print(f"{name}: {seconds[memory_format, compiled]:.4f} s", file=sys.stderr)
    memory_format, compiled = min(seconds, key=seconds.__getitem__)
    return built(memory_format, compiled=compiled)


def torchvision_model() -> Any:
    """Builds torchvision's Faster R-CNN with a ResNet-50."""
    import torch
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    height, width = TWO_STAGE_SIZE
    return fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=COCO_CLASSES + 1, min_size=height, max_size=width
    )


def torchvision_inference() -> Step:
    """Builds torchvision's Faster R-CNN for an image that is already resized and normalized."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    model = torchvision_model().eval()

    class Detector(torch.nn.Module):
        """All but the transform."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Any) -> Any:
            """Returns detections."""
            features = self.model.backbone(images)
            proposals, _ = self.model.rpn(ImageList(images, [TWO_STAGE_SIZE]), features)
            return self.model.roi_heads(features, proposals, [TWO_STAGE_SIZE])[0]

    return inference(Detector().eval(), torch_image(*TWO_STAGE_SIZE), torch)


def torchvision_training() -> Step:
    """Returns the training steps of torchvision's Faster R-CNN with momentum SGD."""
    import torch

    height, width = TWO_STAGE_SIZE
    boxes = random_boxes(TWO_STAGE_BATCH)[..., [1, 0, 3, 2]] * np.asarray([width, height] * 2, np.float32)
    targets = [
        {"boxes": torch.from_numpy(each), "labels": torch.randint(1, COCO_CLASSES + 1, (OBJECTS,))} for each in boxes
    ]
    images = list(torch.rand(TWO_STAGE_BATCH, 3, height, width))

    def placed(memory_format: Any, *, compiled: bool) -> Step:
        model = torchvision_model().train().to(memory_format=memory_format)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
        if compiled:  # the rest of the detector depends on its data
            model.backbone.compile()

        def step() -> float:
            loss = sum(model(images, targets).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return float(loss)

        return step

    return fastest_way(placed, torch)


def random_boxes(count: int) -> np.ndarray:
    """Returns corners relative to the image, yxyx [count, objects, 4]."""
    corners = np.random.default_rng(0).uniform(0, 0.7, (count, OBJECTS, 2))
    return np.concatenate([corners, corners + 0.25], axis=-1).astype(np.float32)


def our_training(build: Callable[[], tuple[Any, Any]], images: int) -> Step:
    """Returns the training steps of our detector with momentum SGD."""
    import tensorflow as tf

    from tfeff.training import optimizers
    from tfeff.training.step import Step as TrainingStep

    network, task = build()
    height, width = network.size
    optimizer = optimizers.build("sgd", network, weight_decay=5e-4)
    step = TrainingStep(network, optimizer, tf.distribute.get_strategy(), task=task, batch_size=images)
    batch = {
        **task.dummy_targets(images, COCO_CLASSES),
        "image": tf.random.uniform((images, height, width, 3), 0, 255),
        "boxes_yxyx": tf.constant(random_boxes(images) * np.asarray([height, width] * 2, np.float32)),
        "label": tf.random.uniform((images, OBJECTS), 0, COCO_CLASSES, tf.int32),
        "valid": tf.ones((images, OBJECTS), tf.bool),
    }
    return lambda: step.train(batch, step=0, learning_rate=1e-3).numpy()


def yolov8n_training() -> Step:
    """Returns the training steps of YOLOv8n with momentum SGD."""
    import torch

    torch.set_num_threads(THREADS)
    boxes = torch.from_numpy(random_boxes(BATCH)).reshape(-1, 4)
    sizes = boxes[:, 2:] - boxes[:, :2]
    batch = {
        "img": torch.rand(BATCH, 3, TRAINING_SIDE, TRAINING_SIDE),
        "bboxes": torch.cat([(boxes[:, :2] + sizes / 2).flip(1), sizes.flip(1)], dim=1),
        "cls": torch.randint(0, COCO_CLASSES, (len(boxes), 1)).float(),
        "batch_idx": torch.arange(BATCH).repeat_interleave(OBJECTS).float(),
    }

    def placed(memory_format: Any, *, compiled: bool) -> Step:
        model = yolov8n().train().to(memory_format=memory_format)
        model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)
        inputs = batch | {"img": batch["img"].contiguous(memory_format=memory_format)}
        if compiled:
            model.compile()

        def step() -> float:
            loss, _ = model(inputs)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            return float(loss.sum())

        return step

    return fastest_way(placed, torch)


SIDES: dict[str, Callable[[], Step]] = {
    **{
        f"{name}-{runtime.__name__}": functools.partial(ours, build, runtime)
        for name, build in (
            ("d0", d0),
            ("d0-network", functools.partial(undecoded, d0)),
            ("yolo-network", functools.partial(undecoded, functools.partial(yolo, YOLO_SIDE))),
            ("faster-rcnn", faster_rcnn),
            ("faster-rcnn-bfloat16", functools.partial(faster_rcnn, "mixed_bfloat16")),
        )
        for runtime in RUNTIMES
    },
    "yolo-training": functools.partial(our_training, functools.partial(yolo, TRAINING_SIDE), BATCH),
    "faster-rcnn-training": functools.partial(our_training, faster_rcnn, TWO_STAGE_BATCH),
    "automl-d0": automl_d0,
    "effdet-d0": functools.partial(effdet_d0, detections=True),
    "effdet-d0-network": functools.partial(effdet_d0, detections=False),
    "yolov8n-network": yolov8n_network,
    "yolov8n-network-openvino": yolov8n_network_openvino,
    "yolov8n-training": yolov8n_training,
    "torchvision": torchvision_inference,
    "torchvision-training": torchvision_training,
}
PACKAGES = (
    "tensorflow",
    "keras",
    "tf_keras",
    "ai-edge-litert",
    "onnxruntime",
    "openvino",
    "torch",
    "effdet",
    "ultralytics",
    "torchvision",
)


def main() -> None:
    """Serves rounds until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--steps", type=int, default=3, help="Steps per round.")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    step = SIDES[arguments.side]()
    for _ in range(WARM_UP_STEPS):
        step()
    loaded = [name for name in PACKAGES if name.replace("-", "_") in sys.modules]
    print("ready", *(f"{name} {importlib.metadata.version(name)}" for name in loaded), file=answers)
    for _ in sys.stdin:
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(arguments.steps):
            step()
        print(time.perf_counter() - start, time.process_time() - cpu_start, file=answers)


if __name__ == "__main__":
    main()
