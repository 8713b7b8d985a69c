"""torchvision's side of `compare_torchvision.py`; runs in an environment with PyTorch and torchvision.

    python tools/torchvision_side.py --images=DIR --out=DIR [--network=retinanet] [--frozen] [--double] [--count=20]

Writes `weights.pth`, the state dict of a Faster R-CNN or RetinaNet with random weights and statistics, and
`expected.npz`: the images, the outputs of all stages, the detections, and the losses for random objects, those of
Faster R-CNN with the candidates that were sampled.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

HEIGHT, WIDTH = 256, 320
CLASSES = 90
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_model(network: str, *, frozen: bool) -> FasterRCNN | RetinaNet:
    """Returns the model, with weights that keep the size of activations, and a predictor with many detections."""
    backbone = torchvision.models.resnet50(weights=None, norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d)
    if network == "retinanet":
        levels = {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)}
        model = RetinaNet(_resnet_fpn_extractor(backbone, 5, **levels), CLASSES + 1)
    else:
        model = FasterRCNN(_resnet_fpn_extractor(backbone, 5), CLASSES + 1)
    if frozen:
        overwrite_eps(model, 0.0)  # as with the published weights
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1, generator=generator)
            if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d):
                for name, low, high in (("weight", 0.5, 1.0), ("bias", -0.1, 0.1), ("running_mean", -0.2, 0.2)):
                    getattr(module, name).uniform_(low, high, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
        if isinstance(model, FasterRCNN):
            model.rpn.head.bbox_pred.weight *= 0.1
            model.roi_heads.box_predictor.bbox_pred.weight *= 0.3
    return model.eval()


def photographs(folder: Path, count: int) -> np.ndarray:
    """Returns the first images of a folder, stretched, uint8 [count, HEIGHT, WIDTH, 3]."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:count]
    return np.stack(
        [np.asarray(Image.open(file, formats=("JPEG", "PNG")).convert("RGB").resize((WIDTH, HEIGHT))) for file in files]
    )


def random_objects(count: int) -> list[dict[str, torch.Tensor]]:
    """Returns one to eight objects per image, one of them tiny."""
    rng = np.random.default_rng(1)
    targets = []
    for _ in range(count):
        number = rng.integers(1, 9)
        corners = rng.uniform(0, 0.6, (number, 2)) * (WIDTH, HEIGHT)
        sides = rng.uniform(8, 0.39 * np.asarray([WIDTH, HEIGHT]), (number, 2))
        sides[0] = 3
        boxes = torch.from_numpy(np.concatenate([corners, corners + sides], axis=1))
        targets.append({"boxes": boxes, "labels": torch.from_numpy(rng.integers(1, CLASSES + 1, number))})
    return targets


class RecordingSampler:
    """A sampler that keeps the masks it returns."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self.masks: list[torch.Tensor] = []

    def __call__(self, labels: Any) -> Any:
        """Samples."""
        positive, negative = self._sampler(labels)
        self.masks = [a.bool() | b.bool() for a, b in zip(positive, negative, strict=True)]
        return positive, negative


def stack(rows: list[torch.Tensor], fill: float = 0.0) -> np.ndarray:
    """Returns rows of different lengths, padded."""
    longest = max(len(row) for row in rows)
    padded = np.full((len(rows), longest, *rows[0].shape[1:]), fill)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row.numpy()
    return padded


def adapt(model: FasterRCNN, images: ImageList) -> None:
    """Scales the last layers, because the size of the features depends on depth and statistics."""
    features = model.backbone(images.tensors)
    objectness, _ = model.rpn.head(list(features.values()))
    model.rpn.head.cls_logits.weight /= torch.cat([each.flatten() for each in objectness]).std()
    _, codes = model.rpn.head(list(features.values()))
    model.rpn.head.bbox_pred.weight /= torch.cat([each.flatten() for each in codes]).std() * 4
    proposals, _ = model.rpn(images, features)
    predictor = model.roi_heads.box_predictor
    pooled = model.roi_heads.box_roi_pool(features, proposals, images.image_sizes)
    logits, codes = predictor(model.roi_heads.box_head(pooled))
    predictor.cls_score.weight *= 3 / logits.std()
    predictor.bbox_pred.weight /= codes.std()


def targets_of(images: ImageList) -> list[dict[str, torch.Tensor]]:
    """Returns random objects in the images' precision."""
    drawn = random_objects(len(images.image_sizes))
    return [{**each, "boxes": each["boxes"].to(images.tensors.dtype)} for each in drawn]


def by_name(detections: list[dict[str, torch.Tensor]]) -> dict[str, np.ndarray]:
    """Returns detections as arrays, and their number."""
    found = {f"detected_{name}": stack([each[name] for each in detections]) for name in ("boxes", "scores", "labels")}
    return found | {"count": np.asarray([len(each["scores"]) for each in detections])}


def adapt_retinanet(model: RetinaNet, images: ImageList) -> None:
    """Scales the last layers: some hundred predictions of an image have a score that counts."""
    found = model.head(list(model.backbone(images.tensors).values()))
    model.head.classification_head.cls_logits.weight /= found["cls_logits"].std()
    model.head.classification_head.cls_logits.bias.fill_(-6.5)
    model.head.regression_head.bbox_reg.weight /= found["bbox_regression"].std() * 4


def retinanet_outputs(model: RetinaNet, images: ImageList, features: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Returns the outputs, the anchors and the detections."""
    maps = list(features.values())
    found = model.head(maps)
    anchors = model.anchor_generator(images, maps)
    counts = [each.shape[2] * each.shape[3] * 9 for each in maps]
    parts = {name: list(value.split(counts, dim=1)) for name, value in found.items()}
    levels = [list(each.split(counts)) for each in anchors]
    detections = model.postprocess_detections(parts, levels, images.image_sizes)
    return {
        **{f"map_{index}": value.permute(0, 2, 3, 1).numpy() for index, value in enumerate(maps)},
        "anchors": anchors[0].numpy(),
        "logits": found["cls_logits"].numpy(),
        "codes": found["bbox_regression"].numpy(),
        **by_name(detections),
    }


def retinanet_losses(model: RetinaNet, images: ImageList, features: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Returns the losses for random objects."""
    targets, maps = targets_of(images), list(features.values())
    losses = model.compute_loss(targets, model.head(maps), model.anchor_generator(images, maps))
    return {
        "object_boxes": stack([each["boxes"] for each in targets]),
        "object_labels": stack([each["labels"] for each in targets]),
        **{f"loss_{name}": value.numpy() for name, value in losses.items()},
    }


def outputs(model: FasterRCNN, images: ImageList, features: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Returns the outputs of all stages, and the detections."""
    count = len(images.image_sizes)
    found = {f"map_{name}": value.permute(0, 2, 3, 1).numpy() for name, value in features.items()}
    objectness, codes = model.rpn.head(list(features.values()))
    found["objectness"] = torch.cat([each.permute(0, 2, 3, 1).flatten(1) for each in objectness], dim=1).numpy()
    codes = [each.permute(0, 2, 3, 1).reshape(count, -1, 4) for each in codes]
    found["proposal_codes"] = torch.cat(codes, dim=1).numpy()
    found["anchors"] = model.rpn.anchor_generator(images, list(features.values()))[0].numpy()
    proposals, _ = model.rpn(images, features)
    found["proposals"] = stack(proposals)
    padded = [torch.from_numpy(boxes) for boxes in found["proposals"].astype(found["anchors"].dtype)]
    pooled = model.roi_heads.box_roi_pool(features, padded, images.image_sizes)
    logits, codes = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
    found["logits"] = logits.reshape(count, -1, CLASSES + 1).numpy()
    found["codes"] = codes.reshape(count, -1, CLASSES + 1, 4).numpy()
    detections, _ = model.roi_heads(features, proposals, images.image_sizes)
    return found | by_name(detections)


def losses(model: FasterRCNN, images: ImageList, features: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Returns the losses for random objects, with sampling as in training, and batch normalization as in inference."""
    targets = targets_of(images)
    for module in (model.rpn, model.roi_heads):
        module.fg_bg_sampler = RecordingSampler(module.fg_bg_sampler)
        module.training = True
    proposals, first = model.rpn(images, features, targets)
    _, second = model.roi_heads(features, proposals, images.image_sizes, targets)
    return {
        "object_boxes": stack([each["boxes"] for each in targets]),
        "object_labels": stack([each["labels"] for each in targets]),
        "training_proposals": stack(proposals),
        "training_proposal_count": np.asarray([len(each) for each in proposals]),
        "rpn_sampled": stack(model.rpn.fg_bg_sampler.masks).astype(bool),
        "head_sampled": stack(model.roi_heads.fg_bg_sampler.masks).astype(bool),
        **{name: value.numpy() for name, value in (first | second).items()},
    }


def main() -> None:
    """Computes and writes everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    parser.add_argument("--network", default="faster-rcnn", choices=("faster-rcnn", "retinanet"))
    parser.add_argument("--frozen", action="store_true", help="Frozen batch normalization without epsilon.")
    parser.add_argument("--double", action="store_true", help="In float64.")
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = random_model(arguments.network, frozen=arguments.frozen)
    pixels = photographs(arguments.images, arguments.count)
    dtype = torch.float64 if arguments.double else torch.float32
    mean, std = (torch.tensor(values, dtype=dtype) for values in (MEAN, STD))
    normalized = ((torch.from_numpy(pixels).to(dtype) / 255 - mean) / std).permute(0, 3, 1, 2)
    sizes = [(HEIGHT, WIDTH)] * len(pixels)
    with torch.no_grad():
        one_stage = isinstance(model, RetinaNet)
        (adapt_retinanet if one_stage else adapt)(model, ImageList(normalized[:2].float(), sizes[:2]))
        torch.save(model.state_dict(), arguments.out / "weights.pth")
        images = ImageList(normalized, sizes)
        features = model.to(dtype).backbone(normalized)
        parts = (retinanet_outputs, retinanet_losses) if one_stage else (outputs, losses)
        found = {"images": pixels, **parts[0](model, images, features), **parts[1](model, images, features)}
    np.savez(arguments.out / "expected.npz", **found)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{versions}; detections per image: {found['count'].min()} or more")


if __name__ == "__main__":
    main()
