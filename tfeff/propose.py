"""`python -m tfeff.propose --dataset=voc:DIR --out=DIR2`: fill a store with region proposals of a data set.

The same command goes on with a store that was stopped, and computes nothing twice.
"""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from tfeff import verbs
from tfeff.errors import UserError

if TYPE_CHECKING:
    from tfeff.proposals import Proposer

ENGINES = ("selective_search", "opencv", "windows", "uniform")


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("dataset", None, "voc:DIR, yolo:DIR or coco:DIR.", required=True)
    flags.DEFINE_string("split", "all", "Of the data set.")
    flags.DEFINE_string("out", None, "The store's directory.", required=True)
    flags.DEFINE_enum("engine", "selective_search", ENGINES, "What proposes.")
    flags.DEFINE_enum("mode", "fast", ["single", "fast", "quality"], "Of selective search.")
    flags.DEFINE_integer("max_proposals", 2000, "An image, at most.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of boxes that are ranked alike, windows and uniform boxes.", lower_bound=0)
    flags.DEFINE_integer("threads", None, "Images at once; one a core if not given.", lower_bound=1)
    verbs.define_executor("Threads")
    flags.adopt_module_key_flags(verbs)
    flags.DEFINE_enum("on_defect", "fix", ["fix", "error"], "Fix or drop invalid annotations, or stop with an error.")


def main(argv: list[str]) -> None:
    """Proposes as the flags say."""
    given = flags.FLAGS
    from tfeff.data.sources import catalog
    from tfeff.durable import locked
    from tfeff.execution.threads import Threads
    from tfeff.proposals import ProposalStore, fill
    from tfeff.reporting.progress import Bar

    check_flags()
    proposer = build_proposer()
    source = catalog.load_annotated(given.dataset, given.split, on_defect=given.on_defect)
    if source.report.counts:
        print(source.report.text(), file=sys.stderr)
    directory = Path(given.out)
    with locked(directory, "--out"), verbs.executor(partial(Threads, given.threads)) as executor:
        store = ProposalStore.create(directory, proposer.parameters)
        with Bar(source.name, len(source), "images") as bar:
            filled = fill(store, source, proposer, executor, progress=lambda filled: bar.show(filled.done, filled.made))
    for name, message in filled.failed.items():
        print(f"left out: {name}: {message}", file=sys.stderr)
    if not len(store):
        raise UserError(f"{source.name}: no image of it has proposals; see above")
    print(
        f"{directory}: proposals of {len(store)} images; {filled.made} computed, {filled.known} known, {filled.copied} "
        f"copied from images of the same content, {len(filled.failed)} that could not be read"
    )


def check_flags() -> None:
    """Refuses flags that would have no effect."""
    given = flags.FLAGS
    verbs.check_executor("threads")
    if given.engine in ("windows", "uniform"):
        verbs.refuse("mode", f"--engine={given.engine}")
    if given.engine == "opencv":
        verbs.refuse("seed", "--engine=opencv")


def build_proposer() -> "Proposer":
    """The proposer of the flags."""
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
    print("preparing the kernels; the first time they are compiled, for a minute or less", file=sys.stderr)
    search(np.zeros((8, 8, 3), np.uint8))
    return search


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
