import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff import config, selection, training
from tfeff.training import checkpoint
from tfeff.training.assembly import AssemblyCache

SETTINGS = config.Experiment(
    model=config.architecture(
        "resnet", width=4, stage_blocks=(1, 1), resolution=8, dropout=0.3, mean=(80.0,), std=(90.0,)
    ),
    data=config.Data(channels=1, train_examples=200, folds=2),
    optimizer=config.Optimizer(name="sgd", learning_rate=0.1),
    training=config.Training(epochs=2, batch_size=50, ema_decay=0.9, precision="float32", deterministic=True),
)
OTHERS = [
    *("data.fold=1", "seed=3", "data.seed=0", "optimizer.learning_rate=0.03", "schedule.name=constant"),
    *("training.keep=best", "training.monitor=accuracy", "training.early_stopping_epochs=9"),
]


def weights(directory, settings, **shared):
    workdir = training.train(settings, directory, tensorboard=False, **shared)
    arrays, _ = checkpoint.load(workdir.final)
    return arrays


@pytest.mark.slow
@pytest.mark.usefixtures("own_graphs")
@pytest.mark.parametrize("optimizer", ["sgd", thorough("adamw"), thorough("rmsprop"), thorough("muon")])
def test_reused_graphs_give_bit_identical_weights(tmp_path, optimizer):
    by_layer = ["optimizer.weight_decay=0.01", "optimizer.frozen=stem*", "optimizer.learning_rate_factors=head*=0.5"]
    first = config.override(SETTINGS, [f"optimizer.name={optimizer}", *by_layer])
    second = config.override(first, OTHERS)
    cache = AssemblyCache()
    weights(tmp_path / "a", first, assemblies=cache)
    again = weights(tmp_path / "b", second, assemblies=cache)
    alone = weights(tmp_path / "c", second)
    assert again.keys() == alone.keys()
    for name in alone:
        np.testing.assert_array_equal(again[name], alone[name], err_msg=name)


def planned(*overrides):
    plan = training.Plan.of(config.override(SETTINGS, overrides))
    wanted = training.Plan.of(SETTINGS).images
    return plan.learned(selection.choose(wanted, selection.read(wanted, lambda *_: None)).record())


@pytest.mark.slow
def test_settings_that_change_the_graph():
    strategy = training.distribution.strategy("single")
    plan = planned()
    cache = AssemblyCache(size=3)
    first = cache.assemble(plan, strategy)
    for same in OTHERS:
        assert cache.assemble(planned(same), strategy) is first, same
    for other in ("model.width=5", "training.batch_size=25", "optimizer.momentum=0.5", "task.label_smoothing=0.1"):
        assert cache.assemble(planned(other), strategy) is not first, other
    assert cache.assemble(plan, strategy) is not first  # evicted by three others


def test_reused_assemblies_draw_resolutions_by_the_seed_of_the_run():
    strategy, cache = training.distribution.strategy("single"), AssemblyCache()
    resolutions = "training.resolution_factors=1,2"
    drawn = []
    for seed in (0, 1, 0):
        step = cache.assemble(planned(resolutions, f"seed={seed}"), strategy).step
        drawn.append([step.resolutions.drawn(number) for number in range(20)])
    assert drawn[0] == drawn[2] != drawn[1]


def test_reused_assemblies_are_reset():
    strategy = training.distribution.strategy("single")
    plan = planned()
    cache = AssemblyCache()
    assembly = cache.assemble(plan, strategy)

    def state():
        found = [np.array(v) for v in (*assembly.model.variables, *assembly.optimizer.variables)]
        return found + [np.array(v) for v in assembly.average.variables]

    before = state()
    for variable in (*assembly.model.weights, *assembly.optimizer.variables):
        variable.assign(variable + 1)
    assembly.average.variables[0].assign_add(assembly.average.variables[0] + 1)
    assert cache.assemble(plan, strategy) is assembly
    for old, new in zip(before, state(), strict=True):
        np.testing.assert_array_equal(old, new)
