"""`python -m tfeff.propose --dataset=voc:DIR --out=DIR2`: store region proposals of a dataset.

Rerun the same command to resume an interrupted run. Images that cannot be decoded are listed and skipped.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from tfeff import cli
from tfeff.errors import UserError
from tfeff.reporting.terminal import say

if TYPE_CHECKING:
    from tfeff.proposals import Proposer

ENGINES = ("selective_search", "opencv", "windows", "uniform")


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string(
        "dataset",
        None,
        "Dataset: voc:DIR, yolo:DIR, coco:DIR, csv:FILE, tfds:NAME, hf:DIR, records:DIR or embedded:placed_digits. "
        "Unreadable images are listed on stderr and skipped. The exit code is still 0, or 2 if no image has proposals.",
        required=True,
    )
    flags.DEFINE_string("split", "all", "Split of the dataset.")
    flags.DEFINE_string("out", None, "Directory of the proposal store.", required=True)
    flags.DEFINE_enum("engine", "selective_search", ENGINES, "Proposal method.")
    flags.DEFINE_enum("mode", "fast", ["single", "fast", "quality"], "Mode of selective search.")
    flags.DEFINE_integer("max_proposals", 2000, "Maximum number of proposals per image.", lower_bound=1)
    flags.DEFINE_integer(
        "seed", 0, "Seed for sliding windows, uniform boxes, and ties in selective search.", lower_bound=0
    )
    flags.DEFINE_integer("threads", None, "Number of threads; default: one per core.", lower_bound=1)
    cli.define_executor("Threads")
    flags.DEFINE_enum(
        "on_defect", "report", ["report", "stop"], "Defects of annotations: fix or leave out and report them, or stop."
    )


def main(argv: list[str]) -> None:
    """Computes the proposals of a dataset and stores them."""
    given = flags.FLAGS
    from tfeff.data.contents import Contents, text
    from tfeff.data.sources import catalog
    from tfeff.data.sources.source import Options
    from tfeff.durable import locked
    from tfeff.execution.executor import Threads
    from tfeff.proposals import ProposalStore, generate
    from tfeff.reporting.progress import Bar

    check_flags()
    source = catalog.open_objects(given.dataset, Options(on_defect=given.on_defect)).load(given.split)
    say(text({given.split: Contents.of(source)}), error=True)
    proposer = build_proposer()  # after the dataset, to report its errors immediately
    directory = Path(given.out)
    with locked(directory, "--out"), cli.executor(partial(Threads, given.threads)) as executor:
        store = ProposalStore.create(directory, proposer.parameters)
        with Bar(source.name, len(source), "images") as bar:
            counts = generate(
                store, source, proposer, executor, progress=lambda counts: bar.show(counts.processed, counts.computed)
            )
    for image_id, message in counts.failed.items():
        say(f"skipped: {image_id}: {message}", error=True)
    if not len(store):
        raise UserError(f"{source.name}: no proposals, because no image could be read; see above")
    say(
        f"{directory}: proposals of {len(store)} images. {counts.computed} computed, {counts.existing} already stored, "
        f"{counts.copied} copied from identical images, {len(counts.failed)} unreadable and skipped"
    )


def check_flags() -> None:
    """Rejects flags that would have no effect."""
    given = flags.FLAGS
    cli.check_executor("threads")
    if given.engine in ("windows", "uniform"):
        cli.refuse("mode", f"--engine={given.engine}")
    if given.engine == "opencv":
        cli.refuse("seed", "--engine=opencv")


def build_proposer() -> "Proposer":
    """Builds the proposer that the flags select."""
    from tfeff import proposals

    given = flags.FLAGS
    match given.engine:
        case "opencv":
            return proposals.OpenCVSelectiveSearch(given.mode, given.max_proposals)
        case "windows":
            return proposals.SlidingWindows(given.max_proposals, given.seed)
        case "uniform":
            return proposals.UniformBoxes(given.max_proposals, given.seed)
    search = proposals.SelectiveSearch(given.mode, given.max_proposals, given.seed)
    search(np.zeros((8, 8, 3), np.uint8))  # compiles, before the bar of the images
    return search


if __name__ == "__main__":
    define_flags()
    cli.run(main)
