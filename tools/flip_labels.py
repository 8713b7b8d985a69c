"""How many wrong labels does the page of `tfeff.analyze` find? Flips some labels of a folder of images, and counts.

    python tools/flip_labels.py flip --source=DIR --out=DIR2 [--split=test] [--count=100] [--seed=0]
    python -m tfeff.train ... --config.data.source=folder:DIR2     # one network, or several
    python -m tfeff.analyze --workdir=RUN [--workdir=RUN ...] --out=PAGE
    python tools/flip_labels.py count --flipped=DIR2 --report=PAGE/report.json [--first=200]

DIR has <split>/<class>/<image>. DIR2 links to its images; in one split, images drawn at random are moved to the folder
of another class, also drawn at random. DIR2/flipped.json lists them.
"""

import argparse
import json
from pathlib import Path

import command_line
import numpy as np

from tfeff.durable import write
from tfeff.errors import UserError

LIST = "flipped.json"


def main() -> None:
    """Flips labels, or counts which were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    flipping = verbs.add_parser("flip")
    flipping.add_argument("--source", type=Path, required=True, help="Folder of images.")
    flipping.add_argument("--out", type=Path, required=True, help="Output directory.")
    flipping.add_argument("--split", default="test")
    flipping.add_argument("--count", type=int, default=100, help="Number of labels to flip.")
    flipping.add_argument("--seed", type=int, default=0)
    counting = verbs.add_parser("count")
    counting.add_argument("--flipped", type=Path, required=True, help="What `flip` wrote.")
    counting.add_argument("--report", type=Path, required=True, help="report.json of tfeff.analyze.")
    counting.add_argument("--first", type=int, default=200, help="Suspects to look at.")
    given = parser.parse_args()
    if given.verb == "flip":
        flip(given.source, given.out, given.split, given.count, given.seed)
        print(f"wrote {given.out / LIST}")
    else:
        ids = suspects(given.report)
        found, flipped = count(given.flipped, ids[: given.first])
        first = min(given.first, len(ids))
        print(f"{found} of {flipped} flipped labels are among the first {first} of {len(ids)} suspects")


def flip(source: Path, out: Path, split: str, number: int, seed: int) -> None:
    """Writes a folder of links with some labels flipped.

    Args:
        source: folder with <split>/<class>/<image>.
        out: the folder to write, new.
        split: whose labels are flipped.
        number: number of labels to flip.
        seed: seed of the draws.

    Raises:
        UserError: the split has too few images or classes, or `out` exists.
    """
    images = sorted(path for path in (source / split).glob("*/*") if path.is_file())
    classes = sorted({path.parent.name for path in images})
    if len(images) < number or len(classes) < 2:
        raise UserError(f"{source / split}: {len(images)} images of {len(classes)} classes; {number} labels to flip")
    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(len(images), number, replace=False).tolist())
    rows = []
    with command_line.new_folder(out) as new:
        for folder in sorted(path for path in source.iterdir() if path.is_dir() and path.name != split):
            (new / folder.name).symlink_to(folder.resolve())
        for index, image in enumerate(images):
            label, name = image.parent.name, image.name
            if index in chosen:
                others = [each for each in classes if each != label]
                label, name = others[rng.integers(len(others))], f"{image.stem}_{index}{image.suffix}"  # a new name
                rows.append({"image": f"{label}/{name}", "label": label, "true": image.parent.name})
            (new / split / label).mkdir(parents=True, exist_ok=True)
            (new / split / label / name).symlink_to(image.resolve())
        write(new / LIST, json.dumps(rows, indent=1) + "\n")


def suspects(report: Path) -> list[str]:
    """Returns the images whose labels look wrong, the most suspicious first.

    Raises:
        UserError: the file is not a report about classifiers.
    """
    try:
        return [row["id"] for row in json.loads(report.read_text())["label_errors"]["suspects"]]
    except (OSError, ValueError, KeyError):
        raise UserError(f"--report={report}: not a report.json of tfeff.analyze --workdir=... --out=DIR") from None


def count(out: Path, ids: list[str]) -> tuple[int, int]:
    """Counts the flipped labels among some suspects, and all of them.

    Args:
        out: what `flip` wrote.
        ids: ids of the suspects: paths that end with <class>/<image>.
    """
    flipped = {row["image"] for row in json.loads((out / LIST).read_text())}
    return len(flipped & {"/".join(Path(each).parts[-2:]) for each in ids}), len(flipped)


if __name__ == "__main__":
    command_line.run(main)
