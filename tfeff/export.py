"""`python -m tfeff.export --workdir=DIR --out=DIR2 [--freeze] [--overwrite]`: export to a SavedModel.

The SavedModel of a trained network or detector takes raw pixels or encoded images.
"""

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError


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
    if verbs.is_detector(given.workdir):
        if given.freeze:
            raise UserError("--freeze has no effect on detectors; remove it")
        verbs.load_tensorflow()
        from tfeff import rcnn

        workdir = rcnn.Workdir(given.workdir)
        form = given.form or workdir.settings().forms[0]
        out = rcnn.export(workdir, form, given.out, overwrite=given.overwrite)
        print(f"wrote {out}: signatures serving_default (a uint8 image, proposals) and serving_bytes (an encoded one)")
        return
    if given.form:
        raise UserError("--form requires the workdir of a detector; remove it")
    verbs.load_tensorflow()
    from tfeff import training
    from tfeff.serving import run

    out = run.export(training.Workdir(given.workdir), given.out, freeze=given.freeze, overwrite=given.overwrite)
    print(f"wrote {out}: signatures serving_default (uint8 images) and serving_bytes (encoded JPEG or PNG)")


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
