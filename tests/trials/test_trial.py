import pytest

from tfeff import config
from tfeff.errors import UserError
from tfeff.scaling import trial
from tfeff.scaling.baseline import Baseline

SEARCH = config.Search(
    experiment=config.Experiment(
        seed=5,
        model=config.Model(name="resnet", width=8, resolution=16),
        optimizer=config.Optimizer(learning_rate=0.2),
        training=config.Training(batch_size=220),
    ),
    folds=config.Folds(count=4, examples=100, validation_fraction=0.25, seeds=2),
)
BASELINE = Baseline(SEARCH.experiment.model, 10, 3)
TWICE = BASELINE.network(1.25, 1.125, 18)  # 1.25 · 1.265625 · 1.265625 = 2.00226


def test_a_trial_is_the_baselines_experiment_with_a_network_a_fold_and_a_seed():
    made = trial.experiment(SEARCH, BASELINE, TWICE, fold=2, seed=1)
    assert made.model == TWICE.model
    assert (made.data.folds, made.data.fold, made.data.fold_examples) == (4, 2, 100)
    assert made.data.validation_fraction == 0.25
    assert (made.seed, made.data.seed) == (6, 5)  # other weights, the same images
    assert made.data.test_split is None
    assert made.training.batch_size == 110
    assert made.optimizer.learning_rate == pytest.approx(0.1)


def test_classic_folds_share_a_subset():
    search = config.override(SEARCH, ["folds.kind=classic", "folds.examples=90"])
    made = trial.experiment(search, BASELINE, TWICE, fold=2, seed=0)
    assert (made.data.folds, made.data.fold_examples, made.data.train_examples) == (4, None, 90)


@pytest.mark.parametrize(("rule", "size"), [("product", 110), ("fixed", 220), ("memory", None)])
def test_batch_sizes_follow_their_rule(rule, size):
    search = config.override(SEARCH, [f"trials.batch_size={rule}"])
    found = trial.batch_size(search, BASELINE, TWICE)
    if size is None:
        whole = 220 * BASELINE.cost.training_peak_bytes
        assert found * TWICE.cost.training_peak_bytes == pytest.approx(whole, rel=0.01)
    else:
        assert found == size
    assert trial.batch_size(search, BASELINE, BASELINE.start) == 220


@pytest.mark.parametrize(("rule", "rate"), [("linear", 0.1), ("sqrt", 0.2 / 2**0.5), ("fixed", 0.2)])
def test_learning_rates_follow_the_batch(rule, rate):
    search = config.override(SEARCH, [f"trials.learning_rate={rule}"])
    made = trial.experiment(search, BASELINE, TWICE, fold=0, seed=0)
    assert made.optimizer.learning_rate == pytest.approx(rate)
    measured = trial.experiment(search, BASELINE, TWICE, fold=0, seed=0, learning_rate=0.03)
    assert measured.optimizer.learning_rate == 0.03


def test_what_counts_is_what_the_training_keeps():
    losses = {4: 0.5, 5: 0.1, 8: 0.4, 10: 0.6}
    rows = [
        {"epoch": epoch} | ({"validation_loss": losses[epoch]} if epoch in losses else {}) for epoch in range(1, 11)
    ]
    keys = ["experiment.training.validation_epochs=4", "experiment.training.epochs=10"]
    last = config.override(SEARCH, keys)
    best = config.override(SEARCH, [*keys, "experiment.training.keep=best"])
    assert trial.outcome(last, rows)["epoch"] == 10
    assert trial.outcome(best, rows)["epoch"] == 8  # epoch 5 was measured because a rung ended there
    assert trial.outcome(best, rows[:5])["epoch"] == 4
    assert trial.outcome(best, [{"epoch": 1, "validation_loss": 2.0}])["epoch"] == 1


def test_parts_of_an_accumulated_batch_stay_equal():
    search = config.override(SEARCH, ["experiment.training.accumulation_steps=4"])
    assert trial.batch_size(search, BASELINE, TWICE) % 4 == 0


def test_a_batch_without_images_is_refused():
    search = config.override(SEARCH, ["experiment.training.batch_size=1"])
    with pytest.raises(UserError, match=r"training\.batch_size"):
        trial.batch_size(search, BASELINE, BASELINE.network(4.0, 1.0, 16))
