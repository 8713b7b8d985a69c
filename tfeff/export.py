"""`python -m tfeff.export --workdir=DIR --out=DIR2 [--format=litert] [--nofit] [--next_version] [--overwrite]`: export.

Models take images of any size and fit them to the network's input as the training does; SavedModels also take encoded
images. Models for LiteRT and Keras, and others with --nofit, take images that fit; `metadata.json` says how.
"""

from absl import flags

from tfeff import api, cli
from tfeff.reporting.terminal import say


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "Workdir of a finished tfeff.train run.", required=True)
    flags.DEFINE_string("out", None, "Directory for the model, or a file such as mine.onnx.", required=True)
    flags.DEFINE_enum(
        "format",
        None,
        ["saved_model", "litert", "onnx", "openvino", "keras"],
        "saved_model; litert: model.tflite; onnx: model.onnx; openvino: model.xml and model.bin; keras: model.keras, "
        "the network without decoding. onnx and openvino require the extras of these names. Default: by the ending of "
        "--out; of a directory, saved_model.",
    )
    flags.DEFINE_bool(
        "fit",
        None,
        "The model takes uint8 images of any size and fits them itself. Default: yes; with --format=litert no, because "
        "it is then three times as slow; with --format=keras never. --nofit: it takes float32 images that fit, see "
        "metadata.json.",
    )
    flags.DEFINE_bool("int8", False, "With --format=litert: 8-bit integers, calibrated on training images.")
    flags.DEFINE_bool(
        "freeze", True, "SavedModels: optimize for prediction; --nofreeze: keep the variables, to train them further."
    )
    flags.DEFINE_bool(
        "next_version",
        False,
        "SavedModels: write --out/1, or the next free number, as TensorFlow Serving expects versions of a model.",
    )
    flags.DEFINE_bool("overwrite", False, "Replace an earlier export.")


def main(argv: list[str]) -> None:
    """Exports the network or detector of a run."""
    given = flags.FLAGS
    path = api.open(given.workdir).export(
        given.out,
        given.format,
        next_version=given.next_version,
        fit=given.fit,
        int8=given.int8,
        freeze=given.freeze if given["freeze"].present else None,
        overwrite=given.overwrite,
    )
    say(f"wrote {path}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
