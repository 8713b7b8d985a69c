"""Draw selective search on an image: `python tools/draw_proposals.py --image=FILE --out=DIR`.

Writes the best boxes on the image (`boxes.png`), and the hierarchy of the mode's first strategy as a strip of images
(`hierarchy.png`) and as an animation (`hierarchy.gif`).
"""

import argparse
from pathlib import Path

import command_line

from tfeff.data.images import decoding
from tfeff.proposals import MODES, selective_search
from tfeff.proposals.selective import hierarchies, shrink
from tfeff.reporting import figure
from tfeff.reporting.hierarchy import frames, hierarchy_figure, save_animation
from tfeff.reporting.proposal_curves import boxes_figure

REGION_COUNTS = (200, 100, 50, 20, 10, 5, 2)
"""Numbers of regions in the strip."""


def main() -> None:
    """Draws the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True, help="Image file.")
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    parser.add_argument("--mode", choices=list(MODES), default="fast")
    parser.add_argument("--boxes", type=int, default=60, help="Number of boxes to draw.")
    arguments = parser.parse_args()
    image = decoding.decode(arguments.image.read_bytes(), str(arguments.image))
    arguments.out.mkdir(parents=True, exist_ok=True)

    boxes = selective_search(image, arguments.mode, max_proposals=arguments.boxes)
    title = f"the best {len(boxes)} proposals of {arguments.image.name}"
    figure.save(boxes_figure(image, boxes, title=title), arguments.out / "boxes")

    mode = MODES[arguments.mode]
    small, factor = shrink(image, mode.side)
    labels, _, parents = next(iter(hierarchies(small, mode, factor)))
    regions = int(labels.max()) + 1
    figure.save(
        hierarchy_figure(small, labels, parents, [count for count in REGION_COUNTS if count <= regions]),
        arguments.out / "hierarchy",
    )
    counts = sorted({max(1, round(regions * 0.8**step)) for step in range(40)}, reverse=True)
    save_animation(frames(small, labels, parents, counts), arguments.out / "hierarchy.gif")
    print(f"wrote {arguments.out / 'boxes'}.{{png,svg}}, {arguments.out / 'hierarchy'}.{{png,svg,gif}}")


if __name__ == "__main__":
    command_line.run(main)
