"""Tests the annotation readers with damaged files: `python tools/fuzz_annotations.py --data=DIR`.

DIR contains `bccd`, `raccoon` and `coco128`; CSV files, records and tables of Hugging Face datasets are made by the
tool. The damage is what disks, editors, scripts and attackers cause: flipped and lost bytes; missing, duplicated,
reordered or deeply nested tags; invalid numbers; entity bombs; names with paths. A reader must finish within a time
limit, raise nothing but `UserError`, return only boxes inside their images, and keep every undamaged object. Where
damage reaches all objects, as that of class names does, lost ones must be counted. Tables of Hugging Face datasets have
no checksums; none of their images may be lost without a message or a count. Records have checksums: nothing may change.
"""

from pathlib import Path

import command_line
import fuzzing
import numpy as np
from damaged.coco import coco_case
from damaged.hub import hub_case
from damaged.packed import records_case
from damaged.tables import boxes_case, labels_case, lists_case
from damaged.voc import voc_case
from damaged.yolo import yolo_case


def prepare(data: Path) -> fuzzing.Make:
    """Reads the undamaged files."""
    kinds = (voc_case(data), yolo_case(data), coco_case(data))
    packed = records_case()

    def make(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
        made = (boxes_case, labels_case, lists_case, hub_case, hub_case, packed)
        return fuzzing.pick(rng, (*kinds, *kinds, *made))(rng, folder)

    return make


def main() -> None:
    """Tries all files."""
    fuzzing.main(__doc__, prepare, 10_000)


if __name__ == "__main__":
    command_line.run(main)
