"""`python -m tfeff.export --workdir=DIR --out=DIR2 [--format=litert] [--nofit] [--next_version] [--overwrite]`: export.

Models take images of any size and fit them to the network's input as the training does; SavedModels also take encoded
images. Models for LiteRT and Keras, in bfloat16 or with --nofit take images that fit; `metadata.json` says how.

`--model=efficientnet-lite0` instead of `--workdir` exports a published network: a classifier of ImageNet's 1,000
classes, or a detector of COCO's 80 (`efficientdet-d0`).
"""

from absl import flags

from tfeff import api, cli
from tfeff.config.budget import PRECISIONS
from tfeff.errors import UserError
from tfeff.execution.startup import load_tensorflow
from tfeff.reporting.terminal import say


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "Workdir of a finished tfeff.train run.")
    flags.DEFINE_string("model", None, "Instead of --workdir: the name of a published network: efficientnet-lite0 ...")
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
        "it is then three times as slow, and with --precision=bfloat16 no; with --format=keras never. --nofit: it "
        "takes float32 images that fit, see metadata.json.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        list(PRECISIONS),
        "Precision of the computation. bfloat16 requires --format=openvino; int8 requires --format=litert, and is "
        "calibrated on training images.",
    )
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
    """Exports the network or detector of a run, or a published one."""
    given = flags.FLAGS
    if bool(given.workdir) == bool(given.model):
        raise UserError("give either --workdir=DIR (a finished run) or --model=NAME (a published network)")
    options = {
        "next_version": given.next_version,
        "fit": given.fit,
        "precision": given.precision,
        "freeze": given.freeze if given["freeze"].present else None,
        "overwrite": given.overwrite,
    }
    if given.model:
        if given.precision == "int8":
            raise UserError(
                "--precision=int8 requires --workdir: ranges of 8-bit numbers are those of its training images"
            )
        load_tensorflow()
        from tfeff import runs

        path = runs.export_published(given.model, given.out, given.format, **options)
    else:
        path = api.open(given.workdir).export(given.out, given.format, **options)
    say(f"wrote {path}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
