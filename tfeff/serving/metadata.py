"""What a caller of an exported model needs to know: `metadata.json`, next to the model in every format.

R-CNN's SavedModel has it in `assets/` instead (see `serving.detector`).
"""

import json
from collections.abc import Sequence

from tfeff.serving import proposals
from tfeff.tasks import ImageTask

FILE = "metadata.json"


def text(
    task: ImageTask,
    class_names: Sequence[str],
    score: float | None,
    *,
    channels: int,
    image_size: tuple[int, int] | None,
    size: tuple[int, int] | None,
) -> str:
    """The contents of `metadata.json`.

    Args:
        task: of the network.
        class_names: in the order of the probabilities.
        score: of a detector, the detection threshold; else None.
        channels: channels of an image, 1 or 3.
        image_size: (height, width) to which images are fitted first, rounded to whole numbers; None: they are not.
        size: (height, width) of the model's input, to which the fitted images are then resized; None: the model takes
            images of any size and does both itself. Boxes are then in pixels of the image.
    """
    boxes = task.boxes if size else dict.fromkeys(task.boxes, "yxyx, in pixels of the image")
    record = {
        "input": [*(size or (None, None)), channels],
        "fit": task.fit,
        "interpolation": task.interpolation,
        **({} if task.center_crop is None else {"center_crop": task.center_crop}),
        "image_size": image_size and list(image_size),
        "class_names": list(class_names),
        **({} if score is None else {"score": score}),
        **boxes,
        **({} if task.proposals is None else {"proposals": proposals.record(task)}),
    }
    return json.dumps(record, indent=2) + "\n"
