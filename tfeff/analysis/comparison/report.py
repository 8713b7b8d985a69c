"""Comparison of finished runs, and its report.

```
report.html        numbers, figures and galleries on one self-contained page
report.json        all results as numbers
figures/           PNG and SVG
tensorboard/       figures and tables, and the features of classifiers for the projector, in comparison/
predictions/       what each model predicts: a second call reuses it
unreadable/        the images that cannot be decoded: only the first run of the first call decodes all to find them
latency.json       measured latencies: a second call reuses them
```
"""

from collections.abc import Sequence
from pathlib import Path

from tfeff import config, durable, training
from tfeff.analysis.comparison import classifiers, detectors
from tfeff.analysis.comparison.files import FORMATS, command
from tfeff.analysis.comparison.run import open_runs
from tfeff.errors import UserError, nearest
from tfeff.serving.exported import SAVED_MODEL

WRITERS = {"classifier": classifiers.write, "detector": detectors.write}
"""Kind of network -> what compares runs of it."""


def write(
    workdirs: Sequence[str | Path],
    out: str | Path,
    split: str | None = None,
    *,
    formats: Sequence[str] = (SAVED_MODEL,),
    reporter: training.Reporter | None = None,
) -> str:
    """Compares the runs of the workdirs on a split and writes the report to `out`.

    Args:
        workdirs: workdirs of finished runs of classifiers, or of detectors, with the same classes.
        split: the split; default the test split, or the validation images if there is none.
        formats: the formats in which models are timed, as of `tfeff.export`.

    Returns:
        Tables and the paths of the written files, for the terminal.

    Raises:
        UserError: a run is not finished, the runs differ in kind, classes or examples, the split does not exist or is
            empty, a format cannot express a model, or `out` cannot be written or is the workdir of a run.
    """
    reporter = reporter or training.Reporter()
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--formats={name}: {nearest(name, FORMATS)}")
    runs = open_runs(workdirs)
    directory = Path(out)
    config.refuse_workdir(directory)
    with durable.locked(directory, "--out"):
        return WRITERS[runs[0].kind](runs, directory, split, formats, reporter, command(workdirs, out, split, formats))
