import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import tfeff
from tests.training.tracking.small_run import SETTINGS
from tfeff import config
from tfeff.tasks.task import create
from tfeff.training.tensorboard import Board, compared
from tfeff.training.workdir import Workdir

pytestmark = pytest.mark.usefixtures("without_figures")


def test_resuming_drops_later_steps(tmp_path):
    for start, end in ((0, 4), (2, 5)):  # killed after step 4; the last checkpoint is at step 2
        board = Board(tmp_path, start)
        for step in range(start + 1, end + 1):
            board.training(step, loss=10 * start + step, learning_rate=0.1, images_per_second=1.0)
        board.close()
        time.sleep(1.1)  # file names have a resolution of one second
    board = Board(tmp_path)
    board.result(5, {"test/accuracy": 0.5}, {})
    board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [point.step for point in events.Tensors("test/accuracy")] == [5]
    points = {point.step: float(make_ndarray(point.tensor_proto)) for point in events.Tensors("train/loss_by_step")}
    assert [point.step for point in events.Tensors("train/loss_by_step")] == [1, 2, 3, 4, 5]
    assert points == pytest.approx({1: 1, 2: 2, 3: 23, 4: 24, 5: 25})


@pytest.mark.slow
def test_a_run_has_its_config_classes_graph_and_histograms(tmp_path: Path) -> None:
    settings = config.override(
        SETTINGS, ["training.epochs=3", "optimizer.weight_decay=0", "task.temperature_scaling=true"]
    )
    run = tfeff.train(settings, tmp_path, histograms=2, export=False, quiet=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (text,) = make_ndarray(events.Tensors("config")[0].tensor_proto).ravel()
    assert "| model.name | `resnet` |" in text.decode()
    assert set(compared(create(settings.task))) <= set(events.Tags()["tensors"])
    report = run.evaluation.report
    for name, recall in zip(report["class_names"], report["per_class"]["recall"], strict=True):
        assert make_ndarray(events.Tensors(f"test/recall/{name}")[0].tensor_proto) == pytest.approx(recall)
    assert "stem" in events.Graph().SerializeToString().decode("latin-1")
    steps = Workdir(tmp_path).rows()[0]["step"]
    kernel = "stem_conv/kernel"
    assert [each.step for each in events.Tensors(f"weights/{kernel}")] == [0, 2 * steps, 3 * steps]
    assert [each.step for each in events.Tensors(f"gradients/{kernel}")] == [0, 2 * steps]
    buckets = make_ndarray(events.Tensors(f"weights/{kernel}")[-1].tensor_proto)
    assert buckets[:, 2].sum() == np.load(tmp_path / "checkpoints" / "final.npz")[f"model/{kernel}"].size


@pytest.mark.parametrize(
    ("section", "columns"),
    [
        (config.EmbeddingSettings(), {"recall_at_1", "map_at_r", "accuracy"}),
        (config.YoloSettings(), {"mean_ap"}),
        (config.RCNNSettings(), {"mean_ap", "accuracy", "called_background", "background_recall"}),
    ],
    ids=["embedding", "detection", "rcnn"],
)
def test_runs_are_compared_by_what_evaluations_measure(section: config.TaskSettings, columns: set[str]) -> None:
    tested = {tag for tag in compared(create(section)) if tag.startswith("test/")}
    assert tested == {f"test/{name}" for name in columns}


@pytest.mark.slow
def test_histograms_change_nothing(tmp_path: Path) -> None:
    ways = {
        every: tfeff.train(SETTINGS, tmp_path / str(every), histograms=every, evaluate=False, export=False, quiet=True)
        for every in (0, 1)
    }
    plain, watched = (
        [(row["train_loss"], row["validation_loss"]) for row in Workdir(each.workdir).rows()] for each in ways.values()
    )
    assert plain == watched
