"""What else a process computes does not depend on the runs that it has made."""

import random

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from tests.training.test_loop import assert_same_arrays, experiment, final
from tfeff import selection, training
from tfeff.errors import UserError
from tfeff.training import evaluation
from tfeff.training.process import as_before


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_run_leaves_the_process_as_it_was(tmp_path, monkeypatch):
    explained, seen = evaluation._activation, []
    monkeypatch.setattr(
        evaluation, "_activation", lambda *args: seen.append(is_op_determinism_enabled()) or explained(*args)
    )
    keras.config.set_dtype_policy("float32")
    state = random.getstate()
    settings = experiment("training.deterministic=true", "training.precision=mixed_bfloat16", "training.epochs=1")
    workdir = training.train(settings, tmp_path / "run")
    training.range_test(training.Plan.of(settings), selection.read(selection.request(settings), lambda *_: None))
    training.evaluate_run(workdir, None, training.Reporter(quiet=True))
    assert keras.config.dtype_policy().name == "float32"
    assert random.getstate() == state
    assert seen == [True]
    tf.random.normal([2])  # would demand a seed


def test_a_run_that_fails_leaves_the_process_as_it_was(tmp_path):
    settings = experiment("training.deterministic=true", "optimizer.learning_rate=1e30", "model.batch_norm=false")
    with pytest.raises(UserError, match="diverged"):
        training.train(settings, tmp_path)
    assert not is_op_determinism_enabled()


def test_determinism_that_was_on_stays_on():
    with as_before(deterministic=True), as_before(deterministic=True):
        pass
    assert not is_op_determinism_enabled()
    with as_before(deterministic=True):
        with as_before(deterministic=True):
            pass
        with as_before(deterministic=False):
            assert is_op_determinism_enabled()
        assert is_op_determinism_enabled()


@pytest.mark.slow
@pytest.mark.usefixtures("own_graphs", "without_figures")
def test_results_do_not_depend_on_the_policy_of_the_process(tmp_path):
    settings = experiment("training.deterministic=true", "training.epochs=1")
    scores = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        workdir = training.train(settings, tmp_path / policy)
        training.evaluate_run(workdir, None, training.Reporter(quiet=True))
        scores.append((tmp_path / policy / "predictions_test.csv").read_text())
        assert keras.config.dtype_policy().name == policy
    assert_same_arrays(*(final(training.Workdir(tmp_path / policy)) for policy in ("float32", "mixed_bfloat16")))
    assert scores[0] == scores[1]
