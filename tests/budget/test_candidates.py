"""Which networks compete."""

import dataclasses
from typing import Any

import pytest

from tfeff import config, models
from tfeff.budget import candidates
from tfeff.budget.candidates import Start
from tfeff.config import BoxAugmentation, Candidates, ClassificationSettings, YoloSettings, detector
from tfeff.config.task_parts import Teacher
from tfeff.config.tasks import of_detector
from tfeff.errors import UserError
from tfeff.networks.backbones.given import Given
from tfeff.recipes.image_set import AnnotatedImages

LABELS = ClassificationSettings()
BOXES = YoloSettings(network=detector("yolo", aspect=4 / 3), max_objects=20, augmentation=BoxAugmentation(mosaic=0.5))
LITE0 = Start("efficientnet-lite0", "imagenet", models.architecture("efficientnet-lite0", weights="imagenet"), LABELS)
SECTION = Candidates(widths=(1.0, 0.5), depths=(1.0, 0.99, 0.5), resolutions=(1.0, 0.5), scratch=False)


def listed(section=SECTION, starts=(LITE0,)):
    return candidates.scaled(section, list(starts), side=1000, channels=3, num_classes=2)


@pytest.mark.slow
def test_distinct_networks_have_their_exact_cost():
    found = listed()
    assert len(found) == 2 * 2 * 2  # a depth of 0.99 rounds to the same blocks
    for network in found:
        built = models.complexity.count(models.build(network.model.name, num_classes=2, **options(network)))
        assert network.cost.macs == built.macs
        assert network.cost.params == built.params


def options(network):
    return {
        "width_coefficient": network.model.width_coefficient,
        "depth_coefficient": network.model.depth_coefficient,
        "resolution": network.model.resolution,
    }


def test_names_are_distinct_and_say_what_differs():
    found = listed()
    assert len({network.id for network in found}) == len(found)
    labels = {network.label for network in found}
    assert "efficientnet-lite0, 224 px" in labels
    assert "efficientnet-lite0, width 0.5, depth 0.5, 112 px" in labels


def test_only_other_shapes_inherit():
    inherits = {network.label: network.inherits for network in listed()}
    assert not inherits["efficientnet-lite0, 112 px"]
    assert inherits["efficientnet-lite0, width 0.5, 224 px"]


def test_the_largest_contain_all_others():
    found = listed()
    (whole,) = candidates.largest(found)
    assert whole.label == "efficientnet-lite0, 224 px"
    rest = [network for network in found if network is not whole]
    largest = candidates.largest(rest)
    assert {network.label for network in largest} == {
        "efficientnet-lite0, width 0.5, 224 px",
        "efficientnet-lite0, depth 0.5, 224 px",
        "efficientnet-lite0, 112 px",
    }
    for network in rest:
        assert network in largest or candidates.container(network, largest) in largest


def test_a_spread_is_a_part_that_contains_the_most_expensive_network():
    found = listed(Candidates(scratch=False))
    part = candidates.spread(found, 10)
    assert len(part) == len(set(part)) == 10
    assert max(network.cost.macs for network in part) == max(network.cost.macs for network in found)
    assert candidates.spread(found, 10) == part
    assert candidates.spread(found[:4], 10) == found[:4]


def test_the_unscaled_network_has_the_models_width_and_depth():
    found = candidates.unscaled(reversed(listed()), "efficientnet-lite0", LABELS.name)
    assert (found.width, found.depth, found.model.resolution) == (1, 1, 224)
    assert candidates.unscaled(listed(), "efficientnet-lite1", LABELS.name) is None
    assert candidates.unscaled(listed(), "efficientnet-lite0", BOXES.name) is None
    run = listed(starts=[dataclasses.replace(LITE0, kind="run")])
    assert candidates.unscaled(run, "efficientnet-lite0", LABELS.name) is None


def test_a_spread_takes_networks_of_every_start():
    other = Start(
        "efficientnet-lite1", "imagenet", models.architecture("efficientnet-lite1", weights="imagenet"), LABELS
    )
    part = candidates.spread(listed(Candidates(scratch=False), [LITE0, other]), 6)
    assert {network.start.name for network in part} == {"efficientnet-lite0", "efficientnet-lite1"}


def test_inputs_are_at_most_twice_as_large_as_the_images():
    found = candidates.scaled(Candidates(), [LITE0], side=40, channels=3, num_classes=2)
    assert {network.model.resolution for network in found} == {80}


def test_names_of_starts_that_look_alike_stay_apart():
    starts = [Start(name, "run", LITE0.model, LABELS) for name in ("runs/a", "runs-a")]
    ids = [network.id for network in listed(SECTION, starts)]
    assert len(set(ids)) == len(ids) == 16


def test_images_are_loaded_for_the_largest_input():
    found = listed()
    assert candidates.largest_input(SECTION, [LITE0], 1000) == max(network.model.resolution for network in found) == 224


@pytest.mark.parametrize("name", ["efficientnet-lite9", "runs/none"])
def test_an_unknown_start_is_an_error(name):
    with pytest.raises(UserError, match=r"neither a workdir of tfeff\.train nor a network"):
        candidates.starts(Candidates(starts=(name,)), LABELS, 100)


def test_without_weights_there_is_nothing_to_start_from(monkeypatch):
    monkeypatch.setattr(models, "imagenet_here", lambda: ())
    with pytest.raises(UserError, match=r"tfeff\[imagenet\]"):
        candidates.starts(Candidates(scratch=False), LABELS, 100)
    (start,) = candidates.starts(Candidates(), LABELS, 100)
    assert start.kind == "scratch"


@pytest.mark.parametrize(
    ("scratch", "images", "kinds"),
    [
        (None, 499, {"imagenet"}),
        (None, 500, {"imagenet", "scratch"}),
        (True, 499, {"imagenet", "scratch"}),
        (False, 500, {"imagenet"}),
    ],
)
def test_networks_from_random_weights_need_many_images(monkeypatch, scratch, images, kinds):
    monkeypatch.setattr(models, "imagenet_here", lambda: ("efficientnet-lite0",))
    found = candidates.starts(Candidates(scratch=scratch), LABELS, images)
    assert {start.kind for start in found} == kinds


def run_of(directory, task, **options):
    """Returns a workdir with the config of a finished run, as far as starts read it."""
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "final.npz").touch()
    model = models.architecture("resnet", width=8, stage_blocks=(1, 1, 1, 1), stem="7x7", **options)
    (directory / "config.json").write_text(config.to_json(config.Experiment(task=task, model=model)))
    return str(directory)


def test_a_run_that_is_not_finished_is_no_start(tmp_path):
    run = run_of(tmp_path / "run", LABELS)
    (tmp_path / "run" / "checkpoints" / "final.npz").unlink()
    with pytest.raises(UserError, match=r"candidates\.starts: the run in .* is not finished; rerun its tfeff\.train"):
        candidates.starts(Candidates(starts=(run,)), LABELS, 100)


def test_a_named_start_that_cannot_be_scaled_is_an_error():
    preset = Given(graph="preset", resolution=224, weights="runs/hub")
    starts = [Start("runs/hub", "run", preset, LABELS), LITE0]
    with pytest.raises(UserError, match=r"candidates\.starts: runs/hub: .* a preset, has one depth and one width"):
        listed(dataclasses.replace(SECTION, starts=("runs/hub",)), starts)
    assert {each.start for each in listed(SECTION, starts)} == {LITE0}
    with pytest.raises(UserError, match="one depth and one width"):
        listed(SECTION, starts[:1])


def test_every_start_is_the_backbone_of_every_detector(tmp_path):
    run = run_of(tmp_path / "labels", LABELS, resolution=48)
    section = Candidates(starts=(run,), detectors=("yolo", "efficientdet-lite0", "faster-rcnn"))
    found = {start.name: start for start in candidates.starts(section, BOXES, 100)}
    assert list(found) == [
        *(f"{name} {run}" for name in section.detectors),
        *(f"{name} random weights" for name in section.detectors),
    ]
    assert [found[f"{name} {run}"].model.resolution for name in section.detectors] == [320, 320, 640]
    for start in found.values():
        assert start.task.network.aspect == 4 / 3
        assert (start.task.max_objects, start.task.augmentation.mosaic) == (20, 0.5)
    assert found["yolo random weights"].model.weights is None
    assert found[f"faster-rcnn {run}"].task.name == "faster_rcnn"


@pytest.mark.parametrize(("detections", "room"), [(100, (1000, 1000)), (300, (1500, 6000))])
def test_faster_rcnn_has_regions_for_the_detections(tmp_path, detections, room):
    task = config.override(config.Experiment(task=BOXES), {"task.suppression.detections": detections}).task
    section = Candidates(starts=(run_of(tmp_path / "run", LABELS),), detectors=("faster-rcnn",), scratch=False)
    (start,) = candidates.starts(section, task, 100)
    assert (start.task.network.regions, start.task.proposals_per_level) == room


def test_a_run_of_a_detector_keeps_its_neck_and_heads(tmp_path):
    own = YoloSettings(network=detector("yolo", neck_channels=24, head_repeats=1))
    run = run_of(tmp_path / "boxes", own, resolution=96)
    (start,) = candidates.starts(Candidates(starts=(run,), detectors=("yolo", "grid"), scratch=False), BOXES, 100)
    assert start.model.resolution == 96
    assert start.model.weights == run
    network = start.task.network
    assert (network.neck_channels, network.head_repeats, network.aspect) == (24, 1, 4 / 3)


def test_a_run_of_a_detector_that_had_a_teacher_competes_without_it(tmp_path):
    run = run_of(tmp_path / "boxes", YoloSettings(teacher=Teacher(runs=(str(tmp_path / "gone"),), variants=2)))
    (start,) = candidates.starts(Candidates(starts=(run,), scratch=False), BOXES, 100)
    assert (start.task.teachers, start.task.teacher_variants) == ((), None)


def test_detectors_are_scaled_as_a_whole():
    start = Start("yolo", "run", models.architecture("resnet", width=16, stem="7x7", resolution=160), BOXES)
    section = Candidates(widths=(1.0, 0.5), depths=(1.0, 0.5), resolutions=(1.0,))
    found = candidates.scaled(section, [start], side=640, channels=3, num_classes=3)
    assert [each.task.network.neck_sizes for each in found] == [(64, 1, 2), (64, 1, 1), (32, 1, 2), (32, 1, 1)]
    for network in found:
        built = models.build_detector(candidates.described(network.task, network.model), num_classes=3)
        counted = models.complexity.count(built)
        assert (network.cost.macs, network.cost.params) == (counted.macs, counted.params)
        assert built.size == (120, 160)


def test_anchors_fit_the_objects_at_each_resolution_unless_they_are_set_or_trained():
    """Objects of 1/16 to 1/3 of an image: from 20 pixels at 320, and from 40, larger than the anchors, at 640."""
    task = of_detector(detector("efficientdet-d0"))
    own = dataclasses.replace(task, network=dataclasses.replace(task.network, anchor_size=3.0))
    model = models.architecture("resnet", width=16, stem="7x7", resolution=320)
    plain, whole = Start("plain", "imagenet", model, task), Start("whole", "run", model, task, whole=True)

    def sizes(start: Start, objects: AnnotatedImages | None, **changes: Any) -> list[float]:
        section = Candidates(widths=(1.0,), depths=(1.0,), resolutions=(2.0, 1.0), **changes)
        found = candidates.scaled(section, [start], side=640, channels=3, num_classes=3, objects=objects)
        return [network.task.network.anchor_size for network in found]

    objects = annotated((1 / 16, 1 / 3))
    assert sizes(plain, objects) == [4.0, 2.5]
    assert sizes(whole, objects) == sizes(plain, None) == [4.0, 4.0]
    assert sizes(dataclasses.replace(plain, task=own), objects) == [3.0, 3.0]
    assert sizes(plain, objects, kept=("task.network.anchor_size",)) == [4.0, 4.0]


def annotated(extents: tuple[float, float], most: int = 3) -> AnnotatedImages:
    return AnnotatedImages(
        count=100,
        shown=100,
        objects=1.5,
        extent=0.2,
        extents=extents,
        elongation=1.0,
        class_images=(100,),
        most=most,
        side=640,
        aspects=(1.0, 1.0, 1.0),
        longest=640,
        size=(640, 640),
        loaded=100,
    )


def test_a_faster_rcnn_has_a_small_second_stage_unless_it_is_trained_or_set():
    task, model = config.FasterRCNNSettings(), models.architecture("efficientnet-lite0", resolution=320)
    plain, whole = Start("plain", "imagenet", model, task), Start("whole", "run", model, task, whole=True)

    def chosen(start: Start, objects: AnnotatedImages | None, **changes: Any) -> config.FasterRCNNSettings:
        section = Candidates(widths=(1.0,), depths=(1.0,), resolutions=(1.0,), **changes)
        (found,) = candidates.scaled(section, [start], side=640, channels=3, num_classes=1, objects=objects)
        return found.task

    small, objects = chosen(plain, annotated((0.3, 0.8))), annotated((0.3, 0.8))
    assert (small.network.neck_channels, small.network.hidden, small.sampled_regions) == (96, (256,), 64)
    for start, given, changes in (
        (whole, objects, {}),
        (plain, None, {}),
        (plain, objects, {"kept": ("task.network.name",)}),
    ):
        assert chosen(start, given, **changes).network.neck_channels == 256
    set_by_user = dataclasses.replace(task, network=dataclasses.replace(task.network, neck_channels=128))
    own = chosen(dataclasses.replace(plain, task=set_by_user), objects, kept=("task.network.neck_channels",))
    assert (own.network.neck_channels, own.network.hidden) == (128, (256,))
    crowded = dataclasses.replace(task, suppression=dataclasses.replace(task.suppression, detections=500))
    assert chosen(dataclasses.replace(plain, task=crowded), annotated((0.3, 0.8), 10)).network.regions == 1000
