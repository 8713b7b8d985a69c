import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfeff.data.augment import mixing
from tfeff.data.augment.policy import Augmentation

BATCH = 64


def test_partners_are_a_new_permutation_at_each_step():
    orders = [mixing.partners(BATCH, 0, tf.constant(step, tf.int64)).numpy() for step in range(20)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(BATCH))
    assert len({tuple(order) for order in orders}) == 20
    np.testing.assert_array_equal(orders[3], mixing.partners(BATCH, 0, tf.constant(3, tf.int64)))
    assert (orders[3] != mixing.partners(BATCH, 1, tf.constant(3, tf.int64)).numpy()).any()


def mixed(step=0, size=(16, 20), **alphas):
    """Returns images of one level a class, which tells what they were mixed from."""
    classes = np.arange(BATCH) % 8
    images = np.broadcast_to(classes[:, None, None, None] * 30.0, (BATCH, *size, 3)).astype(np.float32)
    step = tf.constant(step, tf.int64)
    partner = mixing.partners(BATCH, 5, step)
    amounts = mixing.proportions(BATCH, Augmentation(**alphas), 5, step)
    labels = tf.one_hot(classes, 8)
    return classes, partner.numpy(), *mixing.mix(tf.constant(images), labels, slice(0, BATCH), partner, *amounts)


@pytest.mark.parametrize(
    "alphas", [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 1.0, "cutmix_alpha": 1.0}]
)
def test_labels_are_mixed_as_the_pixels_are(alphas):
    changed = 0
    for step in range(5):
        classes, partner, images, labels = mixed(step, **alphas)
        np.testing.assert_allclose(tf.reduce_sum(labels, axis=1), 1, atol=1e-6)
        assert (labels.numpy() >= 0).all()
        level = images.numpy().mean(axis=(1, 2, 3))
        np.testing.assert_allclose(level, labels.numpy() @ (np.arange(8) * 30.0), atol=1e-3)
        others = np.ones((BATCH, 8), bool)
        others[np.arange(BATCH), classes] = others[np.arange(BATCH), classes[partner]] = False
        assert (labels.numpy()[others] == 0).all()
        changed += (labels.numpy().max(axis=1) < 1).sum()
    assert changed > 100


def test_mixup_blends_every_pixel_and_cutmix_pastes_one_box():
    *_, images, _ = mixed(mixup_alpha=1.0)
    np.testing.assert_allclose(np.ptp(images.numpy(), axis=(1, 2)), 0, atol=1e-4)
    classes, partner, images, _ = mixed(cutmix_alpha=1.0)
    for image, mine, other in zip(images.numpy()[..., 0], classes, classes[partner], strict=True):
        assert set(np.unique(image)) <= {mine * 30.0, other * 30.0}
        if mine != other:
            pasted = image == other * 30.0
            box = np.outer(pasted.any(axis=1), pasted.any(axis=0))
            np.testing.assert_array_equal(pasted, box)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_proportions_follow_the_beta_distribution(alpha):
    mixup, cutmix, _ = mixing.proportions(4000, Augmentation(mixup_alpha=alpha), 0, tf.constant(9, tf.int64))
    assert stats.kstest(mixup.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(cutmix, 1)


def test_with_both_each_image_uses_one_of_them():
    both = Augmentation(mixup_alpha=1.0, cutmix_alpha=1.0)
    mixup, cutmix, _ = mixing.proportions(4000, both, 0, tf.constant(0, tf.int64))
    blended, pasted = mixup.numpy() < 1, cutmix.numpy() < 1
    assert not (blended & pasted).any()
    assert abs(blended.mean() - 0.5) < 0.03
    assert abs(pasted.mean() - 0.5) < 0.03
