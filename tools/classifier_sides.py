"""Classifiers as sides of a comparison: `python tools/classifier_sides.py SIDE [--steps=N]` (`side.serve`).

All weights are random. Images of 224x224 pixels, in batches of `BATCH`.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from side import RUNTIMES, THREADS, Side, Step, fastest_way, inference, openvino, ours, serve

BATCH, RESOLUTION, CLASSES = 16, 224, 1000
NETWORKS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "efficientnet-b0": ("efficientnet_b0", {"drop_rate": 0.2, "drop_path_rate": 0.2}),
    "efficientnet-lite0": ("efficientnet_lite0", {"drop_rate": 0.2, "drop_path_rate": 0.2}),
    "resnet50-v1.5": ("resnet50", {}),
    "mobilenet-v2": ("mobilenetv2_100", {}),
}
"""Our networks -> names in timm, with the regularization of ours."""
RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 1e-3


def network(name: str, policy: str = "float32") -> tuple[Any, Any]:
    """Returns one of our networks and its task."""
    import keras

    from tfeff import models
    from tfeff.tasks.classification import ClassificationTask

    keras.config.set_dtype_policy(policy)
    return models.build(name, num_classes=CLASSES, resolution=RESOLUTION), ClassificationTask()


def our_training(name: str, policy: str) -> Step:
    """Returns the training steps of one of our networks with momentum SGD."""
    import tensorflow as tf

    from tfeff.training import optimizers
    from tfeff.training.step import Step as TrainingStep

    built, task = network(name, policy)
    optimizer = optimizers.build("sgd", built, weight_decay=WEIGHT_DECAY)
    step = TrainingStep(built, optimizer, tf.distribute.get_strategy(), task=task, batch_size=BATCH)
    batch = {
        "image": tf.random.uniform((BATCH, RESOLUTION, RESOLUTION, 3), 0, 255),
        "label": tf.one_hot(tf.random.uniform((BATCH,), 0, CLASSES, tf.int32), CLASSES),
        "weight": tf.ones(BATCH),
    }
    return lambda: step.train(batch, step=0, learning_rate=RATE).numpy()


def peer(name: str) -> Any:
    """Builds a network of timm."""
    import timm
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    known, options = NETWORKS[name]
    return timm.create_model(known, pretrained=False, **options)


def peer_inference(name: str, dtype: str) -> Step:
    """Returns a network of timm, all of it in "float32" or "bfloat16", for normalized images."""
    import torch

    images = torch.rand(BATCH, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(0))
    return inference(peer(name).eval().to(getattr(torch, dtype)), images.to(getattr(torch, dtype)), torch)


def peer_training(name: str, dtype: str) -> Step:
    """Returns the training steps of a network of timm with momentum SGD; "bfloat16" is that of autocast."""
    import torch

    images, labels = torch.rand(BATCH, 3, RESOLUTION, RESOLUTION), torch.randint(0, CLASSES, (BATCH,))

    def placed(memory_format: Any, *, compiled: bool) -> Step:
        model = peer(name).train().to(memory_format=memory_format)
        optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)
        inputs = images.contiguous(memory_format=memory_format)
        called = torch.compile(model) if compiled else model

        def step() -> float:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = torch.nn.functional.cross_entropy(called(inputs).float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return float(loss)

        return step

    return fastest_way(placed, torch)


def sides(name: str) -> dict[str, Side]:
    """Returns all sides of a network; of ours in bfloat16, those whose runtime computes in it."""
    float32, bfloat16 = (functools.partial(network, name, policy) for policy in ("float32", "mixed_bfloat16"))
    frozen, *_ = RUNTIMES
    found: dict[str, Side] = {
        f"{name}-{runtime.__name__}": functools.partial(ours, float32, runtime, images=BATCH) for runtime in RUNTIMES
    }
    found[f"{name}-bfloat16-frozen"] = functools.partial(ours, bfloat16, frozen, images=BATCH)
    found[f"{name}-bfloat16-openvino"] = functools.partial(ours, float32, openvino, images=BATCH, precision="bf16")
    for dtype, policy, suffix in (("float32", "float32", ""), ("bfloat16", "mixed_bfloat16", "-bfloat16")):
        found[f"{name}{suffix}-training"] = functools.partial(our_training, name, policy)
        found[f"timm-{name}{suffix}"] = functools.partial(peer_inference, name, dtype)
        found[f"timm-{name}{suffix}-training"] = functools.partial(peer_training, name, dtype)
    return found


SIDES = {side: build for name in NETWORKS for side, build in sides(name).items()}


if __name__ == "__main__":
    serve(SIDES, __doc__)
