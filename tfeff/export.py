"""`python -m tfeff.export --workdir=DIR --out=DIR2 [--format=litert] [--nofreeze] [--overwrite]`: export a model.

The SavedModel of a trained network or detector takes raw pixels or encoded images; models for LiteRT, ONNX and OpenVINO
take images that fit the network's input. `metadata.json` says how to fit them.
"""

from pathlib import Path

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "Workdir of a finished tfeff.train run.", required=True)
    flags.DEFINE_string("out", None, "Directory for the model.", required=True)
    flags.DEFINE_enum(
        "format",
        "saved_model",
        ["saved_model", "litert", "onnx", "openvino"],
        "saved_model; litert: model.tflite; onnx: model.onnx; openvino: model.xml and model.bin. The last two require "
        "the extras onnx and openvino.",
    )
    flags.DEFINE_bool("int8", False, "With --format=litert: 8-bit integers, calibrated on training images.")
    flags.DEFINE_bool("freeze", True, "SavedModels: weights as constants, faster on CPUs; --nofreeze: as variables.")
    flags.DEFINE_string("form", None, "Detector of an R-CNN run: joint, classic or sliding_window. Default: the first.")
    flags.DEFINE_bool("overwrite", False, "Replace an earlier export.")


def main(argv: list[str]) -> None:
    """Exports the network or detector of a run."""
    given = flags.FLAGS
    verbs.load_tensorflow()
    from tfeff import runs

    run, out = runs.open_run(given.workdir), Path(given.out)
    if given.int8 and given.format != "litert":
        raise UserError("--int8 requires --format=litert")
    if given.format == "saved_model":
        written = run.export(out, form=given.form, freeze=given.freeze, overwrite=given.overwrite)
    elif flags.FLAGS["freeze"].present:
        raise UserError("--freeze requires --format=saved_model; in the other formats, weights are always constants")
    else:
        run.form(given.form)
        written = run.export_portable(out, given.format, int8=given.int8, overwrite=given.overwrite)
    print(f"wrote {out}: {written}")


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
