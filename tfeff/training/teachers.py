"""The networks that a run imitates."""

from collections.abc import Sequence

import keras

from tfeff import models
from tfeff.checked import file_crc32, warn
from tfeff.config.task_parts import Teacher
from tfeff.errors import UserError
from tfeff.models.network import seeded
from tfeff.tasks.task import ImageTask, Task
from tfeff.training.distillation import Distilled
from tfeff.training.plan import Plan, trained_model
from tfeff.training.workdir import Workdir


def taught(plan: Plan, network: models.Network) -> Task:
    """Returns the task of a run, with its teachers if it has any.

    Args:
        plan: the run's plan, completed from the training images.
        network: the one that imitates.

    Raises:
        UserError: a run that is not finished, or of another task, other classes, positions, channels or shapes.
    """
    task = plan.task
    section: Teacher | None = getattr(task.section, "teacher", None)
    if section is None or not section.runs:
        return task
    return Distilled(task, section, [_teacher(name, section, task, plan.class_names, network) for name in section.runs])


def checksums(plan: Plan) -> dict[str, int]:
    """Returns the CRC-32 of the final weights of each teacher that is a run, by its name."""
    runs = [name for name in plan.settings.task.teachers if name not in models.names()]
    return {name: file_crc32(Workdir(name).final) for name in runs}


def _teacher(
    name: str, section: Teacher, task: ImageTask, classes: Sequence[str], network: models.Network
) -> keras.Model:
    channels = network.inputs[0].shape[-1]
    where = f'config: task.teacher.runs: "{name}"'
    if name in models.names():
        if not task.section.IS_CLASSIFIER or section.weight or not section.features:
            raise UserError(
                f"{where} is a published network, which knows other classes: set task.teacher.weight=0 and "
                "task.teacher.features=1 to imitate its features, or fine-tune it first, and give its workdir"
            )
        with seeded(0):
            model = models.build(name, resolution=network.resolution, channels=channels, weights="imagenet")
    else:
        workdir = Workdir(name)
        plan = Plan.opened(workdir)
        if plan.settings.task.name != task.section.name:
            raise UserError(f"{where} is a run of task.name={plan.settings.task.name}, not {task.section.name}")
        known = workdir.dataset()["class_names"]
        if list(known) != list(classes):
            raise UserError(
                f"{where} knows the classes {', '.join(known)}; the training images have {', '.join(classes)}"
            )
        _compare_shapes(where, plan.task, task)
        model = trained_model(workdir, plan=plan)
    if model.inputs[0].shape[-1] != channels:
        raise UserError(f"{where} takes images of {model.inputs[0].shape[-1]} channels, not {channels}")
    task.check_teacher(model, network, where)
    model.trainable = False
    return model


def _compare_shapes(where: str, theirs: ImageTask, own: ImageTask) -> None:
    """Checks that a teacher sees objects in the shapes that it was trained on: stretched with their image, or not."""
    stretched = theirs.reading.fit == "stretch"
    if stretched == (own.reading.fit == "stretch"):
        return
    if own.kind.detects:
        value = str(stretched).lower()
        raise UserError(f"{where} was trained with task.stretch={value}; set task.stretch={value}")
    warn(
        f"{where} was trained on images that were {'stretched' if stretched else 'cropped'} to a square, and those of "
        f"this run are {'cropped' if stretched else 'stretched'}, so it knows them less well; set task.crop and "
        "task.center_crop as in its config"
    )
