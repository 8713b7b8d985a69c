"""Is compound scaling better than scaling one dimension? The coefficients 1.17, 1.09 and 1.21 on CIFAR-10.

Nothing is selected by the results. A ResNet of width 8 with two blocks per stage at 32x32 pixels is scaled to about 4.8
and 9 times its multiply-adds by each method. The images are reduced to 16x16 pixels first and enlarged on the fly, so
that more resolution adds no detail. The coefficients were reported elsewhere (unpublished), for a baseline that
enlarges 32x32 images to 95x95. Each network is trained on the same independent folds of 6,000 training images and
validated on the 10,000 test images; the learning rate of each is one of three to five, by a held-out part of the first
fold.

Declared before the run:
- Compound scaling against depth, width and resolution alone at φ = 3, by simultaneous lower bounds. It is better than
  all three if all bounds are above 0. φ = 2, width and resolution together, and the slopes are secondary.
- A difference of two points matters. Of the first two folds, only the standard deviation counts: the least of 4, 6 and
  8 folds follows that detects two points over all three with a power of 80 %, else 8, for which there are images.
- A network whose training loss ends above the baseline's, or with a training that diverged, failed to optimize; the
  verdict says so.

Data      <directory>/train/<class>/* and <directory>/test/<class>/*, 50,000 and 10,000 images of CIFAR-10
Command   python -m tfeff.search --config=cifar10_scaling_claim --workdir=runs/scaling_claim \\
              --config.data.source=folder:<directory> --config.folds.count=2    # then 4, 6, 8
Variants  images of 32x32 pixels, in another workdir: --config.data.image_size=32 \\
              --config.experiment.task.augmentation.crop_padding=4
Result    four folds: compound scaling is not shown to be better than any dimension alone, and is worse than width
          alone. Images of 32x32 pixels: better than depth and resolution alone, not separable from width alone
          (docs/scaling.md)
"""

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Folds,
    Members,
    Optimizer,
    Schedule,
    Search,
    Training,
    Trials,
    architecture,
)


def get_config() -> Search:
    return Search(
        experiment=Experiment(
            task=ClassificationSettings(augmentation=Augmentation(horizontal_flip=True, crop_padding=2)),
            model=architecture("resnet", width=8, stage_blocks=(2, 2, 2, 2), resolution=32, zero_gamma=True),
            data=Data(source="folder:data/cifar10", image_size=16, normalization="dataset"),
            optimizer=Optimizer(name="sgd", learning_rate=0.1, weight_decay=5e-3),
            schedule=Schedule(name="cosine", warmup_epochs=2),
            training=Training(epochs=15, batch_size=64, ema_images=3200, validation_epochs=15, precision="float32"),
        ),
        coefficients=(1.17, 1.09, 1.21),
        folds=Folds(count=8, examples=6_000, validation_fraction=0.3, validation_split="test"),
        trials=Trials(batch_size="fixed", learning_rate="held_out"),
        members=Members(phis=(2.0, 3.0), methods=("depth", "width", "resolution", "width+resolution", "compound")),
    )
