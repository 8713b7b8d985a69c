"""`python -m tfeff.detect --workdir=DIR --images=PATH --out=DIR2`: draw and list what a trained detector finds.

`--images` is a file or a folder, looked through with all that lies below it (but `--out`). `--out` gets a picture an
image, and `detections.json` in COCO's result format, `image_id` being the image's path below `--images`. Stopped, the
same command goes on where it was.
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
    flags.DEFINE_string("model", None, "A detector's SavedModel, in place of --workdir.")
    flags.DEFINE_string("form", None, "Which of the run's detectors; the first of its config's forms if not given.")
    flags.DEFINE_string("images", None, "An image, or a folder of images.", required=True)
    flags.DEFINE_string("out", None, "Where pictures and detections.json go.", required=True)
    flags.DEFINE_float("score", None, "Detections from this score on; the run's own if not given.", lower_bound=0.0)


def main(argv: list[str]) -> None:
    """Detects in the images of the flags."""
    given = flags.FLAGS
    if bool(given.workdir) == bool(given.model):
        raise UserError("give either --workdir=DIR, of a trained detector, or --model=DIR, its SavedModel")
    if given.model and given.form:
        raise UserError("--form goes with --workdir; leave it out")
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
    least = detector.score if given.score is None else given.score
    found, failed = dict[str, Detections](), list[str]()
    with held(out, "--out"), Bar("detecting", len(paths), "images") as bar:
        journal = Journal(out / ".detections.jsonl", f"{state_of(model)}, scores from {least}")
        for number, (name, path) in enumerate(paths.items(), 1):
            bar.show(number)
            picture = out / f"{name}.png"
            try:
                known = journal.get(name, path)
                if known is not None and picture.is_file():
                    found[name] = known
                    continue
                pixels, boxes, labels, scores = detector(path.read_bytes(), str(path))
            except UserError as error:
                failed.append(str(error))
                continue
            except OSError as error:
                failed.append(f"{path}: cannot be read ({error.strerror})")
                continue
            found[name] = Detections(boxes, labels, scores).take(scores >= least)
            names = [detector.class_names[label] for label in found[name].labels]
            drawn = draw_detections(pixels, found[name].boxes_yxyx, names, found[name].scores)
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(picture)
            journal.add(name, path, found[name])
    for message in failed:
        print(f"left out: {message}", file=sys.stderr)
    if not found:
        raise UserError(f"--images={given.images}: no image could be read; see above")
    write(out / "detections.json", json.dumps(to_coco_results(list(found.values()), list(found)), indent=1) + "\n")
    count = sum(map(len, found.values()))
    print(f"wrote {out / 'detections.json'}: {count} detections in {len(found)} images, drawn in {out}")


def _paths(images: Path, out: Path) -> dict[str, Path]:
    """Name -> file, in the order of the names; what lies in `out` was drawn by an earlier call."""
    from tfeff.data.images import decoding

    if images.is_file():
        return {images.name: images}
    if not images.is_dir():
        raise UserError(f"--images={images}: no such file or folder")
    if out.resolve() == images.resolve():
        raise UserError(f"--out={out}: the folder of the images themselves; give another one")
    found = [path for path in sorted(images.rglob("*")) if path.name.lower().endswith(decoding.EXTENSIONS)]
    if out.resolve().is_relative_to(images.resolve()):
        found = [path for path in found if not path.resolve().is_relative_to(out.resolve())]
    paths = {path.relative_to(images).as_posix(): path for path in found}
    if not paths:
        raise UserError(f"--images={images}: no image there; known are {', '.join(decoding.EXTENSIONS)}")
    return paths


def _saved_model() -> Path:
    """Of the flags' run and form."""
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
