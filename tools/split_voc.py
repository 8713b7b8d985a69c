"""Splits a VOC dataset into folds: `python tools/split_voc.py --dataset=voc:DIR --folds=5 --out=DIR2`.

DIR2/0, DIR2/1, ... are datasets that link to the annotations and images of DIR. Fold k is the `test` list of dataset k,
the other images are its `train` list. So every image is tested once, by a detector that was not trained on it. With
`--split=trainval`, the images of that list alone are split, and those of the dataset's own test list stay out.
"""

import argparse
from pathlib import Path

import command_line
import numpy as np

from tfeff.data.sources import catalog
from tfeff.errors import UserError


def main() -> None:
    """Splits the dataset that the flags name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="voc:DIR.")
    parser.add_argument("--split", default="all", help="List whose images are split; default: all images.")
    parser.add_argument("--folds", type=int, default=5, help="Number of folds.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draw.")
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    arguments = parser.parse_args()
    names = list(catalog.open_objects(arguments.dataset).load(arguments.split).ids)
    split(Path(arguments.dataset.removeprefix("voc:")), names, arguments.folds, arguments.seed, arguments.out)


def split(root: Path, names: list[str], folds: int, seed: int, out: Path) -> None:
    """Writes one dataset per fold.

    Args:
        root: root of a VOC dataset without split folders.
        names: ids of its images.
        folds: number of folds.
        seed: seed of the draw.
        out: the output directory.

    Raises:
        UserError: it exists, the dataset is no VOC dataset with folders, or the number of folds is wrong.
    """
    if out.exists():
        raise UserError(f"--out={out}: exists; give a new folder")
    folders = [each for each in root.iterdir() if each.is_dir() and each.name != "ImageSets"] if root.is_dir() else []
    if not folders:
        raise UserError(f"--dataset: {root} is no VOC dataset with folders of annotations and images")
    if not 2 <= folds <= len(names):
        raise UserError(f"--folds={folds}: give 2 to {len(names)}, the number of images")
    order = np.random.default_rng(seed).permutation(len(names))
    for fold, held_out in enumerate(np.array_split(order, folds)):
        lists = out / str(fold) / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        for split, members in (("test", held_out), ("train", np.setdiff1d(order, held_out))):
            (lists / f"{split}.txt").write_text("".join(f"{names[index]}\n" for index in sorted(members)))
        for folder in folders:
            (out / str(fold) / folder.name).symlink_to(folder.resolve())


if __name__ == "__main__":
    command_line.run(main)
