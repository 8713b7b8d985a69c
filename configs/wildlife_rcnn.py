"""R-CNN for four animals, on the backbone that `wildlife_crops.py` trains; batches have 100 positives, 28 negatives.

Data      yolo:<directory> of African Wildlife (Ultralytics): buffalo, elephant, rhino and zebra; 1,052 training, 225
          validation and 227 test photographs
Command   python -m tfeff.train --config=wildlife_crops --workdir=runs/wildlife_crops \\
              --config.data.source=crops:yolo:<directory>
          python -m tfeff.train --config=wildlife_rcnn --workdir=runs/wildlife_rcnn \\
              --config.data.source=yolo:<directory>
Variants  heads that share proposals and features: --config.task.network.head=classic or =sliding_window
Machine   intended for a GPU
Result    not run yet on these photographs, which a user downloads. Tried on 47 photographs of four other animals: dogs,
          elephants and giraffes of coco128, and raccoons (datitran/raccoon_dataset); 24 to train on, with φ = 0,
          150 proposals and 25 + 20 epochs (--config.member.phi=0, --config.data.proposals.max_proposals=150,
          --config.training.ema_decay=0.9): 66 of 119 validation crops right, 55.5 % (46.5 to 64.1 %); on 12 test images
          mAP@.5 0.032 (0.018 to 0.106). So few photographs show that the commands run, and nothing else
"""

from pathlib import Path

from tfeff.config import (
    Data,
    Experiment,
    Joint,
    Member,
    Optimizer,
    RCNNSettings,
    RegionFeatures,
    RegionProposals,
    Schedule,
    Training,
    architecture,
)

FAMILY = Path(__file__).parent / "cifar10_report"


def get_config() -> Experiment:
    return Experiment(
        task=RCNNSettings(
            proposals=RegionProposals(max_proposals=1000, directory="runs/wildlife_proposals"),
            features=RegionFeatures(directory="runs/wildlife_features"),
            joint=Joint(positives=100),
        ),
        member=Member(family=str(FAMILY), phi=1.0),
        model=architecture("resnet", weights="runs/wildlife_crops"),
        data=Data(source="yolo:data/wildlife"),
        optimizer=Optimizer(learning_rate=1e-2, momentum=0.9, nesterov=False),
        schedule=Schedule(name="constant"),
        training=Training(epochs=60, batch_size=128, early_stopping_epochs=5, keep="best", precision="float32"),
    )
