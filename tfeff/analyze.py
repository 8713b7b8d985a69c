"""`python -m tfeff.analyze`: why a network finds nothing, and what trained classifiers get wrong.

python -m tfeff.analyze --dataset=voc:DIR [--config.KEY=VALUE ...] [--out=DIR]        before training
python -m tfeff.analyze --dataset=voc:DIR --statistics        mean and standard deviation of its pixels
python -m tfeff.analyze --workdir=DIR [--split=test] [--out=DIR]        during or after training
python -m tfeff.analyze --workdir=DIR --unlabeled=DIR [--label=100] [--out=DIR]        which images to label next
python -m tfeff.analyze --workdir=DIR --workdir=DIR ... --out=DIR [--split=test] [--formats=saved_model,onnx]
        compares trained classifiers, or detectors
"""

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfeff import cli, config
from tfeff.errors import UserError
from tfeff.execution.startup import load_tensorflow
from tfeff.reporting.terminal import say

if TYPE_CHECKING:
    from tfeff.analysis.diagnosis import Subject

EXAMINED = 20_000
"""Images of each split that are examined by default."""


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_multi_string(
        "workdir",
        [],
        "Workdir of a tfeff.train run, finished or not. Several finished classifiers, or detectors, are compared.",
    )
    flags.DEFINE_list(
        "formats",
        ["saved_model"],
        "With several --workdir: formats in which their models are timed: saved_model, litert, onnx, openvino.",
    )
    flags.DEFINE_string(
        "dataset",
        None,
        "Dataset to analyze before training: voc:DIR, yolo:DIR, coco:DIR, folder:DIR, csv:FILE, tfds:NAME, hf:DIR, "
        "records:DIR.",
    )
    flags.DEFINE_string(
        "split",
        None,
        "With --workdir: split to examine. Default: validation for the diagnosis, test for the page of results.",
    )
    flags.DEFINE_string("config", None, "With --dataset: config of the training. Default: YOLO, or a classifier.")
    flags.DEFINE_multi_string("override", [], "With --dataset: override a config value. Same as --config.key=value")
    flags.DEFINE_string(
        "out", None, "Directory for the results. Default: analysis, inside the workdir if there is one."
    )
    flags.DEFINE_string(
        "unlabeled", None, "With --workdir of a classifier: folder of images without labels; lists those to label next."
    )
    flags.DEFINE_integer("label", cli.LABELED, "With --unlabeled: number of images to list.", lower_bound=1)
    flags.DEFINE_integer(
        "images",
        EXAMINED,
        "Maximum number of images of each split in the diagnosis. A classifier's page of results uses all images.",
        lower_bound=1,
    )
    flags.DEFINE_bool("json", False, "Print the full report as JSON.")
    flags.DEFINE_bool(
        "statistics", False, "With --dataset: only print mean and standard deviation of the training images."
    )


def main(argv: list[str]) -> None:
    """Analyzes a dataset or a run, or compares runs."""
    given = flags.FLAGS
    if bool(given.workdir) == bool(given.dataset):
        raise UserError("give either --workdir=DIR (a run) or --dataset=SOURCE (images before training)")
    for name in ("config", "override", "statistics") if given.workdir else ("split", "unlabeled"):
        cli.refuse(name, "--workdir" if given.workdir else "--dataset")
    for workdir in given.workdir:
        if not Path(workdir).is_dir():
            raise UserError(f"--workdir={workdir}: no such directory; give the workdir of a tfeff.train run")
    if len(given.workdir) > 1:
        for name in ("json", "unlabeled", "images"):
            cli.refuse(name, "several --workdir")
        if given.out is None:
            raise UserError("--out=DIR is missing: the directory for the comparison of several runs")
    elif given["formats"].present:
        raise UserError("--formats requires several --workdir, which are compared")
    if given.unlabeled is None:
        if given["label"].present:
            raise UserError("--label requires --unlabeled=DIR, the images to choose from")
    else:
        for name in ("split", "json", "images"):
            cli.refuse(name, "--unlabeled")
    if given.statistics:
        for name in ("out", "json", "images"):
            cli.refuse(name, "--statistics")
    if given.out:
        config.refuse_workdir(Path(given.out))
    load_tensorflow()
    if given.statistics:
        print_statistics(given)
        return
    from tfeff import training
    from tfeff.analysis import comparison, labeling

    if given.unlabeled is not None:
        (workdir,) = given.workdir
        out = given.out or Path(workdir) / cli.ANALYSIS
        say(labeling.write(workdir, given.unlabeled, out, given.label).to_text())
        return
    if len(given.workdir) > 1:
        say(comparison.write(given.workdir, given.out, given.split, formats=given.formats))
        return
    subject = diagnose(given)
    if subject.is_trained_classifier:
        (classifier,) = given.workdir
        split = None if given.split is None else subject.asked(given.split)[1]
        try:
            out = given.out or Path(classifier) / cli.ANALYSIS
            page = comparison.write([classifier], out, split, reporter=training.Reporter(quiet=given.json))
        except UserError as error:  # what is wrong with a run must not prevent its diagnosis
            page = f"The page about this classifier was not written: {error}"
        say(f"\n{page}", error=given.json)


def print_statistics(given: flags.FlagValues) -> None:
    """Prints mean and standard deviation of the training images of --dataset."""
    from tfeff import training
    from tfeff.analysis import diagnosis, pixel_statistics

    base = config.load(given.config, config.Experiment) if given.config else None
    subject, reporter = diagnosis.open_dataset(given.dataset, given.override, base), training.Reporter()
    with reporter.bars():
        found = pixel_statistics.measure(subject.train, partial(reporter.reading, subject.train.name))
    say(found.to_text())


def diagnose(given: flags.FlagValues) -> "Subject":
    """Writes and prints a diagnosis, and returns what was diagnosed."""
    from tfeff import training
    from tfeff.analysis import diagnosis
    from tfeff.data.contents import Contents, text

    if given.workdir:
        subject = diagnosis.open_run(Path(given.workdir[0]))
    else:
        base = config.load(given.config, config.Experiment) if given.config else None
        subject = diagnosis.open_dataset(given.dataset, given.override, base)
    out = Path(given.out or (Path(given.workdir[0]) / cli.ANALYSIS if given.workdir else cli.ANALYSIS))
    split = None
    if given.split is not None:
        subject, split = subject.including(given.split)
    report = diagnosis.diagnose(subject, split, training.Reporter(quiet=given.json), most=given.images)
    files = report.save(out, shlex.join(["python", "-m", "tfeff.analyze", *sys.argv[1:]]))
    if not given.json:
        splits = diagnosis.with_defects_once(subject.splits)
        say(text({role: Contents.of(images) for role, images in splits.items()}))
        for note in report.notes:
            say(note)
    say(json.dumps(report.to_dict(), indent=2) if given.json else f"\n{report.diagnosis.to_text()}\n")
    if not given.json:
        say("\n".join(f"wrote {path}" for path in files))
    return subject


if __name__ == "__main__":
    define_flags()
    cli.run(main)
