"""Fine-tuning EfficientNet-B0 on Stanford Cars, 196 classes; for a GPU.

Data      folder:<directory> with train/<class>/* and test/<class>/*: 8,144 and 8,041 photographs (Krause et al. 2013)
Command   python -m tfeff.train --config=cars_transfer --workdir=runs/cars \\
              --config.data.source=folder:<directory>
Target    the study that this recipe follows reports an accuracy of 91.4 % and 90.3 % with ImageNet weights (two
          networks); from scratch, 81.2 % on gray images and 79 % on color images
Missing   a GPU, and the photographs, which a user downloads; the recipe was not trained here. The weights of
          EfficientNet-B0 are downloaded at the first start
Variants  frozen backbone:   --config.optimizer.frozen=stem*,stage*,head_conv* --config.training.feature_variants=8
          gray images:       --config.data.channels=1
          from scratch:      --config.model.weights=none, with --config.model.mean=119.9,117.3,116.0 and
                             --config.model.std=68.1,67.8,68.9; of gray images, 117.8 and 68.9
          slower plateau:    --config.schedule.patience_epochs=7
          another network:   --config.model.name=efficientnet-lite0 (offline, extra "imagenet")
          dropout and decay: configs/transfer_sweep.py, on this dataset

The study compares depth 4, width 2, resolution 2 and compound scaling of a small network at "1.8, 1.8, 1.9 and 1.8
GFLOPs". Counted exactly, these networks have 1.58, 1.45, 1.54 and 1.80 billion multiply-adds.
"""

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    architecture,
)


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(
            label_smoothing=0.1,
            augmentation=Augmentation(
                horizontal_flip=True,
                rotation=25.0,
                shift=0.1,
                scale=0.1,
                shear=8.0,
                brightness=0.2,
                contrast=0.2,
                saturation=0.2,
                hue=0.02,
            ),
        ),
        model=architecture("efficientnet-b0", weights="imagenet", resolution=224, dropout=0.2),
        data=Data(source="folder:data/cars", image_size=256, validation_fraction=0.1, cache="memory"),
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=1e-2, clip_norm=5.0),
        schedule=Schedule(name="plateau", decay_rate=0.1, patience_epochs=3),
        training=Training(
            epochs=60,
            batch_size=64,
            early_stopping_epochs=10,
            minimum_change=1e-3,
            keep="best",
            precision="auto",
        ),
    )
