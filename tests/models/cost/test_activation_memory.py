"""Lifetimes of feature maps, compared with hand-computed values and brute force."""

import random

import keras
import numpy as np

from tfeff.models.cost.activation_memory import Call, Reads, lifetimes, peak_size, reads

CONVOLUTION, RELU, SUM = reads(keras.layers.Conv2D), reads(keras.layers.Activation, "relu"), reads(keras.layers.Add)


def residual_block() -> list[Call]:
    """0 -> convolution 1 -> ReLU 2 -> convolution 3; 4 = 0 + 3."""
    return [
        Call((0,), (1,), CONVOLUTION),
        Call((1,), (2,), RELU),
        Call((2,), (3,), CONVOLUTION),
        Call((0, 3), (4,), SUM),
    ]


def test_residual_block() -> None:
    result = lifetimes(residual_block(), inputs=[0], outputs=[4], kept=[4], held=[0])
    sizes = [1, 10, 100, 1000, 10000]
    assert sorted(result.kept) == [0, 2, 4]
    assert peak_size([result.kept], sizes) == 10101
    # Forward: the input is kept for the sum.
    assert [peak_size([live], sizes) for live in result.forward] == [1, 11, 111, 1101, 11001]
    # Forward with kept maps. Then backward: kept maps and the gradients of 4, 3, 0; of 3, 2, 0; of 2, 1, 0; of 1, 0.
    assert [peak_size([live], sizes) for live in result.training] == [
        *(1, 11, 111, 1101, 11101),
        *(10101 + 11001, 101 + 1101, 101 + 111, 1 + 11),
    ]


def test_an_input_kept_by_others_stays_in_memory() -> None:
    calls = [Call((0,), (1,), SUM), Call((1,), (2,), SUM)]
    sizes = [100, 10, 1]
    free, kept = (lifetimes(calls, inputs=[0], outputs=[2], kept=kept) for kept in ((), (0,)))
    assert [peak_size([live], sizes) for live in free.training[:3]] == [100, 110, 11]
    assert [peak_size([live], sizes) for live in kept.training[:3]] == [100, 110, 111]
    assert (free.kept, kept.kept) == ((), (0,))


def test_an_activation_inside_a_layer_keeps_an_additional_map() -> None:
    silu = reads(keras.layers.Conv2D, "silu")
    assert silu == Reads(input=True, output=False, inside=True)
    result = lifetimes([Call((0,), (1,), silu)], inputs=[0], outputs=[1])
    assert sorted(result.kept) == [0, 1]
    assert reads(keras.layers.Conv2D, "sigmoid") == Reads(input=True, output=True)


def test_unknown_layers_read_input_and_output() -> None:
    class Unknown(keras.layers.Layer):
        pass

    assert reads(Unknown) == reads(keras.layers.MaxPooling2D) == Reads(input=True, output=True)


def test_removing_subsets_keeps_the_peak() -> None:
    result = lifetimes(residual_block(), inputs=[0], outputs=[4], kept=[4])
    fewer = result.without_subsets()
    assert len(fewer.training) < len(result.training)
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = (10 ** rng.uniform(0, 4, 5)).astype(int).tolist()
        assert peak_size(fewer.forward, sizes) == peak_size(result.forward, sizes)
        assert peak_size(fewer.training, sizes) == peak_size(result.training, sizes)


def test_live_maps_of_the_forward_pass_equal_brute_force() -> None:
    rng = random.Random(0)
    for _ in range(50):
        calls = [
            Call(tuple(rng.sample(range(number), k=min(number, rng.randint(1, 3)))), (number,), SUM)
            for number in range(1, 12)
        ]
        result = lifetimes(calls, inputs=[0], outputs=[11])
        for step, live in enumerate(result.forward[1:]):
            computed = range(step + 2)
            needed = {map_ for call in calls[step:] for map_ in call.inputs} | {step + 1, 11}
            assert set(live) == needed & set(computed)
