"""Scaling coefficients of a whole detector, backbone, neck and heads, on the blood cells of BCCD.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset); only the 292 photographs of its trainval list are used
Command   python -m tfeff.search --config=bccd_detector_search --workdir=runs/bccd_detector_search \\
              --config.data.source=voc:<directory>
Result    docs/dense_detection.md, docs/results/bccd_detector_search.json
"""

from tfeff.config import (
    Allocation,
    BoxAugmentation,
    Budget,
    Data,
    Experiment,
    Folds,
    Members,
    Objective,
    Optimizer,
    Schedule,
    Search,
    Training,
    Trials,
    YoloSettings,
    architecture,
    detector,
)


def get_config() -> Search:
    return Search(
        experiment=Experiment(
            task=YoloSettings(
                network=detector("yolo", aspect=4 / 3, neck_channels=24, head_repeats=1),
                max_objects=40,
                augmentation=BoxAugmentation(horizontal_flip=True, vertical_flip=True, scale_range=(0.7, 1.4)),
            ),
            model=architecture("resnet", width=8, stage_blocks=(1, 1, 1, 1), stem="7x7", resolution=144),
            data=Data(source="voc:data/BCCD", train_split="trainval", normalization="dataset"),
            optimizer=Optimizer(name="adamw", learning_rate=4e-3, weight_decay=2e-2, clip_norm=10.0),
            schedule=Schedule(name="cosine", warmup_epochs=2),
            training=Training(epochs=30, batch_size=16, ema_decay=0.98, validation_epochs=30, precision="float32"),
        ),
        choice="mean",
        budget=Budget(macs=2.0, tolerance=0.05, candidates=12),
        folds=Folds(kind="classic", count=3, examples=None),
        trials=Trials(batch_size="fixed", learning_rate="fixed"),
        allocation=Allocation(name="full"),
        objective=Objective(metric="validation_mean_ap"),
        members=Members(phis=(1.0,)),
    )
