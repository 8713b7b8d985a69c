"""`python -m tfeff.export --workdir=DIR --out=DIR2 [--freeze] [--overwrite]`: a trained network as a SavedModel."""

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "The workdir of a finished tfeff.train run.", required=True)
    flags.DEFINE_string("out", None, "Where the SavedModel goes.", required=True)
    flags.DEFINE_bool("freeze", False, "Weights as constants: faster on CPUs, but nothing can train them any more.")
    flags.DEFINE_string("form", None, "Which of a run's detectors; the first of its config's forms if not given.")
    flags.DEFINE_bool("overwrite", False, "Replace a SavedModel that is already there.")


def main(argv: list[str]) -> None:
    """Exports the run of the flags."""
    values = flags.FLAGS
    if verbs.is_detector(values.workdir):
        if values.freeze:
            raise UserError("--freeze has no effect on detectors; leave it out")
        verbs.load_tensorflow()
        from tfeff import rcnn

        of = rcnn.Workdir(values.workdir)
        form = values.form or of.settings().forms[0]
        out = rcnn.export(of, form, values.out, overwrite=values.overwrite)
        print(f"wrote {out}: signatures serving_default (a uint8 image, proposals) and serving_bytes (an encoded one)")
        return
    if values.form:
        raise UserError("--form goes with the workdir of a detector; leave it out")
    verbs.load_tensorflow()
    from tfeff import training
    from tfeff.serving import run

    out = run.export(training.Workdir(values.workdir), values.out, freeze=values.freeze, overwrite=values.overwrite)
    print(f"wrote {out}: signatures serving_default (uint8 images) and serving_bytes (encoded JPEG or PNG)")


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
