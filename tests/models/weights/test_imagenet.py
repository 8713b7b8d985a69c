from tfeff import models
from tfeff.models.weights import imagenet, lite


def test_all_published_weights_have_a_published_accuracy():
    assert set(imagenet.TOP1) == {*imagenet.PUBLISHED, *lite.PACKAGES}
    assert models.imagenet_top1("resnet") is None


def test_larger_members_of_a_family_are_more_accurate():
    for family in ("efficientnet-b", "efficientnet-lite", "resnet", "mobilenet-v"):
        members = sorted(
            (name for name in imagenet.TOP1 if name.startswith(family)), key=lambda name: (len(name), name)
        )
        accuracies = [imagenet.TOP1[name] for name in members]
        assert accuracies == sorted(accuracies)
        assert len(set(accuracies)) == len(accuracies) > 1
