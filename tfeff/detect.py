"""`python -m tfeff.detect --workdir=DIR --images=PATH --out=DIR2`: run a trained detector on images.

`--images` is a file, or a folder that is searched recursively (except `--out`). `--out` receives one annotated PNG per
image and `detections.json` in COCO's results format, where `image_id` is the path relative to `--images`. Rerun the
same command to resume.
"""

import json
import sys
from pathlib import Path

from absl import flags

from tfeff import verbs
from tfeff.errors import UserError


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "Workdir of a finished tfeff.train run of a detector.")
    flags.DEFINE_string("model", None, "SavedModel of a detector, instead of --workdir.")
    flags.DEFINE_string("form", None, "Detector of the run: joint, classic or sliding_window. Default: the first.")
    flags.DEFINE_string("images", None, "Image file, or folder of images.", required=True)
    flags.DEFINE_string("out", None, "Directory for annotated images and detections.json.", required=True)
    flags.DEFINE_float("score", None, "Detection threshold. Default: the threshold of the run.", lower_bound=0.0)


def main(argv: list[str]) -> None:
    """Detects objects in images, draws them and lists them."""
    given = flags.FLAGS
    if bool(given.workdir) == bool(given.model):
        raise UserError("give either --workdir=DIR (a trained detector) or --model=DIR (its SavedModel)")
    if given.model and given.form:
        raise UserError("--form requires --workdir; remove it")
    out = Path(given.out)
    paths = _find_images(Path(given.images), out)
    verbs.load_tensorflow()
    from PIL import Image

    from tfeff.durable import locked, write
    from tfeff.evaluation import Detections, to_coco_results
    from tfeff.rcnn.savedmodel import LoadedDetector
    from tfeff.reporting.detections import draw_detections
    from tfeff.reporting.progress import Bar
    from tfeff.serving.journal import Journal, state_of

    model = Path(given.model or _saved_model())
    detector = LoadedDetector(model)
    threshold = detector.score if given.score is None else given.score
    detections, failed = dict[str, Detections](), list[str]()
    with locked(out, "--out"), Bar("detecting", len(paths), "images") as bar:
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
            detections[name] = Detections(boxes, labels, scores).take(scores >= threshold)
            names = [detector.class_names[label] for label in detections[name].labels]
            drawn = draw_detections(pixels, detections[name].boxes_yxyx, names, detections[name].scores)
            drawing.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(drawing)
            journal.add(name, path, detections[name])
    for message in failed:
        print(f"skipped: {message}", file=sys.stderr)
    if not detections:
        raise UserError(f"--images={given.images}: no image could be read; see above")
    results = to_coco_results(list(detections.values()), list(detections))
    write(out / "detections.json", json.dumps(results, indent=1) + "\n")
    count = sum(map(len, detections.values()))
    print(f"wrote {out / 'detections.json'}: {count} detections in {len(detections)} images, drawn in {out}")


def _find_images(images: Path, out: Path) -> dict[str, Path]:
    """Image files by name, sorted, except those in `out`, which an earlier call wrote."""
    from tfeff.data.images import decoding

    if images.is_file():
        return {images.name: images}
    if not images.is_dir():
        raise UserError(f"--images={images}: no such file or folder")
    if out.resolve() == images.resolve():
        raise UserError(f"--out={out} is the same folder as --images; give another one")
    found = [path for path in sorted(images.rglob("*")) if path.name.lower().endswith(decoding.EXTENSIONS)]
    if out.resolve().is_relative_to(images.resolve()):
        found = [path for path in found if not path.resolve().is_relative_to(out.resolve())]
    paths = {path.relative_to(images).as_posix(): path for path in found}
    if not paths:
        raise UserError(f"--images={images}: no images found; supported formats are {', '.join(decoding.EXTENSIONS)}")
    return paths


def _saved_model() -> Path:
    """The SavedModel of --workdir and --form."""
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
