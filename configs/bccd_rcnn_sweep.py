"""Ratios and thresholds of R-CNN's joint head on the blood cells of BCCD: a grid on cached features.

The backbone is that of `bccd_crops.py`, trained on the list `train`; the heads are trained and compared on the list
`val`, because a backbone that knows the images of a fold makes every head look better than it is, and is refused.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 205 photographs for the backbone, 87 for the folds
Command   python -m tfeff.train --config=bccd_crops --workdir=runs/bccd_train_crops \\
              --config.data.source=crops:voc:<directory> --config.data.train_split=train
          python -m tfeff.search --config=bccd_rcnn_sweep --workdir=runs/bccd_rcnn_sweep \\
              --config.data.source=voc:<directory>
Variants  L1 penalty and a box regressor for each class: \\
              --config.axes="task.network.l1=0|1e-5|1e-4,task.network.class_boxes=false|true"
          classic head: --config.experiment.task.network.head=classic \\
              --config.axes="task.classic.positive_weight=1|2|5|10,task.classic.box_overlap=0.4|0.6|0.8"
Machine   1 virtual CPU core: backbone 10 minutes, this sweep 7, the first variant 2
Result    32 positives of 128 and a negative overlap of 0.3: mAP@.5 0.815 (0.770 to 0.852), mean of three folds; not
          separable from four of the other five (docs/rcnn.md)
"""

from tfeff.config import (
    Data,
    Experiment,
    Folds,
    Objective,
    Optimizer,
    RCNNSettings,
    RegionFeatures,
    RegionProposals,
    Schedule,
    Suppression,
    Sweep,
    Training,
    architecture,
)


def get_config() -> Sweep:
    return Sweep(
        experiment=Experiment(
            task=RCNNSettings(
                proposals=RegionProposals(directory="runs/bccd_proposals"),
                features=RegionFeatures(directory="runs/bccd_features"),
                suppression=Suppression(overlap=0.4, minimum_score=0.01, candidates=10_000),
            ),
            model=architecture(
                "resnet", width=16, stage_blocks=(1, 1, 1, 1), resolution=48, weights="runs/bccd_train_crops"
            ),
            data=Data(source="voc:data/BCCD", train_split="val"),
            optimizer=Optimizer(learning_rate=1e-2, momentum=0.9, nesterov=False),
            schedule=Schedule(name="constant"),
            training=Training(epochs=4, batch_size=128, validation_epochs=4, precision="float32"),
        ),
        axes=("task.joint.positives=32|64|100", "task.joint.negative_overlap=0.3|0.5"),
        folds=Folds(kind="classic", count=3, examples=None),
        objective=Objective(metric="validation_mean_ap"),
    )
