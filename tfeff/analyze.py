"""`python -m tfeff.analyze`: why a network finds nothing. Checks a chain of links and names the first broken one.

python -m tfeff.analyze --workdir=DIR [--split=test] [--out=DIR]        after or during training
python -m tfeff.analyze --dataset=voc:DIR [--config.KEY=VALUE ...] [--out=DIR]        before training
"""

import json
from pathlib import Path

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError

DEFAULT_OUT = "analysis"


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_multi_string("workdir", [], "Workdir of a tfeff.train run, finished or not.")
    flags.DEFINE_string(
        "dataset", None, "Dataset to analyze before training: voc:DIR, yolo:DIR, coco:DIR, folder:DIR, tfds:NAME."
    )
    flags.DEFINE_string(
        "split", None, "With --workdir: the images to compare with the training images: validation (default) or test."
    )
    flags.DEFINE_string("config", None, "With --dataset: config of the training. Default: YOLO, or a classifier.")
    flags.DEFINE_multi_string("override", [], "With --dataset: override a config value. Same as --config.key=value")
    flags.DEFINE_string(
        "out", None, "Directory of analysis.json and figures. Default: analysis, inside the workdir if there is one."
    )
    flags.DEFINE_bool("json", False, "Print the full report as JSON.")


def main(argv: list[str]) -> None:
    """Analyzes a run or a dataset."""
    given = flags.FLAGS
    if bool(given.workdir) == bool(given.dataset):
        raise UserError("give either --workdir=DIR (a run) or --dataset=SOURCE (images before training)")
    if len(given.workdir) > 1:
        raise UserError(f"--workdir is given {len(given.workdir)} times; the analysis of a run takes one --workdir")
    for name in ("config", "override") if given.workdir else ("split",):
        verbs.refuse(name, "--workdir" if given.workdir else "--dataset")
    if given.workdir and not Path(given.workdir[0]).is_dir():
        raise UserError(f"--workdir={given.workdir[0]}: no such directory; give the workdir of a tfeff.train run")
    verbs.load_tensorflow()
    from tfeff import config
    from tfeff.data.splits import canonical_name
    from tfeff.workbench import diagnosis

    if given.workdir:
        subject = diagnosis.open_run(Path(given.workdir[0]))
    else:
        base = config.load(given.config, config.Experiment) if given.config else None
        subject = diagnosis.open_dataset(given.dataset, given.override, base)
    out = Path(given.out or (Path(given.workdir[0]) / DEFAULT_OUT if given.workdir else DEFAULT_OUT))
    split = None if given.split is None else canonical_name(given.split)
    report = diagnosis.diagnose(subject, split, lambda text: None if given.json else print(f"{text} ...", flush=True))
    files = report.save(out)
    print(json.dumps(report.diagnosis.to_dict(), indent=2) if given.json else f"\n{report.diagnosis.to_text()}\n")
    if not given.json:
        print("\n".join(f"wrote {path}" for path in files))


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
