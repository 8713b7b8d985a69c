"""`python -m tfeff.predict --workdir=DIR --images=PATH --out=DIR2`: apply a trained model to image files or a video.

`--images` is a file, or a folder that is searched recursively (except `--out`). `--out` receives `predictions.json` and
`predictions.csv`: the five most probable classes of each image, and boxes if the model finds objects. Detectors and
localizers also draw each image, classifiers a contact sheet. Damaged and nearly black images are listed there; other
files are counted. Rerun the same command to resume.

Detectors write `detections.json` in COCO's format for results. If the run was trained on a COCO dataset, `category_id`
is that of the dataset, as is `image_id` of images that belong to it (or to `--dataset`), so that COCO's own evaluation
can read the file; `--dataset=coco:FILE.json` without `--images` detects in all its images. Otherwise, `category_id`
counts the classes from 0, and `image_id` is the path relative to `--images`.

`--model=PATH` instead of `--workdir` predicts with an exported model of any format but `keras`, in its runtime;
`--model=NAME` with a published network: `efficientnet-lite0` knows the 1,000 classes of ImageNet, `efficientdet-d0` the
80 of COCO.
`--runtime` chooses that of a run: by default TensorFlow, and for work that takes it more than a minute the fastest one
that is installed and predicts the same; the network is converted once, into the workdir.

`--tile=SIZE` detects in overlapping tiles of large images and merges their detections. Choose about the size of the
training images, and an overlap at least as large as the objects. A detector that was trained in tiles (`data.tile`)
detects in these by default.

A run of `task.name=embedding` writes the vector of each image to `embeddings.npz`. With `--gallery=DIR`, it recognizes
the classes of that folder, which has a folder of images for each class: one image of a class is enough, and it need not
be a class of the training. Images that are not similar enough to any class are `unknown`.

`--video=FILE` instead of `--images` detects objects in a video. `--out` receives `predictions.jsonl` (one line per
frame: `frame`, `time` in seconds, `classes`, `scores`, `boxes_yxyx`), `predictions.csv` (one line per detection) and
`predictions.mp4`.
"""

import itertools
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfeff import api, cli
from tfeff.boxes.tiling import Tile, checked_tiles
from tfeff.errors import UserError
from tfeff.execution.startup import load_tensorflow
from tfeff.reporting.terminal import say

if TYPE_CHECKING:
    from tfeff.runs import Run
    from tfeff.runs.predictors import Options


def define_flags() -> None:
    """Defines this verb's flags."""
    cli.define_model()
    flags.DEFINE_string("images", None, "Image file, or folder of images.")
    flags.DEFINE_string(
        "dataset",
        None,
        "Detectors: COCO dataset of the images, whose ids detections.json gets. Default: that of the run. Without "
        "--images: all its images.",
    )
    flags.DEFINE_string("video", None, "Detectors: video file, instead of --images.")
    flags.DEFINE_integer("every", 1, "Videos: detect in every n-th frame.", lower_bound=1)
    flags.DEFINE_string("out", None, "Directory for the results.", required=True)
    cli.define_score()
    flags.DEFINE_string("tile", None, "Detectors: detect in tiles of this size in pixels: SIDE or HEIGHTxWIDTH.")
    flags.DEFINE_integer(
        "tile_overlap",
        None,
        "Pixels that neighboring tiles share. Default: a quarter of the shorter side.",
        lower_bound=0,
    )
    cli.define_gallery()
    cli.define_runtime()
    flags.DEFINE_integer("batch_size", 32, "Images per call, also of the gallery; detectors take one.", lower_bound=1)
    flags.DEFINE_bool("draw", True, "Write annotated images, a contact sheet, or an annotated video.")


def main(argv: list[str]) -> None:
    """Predicts for all images, or all frames of a video, and writes the results."""
    given = flags.FLAGS
    cli.check_model()
    if given.model:
        cli.refuse("runtime", "--model")
    sources = [name for name in ("images", "dataset", "video") if given[name].value]
    if not sources:
        raise UserError("give --images=PATH, --dataset=coco:FILE.json or --video=FILE")
    if given.video and len(sources) > 1:
        raise UserError(f"--{sources[0]} and --video exclude each other; remove one")
    cli.refuse("batch_size" if given.video else "every", f"--{sources[0]}")
    tile = _tile()
    checked_tiles(tile, given.tile_overlap)
    load_tensorflow()
    from tfeff import runs
    from tfeff.data.images.decoding import DARK, DARK_ADVICE
    from tfeff.data.names import counted
    from tfeff.reporting.progress import Bar, counting
    from tfeff.runs.prediction import Predictions, find_images, leftovers
    from tfeff.runs.predictors import EmbeddingPredictor
    from tfeff.runs.video import Video, VideoPredictions

    out = Path(given.out)
    source: Video | Mapping[str, Path]
    notes, ids = list[str](), None
    if given.video:
        source = Video(Path(given.video))
    elif given.images:
        source = find_images(Path(given.images), out, notes)
    else:
        source, ids = runs.dataset_images(given.dataset)
    options: Options = {
        "score": given.score,
        "tile": tile,
        "tile_overlap": given.tile_overlap,
        "gallery": given.gallery,
        "neighbors": given.neighbors,
        "threshold": given.threshold,
    }
    dataset, runtime = given.dataset, ""
    with counting("reading the gallery", "images", shown=bool(given.gallery)) as progress:
        if given.model:
            model = runs.find_model(given.model)
            predictor = runs.load_predictor(model, batch_size=given.batch_size, progress=progress, **options)
        else:
            run = api.open(given.workdir)
            runtime, notes[:0] = _runtime(run, source, out, options)
            predictor = run.predictor(runtime=runtime, batch_size=given.batch_size, progress=progress, **options)
            model = run.saved_model
            dataset = dataset or (run.config.data.source if predictor.class_ids else None)
    key = _key(model, tile, runtime)
    gallery = predictor.gallery if isinstance(predictor, EmbeddingPredictor) else None
    if gallery is not None:
        key += f" {gallery.state}"
        notes += predictor.notes
    began = time.perf_counter()
    done: Predictions | VideoPredictions
    if isinstance(source, Video):
        unit = "frames"
        with Bar("detecting", source.length(given.every), unit) as bar:
            done = runs.write_video_predictions(
                predictor, source, out, key=key, every=given.every, draw=given.draw, progress=bar.show
            )
        problems, damaged = [f"warning: {done.warning}"] if done.warning else [], ""
    else:
        unit = "images"
        ids, problems = _image_ids(dataset, source) if ids is None else (ids, [])
        with Bar("predicting", len(source), unit) as bar:
            done = runs.write_predictions(
                predictor, source, out, key=key, image_ids=ids, draw=given.draw, progress=bar.show
            )
        problems += [
            f"skipped: {reason if name in reason else f'{name}: {reason}'}" for name, reason in done.damaged.items()
        ]
        if given.dataset and not done.ids:
            problems.append("warning: --dataset has no effect, since the model is not a detector")
        if gallery is not None and (copies := gallery.copies(source.values())) is not None:
            problems.append(copies)
        if done.dark:
            names = f"{len(done.dark):,} images are nearly black, such as {done.dark[0]}"
            problems.append(f"warning: {names}: none of their pixels reaches {DARK} of 255; {DARK_ADVICE}")
        damaged = f", {len(done.damaged):,} damaged"
    if earlier := leftovers(out, done.files, done.drawn if isinstance(done, Predictions) else ()):
        problems.append(f"of an earlier call: {', '.join(earlier)} in {out}")
    speed = (len(done.rows) - done.known) / (time.perf_counter() - began)
    for problem in [*notes, *problems]:
        say(problem, error=True)
    for path in done.files:
        say(f"wrote {path}")
    if isinstance(done, Predictions) and done.ids:
        say(done.ids)
    if not given.video and given.draw and predictor.draws_boxes:
        say(f"wrote annotated images in {out}")
    say(f"{counted(len(done.rows), unit)} ({done.known:,} from an earlier call){damaged}; {speed:,.1f} {unit}/s")


def _image_ids(dataset: str | None, paths: Mapping[str, Path]) -> tuple[dict[str, Any], list[str]]:
    """Returns the image name -> its id in a dataset; and why that of the run cannot be read.

    Raises:
        UserError: the dataset that the user names cannot be read.
    """
    from tfeff import runs

    if dataset is None or not (flags.FLAGS.dataset or runs.may_have_ids(dataset, paths)):
        return {}, []
    try:
        return runs.image_ids(dataset, paths), []
    except UserError as error:
        if flags.FLAGS.dataset:
            raise
        return {}, [f"warning: without image ids, which need the dataset of the run: {error}"]


def _runtime(run: "Run", source: Any, out: Path, options: "Options") -> tuple[str, list[str]]:
    """Returns the runtime that predicts for image files, or the frames of a video, and what to say about it.

    An earlier call with the same options is continued in its runtime, unless that is gone.
    """
    from tfeff.runs.journal import Journal
    from tfeff.runs.runtimes import AUTO, RUNTIMES

    given, notes = flags.FLAGS, list[str]()
    if given.runtime == AUTO and run.saved_model.is_dir():
        keys = {each: f"{_key(run.saved_model, options['tile'], each)} " for each in RUNTIMES if each != AUTO}
        for known, each in itertools.product(Journal.keys(out), keys):
            if f"{known} ".startswith(keys[each]):
                try:
                    run.predictor(runtime=each)
                    return each, []
                except UserError as error:
                    notes.append(f"{each} predicted in the earlier call and fails now ({error}): predicting again")
    images: Iterable[Any] = source.values() if isinstance(source, Mapping) else source.images(given.every)
    count = len(source) if isinstance(source, Mapping) else source.length(given.every) or 0
    choice = run.choose_runtime(given.runtime, images, count, say=say, **options)
    return choice.runtime, [*notes, *([choice.note] if choice.note else [])]


def _key(model: Path, tile: Tile | None, runtime: str) -> str:
    """Returns everything that predictions depend on besides the images, except for a gallery."""
    from tfeff.runs.journal import model_state

    given = flags.FLAGS
    return f"{model_state(model)} {given.score} {tile} {given.tile_overlap} {runtime}"


def _tile() -> tuple[int, int] | None:
    """Returns (height, width) of the tiles, or None.

    Raises:
        UserError: not a size.
    """
    given = flags.FLAGS
    if given.tile is None:
        return None
    sides = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", given.tile)
    if not sides:
        raise UserError(f"--tile={given.tile}: give the size in pixels, as SIDE or HEIGHTxWIDTH")
    return int(sides[1]), int(sides[2] or sides[1])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
