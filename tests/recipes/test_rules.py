import pytest

from tests.thoroughness import thorough
from tfeff import config, models
from tfeff.recipes import WarmStart, rules
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
    for count in (243, 5_000, 50_000):
        network = models.build(name, num_classes=2, resolution=32)
        total = len(network.trainable_variables)
        freeze(network, rules.frozen(count, WarmStart("imagenet", name, "imagenet", "")).value)
        trained.append([variable.path for variable in network.trainable_variables])
    assert trained[0] == ["head_classifier/kernel", "head_classifier/bias"]
    assert 2 < len(trained[1]) < len(trained[2]) == total


@pytest.mark.parametrize("start", [FILE, SCRATCH])
def test_only_imagenet_networks_are_frozen(start):
    assert all(rules.frozen(count, start).value == () for count in COUNTS)


def test_only_the_new_classifier_learns_fast():
    factors = config.Optimizer(learning_rate_factors=rules.learning_rate_factors(IMAGENET).value).factors()
    assert factors == (("*", 0.1), ("head_classifier*", 1.0))
    assert rules.learning_rate_factors(SCRATCH).value == ()


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
    assert rules.resolution(config.Model(name="efficientnet-lite0"), start, count, side).value == expected


def test_a_given_resolution_is_kept():
    assert rules.resolution(config.Model(resolution=77), IMAGENET, 243, 333).value == 77
    assert rules.region_resolution(config.Model(resolution=77), IMAGENET).value == 77


@pytest.mark.parametrize("start", STARTS)
def test_the_chosen_network_can_be_built(start):
    wanted = config.Model(name=rules.NETWORK, weights="imagenet")
    chosen = {key: choice.value for key, choice in rules.network(wanted, start).items()}
    model = config.Model(**{"name": rules.NETWORK, **chosen})
    assert model.weights == start.weights
    assert models.architecture(model.name, **model.options())
    assert (model.name == "resnet") == (start.kind != "imagenet")


def test_a_network_of_your_own_choice_trains_from_scratch():
    assert set(rules.network(config.Model(name="mobilenet-v2"), SCRATCH)) == {"weights"}


@pytest.mark.parametrize(("count", "expected"), [(243, "memory"), (13_000, "memory"), (14_000, "none")])
def test_images_that_do_not_fit_into_memory_are_decoded_each_time(count, expected):
    assert rules.cache(count, 224, 3).value == expected


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


def test_a_backbone_of_which_only_the_classifier_learns_trains_for_one_epoch():
    assert rules.backbone_epochs(1_000, 64, IMAGENET).value == 1
    for count, start in ((2_000, IMAGENET), (1_000, FILE), (1_000, SCRATCH)):
        assert rules.backbone_epochs(count, 64, start) == rules.epochs(count, 64, start)


def test_every_choice_has_a_reason():
    model = config.Model(name=rules.NETWORK, weights="imagenet")
    choices = [rules.max_proposals(1.0), rules.vote_overlap(1.0), rules.vote_overlap(9.0), rules.class_balanced(1.0)]
    for start in STARTS:
        choices += [rules.frozen(9, start), rules.learning_rate_factors(start), rules.region_resolution(model, start)]
        choices += [rules.resolution(model, start, 9, 100), rules.epochs(9, 3, start)]
    assert all(choice.why for choice in choices)
