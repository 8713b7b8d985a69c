"""`python -m tfeff.detect --workdir=DIR --images=PATH --out=DIR2`: draw and list the detections of a trained detector.

`--images` is a file, or a folder that is searched recursively (without `--out`). `--out` gets one drawing per image and
`detections.json` in COCO's result format, where `image_id` is the image's path relative to `--images`. Rerun the same
command to resume.
"""

import json
import sys
from pathlib import Path

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "The workdir of a finished tfeff.train run of a detector.")
    flags.DEFINE_string("model", None, "The SavedModel of a detector, instead of --workdir.")
    flags.DEFINE_string("form", None, "Form of the run to use; default: the first form of its config.")
    flags.DEFINE_string("images", None, "An image, or a folder of images.", required=True)
    flags.DEFINE_string("out", None, "Directory for drawings and detections.json.", required=True)
    flags.DEFINE_float("score", None, "Detection threshold; default: that of the run.", lower_bound=0.0)


def main(argv: list[str]) -> None:
    """Detects objects in the given images."""
    given = flags.FLAGS
    if bool(given.workdir) == bool(given.model):
        raise UserError("set either --workdir=DIR, the workdir of a trained detector, or --model=DIR, its SavedModel")
    if given.model and given.form:
        raise UserError("--form requires --workdir; remove it")
    out = Path(given.out)
    paths = _paths(Path(given.images), out)
    verbs.load_tensorflow()
    from PIL import Image

    from tfeff.durable import held, write
    from tfeff.evaluation import Detections, to_coco_results
    from tfeff.rcnn.savedmodel import LoadedDetector
    from tfeff.reporting.detections import draw_detections
    from tfeff.reporting.progress import Bar
    from tfeff.serving.journal import Journal, state_of

    model = Path(given.model or _saved_model())
    detector = LoadedDetector(model)
    threshold = detector.score if given.score is None else given.score
    detections, failed = dict[str, Detections](), list[str]()
    with held(out, "--out"), Bar("detecting", len(paths), "images") as bar:
        journal = Journal(out / ".detections.jsonl", f"{state_of(model)}, scores from {threshold}")
        for number, (name, path) in enumerate(paths.items(), 1):
            bar.show(number)
            drawing = out / f"{name}.png"
            try:
                known = journal.get(name, path)
                if known is not None and drawing.is_file():
                    detections[name] = known
                    continue
                pixels, boxes, labels, scores = detector(path.read_bytes(), str(path))
            except UserError as error:
                failed.append(str(error))
                continue
            except OSError as error:
                failed.append(f"{path}: cannot be read ({error.strerror})")
                continue
            confident = Detections(boxes, labels, scores).take(scores >= threshold)
            names = [detector.class_names[label] for label in confident.labels]
            drawn = draw_detections(pixels, confident.boxes_yxyx, names, confident.scores)
            drawing.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(drawing)
            journal.add(name, path, confident)
            detections[name] = confident
    for message in failed:
        print(f"skipped: {message}", file=sys.stderr)
    if not detections:
        raise UserError(f"--images={given.images}: none of the images can be read; see above")
    results = to_coco_results(list(detections.values()), list(detections))
    write(out / "detections.json", json.dumps(results, indent=1) + "\n")
    count = sum(map(len, detections.values()))
    print(f"wrote {out / 'detections.json'}: {count} detections in {len(detections)} images; drawings in {out}")


def _paths(images: Path, out: Path) -> dict[str, Path]:
    """Name -> file, sorted by name, without the drawings of an earlier run in `out`."""
    from tfeff.data.images import decoding

    if images.is_file():
        return {images.name: images}
    if not images.is_dir():
        raise UserError(f"--images={images}: no such file or folder")
    if out.resolve() == images.resolve():
        raise UserError(f"--out={out}: must not be the folder of the images; choose another one")
    files = [path for path in sorted(images.rglob("*")) if path.name.lower().endswith(decoding.EXTENSIONS)]
    if out.resolve().is_relative_to(images.resolve()):
        files = [path for path in files if not path.resolve().is_relative_to(out.resolve())]
    if not files:
        raise UserError(f"--images={images}: no images; known file types: {', '.join(decoding.EXTENSIONS)}")
    return {path.relative_to(images).as_posix(): path for path in files}


def _saved_model() -> Path:
    """The SavedModel of the flags' run and form."""
    from tfeff import rcnn

    workdir = rcnn.Workdir(flags.FLAGS.workdir)
    forms = workdir.settings().forms
    form = flags.FLAGS.form or forms[0]
    if form not in forms:
        raise UserError(f"--form={form}: the run has {' and '.join(forms)}")
    return workdir.saved_model(form)


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
