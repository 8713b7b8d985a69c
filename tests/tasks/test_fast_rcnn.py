import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.same_detections import assert_same_detections
from tests.tasks.detection_batches import batch_of
from tests.tasks.digits_of_many_sizes import write_coco
from tests.thoroughness import THOROUGH, only_thorough
from tests.verbs import Verbs
from tfeff import config, models, runs, selection, tasks, training
from tfeff.boxes import iou
from tfeff.boxes.assignment import ignored_overlap
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.proposals import ProposalStore, ProposedBoxes
from tfeff.proposals.records import method
from tfeff.proposals.store import Writer
from tfeff.serving import interface
from tfeff.tasks.matching import IGNORED, NEGATIVE, POSITIVE
from tfeff.tasks.object_detection import detections
from tfeff.tasks.sampling import noise, sample
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID, BatchPredictor

CLASSES, REGIONS, OBJECTS = 3, 40, 5


def setting(**changes):
    own = config.SharedProposals(max_proposals=REGIONS)
    described = config.detector("fast-rcnn", aspect=1.0, levels=("P3",), hidden=(16,))
    section = config.FastRCNNSettings(network=described, proposals=own, sampled_regions=12, **changes)
    task = tasks.create(section)
    backbone = config.architecture("resnet", resolution=64, width=4, stage_blocks=(1, 1, 1, 1))
    network = task.network(section.describe(backbone), num_classes=CLASSES, channels=3)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if variable.path.startswith("box_head"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    batch = batch_of(images=4, objects=OBJECTS, classes=CLASSES, seed=1)
    near = np.repeat(batch["boxes_yxyx"].numpy(), REGIONS // OBJECTS, axis=1)
    corners = np.sort((near + rng.normal(0, 6, near.shape)).reshape(4, REGIONS, 2, 2), axis=2)
    return (
        task,
        network,
        batch
        | {
            "key": tf.constant(rng.integers(0, 2**24, (4, 2)), tf.int32),
            PROPOSED: tf.constant(corners.reshape(4, REGIONS, 4).clip(0, 64), tf.float32),
            PROPOSED_VALID: tf.constant(np.arange(REGIONS) < [[40], [25], [40], [30]]),
        },
    )


@pytest.mark.parametrize("background_overlap", [0.1, 0.0])
def test_regions_are_sampled_by_definition(background_overlap: float) -> None:
    """One region after the other; the objects are candidates, too."""
    task, network, batch = setting(background_overlap=background_overlap)
    outputs = task.forward(network, batch, training=True)
    seen = set()
    for image in range(4):
        objects, labels = batch["boxes_yxyx"][image].numpy(), batch["label"][image].numpy()
        valid, difficult = batch["valid"][image].numpy(), batch["difficult"][image].numpy()
        candidates = np.concatenate([batch[PROPOSED][image].numpy(), objects])
        present = np.concatenate([batch[PROPOSED_VALID][image].numpy(), valid & ~difficult])
        overlap = iou(candidates, objects) * (valid & ~difficult)
        kind = np.full(len(candidates), IGNORED)
        for region in np.flatnonzero(present):
            best = overlap[region].max()
            if best >= 0.5:
                kind[region] = POSITIVE
            elif best >= background_overlap:
                hidden = ignored_overlap(candidates[region : region + 1], objects[valid & difficult])[0]
                kind[region] = IGNORED if hidden > 0.3 else NEGATIVE
        seen |= set(kind[present])
        random = noise(batch["key"][image : image + 1], 1, len(candidates))
        index, drawn = sample(tf.constant(kind[None], tf.int32), random, count=12, positive_share=0.25)
        index = index.numpy()[0][drawn.numpy()[0]]
        found = outputs["sampled"][image].numpy() > 0
        assert (
            found.sum()
            == len(index)
            == min((kind == POSITIVE).sum(), 3) + min((kind == NEGATIVE).sum(), 12 - min((kind == POSITIVE).sum(), 3))
        )
        expected = np.where(kind[index] == POSITIVE, labels[overlap[index].argmax(axis=1)], -1)
        np.testing.assert_array_equal(outputs["sampled_label"][image].numpy()[found], expected)
        assert not outputs["sampled_target"][image].numpy()[found][expected < 0].any()
    assert seen == {POSITIVE, NEGATIVE, IGNORED}
    if background_overlap:
        assert not outputs["sampled"][3].numpy().any()  # without objects, no region overlaps one


def test_losses_by_definition() -> None:
    task, network, batch = setting()
    outputs = task.forward(network, batch, training=True)
    totals = {name: float(value) for name, value in task.totals(batch, outputs, training=True).items()}
    expected = dict.fromkeys(totals, 0.0)
    for image, region in np.argwhere(outputs["sampled"].numpy() > 0):
        label = int(outputs["sampled_label"][image, region])
        logits = outputs["sampled_logits"][image, region].numpy().astype(float)
        expected["regions"] += 1
        expected["class_loss"] += np.log(np.exp(logits).sum()) - logits[label if label >= 0 else CLASSES]
        if label >= 0:
            codes = outputs["sampled_codes"][image, region].numpy().reshape(CLASSES, 4)
            error = np.abs(codes[label] - outputs["sampled_target"][image, region].numpy())
            expected["box_loss"] += np.where(error < 1, error**2 / 2, error - 0.5).sum()
    assert totals.keys() == expected.keys()
    for name, value in expected.items():
        assert totals[name] == pytest.approx(value, rel=1e-4)
        assert value > 0


def test_an_image_depends_neither_on_its_batch_nor_on_padding() -> None:
    task, network, batch = setting()
    outputs = task.forward(network, batch, training=False)
    alone = {name: value[1:2] for name, value in batch.items()}
    noise_boxes = tf.constant(np.random.default_rng(5).uniform(0, 64, (1, REGIONS, 4)), tf.float32)
    alone[PROPOSED] = tf.where(alone[PROPOSED_VALID][..., tf.newaxis], alone[PROPOSED], noise_boxes)
    changed = task.forward(network, alone, training=False)
    for name in ("sampled_label", "sampled_target", "sampled", "class_scores"):
        np.testing.assert_allclose(changed[name][0], outputs[name][1], atol=1e-4, err_msg=name)
    assert not changed["class_scores"][0, 25:].numpy().any()
    np.testing.assert_allclose(changed["class_boxes"][0, :25], outputs["class_boxes"][1, :25], atol=1e-3)


def test_given_proposals_are_cut_padded_and_scaled() -> None:
    task, _, _ = setting()
    boxes = np.random.default_rng(0).uniform(0, 50, (2, 60, 4)).astype(np.float32)
    scale = np.array([[0.5, 2.0], [1.0, 0.25]], np.float32)
    for given in (60, REGIONS, 7, 0):
        counts = np.array([given, min(given, 5)], np.int32)
        inputs = task, tf.constant(boxes[:, :given]), tf.constant(counts)
        found = interface.network_inputs(*inputs, scale=scale, covered=tf.fill((2, 2), 999))
        assert found[PROPOSED].shape == (2, REGIONS, 4)
        for image in range(2):
            number = min(counts[image], REGIONS)
            assert found[PROPOSED_VALID][image].numpy().tolist() == [True] * number + [False] * (REGIONS - number)
            expected = boxes[image, :number] * np.tile(scale[image], 2)
            np.testing.assert_allclose(found[PROPOSED][image, :number], expected, rtol=1e-6)
            assert not found[PROPOSED][image, number:].numpy().any()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("digits"), 8)


def experiment(digits: Path, store: Path, *overrides: str) -> config.Experiment:
    return config.override(
        config.Experiment(),
        [
            *("task.name=fast_rcnn", f"data.source=coco:{digits}", f"task.proposals.directory={store}"),
            *("model.name=resnet", "model.width=4", "model.stage_blocks=1,1,1,1", "model.stem=3x3"),
            *("model.resolution=64", "task.network.aspect=1.3333", "task.network.levels=P2", "task.network.hidden=16"),
            *("task.proposals.max_proposals=30", "task.max_objects=6", "task.suppression.minimum_score=0.0"),
            *("task.suppression.detections=10", "data.validation_fraction=0.25", "data.test_split=none"),
            *("training.batch_size=2", "training.precision=float32", "training.epochs=1"),
            *overrides,
        ],
    )


def store_objects(settings: config.Experiment) -> None:
    """Stores the objects of each image as its proposals."""
    images = selection.open_source(selection.request(settings)).load("train")
    store = ProposalStore.create(settings.task.proposals.store, method(settings.task.proposals).parameters)
    with Writer(store) as writer:
        for index, name in enumerate(images.ids):
            size, boxes = tuple(images.sizes[index].tolist()), images.objects[index].boxes_yxyx
            np.testing.assert_array_equal(boxes, boxes.round())
            writer.add(name, images.images.digest(index), ProposedBoxes(boxes.astype(np.uint16), size, size))


@pytest.mark.slow
def test_proposals_follow_the_objects(digits: Path, tmp_path: Path) -> None:
    """Both are the same boxes in the files, so they are the same boxes in every batch."""
    varied = ("horizontal_flip=true", "vertical_flip=true", "scale_range=0.6,1.5", "mosaic=0.5", "min_share=0.7")
    settings = experiment(digits, tmp_path / "store", *(f"task.augmentation.{value}" for value in varied))
    store_objects(settings)
    images = selection.choose(
        selection.request(settings), selection.read(selection.request(settings), lambda *_: None)
    ).train
    size = settings.description.size
    objects = extras = 0
    for batch in training.Plan.of(settings).training_pipeline(images, size).training_batches(3).as_numpy_iterator():
        for image in range(2):
            given = batch[PROPOSED][image][batch[PROPOSED_VALID][image]]
            boxes = batch["boxes_yxyx"][image][batch["valid"][image]]
            assert np.abs(given[None] - boxes[:, None]).max(axis=-1).min(axis=1, initial=9).max(initial=0) < 1e-4
            objects, extras = objects + len(boxes), extras + len(given)
    assert extras >= objects > 10
    evaluated = training.Plan.of(settings).evaluation_pipeline(images, size).evaluation_batches()
    for index, row in enumerate(evaluated.unbatch().take(len(images)).as_numpy_iterator()):
        scale = row["window_yxyx"][2:] / row["image_size"]
        boxes = images.dataset.objects[index].boxes_yxyx
        np.testing.assert_allclose(row[PROPOSED][: len(boxes)], boxes * np.tile(scale, 2), rtol=1e-5)
        assert row[PROPOSED_VALID].sum() == len(boxes)


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_run_from_training_to_prediction(digits: Path, tmp_path: Path) -> None:
    """Runs share the proposals. The exported model takes them; loaded, it computes them."""
    settings = experiment(digits, tmp_path / "store", "data.validation_fraction=0")
    workdir = training.train(settings, tmp_path / "first", tensorboard=False)
    shards = {path: path.read_bytes() for path in (tmp_path / "store").glob("shard*")}
    assert len(shards) == 1
    if THOROUGH:
        training.train(config.override(settings, ["seed=3"]), tmp_path / "second", tensorboard=False)

    task, model = tasks.create(settings.task), training.trained_model(workdir)
    dataset = selection.open_source(selection.request(settings)).load("train")
    images = selection.cache(
        selection.request(settings),
        dataset,
        selection.image_size(selection.request(settings), dataset),
        lambda *_: None,
    )
    assert {path: path.read_bytes() for path in (tmp_path / "store").glob("shard*")} == shards
    pipeline = training.Plan.of(settings).evaluation_pipeline(images, model.size)
    expected = detections(BatchPredictor(model, task)(pipeline))
    for freeze in (True, False)[: 1 + (THOROUGH > 0)]:
        out = tmp_path / f"exported{freeze}"
        runs.open_run(workdir.path).export(out, freeze=freeze)
        predictor = runs.load_predictor(out, score=0.0)
        for index in (0, 5):
            detected = predictor.detect(decoding.decode(dataset.encoded(index), dataset.ids[index]))
            found = detected.boxes_yxyx, detected.labels, detected.scores
            wanted = expected[index]
            assert_same_detections(tuple(found), (wanted.boxes_yxyx, wanted.labels, wanted.scores), box_atol=1e-2)
    training.finish_run(workdir, training.Reporter(quiet=True), model)
    result = json.loads((workdir.path / "result.json").read_text())
    cost = models.estimate(settings.description, num_classes=dataset.num_classes)
    assert (result["regions"], result["macs"]) == (30, cost.macs)
    record = json.loads((out / "metadata.json").read_text())["proposals"]
    assert record == {"engine": "selective_search", "mode": "fast", "max_proposals": 30, "seed": 0, "version": 3}
    if THOROUGH:
        serve = tf.saved_model.load(str(out)).signatures["serving_default"]
        for batch, given in ((2, 0), (0, 4)):
            counts = tf.zeros(batch, tf.int32)
            images = tf.zeros((batch, 9, 5, 3), tf.uint8)
            found = serve(images=images, proposals=tf.zeros((batch, given, 4)), counts=counts)
            assert found["boxes"].shape == (batch, 10, 4)
            assert not found["scores"].numpy().any()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task.proposals.directory=none",), "task.proposals.directory is None; it should be a directory"),
        (("task.network.levels=P2,P3",), "task.network.pooling max: reads a single level; given P2, P3"),
        (("task.network.name=faster-rcnn",), "task.network.name is 'faster-rcnn'; did you mean \"fast-rcnn\""),
    ],
)
def test_wrong_settings_are_errors(overrides: tuple[str, ...], message: str, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        training.train(experiment(digits, tmp_path / "store", *overrides), tmp_path / "run", tensorboard=False)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.proposals.mode=slow", "task.proposals.mode is 'slow'"),
        ("task.proposals.max_proposals=0", "task.proposals.max_proposals is 0; it should be above 0"),
        ("task.background_overlap=0.6", "task.background_overlap is 0.6; it should be at most task.region_overlap"),
    ],
)
def test_wrong_values_are_errors(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.override(config.Experiment(), ["task.name=fast_rcnn", override])


def test_a_store_of_other_proposals_is_an_error(digits: Path, tmp_path: Path) -> None:
    ProposalStore.create(tmp_path / "store", method(config.Proposals(max_proposals=9)).parameters)
    with pytest.raises(UserError, match=r"store has proposals with other parameters:(?s:.*)max_proposals"):
        training.train(experiment(digits, tmp_path / "store"), tmp_path / "run", tensorboard=False)


@only_thorough
def test_the_verb_reports_a_missing_directory(digits: Path, tmp_path: Path, verbs: Verbs) -> None:
    (tmp_path / "config.json").write_text(config.to_json(experiment(digits, tmp_path / "store")))
    flags = f"--config={tmp_path / 'config.json'}", f"--workdir={tmp_path / 'run'}"
    verbs("train", *flags, "--config.task.proposals.directory=none").fails_with("task.proposals.directory is None")
