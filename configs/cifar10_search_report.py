"""Scaling coefficients of a ResNet of width 12 at 95x95 on CIFAR-10, upsampled on the fly: the full experiment.

100 trainings at most, of networks with two to eight times the baseline's multiply-adds, for 40 epochs at a constant
learning rate on five independent subsets. Batch sizes keep the memory of the baseline at batch size 220.
`configs/cifar10_search_cpu.py` is a smaller version for two cores.

Stated    elsewhere (unpublished): a baseline at 95x95, upsampled from 32x32, and the result: the coefficients
          1.17 (depth), 1.09 (width) and 1.21 (resolution). configs/cifar10_family_report.py trains this
          family. All other settings are ours
Data      <directory>/train/<class>/*.jpg, 50,000 images; each fold trains on 3,500 and validates on 1,500;
          the direction is learned on five folds, members are compared on five others
Command   python -m tfeff.search --config=cifar10_search_report --workdir=runs/search_report \\
              --config.data.source=folder:<directory>
Machine   intended for a GPU. At most 100 trainings with 14.0 million images (100 x 40 x 3,500), then up to 14 networks
          for comparison: 70 trials with 9.8 million images; each of 0.18 to 1.58 billion multiply-adds
Missing   a GPU: one core would take weeks (estimated)
Result    not run yet
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
            task=ClassificationSettings(
                augmentation=Augmentation(horizontal_flip=True, shift=0.1, rotation=10, scale=0.1)
            ),
            model=architecture("resnet", width=12, stage_blocks=(2, 2, 2, 2), resolution=95),  # stated: 95
            data=Data(
                source="folder:data/cifar10",
                image_size=32,  # stated: images are upsampled from 32x32
                normalization="dataset",
            ),
            optimizer=Optimizer(name="sgd", learning_rate=0.05, weight_decay=5e-3),
            schedule=Schedule(name="constant"),
            training=Training(epochs=40, batch_size=220),
        ),
        budget=Budget(macs=2.0, tolerance=0.05),
        design=Design(phis=(1.0, 2.0, 3.0), precision=0.1, trainings=100),
        folds=Folds(kind="independent", count=5, examples=5_000, validation_fraction=0.3),
        trials=Trials(batch_size="product", learning_rate="fixed"),
        members=Members(phis=(1.0, 2.0, 3.0), batch_norm=True),
    )
