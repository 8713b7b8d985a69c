"""Detectors against other implementations: `python tools/benchmark.py detectors [--automl_python=... ...]`."""

import argparse
import sys
from pathlib import Path

from detector_sides import BATCH, TWO_STAGE_BATCH
from paired_processes import RUNTIMES, TOOLS, Comparison, chosen, compare
from paired_processes import add_flags as add_common_flags

from tfeff.errors import UserError
from tfeff.reporting import tables

SCRIPT = TOOLS / "detector_sides.py"


def runtimes(name: str) -> tuple[str, ...]:
    """Returns our side in each runtime."""
    return tuple(f"{name}-{runtime}" for runtime in RUNTIMES)


COMPARISONS = {
    "automl": Comparison(
        "D0 at 512, detections / google/automl", runtimes("d0"), "automl-d0", "automl", in_pytorch=False
    ),
    "effdet": Comparison("D0 at 512, detections / effdet", runtimes("d0"), "effdet-d0", "peer"),
    "effdet-network": Comparison("D0 at 512, network / effdet", runtimes("d0-network"), "effdet-d0-network", "peer"),
    "yolo": Comparison("YOLO at 640, network / YOLOv8n", runtimes("yolo-network"), "yolov8n-network", "peer"),
    "yolo-openvino": Comparison(
        "YOLO at 640, network / YOLOv8n in OpenVINO",
        ("yolo-network-openvino",),
        "yolov8n-network-openvino",
        "peer",
        in_pytorch=False,
    ),
    "training": Comparison("YOLO at 320, training / YOLOv8n", ("yolo-training",), "yolov8n-training", "peer", BATCH),
    "torchvision": Comparison(
        "Faster R-CNN at 480x640, detections / torchvision",
        (*runtimes("faster-rcnn"), "faster-rcnn-bfloat16-frozen"),
        "torchvision",
        "peer",
    ),
    "torchvision-training": Comparison(
        "Faster R-CNN at 480x640, training / torchvision",
        ("faster-rcnn-training",),
        "torchvision-training",
        "peer",
        TWO_STAGE_BATCH,
    ),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    add_common_flags(parser, COMPARISONS, "effdet, torchvision and ultralytics")
    parser.add_argument("--automl_python", help="Python with TensorFlow and tf_keras of the same version.")
    parser.add_argument("--automl_source", help="Folder efficientdet/ of a clone of google/automl.")


def run(arguments: argparse.Namespace) -> None:
    """Compares inference and training of detectors to google/automl, effdet, torchvision and ultralytics."""
    pythons = {"automl": arguments.automl_python, "peer": arguments.peer_python}
    wanted = chosen(arguments, COMPARISONS)
    if arguments.automl_python and not Path(arguments.automl_source or "", "hparams_config.py").is_file():
        raise UserError(f"--automl_source={arguments.automl_source}: has no hparams_config.py")
    for comparison, ours in wanted.items():
        python = pythons[comparison.environment]
        if python is None:
            print(f"{comparison.title}: skipped; it needs --{comparison.environment}_python", file=sys.stderr)
            continue
        source = Path(arguments.automl_source) if comparison.environment == "automl" else TOOLS
        print(tables.markdown(compare(SCRIPT, comparison, ours, python, arguments, source)))
