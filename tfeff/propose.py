"""`python -m tfeff.propose --dataset=voc:DIR --out=DIR2`: fill a store with region proposals of a data set.

The same command goes on with a store that was stopped, and computes nothing twice.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError

if TYPE_CHECKING:
    from tfeff.execution.executor import Executor
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
    flags.DEFINE_integer("seed", 0, "Of the order of boxes that are ranked alike, and of windows and uniform boxes.")
    flags.DEFINE_integer("threads", None, "Images at once; one a core if not given.", lower_bound=1)
    flags.DEFINE_enum("executor", "local", ["local", "ray"], "Threads of this machine, or a Ray cluster.")
    flags.DEFINE_string("ray_address", None, "Of the cluster; that of RAY_ADDRESS, or this machine, if not given.")
    flags.DEFINE_enum("on_defect", "mend", ["mend", "error"], "Mend and count annotations that cannot be, or stop.")


def main(argv: list[str]) -> None:
    """Proposes as the flags say."""
    given = flags.FLAGS
    from tfeff.data import catalog
    from tfeff.durable import held
    from tfeff.proposals import ProposalStore, fill
    from tfeff.reporting.progress import Bar

    proposer = build_proposer()
    source = catalog.load_annotated(given.dataset, given.split, on_defect=given.on_defect)
    if source.report.counts:
        print(source.report.text(), file=sys.stderr)
    directory = Path(given.out)
    with held(directory, "--out"), executor() as places:
        store = ProposalStore.create(directory, proposer.parameters)
        with Bar(source.name, len(source), "images") as bar:
            filled = fill(store, source, proposer, places, progress=lambda filled: bar.show(filled.done))
    for message in filled.failed.values():
        print(f"left out: {message}", file=sys.stderr)
    print(
        f"{directory}: proposals of {len(store)} images; {filled.made} computed, {filled.known} known, {filled.copied} "
        f"copied from images of the same content, {len(filled.failed)} that could not be read"
    )


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
    return proposals.SelectiveSearch(given.mode, given.max_proposals, given.seed)


def executor() -> "Executor":
    """Where the flags want images to be looked at."""
    other = "threads" if flags.FLAGS.executor == "ray" else "ray_address"
    if flags.FLAGS[other].present:
        raise UserError(f"--{other} has no effect with --executor={flags.FLAGS.executor}; leave it out")
    if flags.FLAGS.executor == "ray":
        from tfeff.execution.cluster import RayCluster

        return RayCluster(flags.FLAGS.ray_address)
    from tfeff.execution.threads import Threads

    return Threads(flags.FLAGS.threads or len(os.sched_getaffinity(0)))


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
