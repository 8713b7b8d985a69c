"""The losses, learning and detections of R-CNN's heads, on features without images."""

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.rcnn.random_regions import CLASSES, SIZE, examples
from tests.thoroughness import thorough
from tfeff import config
from tfeff.boxes import iou
from tfeff.boxes.coding import FAST_RCNN_WEIGHTS, decode
from tfeff.models import rcnn
from tfeff.rcnn.region_batches import RegionBatches
from tfeff.rcnn.sampling import RegionSampler
from tfeff.rcnn.task import RCNNTask, background_rates, region_threshold
from tfeff.tasks.task import FEATURES, PROPOSED, PROPOSED_VALID
from tfeff.training.step import Step


def batches(seed: int = 1) -> RegionBatches:
    regions, _, _ = examples(seed)
    sampler = RegionSampler.by_overlap(
        regions.targets, positives=100, batch_size=128, positive_overlap=0.5, negative_overlap=0.5, seed=0
    )
    return RegionBatches(regions, sampler)


def head(task: RCNNTask, seed: int = 0) -> keras.Model:
    """Returns a joint head as at the start of training."""
    features = keras.Input((SIZE,))
    outputs = rcnn.joint_head(features, CLASSES, task.section.describe(config.architecture("resnet")))
    network = keras.Model(features, outputs)
    task.stored.start(network, batches(), loaded=(), seed=seed, report=print)
    return network


def trained(task: RCNNTask, epochs: int, learning_rate: float) -> tuple[keras.Model, list[float]]:
    """Returns the head, and the loss of each epoch."""
    network, pipeline = head(task), batches()
    optimizer: Any = keras.optimizers.SGD(learning_rate, momentum=0.9)
    if keras.mixed_precision.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    step = Step(network, optimizer, tf.distribute.get_strategy(), task=task, batch_size=128)
    losses = list[float]()
    for epoch in range(epochs):
        sums = np.zeros(len(task.names))
        for number, batch in enumerate(pipeline.training_batches(epoch + 1, epoch * pipeline.steps_per_epoch)):
            sums = sums + step.train(batch, step=number, learning_rate=learning_rate).numpy()
        losses.append(step.task.means(sums)["loss"])
    return network, losses


def test_layers_with_loaded_weights_keep_them() -> None:
    task = RCNNTask(config.RCNNSettings(network=config.RCNN(hidden=(8,))))
    network = head(task)
    before = {each.path: np.array(each) for each in network.weights}
    loaded = [path for path in before if path.startswith(("standardize/", "hidden_0/"))]
    task.stored.start(network, batches(seed=2), loaded=loaded, seed=3, report=print)
    same = {each.path for each in network.weights if np.array_equal(each, before[each.path])}
    assert same >= {*loaded}
    assert not same & {"logits/kernel", "codes/kernel"}


def batch_of(rng: np.random.Generator, positives: int, count: int = 12) -> dict[str, tf.Tensor]:
    positive = np.arange(count) < positives
    return {
        "label": tf.constant(np.where(positive, rng.integers(0, CLASSES, count), CLASSES), tf.int32),
        "code": tf.constant(rng.normal(0, 2, (count, 4)), tf.float32),
        "positive": tf.constant(positive, tf.float32),
    }


@pytest.mark.parametrize("boxes", [1, CLASSES])
@pytest.mark.parametrize("positives", [0, 5, 12])
def test_losses_and_accuracy_match_numpy(positives: int, boxes: int) -> None:
    rng = np.random.default_rng(positives)
    batch, logits = batch_of(rng, positives), rng.normal(0, 2, (12, CLASSES + 1))
    codes = rng.normal(0, 2, (12, boxes, 4))
    outputs = tf.constant(logits, tf.float32), tf.constant(codes, tf.float32)
    task = RCNNTask(config.RCNNSettings())
    totals = task.totals(batch, outputs, training=True)
    label, code = batch["label"].numpy(), batch["code"].numpy()
    entropy = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(12), label]
    own = codes[np.arange(12), label % CLASSES if boxes > 1 else 0]
    error = np.abs(own - code)[:positives]
    smooth = np.where(error < 1, error**2 / 2, error - 0.5).sum()
    assert {total.dtype for total in totals.values()} == {tf.float32}
    means = task.means(np.array([float(totals[name]) for name in task.names]))
    expected = {
        "class_loss": entropy.mean(),
        "box_loss": smooth / max(1, positives),
        "accuracy": (logits.argmax(axis=1) == label).mean(),
    }
    assert list(means) == ["loss", *expected]
    assert means == pytest.approx({"loss": expected["class_loss"] + expected["box_loss"], **expected}, rel=1e-5)


def test_the_losses_of_a_fitted_head_are_those_of_its_scores_and_codes() -> None:
    """0.5 is the decision boundary, and codes have weights of 1."""
    rng = np.random.default_rng(0)
    batch, scores, codes = batch_of(rng, 5), rng.uniform(0.1, 0.9, (12, CLASSES)), rng.normal(0, 0.2, (12, CLASSES, 4))
    outputs = tf.constant(scores, tf.float32), tf.constant(codes, tf.float32)
    task = RCNNTask(config.RCNNSettings(network=config.RCNN(head="classic")))
    totals = {name: float(each) for name, each in task.totals(batch, outputs, training=False).items()}
    label = batch["label"].numpy()
    wanted = np.eye(CLASSES + 1)[label][:, :CLASSES]
    entropy = -(wanted * np.log(scores) + (1 - wanted) * np.log(1 - scores)).sum()
    error = np.abs(codes[np.arange(5), label[:5]] * FAST_RCNN_WEIGHTS - batch["code"].numpy()[:5])
    assert totals["class_loss"] == pytest.approx(entropy, rel=1e-5)
    assert totals["box_loss"] == pytest.approx(np.where(error < 1, error**2 / 2, error - 0.5).sum(), rel=1e-5)
    predicted = np.where(scores.max(axis=1) < 0.5, CLASSES, scores.argmax(axis=1))
    assert totals["accuracy"] == (predicted == label).sum()


@pytest.mark.parametrize("count", [1, 44, 100, 512, 945])
@pytest.mark.parametrize("missed", [0.0, 0.005, 0.1])
def test_the_region_threshold_misses_no_more_objects_than_allowed(count: int, missed: float) -> None:
    scores = np.random.default_rng(0).random(count)
    threshold = region_threshold(scores, missed)
    assert (scores < threshold).mean() <= missed < (scores <= threshold).mean() + 1 / count


def test_totals_of_half_precision_are_float32() -> None:
    batch, task = batch_of(np.random.default_rng(0), 5), RCNNTask(config.RCNNSettings())
    outputs = tf.zeros((12, CLASSES + 1), tf.bfloat16), tf.zeros((12, 1, 4), tf.bfloat16)
    assert {total.dtype for total in task.totals(batch, outputs, training=False).values()} == {tf.float32}


@pytest.mark.slow
@pytest.mark.parametrize("class_boxes", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", thorough("mixed_float16")])
def test_classes_and_boxes_are_learned_in_every_precision(policy: str, class_boxes: bool) -> None:
    keras.mixed_precision.set_dtype_policy(policy)
    task = RCNNTask(config.RCNNSettings(network=config.RCNN(hidden=(32,), dropout=0.0, class_boxes=class_boxes)))
    network, losses = trained(task, 12, 0.03)
    assert losses[-1] < losses[0]
    test, boxes, objects = examples(3)
    logits, codes = (np.asarray(output) for output in network(test.features.astype(np.float32)))
    assert logits.dtype == codes.dtype == np.float32
    assert codes.shape == (len(boxes), CLASSES if class_boxes else 1, 4)
    positive, label = test.targets.overlap > 0.5, test.targets.label
    assert (logits.argmax(axis=1) == np.where(positive, label, CLASSES)).mean() > 0.97
    own = codes[np.arange(len(codes)), label if class_boxes else 0] / np.array(FAST_RCNN_WEIGHTS)
    decoded = decode(own[positive], boxes[positive])
    proposal_error = np.abs(boxes[positive] - objects[positive]).mean()
    assert np.abs(decoded - objects[positive]).mean() < 0.35 * proposal_error


@pytest.mark.slow
@pytest.mark.parametrize("class_boxes", [False, True])
def test_updates_are_those_of_plain_keras(class_boxes: bool) -> None:
    """Mean cross-entropy, mean smooth L1 of the positives, and the L1 penalty, minimized by Keras' own SGD."""
    described = config.RCNN(hidden=(16,), l1=1e-3, dropout=0.2, class_boxes=class_boxes)
    task = RCNNTask(config.RCNNSettings(network=described))
    found, _ = trained(task, 1, 0.05)
    pipeline, one = batches(), head(task)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    for rows in pipeline.rows(1):
        batch = pipeline.read(rows)
        with tf.GradientTape() as tape:
            logits, codes = one(batch["features"].astype(np.float32), training=True)
            entropy = keras.losses.sparse_categorical_crossentropy(batch["label"], logits, from_logits=True)
            box = np.where(batch["positive"], batch["label"], 0) if class_boxes else np.zeros(128, int)
            own = tf.gather(codes, box, batch_dims=1)
            huber = 4 * keras.losses.huber(batch["code"], own)  # Keras averages over the four numbers
            box_loss = tf.reduce_sum(huber * batch["positive"]) / batch["positive"].sum()
            loss = tf.reduce_mean(entropy) + box_loss + tf.add_n(one.losses)
        optimizer.apply(tape.gradient(loss, [v.value for v in one.trainable_variables]), one.trainable_variables)
    for expected, weights in zip(one.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_the_seed_determines_the_initial_weights() -> None:
    task = RCNNTask(config.RCNNSettings(network=config.RCNN(hidden=(8, 8))))
    first, same, other = (head(task, seed) for seed in (1, 1, 9))
    for one, equal, another in zip(
        first.trainable_weights, same.trainable_weights, other.trainable_weights, strict=True
    ):
        np.testing.assert_array_equal(one, equal)
        assert not np.any(one) or (np.asarray(one) != np.asarray(another)).any()


def test_the_features_of_a_joint_head_are_standardized() -> None:
    task, regions = RCNNTask(config.RCNNSettings()), batches().regions
    everything = np.asarray(regions.features, np.float64)
    scaled = np.asarray(head(task).get_layer("standardize")(regions.features.astype(np.float32)))
    expected = (everything - everything.mean(axis=0)) / everything.std(axis=0) / np.sqrt(SIZE) * 6
    np.testing.assert_allclose(scaled, expected, atol=1e-3)


MINIMUM = 0.25
REGIONS = 50
IMAGE = 70, 80


def case(seed: int, boxes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns regions, scores and codes of an image; some scores equal MINIMUM, which they have to exceed."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (REGIONS, 2))
    regions = np.concatenate([low, low + rng.uniform(5, 40, (REGIONS, 2))], axis=1).astype(np.float32)
    scores = rng.random((REGIONS, CLASSES)).astype(np.float32)
    scores[::5] = MINIMUM
    return regions, scores, rng.normal(0, 0.1, (REGIONS, boxes, 4)).astype(np.float32)


def by_loop(
    regions: np.ndarray, scores: np.ndarray, codes: np.ndarray, section: config.RCNNSettings
) -> list[tuple[float, int, list[float]]]:
    detections = []
    for label in range(CLASSES):
        kept: list[tuple[float, list[float]]] = []
        candidates: list[tuple[float, np.ndarray]] = []
        for index in np.argsort(-scores[:, label], kind="stable"):
            if scores[index, label] <= MINIMUM:
                continue
            box = decode(codes[index, label if codes.shape[1] > 1 else 0], regions[index])
            box = np.clip(box, 0, [*IMAGE, *IMAGE])
            candidates.append((float(scores[index, label]), box))
            if all(iou(box[None], np.array([other]))[0, 0] <= section.suppression.overlap for _, other in kept):
                kept.append((float(scores[index, label]), box.tolist()))
        if section.vote_overlap is not None:
            for place, (score, own) in enumerate(kept):
                near = [(s, b) for s, b in candidates if iou(np.array([own]), b[None])[0, 0] >= section.vote_overlap]
                kept[place] = score, (sum(s * b for s, b in near) / sum(s for s, _ in near)).tolist()
        detections += [(score, label, box) for score, box in kept]
    return sorted(detections, key=lambda row: -row[0])[: section.suppression.detections]


@pytest.mark.slow
@pytest.mark.parametrize("boxes", [1, CLASSES])
@pytest.mark.parametrize(("limit", "vote_overlap"), [(5, None), (100, None), (100, 0.5)])
def test_detections_match_a_loop(boxes: int, limit: int, vote_overlap: float | None) -> None:
    """Regions that are no proposals, objects and padding, are not detected."""
    suppression = config.Suppression(overlap=0.3, minimum_score=MINIMUM, detections=limit, candidates=1000)
    section = config.RCNNSettings(
        network=config.RCNN(head="classic"), suppression=suppression, vote_overlap=vote_overlap
    )
    for seed in range(10):
        regions, scores, codes = case(seed, boxes)
        expected = by_loop(regions[3:], scores[3:], codes[3:], section)
        valid, size = np.arange(REGIONS) >= 3, np.array([IMAGE], np.int32)
        outputs = [tf.constant(each) for each in (scores[None], codes[None], regions[None], valid[None], size)]
        found = {name: np.asarray(each)[0] for name, each in RCNNTask(section).decode(outputs).items()}
        count = found["count"]
        np.testing.assert_allclose(found["scores"][:count], [row[0] for row in expected])
        assert found["labels"][:count].tolist() == [row[1] for row in expected]
        np.testing.assert_allclose(found["boxes"][:count], [row[2] for row in expected], atol=1e-4)
        np.testing.assert_array_equal(found["region_score"], scores.max(axis=1))
        np.testing.assert_array_equal(found["region_label"], scores.argmax(axis=1))
        np.testing.assert_array_equal(found["region_background"], [max(row) < 0.5 for row in scores.tolist()])


def test_a_joint_head_decides_for_background_by_its_own_score() -> None:
    task, rng = RCNNTask(config.RCNNSettings()), np.random.default_rng(0)
    regions, _, codes = case(0, 1)
    logits = rng.normal(size=(len(regions), CLASSES + 1)).astype(np.float32)
    valid, size = np.ones(len(regions), bool), np.array([IMAGE], np.int32)
    outputs = [tf.constant(each) for each in (logits[None], codes[None], regions[None], valid[None], size)]
    found = np.asarray(task.decode(outputs)["region_background"])[0]
    np.testing.assert_array_equal(found, [row.index(max(row)) == CLASSES for row in logits.tolist()])
    assert 0 < found.sum() < len(found)


def test_rates_of_background_count_objects_and_proposals_far_from_them() -> None:
    targets: Any = SimpleNamespace(
        is_object=np.array([True, True, True, False, False, False, False]),
        overlap=np.array([1.0, 1.0, 1.0, 0.2, 0.49, 0.5, 0.1]),
        covered=np.array([False, False, False, False, False, False, True]),
    )
    background = np.array([True, False, False, True, False, True, True])
    rates = background_rates(background, targets)
    assert rates == {"called_background": pytest.approx(1 / 3), "background_recall": 1 / 2}
    objects: Any = SimpleNamespace(**{name: value[:3] for name, value in vars(targets).items()})
    assert np.isnan(background_rates(background[:3], objects)["background_recall"])


def test_the_head_of_an_image_is_applied_to_each_of_its_regions() -> None:
    task = RCNNTask(config.RCNNSettings(network=config.RCNN(hidden=(8,), class_boxes=True)))
    network, rng = head(task), np.random.default_rng(0)
    features = rng.normal(size=(1, 7, SIZE)).astype(np.float16)
    corner = rng.uniform(0, 30, (1, 7, 2))
    boxes = np.concatenate([corner, corner + 20], axis=2).astype(np.float32)
    batch = {FEATURES: features, PROPOSED: boxes, PROPOSED_VALID: np.ones((1, 7), bool), "image_size": [[64, 64]]}
    outputs = task.forward(network, {name: tf.constant(each) for name, each in batch.items()}, training=False)
    expected = network(features[0].astype(np.float32))
    for one, other in zip(outputs, expected, strict=False):
        np.testing.assert_allclose(one[0], other, atol=1e-6)
    decoded, scores = task.candidates(outputs)
    np.testing.assert_allclose(scores[0], keras.ops.softmax(expected[0])[:, :-1], atol=1e-6)
    codes = np.asarray(expected[1]) / np.array(FAST_RCNN_WEIGHTS)
    np.testing.assert_allclose(decoded[0], np.clip(decode(codes, boxes[0][:, None]), 0, 64), atol=1e-3)
