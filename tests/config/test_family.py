import dataclasses

import pytest

from tfeff import config
from tfeff.config.family import FILE, Family, resolve_member
from tfeff.errors import UserError

BASELINE = config.architecture(
    "resnet", width=8, stage_blocks=(1, 1, 1, 1), resolution=16, depth_coefficient=1.0, width_coefficient=1.0
)
FAMILY = Family(baseline=BASELINE, alpha=1.2, beta=1.1, gamma=1.15)


def test_members_are_scaled_by_the_coefficients():
    member = FAMILY.member(2)
    assert member.depth_coefficient == pytest.approx(1.44)
    assert member.width_coefficient == pytest.approx(1.21)
    assert member.resolution == 21  # 16 · 1.3225 = 21.16
    assert FAMILY.member(0) == BASELINE


def test_coefficients_of_the_baseline_are_multiplied():
    family = Family(
        baseline=config.architecture("efficientnet-b1", depth_coefficient=1.1, width_coefficient=1.0, resolution=240),
        alpha=1.2,
        beta=1.1,
        gamma=1.15,
    )
    member = family.member(1)
    assert member.depth_coefficient == pytest.approx(1.32)
    assert member.resolution == 276


def test_a_saved_family_loads(tmp_path):
    (tmp_path / FILE).write_text(FAMILY.to_json())
    assert Family.load(tmp_path) == FAMILY


def test_an_experiment_gets_the_network_of_its_member(tmp_path):
    (tmp_path / FILE).write_text(FAMILY.to_json())
    model = config.architecture("resnet", dropout=0.2)
    named = config.Experiment(model=model, member=config.Member(family=str(tmp_path), phi=2.0))
    experiment = resolve_member(named)
    assert experiment.model.resolution == 21
    assert experiment.model.dropout == 0.2
    assert experiment.member == config.Member()
    assert resolve_member(experiment) == experiment


def test_a_family_of_classifiers_has_the_backbone_of_an_rcnn_but_of_no_other_detector(tmp_path):
    (tmp_path / FILE).write_text(FAMILY.to_json())
    member = config.Member(family=str(tmp_path), phi=1.0)
    task = config.RCNNSettings(network=config.RCNN(hidden=(32,), class_boxes=True))
    model = config.architecture("resnet", weights="runs/crops")
    resolved = resolve_member(config.Experiment(task=task, member=member, model=model))
    assert resolved.model == dataclasses.replace(FAMILY.member(1.0), weights="runs/crops")
    assert resolved.task == task
    with pytest.raises(UserError, match=r"is a family of classifiers; set task\.name"):
        resolve_member(config.Experiment(task=config.FasterRCNNSettings(), member=member))


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ({"width": 16}, "model.width"),
        ({"resolution": 32}, "model.resolution"),
        ({"depth_coefficient": 2.0}, "model.depth_coefficient"),
    ],
)
def test_keys_that_the_family_determines_are_refused(tmp_path, model, word):
    (tmp_path / FILE).write_text(FAMILY.to_json())
    member = config.Member(family=str(tmp_path), phi=1.0)
    experiment = config.Experiment(model=config.architecture("resnet", **model), member=member)
    with pytest.raises(UserError, match=word):
        resolve_member(experiment)


def test_a_missing_or_invalid_family_is_explained(tmp_path):
    with pytest.raises(UserError, match=r"tfeff\.search"):
        resolve_member(config.Experiment(member=config.Member(family=str(tmp_path), phi=1.0)))
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        resolve_member(config.Experiment(member=config.Member(family=str(tmp_path), phi=1.0)))


def test_a_network_scaled_by_another_method(tmp_path):
    family = dataclasses.replace(FAMILY, others=(("depth", 2.0, 3.0, 1.0, 16), ("resolution", 2.0, 1.0, 1.0, 31)))
    (tmp_path / FILE).write_text(family.to_json())

    def chosen(**member):
        return resolve_member(config.Experiment(member=config.Member(family=str(tmp_path), **member))).model

    assert chosen(phi=2.0, method="depth") == BASELINE.scaled(depth=3.0, width=1.0, resolution=16)
    assert chosen(phi=2.0, method="resolution").resolution == 31
    with pytest.raises(UserError, match=r"depth with φ = 2, resolution with φ = 2; more by search\.members\.phis"):
        chosen(phi=2.0, method="width")
    with pytest.raises(UserError, match=r"It has: depth with φ = 2"):
        chosen(phi=1.0, method="depth")


def test_a_detector_scaled_by_another_method_keeps_its_neck(tmp_path):
    detector = config.YoloSettings().describe(BASELINE)
    family = dataclasses.replace(
        FAMILY, detector=detector, neck_depth=2.0, neck_width=1.5, others=(("depth", 1.0, 2.0, 1.0, 16),)
    )
    (tmp_path / FILE).write_text(family.to_json())
    member = config.Member(family=str(tmp_path), phi=1.0, method="depth")
    resolved = resolve_member(config.Experiment(task=config.YoloSettings(), model=BASELINE, member=member))
    scaled = BASELINE.scaled(depth=2.0, width=1.0, resolution=16)
    assert resolved.description == dataclasses.replace(detector, backbone=scaled)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"phi": 1.0}, r"member\.phi requires member\.family"),
        ({"method": "depth"}, r"member\.method requires member\.family"),
        ({"family": "runs/search", "method": "depth"}, r"member\.method=depth requires member\.phi"),
    ],
)
def test_keys_that_require_others(member, message):
    with pytest.raises(UserError, match=message):
        config.Member(**member)
