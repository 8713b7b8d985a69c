"""Draws selective search on an image: `python tools/draw_proposals.py --image=FILE --out=DIR`.

Writes the image with its first boxes (`boxes.png`), and the merging of its regions under the mode's first strategy as a
strip of images (`hierarchy.png`) and as an animation (`hierarchy.gif`).
"""

import argparse
from pathlib import Path

from tfeff.data.images import decoding
from tfeff.proposals import MODES, selective_search
from tfeff.proposals.selective import hierarchies, shrunk
from tfeff.reporting import figure
from tfeff.reporting.hierarchy import frames, hierarchy_figure, save_animation
from tfeff.reporting.proposal_curves import boxes_figure

STATES = (200, 100, 50, 20, 10, 5, 2)
"""Numbers of regions at which the strip shows the hierarchy."""


def main() -> None:
    """Draws the image that the flags name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True, help="Image file.")
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    parser.add_argument("--mode", choices=list(MODES), default="fast", help="Mode of selective search.")
    parser.add_argument("--boxes", type=int, default=60, help="Number of boxes to draw.")
    arguments = parser.parse_args()
    image = decoding.decode(arguments.image.read_bytes(), str(arguments.image))
    arguments.out.mkdir(parents=True, exist_ok=True)

    boxes = selective_search(image, arguments.mode, max_proposals=arguments.boxes)
    title = f"first {len(boxes)} proposals of {arguments.image.name}"
    figure.save(boxes_figure(image, boxes, title=title), arguments.out / "boxes")

    mode = MODES[arguments.mode]
    small, factor = shrunk(image, mode.side)
    labels, _, parents = next(iter(hierarchies(small, mode.strategies[:1], factor)))
    regions = int(labels.max()) + 1
    figure.save(
        hierarchy_figure(small, labels, parents, [count for count in STATES if count <= regions]),
        arguments.out / "hierarchy",
    )
    counts = sorted({max(1, round(regions * 0.8**step)) for step in range(40)}, reverse=True)
    save_animation(frames(small, labels, parents, counts), arguments.out / "hierarchy.gif")
    print(f"wrote {arguments.out / 'boxes'}.{{png,svg}}, {arguments.out / 'hierarchy'}.{{png,svg,gif}}")


if __name__ == "__main__":
    main()
