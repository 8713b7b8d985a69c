from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tests.tasks.detection_batches import batch_of, is_hidden, outputs_of
from tests.tasks.digits_of_many_sizes import write_coco
from tests.tasks.test_object_detection import by_heart, settings
from tfeff import config, selection, training
from tfeff.config.task_parts import Teacher
from tfeff.errors import UserError
from tfeff.tasks.imitation import dense_difference
from tfeff.tasks.losses import complete_iou
from tfeff.tasks.object_detection import MEAN_AP
from tfeff.tasks.suppression import NAMES, peaks, strongest, suppress
from tfeff.tasks.task import predictions
from tfeff.tasks.yolo import YoloTask

LEVELS = ("P3", "P4")


def decoded(distances: np.ndarray, center: np.ndarray, stride: float) -> np.ndarray:
    """Returns the box of one cell from its 4 x bins logits."""
    shares = np.exp(distances - distances.max(axis=1, keepdims=True))
    mean = (shares / shares.sum(axis=1, keepdims=True)) @ np.arange(distances.shape[1])
    return np.concatenate([center - mean[:2] * stride, center + mean[2:] * stride])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end_to_end", "heads", "positives"), [(False, "", 13), (True, "", 1), (True, "one_to_many_", 13)]
)
def test_losses_by_definition(end_to_end: bool, heads: str, positives: int) -> None:
    """One cell after the other; the assignment itself is tested in test_task_aligned."""
    task = YoloTask(config.YoloSettings(network=config.detector("yolo", bins=8, end_to_end=end_to_end)))
    _, outputs = outputs_of(task, classes=3, levels=LEVELS, seed=0)
    batch = batch_of(images=4, objects=4, classes=3, seed=1)
    corners = batch["boxes_yxyx"][:, :, :2]
    small = tf.concat([corners, corners + 3.0], axis=-1)  # most contain no center of a cell
    batch["boxes_yxyx"] = tf.where(tf.constant([True, False, False, True])[:, tf.newaxis], small, batch["boxes_yxyx"])
    totals = task.totals(batch, outputs, training=True)

    cells = [((8 * row + 4, 8 * column + 4), 8) for row in range(8) for column in range(8)]
    cells += [((16 * row + 8, 16 * column + 8), 16) for row in range(4) for column in range(4)]
    logits = outputs[f"{heads}logits"].numpy().astype(float)
    distances = outputs[f"{heads}distances"].numpy().astype(float).reshape(4, len(cells), 4, 8)
    expected = dict.fromkeys(("class_loss", "box_loss", "distance_loss", "targets"), 0.0)
    uncovered = 0
    for image in range(4):
        valid, difficult = batch["valid"][image].numpy(), batch["difficult"][image].numpy()
        boxes, labels = batch["boxes_yxyx"][image].numpy().astype(float), batch["label"][image].numpy()
        predicted = [decoded(distances[image, n], np.array(center), stride) for n, (center, stride) in enumerate(cells)]
        probability = 1 / (1 + np.exp(-logits[image]))
        wants: dict[int, list[tuple[float, int, float]]] = {}
        for k in np.flatnonzero(valid & ~difficult):
            middle = (boxes[k, :2] + boxes[k, 2:]) / 2
            own = [n for n, ((y, x), _) in enumerate(cells) if _within((y, x), boxes[k])]
            if not own:
                uncovered += 1
                own = [n for n, (center, side) in enumerate(cells) if (np.abs(middle - center) < side / 2).all()]
            metrics = []
            for n in own:
                overlap = plain_iou(predicted[n], boxes[k])
                metrics.append((probability[n, labels[k]] * overlap**6, n, overlap))
            for metric, n, overlap in sorted(metrics, reverse=True)[:positives]:
                if metric > 0:
                    wants.setdefault(n, []).append((overlap, int(k), metric))
        owner = {n: max(each) for n, each in wants.items()}
        for n in range(len(cells)):
            target, label = 0.0, -1
            if n in owner:
                _, k, metric = owner[n]
                mine = [each for each in owner.values() if each[1] == k]
                target = metric / max(each[2] for each in mine) * max(each[0] for each in mine)
                label = labels[k]
                ciou = float(complete_iou(tf.constant(predicted[n]), tf.constant(boxes[k])))
                expected["box_loss"] += 7.5 * (1 - ciou) * target
                (y, x), stride = cells[n]
                wanted = np.array([y - boxes[k, 0], x - boxes[k, 1], boxes[k, 2] - y, boxes[k, 3] - x]) / stride
                wanted = np.clip(wanted, 0, 7)
                log = distances[image, n] - np.log(np.exp(distances[image, n]).sum(axis=1, keepdims=True))
                low = np.minimum(np.floor(wanted).astype(int), 6)
                sides = np.arange(4)
                losses = -(low + 1 - wanted) * log[sides, low] - (wanted - low) * log[sides, low + 1]
                expected["distance_loss"] += 1.5 * losses.mean() * target
                expected["targets"] += target
            (y, x), side = cells[n]
            if n in owner or not is_hidden(batch, image, y - side / 2, x - side / 2, side):
                wanted_class = [target * (c == label) for c in range(3)]
                losses = [
                    -t * np.log(p) - (1 - t) * np.log(1 - p) for t, p in zip(wanted_class, probability[n], strict=True)
                ]
                expected["class_loss"] += 0.5 * sum(losses)
    assert expected["targets"] > 0.5
    assert uncovered > 1
    for name, value in expected.items():
        np.testing.assert_allclose(totals[heads + name], value, rtol=1e-3, err_msg=name)
        assert task.added == {count: 1.0 for count in totals if count.endswith("targets")}
    assert set(task.names) == totals.keys()


def _within(point: tuple[float, float], box: np.ndarray) -> bool:
    return bool(box[0] < point[0] < box[2] and box[1] < point[1] < box[3])


def plain_iou(first: np.ndarray, second: np.ndarray) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / (np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - common)


def test_candidates_invert_the_distances() -> None:
    task = YoloTask(config.YoloSettings(network=config.detector("yolo", bins=8)))
    _, outputs = outputs_of(task, classes=2, levels=LEVELS, seed=0, images=1)
    wanted = np.array([1, 2, 3, 5])  # strides from the center of cell (2, 3) of P3, at (20, 28), to its sides
    distances = outputs["distances"].numpy()
    distances[0, 2 * 8 + 3] = (30.0 * np.eye(8)[wanted]).ravel()
    boxes, scores = task.candidates(outputs | {"distances": tf.constant(distances)})
    np.testing.assert_allclose(boxes[0, 2 * 8 + 3], [20 - 8, 28 - 16, 20 + 24, 28 + 40], atol=1e-3)
    np.testing.assert_allclose(scores, tf.sigmoid(outputs["logits"]))


def test_the_heads_that_predict_train_nothing_else() -> None:
    task = YoloTask(config.YoloSettings(network=config.detector("yolo", bins=8, end_to_end=True)))
    network, _ = outputs_of(task, classes=2, levels=LEVELS, seed=0)
    images = tf.random.stateless_uniform((2, 64, 64, 3), (0, 0), 0, 255)
    trained = {}
    for learning in (True, False):
        for heads in ("", "one_to_many_"):
            with tf.GradientTape() as tape:
                outputs = network(images, training=learning)
                total = sum(tf.reduce_sum(outputs[heads + name] ** 2) for name in ("logits", "distances"))
            variables = [each.value for each in network.trainable_variables]
            gradients = zip(network.trainable_variables, tape.gradient(total, variables), strict=True)
            trained[learning, heads] = {variable.path for variable, gradient in gradients if gradient is not None}
    every = {each.path for each in network.trainable_variables}
    own = {path for path in every if path.startswith(("class_head", "box_head"))}
    extra = {path for path in every if path.startswith("one_to_many_")}
    assert own
    assert {path.removeprefix("one_to_many_") for path in extra} == own
    assert trained == {
        (True, ""): own,
        (True, "one_to_many_"): every - own,
        (False, ""): every - extra,
        (False, "one_to_many_"): every - own,
    }


def test_detections_are_the_best_candidates_of_one_pair_of_heads() -> None:
    section = config.YoloSettings(
        network=config.detector("yolo", bins=8, end_to_end=True),
        suppression=config.Suppression(minimum_score=0.5, detections=7),
    )
    task = YoloTask(section)
    network, outputs = outputs_of(task, classes=3, levels=LEVELS, seed=0)
    found = task.decode(outputs | {"peaks": peaks(outputs["logits"], [(8, 8), (4, 4)])})
    scores = tf.sigmoid(outputs["logits"]).numpy()
    grids = scores[:, :64].reshape(4, 8, 8, 3), scores[:, 64:].reshape(4, 4, 4, 3)
    highest = [scipy.ndimage.maximum_filter(grid, (1, 3, 3, 1), mode="constant").reshape(4, -1, 3) for grid in grids]
    scores = np.where(scores == np.concatenate(highest, axis=1), scores, 0.0)
    np.testing.assert_allclose(found["scores"], np.sort(scores.reshape(4, -1), axis=1)[:, :-8:-1], rtol=1e-6)
    assert task.predictor(network).output.keys() == {"logits", "distances"}
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    ours, whole = task.predictor(network)(image), network(image)
    for name, output in ours.items():
        np.testing.assert_array_equal(output, whole[name])


def test_both_pairs_of_heads_imitate_those_of_the_teachers() -> None:
    task = YoloTask(config.YoloSettings(network=config.detector("yolo", bins=8, end_to_end=True)))
    network, first = outputs_of(task, classes=2, levels=LEVELS, seed=0)
    second, ours = (outputs_of(task, classes=2, levels=LEVELS, seed=seed)[1] for seed in (1, 2))
    section = Teacher(runs=("a", "b"), weight=0.7)
    found = task.imitated(ours, task.teacher_targets([first, second], section), section)
    plain = YoloTask(config.YoloSettings(network=config.detector("yolo", bins=8)))

    def candidates(outputs: dict, heads: str) -> tuple:
        return plain.candidates(outputs | {name: outputs[heads + name] for name in ("logits", "distances")})

    apart = [
        dense_difference(*candidates(ours, heads), *candidates(teacher, heads)) / 2
        for heads in ("", "one_to_many_")
        for teacher in (first, second)
    ]
    np.testing.assert_allclose(found, 0.7 * tf.add_n(apart), rtol=1e-5)
    with pytest.raises(UserError, match=r"give a run with the same task\.network\.end_to_end"):
        task.check_teacher(outputs_of(plain, classes=2, levels=LEVELS, seed=0)[0], network, "config")


@pytest.mark.parametrize("overlap", ["iou", "ciou"])
def test_small_elongated_objects_are_learned_from_the_first_step(overlap: str) -> None:
    """Before training, cells predict large squares, which have a negative CIoU with them."""
    task = YoloTask(config.YoloSettings(network=config.detector("yolo"), alignment_overlap=overlap))
    network, outputs = outputs_of(task, classes=1, levels=LEVELS, seed=0, images=1)
    outputs |= {name: tf.zeros_like(outputs[name]) for name in network.output}
    batch = task.dummy_targets(1, 1) | {"weight": tf.ones(1)}
    first = tf.range(task.section.max_objects)[tf.newaxis, :, tf.newaxis] == 0
    batch["boxes_yxyx"] = tf.where(first, tf.constant([20.0, 10.0, 24.0, 50.0]), 0.0)
    assert task.totals(batch, outputs, training=True)["targets"] > 0


@pytest.mark.parametrize("change", ["kind=gaussian", "overlap=0.6", "class_agnostic=true", "candidates=300"])
def test_settings_of_suppression_are_refused_without_it(change: str) -> None:
    given = config.override(config.Experiment(), ["task.name=yolo", "task.suppression.detections=300"])
    for setting in ("task.network.end_to_end=true", "task.suppression.kind=peaks"):
        config.override(given, [setting])
        if (change, setting) != ("kind=gaussian", "task.suppression.kind=peaks"):
            with pytest.raises(UserError, match=r"task\.suppression\.\w+ is .*: .*peaks"):
                config.override(given, [setting, f"task.suppression.{change}"])


@pytest.mark.parametrize("name", ["efficientdet", "anchor_yolo", "grid", "faster_rcnn", "rcnn"])
def test_peaks_are_refused_if_a_cell_has_several_boxes(name: str) -> None:
    overrides = [f"task.name={name}", "task.suppression.kind=peaks", "task.suppression.candidates=none"]
    overlap = f"task.suppression.overlap={config.Suppression.overlap}"
    with pytest.raises(UserError, match=r"task\.suppression\.kind is 'peaks'"):
        config.override(config.Experiment(), [*overrides, overlap])


@pytest.mark.slow
def test_a_trained_detector_has_no_duplicates_without_suppression(tmp_path: Path) -> None:
    experiment = settings(
        "yolo",
        write_coco(tmp_path / "digits", 4),
        *("task.network.end_to_end=true", "training.epochs=120", "training.validation_epochs=120"),
        *("data.validation_fraction=0", "data.train_split=train", "data.test_split=none"),
    )
    run = by_heart(experiment, tmp_path / "run")
    row, task, network = run.rows()[-1], YoloTask(experiment.task), training.trained_model(run)
    assert row[f"validation_{MEAN_AP}"] >= 0.9
    assert {"train_class_loss", "train_one_to_many_class_loss"} <= row.keys()
    images = selection.open_source(selection.request(experiment)).load("train")
    caches = selection.read(selection.request(experiment), lambda *_: None, given=(images, images))
    pipeline = training.Plan.of(experiment).evaluation_pipeline(caches.train, network.size)
    objects = sum(len(each.labels) for each in images.objects)

    def outputs_of_both(batch: dict) -> dict:
        """Detections of each pair of heads, with and without suppression, and those of the task."""
        made = task.forward(network, batch, training=False)
        return {
            f"{select.__name__} {heads} {name}": values
            for heads, outputs in enumerate(task.branches(made))
            for select in (suppress, strongest)
            for name, values in select(*task.candidates(outputs), experiment.task.suppression).items()
        } | {f"peaks {name}": values for name, values in task.decode(made).items()}

    found = predictions(outputs_of_both, pipeline)
    scores = {
        key: task.score({**found, **{name: found[f"{key} {name}"] for name in NAMES}}, pipeline)[MEAN_AP]
        for key in ("suppress 0", "strongest 0", "peaks")
    }
    assert scores["peaks"] == pytest.approx(row[f"validation_{MEAN_AP}"])
    assert scores["suppress 0"] == pytest.approx(scores["strongest 0"], abs=0.02)
    assert scores["suppress 0"] == pytest.approx(scores["peaks"], abs=0.02)
    count = {name: int((values > 0.1).sum()) for name, values in found.items() if name.endswith("scores")}
    assert count["strongest 0 scores"] == pytest.approx(objects, abs=1)
    assert count["suppress 0 scores"] == pytest.approx(count["strongest 0 scores"], abs=1)
    assert count["peaks scores"] == pytest.approx(count["suppress 0 scores"], abs=1)
    # The other pair of heads needs suppression.
    assert count["suppress 1 scores"] == pytest.approx(objects, abs=1)
    assert count["strongest 1 scores"] > 1.2 * objects


def test_teachers_with_other_bins_predict_at_the_same_positions() -> None:
    few, many = (YoloTask(config.YoloSettings(network=config.detector("yolo", bins=bins))) for bins in (8, 12))
    network, outputs = outputs_of(few, classes=2, levels=LEVELS, seed=0)
    teacher, others = outputs_of(many, classes=2, levels=LEVELS, seed=1)
    few.check_teacher(teacher, network, "config")
    apart = few.imitated(outputs, few.teacher_targets([others], Teacher()), Teacher(runs=("a",)))
    assert np.isfinite(apart).all()
    elsewhere, _ = outputs_of(few, classes=2, levels=("P3", "P4", "P5"), seed=0)
    with pytest.raises(UserError, match=r"with the same task\.network\.levels$"):
        few.check_teacher(elsewhere, network, "config")
