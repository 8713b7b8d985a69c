"""The width-12 ResNet on CIFAR-10 at 32x32, from a folder of JPEGs.

Data      <directory>/train/<class>/*.jpg and <directory>/test/<class>/*.jpg, 50,000 + 10,000 images
Command   python -m tfeff.train --config=configs/cifar10_resnet.py --workdir=runs/cifar10 \\
              --config.data.source=folder:<directory>
Machine   2 CPU cores (AMD EPYC): 39 s an epoch at 1,270 images/s when nothing else runs
Result    87.3 % of the 10,000 test images (95 % interval 86.7 to 88.0) after 60 epochs; training accuracy 94.7 %
          (curves: docs/cifar10_resnet.png). The target for this network, 89 %, is missed; random erasing,
          RandAugment and label smoothing give 87.5 %, batches of 64 and random erasing 87.3 %
"""

from tfeff.config import Data, Experiment, Model, Optimizer, Schedule, Training
from tfeff.data.augmentation import Augmentation


def get_config() -> Experiment:
    return Experiment(
        model=Model(name="resnet", width=12, stage_blocks=(2, 2, 2, 2), resolution=32),
        data=Data(
            source="folder:data/cifar10",
            image_size=32,
            normalization="dataset",
            validation_fraction=0.02,
            augmentation=Augmentation(horizontal_flip=True, crop_padding=4),
        ),
        optimizer=Optimizer(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=5e-3),
        schedule=Schedule(name="cosine", warmup_epochs=3),
        training=Training(epochs=60, batch_size=128, ema_decay=0.998),
    )
