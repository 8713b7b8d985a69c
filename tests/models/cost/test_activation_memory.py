"""Lifetimes of feature maps, compared with hand-computed values and brute force."""

import random
from collections.abc import Sequence

import keras

from tfeff.models.cost.activation_memory import Call, Interval, lifetimes, peak_size
from tfeff.models.layers.kinds import Reads, kind_of
from tfeff.models.layers.regions import RoIAlign


def reads(layer: type[keras.layers.Layer], activation: str | None = None) -> Reads | None:
    return kind_of(layer).reading(activation)


CONVOLUTION, RELU, SUM = reads(keras.layers.Conv2D), reads(keras.layers.Activation, "relu"), reads(keras.layers.Add)


def residual_block() -> list[Call]:
    """0 -> convolution 1 -> ReLU 2 -> convolution 3; 4 = 0 + 3."""
    return [
        Call((0,), (1,), CONVOLUTION),
        Call((1,), (2,), RELU),
        Call((2,), (3,), CONVOLUTION),
        Call((0, 3), (4,), SUM),
    ]


def live_sizes(intervals: Sequence[Interval], sizes: Sequence[int]) -> list[int]:
    """Returns the total size of the live maps at each step."""
    steps = range(1 + max(interval.last for interval in intervals))
    return [sum(sizes[number] for number, first, last in intervals if first <= step <= last) for step in steps]


def test_residual_block() -> None:
    result = lifetimes(residual_block(), inputs=[0], outputs=[4], kept=[4], held=[0])
    sizes = [1, 10, 100, 1000, 10000]
    assert sorted(result.kept) == [0, 2, 4]
    assert sum(sizes[number] for number in result.kept) == 10101
    # Forward: the input is kept for the sum.
    assert live_sizes(result.forward, sizes) == [1, 11, 111, 1101, 11001]
    assert peak_size(result.forward, sizes) == 11001
    # Forward with kept maps. Then backward: kept maps and the gradients of 4, 3, 0; of 3, 2, 0; of 2, 1, 0; of 1, 0.
    assert live_sizes(result.training, sizes) == [
        *(1, 11, 111, 1101, 11101),
        *(10101 + 11001, 101 + 1101, 101 + 111, 1 + 11),
    ]


def test_an_input_kept_by_others_stays_in_memory() -> None:
    calls = [Call((0,), (1,), SUM), Call((1,), (2,), SUM)]
    sizes = [100, 10, 1]
    free, kept = (lifetimes(calls, inputs=[0], outputs=[2], kept=kept) for kept in ((), (0,)))
    assert live_sizes(free.training, sizes)[:3] == [100, 110, 11]
    assert live_sizes(kept.training, sizes)[:3] == [100, 110, 111]
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


def test_live_maps_equal_brute_force() -> None:
    """Which maps are live at a step follows from what later steps need."""
    rng = random.Random(0)
    kinds = (CONVOLUTION, RELU, SUM, reads(keras.layers.MaxPooling2D))
    for _ in range(50):
        calls = [
            Call(tuple(rng.sample(range(number), k=min(number, rng.randint(1, 3)))), (number,), rng.choice(kinds))
            for number in range(1, 12)
        ]
        result = lifetimes(calls, inputs=[0], outputs=[9, 11], kept=[9, 11], held=[0])
        # Bit n of the total size tells whether map n is live: values in the low bits, gradients in the high ones.
        forward = live_sizes(result.forward, [1 << number for number in range(12)])
        training = live_sizes(result.training, [1 << 2 * number for number in range(12)])
        random_sizes = [rng.randrange(100) for _ in range(12)]
        for intervals in (result.forward, result.training):
            assert peak_size(intervals, random_sizes) == max(live_sizes(intervals, random_sizes))
        for step, live in enumerate(forward[1:], 1):
            needed = {number for call in calls[step - 1 :] for number in call.inputs} | {step, 9, 11}
            assert live == sum(1 << number for number in needed if number <= step)
        for step, live in enumerate(training[12:], 12):
            layer = 23 - step
            read = {
                number
                for call in calls[:layer]
                for number in (*(call.inputs if call.reads.input else ()), *(call.outputs if call.reads.output else ()))
            }
            values = read | {0} | {number for number in (9, 11) if number <= layer}
            # A gradient is live from the last reader (or the end) to the layer that computed the map.
            gradients = {number for call in calls[layer - 1 :] for number in call.inputs if number <= layer}
            gradients |= {number for number in (layer, 9, 11) if number <= layer}
            assert live == sum(1 << 2 * number for number in values) + sum(1 << 2 * number for number in gradients)


def test_working_maps_are_in_memory_while_the_layer_and_its_gradient_run() -> None:
    gather = Reads(input=False, output=False, working=16)
    calls = [Call((0,), (1,), SUM), Call((1,), (2,), gather), Call((2,), (3,), SUM)]
    result = lifetimes(calls, inputs=[0], outputs=[3])
    sizes = [1, 10, 100, 1000]
    assert live_sizes(result.forward, sizes) == [1, 11, 10 + 17 * 100, 1100]
    assert live_sizes(result.training, sizes) == [1, 11, 10 + 17 * 100, 1100, 1100, 110 + 16 * 100, 11]
    assert kind_of(RoIAlign).reads.working == 4 * RoIAlign(levels=(2,)).sampling ** 2
