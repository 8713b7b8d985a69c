"""Your own images with boxes: YOLO, with network, input and training chosen for their number and size, and printed.

`--config.task.name=` chooses another detector, such as `faster_rcnn`, `efficientdet` or `rcnn`. The backbone of R-CNN
has ImageNet weights and is not trained; with many images, train it first on crops of their objects:
`python -m tfeff.train --config=own_images --workdir=runs/crops --config.data.source=crops:voc:<directory>
--config.data.validation_fraction=0.15`, which holds out the same photographs; then add
`--config.model.weights=runs/crops` to the command.

Data      voc:<directory>, yolo:<directory> or coco:<directory>
Command   python -m tfeff.train --config=own_boxes --workdir=runs/boxes \\
              --config.data.source=voc:<directory>
Machine   2 virtual CPU cores, shared with other work: 5 to 14 minutes for 200 photographs
Result    raccoon (200 photographs, one class, five folds of 40 test images): mAP@.5 0.931, mean of the folds (0.899 to
          0.951; 95 % interval 0.906 to 0.955), commit b9daa4e
          kangaroo (github.com/experiencor/kangaroo as it is: 164 photographs, one of them corrupt; 16 to test on):
          mAP@.5 0.819, 95 % interval of these images 0.678 to 0.946, 13 minutes on one core, commit 1a0f82b
"""

from tfeff.config import Experiment, Recipe
from tfeff.recipes import own


def get_config() -> Recipe[Experiment]:
    return own.boxes("voc:data/images")
