"""`python -m tfeff.export --workdir=DIR --out=DIR2 [--freeze] [--overwrite]`: export to a SavedModel.

The SavedModel of a trained network or detector takes raw pixels or encoded images.
"""

from pathlib import Path

from absl import flags

from tfeff import verbs


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "Workdir of a finished tfeff.train run.", required=True)
    flags.DEFINE_string("out", None, "Directory for the SavedModel.", required=True)
    flags.DEFINE_bool("freeze", False, "Turn weights into constants: faster on CPUs, no longer trainable.")
    flags.DEFINE_string("form", None, "Detector of an R-CNN run: joint, classic or sliding_window. Default: the first.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing SavedModel.")


def main(argv: list[str]) -> None:
    """Exports the network or detector of a run."""
    given = flags.FLAGS
    verbs.load_tensorflow()
    from tfeff import runs

    run, out = runs.open_run(given.workdir), Path(given.out)
    signatures = run.export(out, form=given.form, freeze=given.freeze, overwrite=given.overwrite)
    print(f"wrote {out}: {signatures}")


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
