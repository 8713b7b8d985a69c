"""Detectors as sides of a comparison: `python tools/detector_sides.py SIDE [--steps=N]` (`side.serve`).

All weights are random.
"""

import functools
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from side import RUNTIMES, THREADS, Side, Step, constant, fastest_way, in_openvino, inference, ours, pixels, serve

D0_CLASSES, COCO_CLASSES = 90, 80
D0_SIDE, YOLO_SIDE, TRAINING_SIDE = 512, 640, 320
TWO_STAGE_SIZE = (480, 640)
BATCH, TWO_STAGE_BATCH, OBJECTS = 16, 2, 8
"""Images of a training batch, and objects of each image."""
BACKGROUND_BIAS = -7.5
"""Initial bias of google/automl's logits: with its own, all anchors pass the minimum score, which slows its suppression
down. With trained weights few do."""
YOLO: Mapping[str, Any] = {
    "backbone": "resnet",
    "width": 32,
    "stage_blocks": (1, 2, 2, 1),
    "stem": "3x3_3x3",
    "neck": "simplified_panet",
    "neck_channels": 64,
    "head_repeats": 1,
    "activation": "relu",
}
"""A YOLO with the multiply-adds of YOLOv8n. The kernels of convolutions compute 16 channels at once, those of LiteRT
are best at multiples of 32; a large kernel in the stem reads few channels at a time."""


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
    return constant(function, pixels(1, D0_SIDE, D0_SIDE) / 127.5 - 1)


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
    model = openvino.convert_model(torch.jit.trace(Outputs(), images), input=tuple(images.shape))
    return in_openvino(model, images.numpy())


def undecoded_yolov8n() -> Any:
    """Builds YOLOv8n for inference, without decoding, which `eval` of a network around it does not turn on."""
    model = yolov8n().eval().fuse(verbose=False)
    head = model.model[-1].train()  # does not decode, and has no batch normalization left
    head.train = lambda mode=True: head
    return model


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
    """Returns the training steps of torchvision's Faster R-CNN with momentum SGD.

    Its images are already resized and normalized.
    """
    import torch
    from torchvision.models.detection.image_list import ImageList

    height, width = TWO_STAGE_SIZE
    boxes = random_boxes(TWO_STAGE_BATCH)[..., [1, 0, 3, 2]] * np.asarray([width, height] * 2, np.float32)
    targets = [
        {"boxes": torch.from_numpy(each), "labels": torch.randint(1, COCO_CLASSES + 1, (OBJECTS,))} for each in boxes
    ]
    images = torch.rand(TWO_STAGE_BATCH, 3, height, width)
    sizes = [TWO_STAGE_SIZE] * TWO_STAGE_BATCH

    def placed(memory_format: Any, *, compiled: bool) -> Step:
        inputs = images.contiguous(memory_format=memory_format)
        model = torchvision_model().train().to(memory_format=memory_format)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
        if compiled:  # the rest of the detector depends on its data
            model.backbone.compile()

        def step() -> float:
            features = model.backbone(inputs)
            proposals, losses = model.rpn(ImageList(inputs, sizes), features, targets)
            _, of_regions = model.roi_heads(features, proposals, sizes, targets)
            loss = sum((losses | of_regions).values())
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


SIDES: dict[str, Side] = {
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


if __name__ == "__main__":
    serve(SIDES, __doc__)
