"""R-CNN on handwritten digits placed on photographs: a detector trained from scratch, without any download.

Data      embedded:placed_digits, photographs of 128x128 pixels with one to six digits
Command   python -m tfeff.train --config=configs/digits_rcnn.py --workdir=runs/digits_rcnn
Machine   1 of 2 cores (AMD EPYC): 6 minutes in total
Result    800 test images, 2,760 objects:
          joint           mAP@.5 0.844 (95 % interval 0.833 to 0.856), COCO AP 0.579
          classic         mAP@.5 0.859 (0.848 to 0.871), COCO AP 0.599
          sliding window  mAP@.5 0.242 (0.229 to 0.260), COCO AP 0.058
"""

from tfeff.config import (
    RCNN,
    Augmentation,
    Classification,
    Data,
    DetectionData,
    Experiment,
    Model,
    Optimizer,
    Proposals,
    RegionFeatures,
    Schedule,
    Training,
    Windows,
)


def get_config() -> RCNN:
    return RCNN(
        forms=("joint", "classic", "sliding_window"),
        data=DetectionData(source="embedded:placed_digits", train_examples=700),
        proposals=Proposals(max_proposals=300),
        backbone=Experiment(
            task=Classification(augmentation=Augmentation(rotation=10.0, brightness=0.1, contrast=0.1)),
            model=Model(name="resnet", width=12, stage_blocks=(1, 1, 1, 1), resolution=24),
            data=Data(
                source="crops",
                image_size=24,
                test_split=None,
                validation_fraction=0.1,
                normalization="dataset",
                class_balanced=True,
            ),
            optimizer=Optimizer(learning_rate=0.1, weight_decay=5e-3),
            schedule=Schedule(warmup_epochs=1),
            training=Training(epochs=6, batch_size=128, ema_decay=0.99),
        ),
        features=RegionFeatures(grid=3),
        windows=Windows(max_windows=500),
    )
