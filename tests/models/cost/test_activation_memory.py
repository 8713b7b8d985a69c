"""Lifetimes of feature maps, by hand and by brute force."""

import random

import keras
import numpy as np

from tfeff.models.cost.activation_memory import Call, Reads, lifetimes, most, reads

CONVOLUTION, RELU, SUM = reads(keras.layers.Conv2D), reads(keras.layers.Activation, "relu"), reads(keras.layers.Add)


def residual_block() -> list[Call]:
    """0 -> convolution 1 -> ReLU 2 -> convolution 3; 4 = 0 + 3."""
    return [
        Call((0,), (1,), CONVOLUTION),
        Call((1,), (2,), RELU),
        Call((2,), (3,), CONVOLUTION),
        Call((0, 3), (4,), SUM),
    ]


def test_residual_block_by_hand() -> None:
    when = lifetimes(residual_block(), inputs=[0], outputs=[4], kept=[4], held=[0])
    sizes = [1, 10, 100, 1000, 10000]
    assert sorted(when.kept) == [0, 2, 4]
    assert most([when.kept], sizes) == 10101
    # Forward: the input waits for the sum.
    assert [most([moment], sizes) for moment in when.forward] == [1, 11, 111, 1101, 11001]
    # Forward and keeping; then backwards: every map kept and the gradients of 4, 3, 0; of 3, 2, 0; of 2, 1, 0; of 1, 0.
    assert [most([moment], sizes) for moment in when.training] == [
        *(1, 11, 111, 1101, 11101),
        *(10101 + 11001, 101 + 1101, 101 + 111, 1 + 11),
    ]


def test_input_kept_by_others_stays_while_the_block_runs() -> None:
    calls = [Call((0,), (1,), SUM), Call((1,), (2,), SUM)]
    sizes = [100, 10, 1]
    free, kept = (lifetimes(calls, inputs=[0], outputs=[2], kept=kept) for kept in ((), (0,)))
    assert [most([moment], sizes) for moment in free.training[:3]] == [100, 110, 11]
    assert [most([moment], sizes) for moment in kept.training[:3]] == [100, 110, 111]
    assert (free.kept, kept.kept) == ((), (0,))


def test_activation_inside_a_layer_keeps_a_map_more() -> None:
    silu = reads(keras.layers.Conv2D, "silu")
    assert silu == Reads(input=True, output=False, inside=True)
    when = lifetimes([Call((0,), (1,), silu)], inputs=[0], outputs=[1])
    assert sorted(when.kept) == [0, 1]
    assert reads(keras.layers.Conv2D, "sigmoid") == Reads(input=True, output=True)


def test_unknown_kinds_read_everything() -> None:
    class Novel(keras.layers.Layer):
        pass

    assert reads(Novel) == reads(keras.layers.MaxPooling2D) == Reads(input=True, output=True)


def test_lesser_moments_are_never_the_largest() -> None:
    when = lifetimes(residual_block(), inputs=[0], outputs=[4], kept=[4])
    fewer = when.without_lesser()
    assert len(fewer.training) < len(when.training)
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = (10 ** rng.uniform(0, 4, 5)).astype(int).tolist()
        assert most(fewer.forward, sizes) == most(when.forward, sizes)
        assert most(fewer.training, sizes) == most(when.training, sizes)


def test_forward_moments_by_brute_force() -> None:
    rng = random.Random(0)
    for _ in range(50):
        calls = [
            Call(tuple(rng.sample(range(number), k=min(number, rng.randint(1, 3)))), (number,), SUM)
            for number in range(1, 12)
        ]
        when = lifetimes(calls, inputs=[0], outputs=[11])
        for step, moment in enumerate(when.forward[1:]):
            made = range(step + 2)
            wanted = {map_ for call in calls[step:] for map_ in call.inputs} | {step + 1, 11}
            assert set(moment) == wanted & set(made)
