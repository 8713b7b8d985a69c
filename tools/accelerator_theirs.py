"""PyTorch's side of `benchmark_accelerator.py`: networks of timm and torchvision, in a process of its own."""

import collections
import gc
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerator_case import (
    CLASSES,
    DETECTOR_SIDE,
    DETECTORS,
    LEARNING_RATE,
    STACK_LAYERS,
    STACKS,
    WARM_UP_STEPS,
    Case,
    Mode,
    serve,
)
from detector_sides import undecoded_yolov8n
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
REGIONS = 1000
TIMM = {
    "efficientnet-b0": ("efficientnet_b0", {"drop_rate": 0.2, "drop_path_rate": 0.2}),
    "efficientnet-lite0": ("efficientnet_lite0", {"drop_rate": 0.2, "drop_path_rate": 0.2}),
    "mobilenet-v2": ("mobilenetv2_100", {}),
}
"""Names in timm, with the regularization of our networks."""


class Theirs:
    """PyTorch."""

    def versions(self) -> str:
        """Returns versions and device."""
        import timm
        import torchvision

        device = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
        return f"torch {torch.__version__}, timm {timm.__version__}, torchvision {torchvision.__version__}, {device}"

    def release(self) -> None:
        """Frees tensors and compiled programs."""
        torch._dynamo.reset()
        gc.collect()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()

    def prepare(self, case: Case) -> dict[str, Callable[[], Mode]]:
        """Returns two modes, compiled and without the compiler, then as one CUDA graph if possible."""
        torch.set_float32_matmul_precision("high")  # TF32, which convolutions use by default
        torch.backends.cudnn.benchmark = True
        # RoIAlign on several levels waits for the number of regions of each.
        other = "graph" if DEVICE == "cuda" and case.network != "faster-rcnn" else "eager"
        return {name: partial(mode, case, name) for name in ("compiled", other)}

    def ceiling(self) -> dict[str, float]:
        """Measures FLOP/s of a bfloat16 matrix product."""
        side = 8192 if DEVICE == "cuda" else 256
        a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
        for _ in range(3):
            a @ b
        synchronize()
        began = time.perf_counter()
        for _ in range(20):
            a @ b
        synchronize()
        return {"flops": 2 * side**3 * 20 / (time.perf_counter() - began)}


def synchronize() -> None:
    """Waits for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class OfPixels(nn.Module):
    """A network of raw pixels (batch, height, width, 3), uint8."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the network's outputs."""
        return self.network((images.permute(0, 3, 1, 2).float() - self.mean) / self.std)


class Stack(nn.Module):
    """Equal layers on a map, then the mean of each channel."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        channels = STACKS[kind][1]
        self.layers = nn.Sequential(*(self._layer(kind, channels) for _ in range(STACK_LAYERS)))

    def _layer(self, kind: str, channels: int) -> nn.Module:
        if kind == "normalization":
            return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        if kind.startswith("depthwise"):
            size = int(kind[-1])
            return nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False)
        size = 3 if kind == "convolution" else 1
        return nn.Conv2d(channels, channels, size, padding=size // 2, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns means."""
        return self.layers(images.permute(0, 3, 1, 2).float() / 255).float().mean((2, 3))


class RegionDetector(nn.Module):
    """torchvision's Faster R-CNN with given regions: the network without decoding and suppression."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.detection import fasterrcnn_resnet50_fpn

        self.model = fasterrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=CLASSES["faster-rcnn"] + 1
        )
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor, boxes: torch.Tensor) -> Any:
        """Returns raw outputs of both stages. Boxes: (batch, n, 4), x1, y1, x2, y2."""
        x = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        maps = self.model.backbone(x)
        proposals = self.model.rpn.head(list(maps.values()))
        heads = self.model.roi_heads
        pooled = heads.box_roi_pool(maps, list(boxes), [tuple(images.shape[1:3])] * len(images))
        return proposals, heads.box_predictor(heads.box_head(pooled))


def build(case: Case) -> nn.Module:
    """Returns the network of a case."""
    if case.stack:
        network: nn.Module = Stack(case.stack)
    elif case.network == "faster-rcnn":
        network = RegionDetector()
    elif case.network == "yolo":
        network = OfPixels(undecoded_yolov8n())
    elif case.network == "resnet50-v1.5":
        import torchvision

        network = OfPixels(torchvision.models.resnet50(weights=None))
    elif case.network in TIMM:
        import timm

        name, options = TIMM[case.network]
        network = OfPixels(timm.create_model(name, pretrained=False, **options))
    else:
        raise ValueError(f"no peer of {case.network}")
    return network


def batch_of(case: Case) -> list[torch.Tensor]:
    """Returns random bytes, then labels (training) or boxes (two-stage detectors)."""
    rng = np.random.default_rng(0)
    shape: tuple[int, ...] = (case.resolution or 224, case.resolution or 224, 3)
    classes = 1000
    if case.stack:
        side, classes = STACKS[case.stack]
        shape = side, side, classes
    if case.network in DETECTORS:
        width = case.resolution or DETECTOR_SIDE
        shape = width if case.network == "yolo" else width * 3 // 4, width, 3
    arrays = [rng.integers(0, 256, (case.batch, *shape), np.uint8)]
    if case.work == "training":
        arrays.append(rng.integers(0, classes, case.batch, np.int64))
    if case.network == "faster-rcnn":
        corners = np.sort(rng.uniform(0, 1, (case.batch, REGIONS, 2, 2)), axis=2) * (shape[1], shape[0])
        arrays.append(corners.reshape(case.batch, REGIONS, 4).astype(np.float32))
    return [torch.from_numpy(array) for array in arrays]


def macs(network: nn.Module, inputs: list[torch.Tensor]) -> int:
    """Returns the multiply-adds of one image."""
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*(each[:1] for each in inputs))
    return counter.get_total_flops() // 2


def mode(case: Case, name: str) -> Mode:
    """Builds the step, compiles or captures it ("graph"), and warms it up."""
    began = time.perf_counter()
    torch.manual_seed(0)
    before = 0  # the other mode's
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    network, inputs = build(case), batch_of(case)
    labels = inputs.pop(1).to(DEVICE) if case.work == "training" else None
    multiply_adds = macs(network, inputs)
    network.to(DEVICE, memory_format=torch.channels_last).train(case.work == "training")
    inputs = [each.to(DEVICE) for each in inputs]

    def forward(*arguments: torch.Tensor) -> Any:
        # A CUDA graph must not keep casts of weights from before its capture.
        with torch.autocast(
            DEVICE, torch.bfloat16, enabled=case.precision == "bfloat16", cache_enabled=name != "graph"
        ):
            outputs = network(*arguments)
        return outputs if labels is None else functional.cross_entropy(outputs.float(), labels)

    if name == "compiled":
        forward = torch.compile(forward)
    if labels is None:

        def step() -> Any:
            with torch.inference_mode():
                return forward(*inputs)
    else:
        optimizer = optimizer_of(network, case)

        def step() -> Any:
            optimizer.zero_grad(set_to_none=True)
            loss = forward(*inputs)
            loss.backward()
            optimizer.step()
            return loss

    built = time.perf_counter()
    if name == "graph":
        step = captured(step)
    else:
        step()
        synchronize()
    done = time.perf_counter()

    def run(steps: int) -> Any:
        result = None
        for _ in range(steps):
            result = step()
        synchronize()
        return result

    for result in torch.utils._pytree.tree_leaves(run(1)):
        if not result.isfinite().all():
            raise ValueError("results are not finite")
    facts = {
        "build_seconds": built - began,
        "compile_seconds": done - built,
        "bytes": torch.cuda.max_memory_allocated() - before if DEVICE == "cuda" else None,
        "macs": multiply_adds,
    }
    return Mode(run, facts, lambda steps: profile(lambda: run(steps)))


def optimizer_of(network: nn.Module, case: Case) -> torch.optim.Optimizer:
    """Returns a fused optimizer."""
    rate = LEARNING_RATE[case.optimizer]
    if case.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), rate, momentum=0.9, fused=True)
    # As in Keras' AdamW.
    return torch.optim.AdamW(
        network.parameters(), rate, eps=1e-7, weight_decay=0.004, fused=True, capturable=DEVICE == "cuda"
    )


def captured(step: Callable[[], Any]) -> Callable[[], Any]:
    """Returns the step as a CUDA graph.

    All steps before it run on another stream than the default one, which must not wait for what is captured.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.empty_cache()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay(_: object = step) -> Any:  # with the step, the tensors live that the graph reads
        graph.replay()
        return result

    return replay


def profile(run: Callable[[], object]) -> dict[str, float]:
    """Returns seconds by kernel, or by operator if there are no kernels. Numbers in names are dropped."""
    activities = [torch.profiler.ProfilerActivity.CUDA if DEVICE == "cuda" else torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        run()
    seconds: collections.Counter[str] = collections.Counter()
    for each in profiler.key_averages():
        time_us = each.self_device_time_total if DEVICE == "cuda" else each.self_cpu_time_total
        seconds[re.sub(r"[._]?\d+", "", each.key)[:160]] += time_us / 1e6
    return {name: value for name, value in seconds.items() if value}


if __name__ == "__main__":
    serve(Theirs)
