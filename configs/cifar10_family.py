"""A member of the family found by a search, trained on all of CIFAR-10.

Data      <directory>/train/<class>/*.jpg and <directory>/test/<class>/*.jpg, 50,000 + 10,000 images
Command   python -m tfeff.train --config=cifar10_family --workdir=runs/family_phi3 \\
              --config.data.source=folder:<directory> --config.member.family=runs/search_cpu --config.member.phi=3
"""

from tfeff.config import Augmentation, ClassificationSettings, Data, Experiment, Member, Optimizer, Schedule, Training


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(augmentation=Augmentation(horizontal_flip=True, crop_padding=4)),
        member=Member(family="runs/search_cpu", phi=0.0),
        data=Data(
            source="folder:data/cifar10",
            image_size=32,
            normalization="dataset",
            validation_fraction=0.02,
        ),
        optimizer=Optimizer(name="sgd", learning_rate=0.1, weight_decay=5e-3),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=20, batch_size=64, ema_decay=0.998),
    )
