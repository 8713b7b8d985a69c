"""`python -m tfeff.predict --workdir=DIR --images=PATH --out=DIR2`: apply a trained model to image files.

`--images` is a file, or a folder that is searched recursively (except `--out`). `--out` receives `predictions.json` and
`predictions.csv`: the five most probable classes of each image, and boxes if the model finds objects. Detectors and
localizers also draw each image, classifiers a contact sheet. Detectors write `detections.json` in COCO's format for
results, where `image_id` is the path relative to `--images`. Damaged images are listed. Rerun the same command to
resume.
"""

import sys
import time
from pathlib import Path

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "Workdir of a finished tfeff.train run.")
    flags.DEFINE_string("model", None, "SavedModel of tfeff.train or tfeff.export, instead of --workdir.")
    flags.DEFINE_string("form", None, "Detector of an R-CNN run: joint, classic or sliding_window. Default: the first.")
    flags.DEFINE_string("images", None, "Image file, or folder of images.", required=True)
    flags.DEFINE_string("out", None, "Directory for the results.", required=True)
    flags.DEFINE_float("score", None, "Detectors: minimum score. Default: the threshold of the run.", lower_bound=0.0)
    flags.DEFINE_integer("batch_size", 32, "Classifiers and localizers: images in one call.", lower_bound=1)
    flags.DEFINE_bool("draw", True, "Write annotated images or a contact sheet.")


def main(argv: list[str]) -> None:
    """Predicts for all images and writes the results."""
    given = flags.FLAGS
    if bool(given.workdir) == bool(given.model):
        raise UserError("give either --workdir=DIR (a finished run) or --model=DIR (its SavedModel)")
    if given.model and given.form:
        raise UserError("--form requires --workdir; remove it")
    verbs.load_tensorflow()
    from tfeff import runs
    from tfeff.reporting.progress import Bar
    from tfeff.runs.prediction import find_images
    from tfeff.serving.journal import state_of

    out = Path(given.out)
    paths = find_images(Path(given.images), out)
    model = Path(given.model) if given.model else runs.open_run(given.workdir).saved_model(given.form)
    predictor = runs.load_predictor(model, batch_size=given.batch_size, score=given.score)
    began = time.perf_counter()
    with Bar("predicting", len(paths), "images") as bar:
        key = f"{state_of(model)} {given.score}"
        done = runs.predict(predictor, paths, out, key=key, draw=given.draw, progress=bar.show)
    seconds = time.perf_counter() - began
    for name, reason in done.damaged.items():
        print(f"skipped: {reason if name in reason else f'{name}: {reason}'}", file=sys.stderr)
    for path in done.files:
        print(f"wrote {path}")
    if given.draw and predictor.draws_boxes:
        print(f"wrote annotated images in {out}")
    computed = len(done.rows) - done.known
    print(
        f"{len(done.rows):,} images ({done.known:,} from an earlier call), {len(done.damaged):,} damaged; "
        f"{computed / seconds:,.1f} images/s"
    )


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
