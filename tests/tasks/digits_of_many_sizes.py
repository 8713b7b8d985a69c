"""A COCO dataset of digits on photographs that are not square, to train a detector on by heart."""

import json
from pathlib import Path

import tensorflow as tf
from PIL import Image

from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options


def write_coco(directory: Path, count: int, scale: int = 1) -> Path:
    """Writes `count` images with 64 rows and 48 to 64 columns, or the other way around, as the only split, `train`; all
    sizes times `scale`."""
    dataset = catalog.open_objects("embedded:placed_digits:64", Options(channels=3, seed=0)).load("validation")
    images, annotations = [], []
    (directory / "annotations").mkdir(parents=True)
    (directory / "train").mkdir()
    for index in range(count):
        size = (64, 48 + 2 * index) if index % 2 else (48 + 2 * index, 64)
        name = f"{index}.png"
        height, width = scale * size[0], scale * size[1]
        image = Image.fromarray(dataset.read(tf.constant(index)).numpy()[: size[0], : size[1]])
        image.resize((width, height), Image.Resampling.BICUBIC).save(directory / "train" / name)
        images.append({"id": index, "file_name": name, "height": height, "width": width})
        for (top, left, bottom, right), label in zip(
            dataset.objects[index].boxes_yxyx.tolist(), dataset.objects[index].labels.tolist(), strict=True
        ):
            if bottom <= size[0] and right <= size[1]:
                box = [scale * value for value in (left, top, right - left, bottom - top)]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": label,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": label, "name": name} for label, name in enumerate(dataset.class_names)]
    record = {"images": images, "annotations": annotations, "categories": categories}
    (directory / "annotations" / "instances_train.json").write_text(json.dumps(record))
    return directory
