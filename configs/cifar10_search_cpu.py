"""Scaling coefficients of a small ResNet at 16x16 on CIFAR-10, for two cores.

The baseline sees the 32x32 images at half their size, so that a higher resolution adds real detail up to 32x32. The
learning rate is the one that configs/cifar10_scaling_claim.py has found for its networks on held-out training images.

Data      <directory>/train/<class>/*.jpg, 50,000 images; each fold trains on 3,000 and validates on 3,000
Command   python -m tfeff.search --config=cifar10_search_cpu --workdir=runs/search_cpu \\
              --config.data.source=folder:<directory> \\
              --config.members.ratios= --config.members.batch_norm=false
Note      without the last two flags, it then also compares members at 2, 4 and 8 times the cost
Variant   without additional detail, in another workdir: --config.data.image_size=16 --config.folds.examples=12000 \\
          --config.folds.validation_fraction=0.75 --config.design.trainings=48
Machine   2 CPU cores; up to 80 trainings
Forecast  by --dry_run, at 230 ps per multiply-add and image; the search ends when the region covers 15 % of the plane:
          if single dimensions lose 1 point: 80 trainings, 235 minutes, region 58 %, detectable difference 1.6 points
          if they lose 2 points: 80 trainings, 235 minutes, region 26 %, detectable difference 1.4 points
          if they lose 4 points: 56 trainings, 155 minutes, region 13 %, detectable difference 1.5 points
Result    resolution alone is best; the region covers 6 % after 24 trainings in 19 minutes. Without additional detail,
          45 % after 48 trainings: docs/scaling.md, docs/results/cifar10_surface.json, cifar10_surface_upsampled.json
"""

from tfeff.config import (
    Augmentation,
    Budget,
    ClassificationSettings,
    Data,
    Design,
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
            task=ClassificationSettings(augmentation=Augmentation(horizontal_flip=True, crop_padding=4)),
            model=architecture("resnet", width=8, stage_blocks=(2, 2, 2, 2), resolution=16, zero_gamma=True),
            data=Data(
                source="folder:data/cifar10",
                image_size=32,
                normalization="dataset",
            ),
            optimizer=Optimizer(name="sgd", learning_rate=0.3, weight_decay=5e-3),
            schedule=Schedule(name="cosine", warmup_epochs=2),
            training=Training(epochs=15, batch_size=64, ema_images=3200, validation_epochs=15, precision="float32"),
        ),
        budget=Budget(macs=2.0, tolerance=0.075),
        design=Design(phis=(1.0, 2.0, 3.0), precision=0.15, trainings=80),
        folds=Folds(kind="independent", count=4, examples=6_000, validation_fraction=0.5),
        trials=Trials(batch_size="fixed", learning_rate="fixed"),
        reference=(1.17, 1.09, 1.21),  # reported elsewhere; see configs/cifar10_search_report.py
        members=Members(phis=(), ratios=(2.0, 4.0, 8.0), batch_norm=True),
    )
