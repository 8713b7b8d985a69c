import numpy as np
import pytest

from tfeff import config, training
from tfeff.training import checkpoint, selection
from tfeff.training.assembly import Workshop

SETTINGS = config.Experiment(
    model=config.Model(name="resnet", width=4, stage_blocks=(1, 1, 1, 1), resolution=8, dropout=0.3),
    data=config.Data(channels=1, train_examples=200, folds=2, mean=(80.0,), std=(90.0,)),
    optimizer=config.Optimizer(name="sgd", learning_rate=0.1),
    training=config.Training(epochs=2, batch_size=50, ema_decay=0.9, precision="float32", deterministic=True),
)
OTHERS = ["data.fold=1", "seed=3", "data.seed=0", "optimizer.learning_rate=0.03", "schedule.name=constant"]


def weights(directory, settings, **shared):
    workdir = training.train(settings, directory, tensorboard=False, **shared)
    arrays, _ = checkpoint.load(workdir.final)
    return arrays


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop", "muon"])
def test_a_graph_used_again_gives_the_same_bits(tmp_path, optimizer):
    first = config.override(SETTINGS, [f"optimizer.name={optimizer}"])
    second = config.override(first, OTHERS)
    workshop = Workshop()
    weights(tmp_path / "a", first, workshop=workshop)
    again = weights(tmp_path / "b", second, workshop=workshop)
    alone = weights(tmp_path / "c", second)
    assert again.keys() == alone.keys()
    for name in alone:
        np.testing.assert_array_equal(again[name], alone[name], err_msg=name)


def test_what_a_graph_depends_on_makes_another(tmp_path):
    strategy = training.distribution.strategy("single")
    record = selection.choose(SETTINGS, selection.read(SETTINGS, lambda *_: None)).record()
    workshop = Workshop(size=3)
    first = workshop.assemble(SETTINGS, record, strategy)
    for same in OTHERS:
        assert workshop.assemble(config.override(SETTINGS, [same]), record, strategy) is first, same
    for other in ("model.width=5", "training.batch_size=25", "optimizer.momentum=0.5", "training.label_smoothing=0.1"):
        assert workshop.assemble(config.override(SETTINGS, [other]), record, strategy) is not first, other
    assert workshop.assemble(SETTINGS, record, strategy) is not first  # three others came since


def test_an_assembly_used_again_starts_afresh():
    strategy = training.distribution.strategy("single")
    record = selection.choose(SETTINGS, selection.read(SETTINGS, lambda *_: None)).record()
    workshop = Workshop()
    assembly = workshop.assemble(SETTINGS, record, strategy)

    def state():
        found = [np.array(v) for v in (*assembly.model.variables, *assembly.optimizer.variables)]
        return found + [np.array(v) for v in assembly.average.variables]

    before = state()
    for variable in (*assembly.model.weights, *assembly.optimizer.variables):
        variable.assign(variable + 1)
    assembly.average.variables[0].assign_add(assembly.average.variables[0] + 1)
    assert workshop.assemble(SETTINGS, record, strategy) is assembly
    for old, new in zip(before, state(), strict=True):
        np.testing.assert_array_equal(old, new)
