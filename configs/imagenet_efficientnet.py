"""EfficientNet-B0 to B7 on ImageNet as published: arXiv:1905.11946, section 5.2, and its reference implementation.

docs/imagenet.md compares every setting with the paper and that implementation, and names the test that enforces it.

Data      tfds:imagenet2012, prepared by TensorFlow Datasets, or folder:<directory> with train/<class>/* and
          val/<class>/*: 1,281,167 and 50,000 photographs of 1,000 classes. 25,023 training images are held out to
          choose the best epoch; the network of that epoch is evaluated on the 50,000
Command   python -m tfeff.train --config=imagenet_efficientnet --workdir=runs/b0 \\
              --config.data.directory=<prepared data> --config.data.cache_directory=<fast disk>
Network   --config.model.name=efficientnet-b1 ... b7: resolution and dropout are those of the network
Folder    --config.data.source=folder:<directory>
Memory    --config.training.accumulation_steps=N makes a batch in N parts per GPU. For 80 GB, B0, B4 and B7 need 2, 16
          and 64 on one GPU, and 1, 2 and 8 on each of eight (estimates; docs/imagenet.md has all members)
Disk      the cache has the decoded images: 350 GB for B0, 900 GB for B4, 2.1 TB for B7. Without one
          (--config.data.cache=none), each image is decoded in each epoch
Machine   intended for GPUs; not run yet. Forecast from the throughput that NVIDIA publishes for its own TensorFlow
          implementation on A100 GPUs of 80 GB in mixed precision (docs/imagenet.md): B0 1.5 days on one GPU and 6 hours
          on eight, B4 11 days and 1.5 days
Reach     top-1 accuracy of the reference implementation with AutoAugment, published in 2019: B0 77.1, B1 79.1,
          B2 80.1, B3 81.6, B4 82.9, B5 83.6, B6 84.0, B7 84.3 %
"""

from collections.abc import Set

from tfeff.config import (
    Augmentation,
    Choice,
    Choices,
    ClassificationSettings,
    Data,
    Experiment,
    Optimizer,
    Recipe,
    Schedule,
    Training,
    architecture,
    resolve_member,
)

LEARNING_RATE = 0.016
"""For each 256 images of a batch. The paper's 0.256 fits a batch of 4,096, which it does not state."""
MARGIN = 32
"""Evaluation crops the center of images whose shorter side has this many pixels more than the network's input."""


def get_config() -> Recipe[Experiment]:
    return Recipe(
        Experiment(
            task=ClassificationSettings(
                label_smoothing=0.1,
                augmentation=Augmentation(horizontal_flip=True, crop_area=0.08, autoaugment=True),
                center_crop=224 / (224 + MARGIN),
                interpolation="bicubic",
            ),
            model=architecture("efficientnet-b0", survival_probability=0.8),
            data=Data(
                source="tfds:imagenet2012",
                test_split="validation",
                validation_fraction=20 / 1024,
                cache="disk",
                cache_directory="data/cache",
            ),
            optimizer=Optimizer(
                name="rmsprop",
                decay=0.9,
                momentum=0.9,
                epsilon=1e-3,
                initial_accumulator=1.0,
                weight_decay=1e-5,
                weight_decay_kind="l2",
                weight_decay_biases=True,
            ),
            schedule=Schedule(
                name="exponential", decay_rate=0.97, decay_epochs=2.4, warmup_epochs=5, count_warmup=True
            ),
            training=Training(
                epochs=357,
                batch_size=2048,
                ema_decay=0.9999,
                keep="best",
                monitor="accuracy",
                precision="mixed_bfloat16",
            ),
        ),
        choose,
    )


def choose(settings: Experiment, kept: Set[str]) -> Choices:
    """The values that depend on the batch size and on the network; those that are set on the command line are kept."""
    resolution, batch_size = resolve_member(settings).model.resolution, settings.training.batch_size
    return {
        "optimizer.learning_rate": Choice(
            LEARNING_RATE * batch_size / 256, f"{LEARNING_RATE} for each 256 images of a batch"
        ),
        "task.center_crop": Choice(
            resolution / (resolution + MARGIN), f"{resolution} of {resolution + MARGIN} pixels of the shorter side"
        ),
    }
