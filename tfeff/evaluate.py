"""`python -m tfeff.evaluate`: evaluate a trained network or detector on a split, or region proposals on a dataset.

python -m tfeff.evaluate --workdir=DIR [--split=test] [--runtime=auto] [--json]
python -m tfeff.evaluate --proposals=DIR [--proposals=NAME=DIR ...] --dataset=voc:DIR [--split=all] [--out=DIR]
"""

import json
from pathlib import Path

from absl import flags

from tfeff import api, cli
from tfeff.errors import UserError
from tfeff.reporting.terminal import say


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "Workdir of a finished tfeff.train run.")
    flags.DEFINE_multi_string("proposals", [], "Proposal store of tfeff.propose: DIR or NAME=DIR")
    flags.DEFINE_string(
        "dataset",
        None,
        "With --proposals: dataset with the ground-truth boxes: voc:DIR, yolo:DIR, coco:DIR, csv:FILE, tfds:NAME, "
        "hf:DIR, records:DIR or embedded:placed_digits.",
    )
    flags.DEFINE_string("split", None, "Split to evaluate. Default: the test split of a run; all images of a dataset.")
    cli.define_runtime()
    flags.DEFINE_string("out", None, "With --proposals: directory for proposals.json and the figure.")
    flags.DEFINE_bool("json", False, "Print the full report as JSON.")


def main(argv: list[str]) -> None:
    """Evaluates a run or proposals."""
    given = flags.FLAGS
    if bool(given.workdir) == bool(given.proposals):
        raise UserError("give either --workdir=DIR (a trained network) or --proposals=DIR (region proposals)")
    if given.proposals:
        cli.refuse("runtime", "--proposals")
        _evaluate_proposals()
        return
    for name in ("dataset", "out"):
        if given[name].present:
            raise UserError(f"--{name} requires --proposals; remove it")
    run = api.open(given.workdir)
    evaluated = run.evaluate(given.split, runtime=given.runtime, quiet=given.json)
    say(evaluated.to_json() if given.json else evaluated)


def _evaluate_proposals() -> None:
    given = flags.FLAGS
    if not given.dataset:
        raise UserError("--proposals requires --dataset=..., the dataset with the ground-truth boxes")
    from tfeff.data import splits
    from tfeff.data.sources import catalog
    from tfeff.proposals import ProposalStore
    from tfeff.proposals.quality import Quality

    stores = {}
    for text in given.proposals:
        name, directory = _named(text)
        if name in stores:
            raise UserError(f'--proposals: two stores have the name "{name}"; name them with --proposals=NAME=DIR')
        stores[name] = ProposalStore(directory)
    quality = Quality(stores, catalog.open_objects(given.dataset).load(given.split or splits.ALL))
    say(json.dumps(quality.to_dict(), indent=2) if given.json else quality.to_text())
    if given.out:
        for path in quality.save(Path(given.out)):
            say(f"wrote {path}", error=given.json)


def _named(text: str) -> tuple[str, str]:
    """Returns name and directory of a store, given as NAME=DIR or DIR; a folder on the way to DIR may contain a "=".

    >>> _named("ours=runs/lr=0.1/props"), _named("runs/lr=0.1/props")
    (('ours', 'runs/lr=0.1/props'), ('props', 'runs/lr=0.1/props'))
    """
    name, given, directory = text.partition("=")
    return (name, directory) if given and "/" not in name else (Path(text).name, text)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
