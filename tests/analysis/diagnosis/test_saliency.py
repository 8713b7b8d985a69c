"""Saliency against finite differences, and which detections it explains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, tasks
from tfeff.analysis.diagnosis import saliency
from tfeff.analysis.diagnosis.saliency import EPSILON, DetectionIndex, choose, explain, gradients
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import PixelArrays
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.reader import Reader
from tfeff.evaluation import Detections

LEVELS = ("P3", "P4")


def detections(*rows: tuple[tuple[float, float, float, float], int, float]) -> Detections:
    boxes, labels, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(
        np.reshape(np.array(boxes, np.float32), (-1, 4)), np.array(labels, np.int32), np.array(scores, np.float32)
    )


def objects(*rows: tuple[tuple[float, float, float, float], int]) -> Objects:
    unset = np.zeros(len(rows), bool)
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    return Objects(boxes, np.array([label for _, label in rows], np.int32), unset, unset)


def test_the_most_confident_correct_and_wrong_detection_of_each_class_are_chosen() -> None:
    here, there = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 30.0, 30.0)
    found = [
        detections((here, 0, 0.7), (there, 0, 0.9), (here, 1, 0.3)),
        detections((here, 0, 0.8), (there, 1, 0.6)),
        detections(),
    ]
    present = [objects((here, 0)), objects((here, 0), (there, 1)), objects((here, 1))]
    assert choose(found, present, 6) == [
        DetectionIndex(1, 0, True),
        DetectionIndex(1, 1, True),
        DetectionIndex(0, 1, False),
        DetectionIndex(0, 2, False),
    ]
    assert choose(found, present, 2) == [DetectionIndex(1, 0, True), DetectionIndex(0, 1, False)]


@pytest.mark.parametrize(
    "section",
    [
        config.YoloSettings(network=config.detector("yolo", levels=LEVELS, neck_channels=8, head_repeats=1)),
        config.FasterRCNNSettings(
            network=config.detector("faster-rcnn", aspect=1.0, levels=LEVELS, neck_channels=8, hidden=(8,), regions=5)
        ),
    ],
    ids=lambda section: section.name,
)
def test_gradients_predict_how_the_log_odds_change(section: config.ObjectDetectionSettings) -> None:
    keras.utils.set_random_seed(0)
    task = tasks.create(section)
    backbone = config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), resolution=32)
    network = task.network(section.describe(backbone), num_classes=2, channels=3)
    image = np.random.default_rng(0).uniform(0, 255, (1, *network.size, 3)).astype(np.float32)

    def outputs(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = task.candidates(task.forward(network, {"image": tf.constant(pixels)}, training=False))
        plain = boxes[0] if len(boxes.shape) == 3 else boxes[0, :, 1]
        return plain.numpy(), scores[0, :, 1].numpy().astype(np.float64)

    boxes, scores = outputs(image)
    index = int(scores.argmax())
    slope = gradients(task, network, {"image": image}, boxes[index], 1)
    assert slope.shape == image.shape[1:]

    def odds(pixels: np.ndarray) -> float:
        score = outputs(pixels)[1][index]
        return float(np.log(score + EPSILON) - np.log(1 - score + EPSILON))

    step = 0.2 * slope / np.abs(slope).max()
    change = odds(image + step) - odds(image - step)
    assert change == pytest.approx(2 * float((slope * step).sum()), rel=0.05)


def test_only_the_images_of_the_chosen_detections_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture shows the image of its detection."""
    task = tasks.create(config.YoloSettings(network=config.detector("yolo", levels=LEVELS, neck_channels=8)))
    backbone = config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), resolution=32)
    network = task.network(task.section.describe(backbone), num_classes=2, channels=3)
    grays = np.array([30, 90, 200], np.uint8)
    images = PixelArrays(np.broadcast_to(grays[:, None, None, None], (3, 32, 32, 3)), "1")
    sizes = np.full((3, 2), 32, np.int32)
    dataset = Dataset("gray", ("ant", "bee"), ["a", "b", "c"], images, objects=[objects()] * 3, sizes=sizes)
    reader = Reader(ImageCache.open(dataset, fit="whole"))
    pipeline = Batches(task.transform(reader, network.size, seed=0, plain_from=None), 2)
    found = [detections()] * 300
    found[7], found[19], found[250] = (detections(((2, 2, 20, 20), 0, score)) for score in (0.5, 0.6, 0.7))
    shown = []
    monkeypatch.setattr(saliency, "heat_overlay", lambda pixels, heat: shown.append(pixels) or pixels)
    chosen = [DetectionIndex(image, 0, True) for image in (250, 7, 19)]
    _, titles = explain(task, network, pipeline, found, chosen, ("ant", "bee"))
    assert [int(pixels.mean()) for pixels in shown] == [200, 30, 90]
    assert titles == ["ant (70 %), correct", "ant (50 %), correct", "ant (60 %), correct"]
