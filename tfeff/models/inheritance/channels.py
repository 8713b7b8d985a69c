"""Which channels of its source a network has: the encoding of each space of channels."""

from collections.abc import Callable, Mapping

import numpy as np

from tfeff.models.graph import Node
from tfeff.models.inheritance.encoding import Encoding, chosen, identity, in_groups, principal, repeated
from tfeff.models.inheritance.spaces import Space, groups_of, readers_kernel
from tfeff.models.inheritance.statistics import Statistics


class Channels:
    """Encodings of the spaces of a network, one for each number of channels.

    Args:
        nodes: the source's operations by name.
        spaces: channel space of each operation's output, by name.
        groups: number of groups that its convolutions in groups become, by name.
        measured: returns the statistics of the source on images; called only if channels are lost.
        rng: chooses the channels that are repeated.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        spaces: Mapping[str, Space],
        groups: Mapping[str, int],
        measured: Callable[[], Statistics],
        rng: np.random.Generator,
    ) -> None:
        self._nodes, self._spaces, self._groups = nodes, spaces, groups
        self._measured, self._rng = measured, rng
        self._known = dict[tuple[Space, int], Encoding]()
        self._kept = dict[str, list[int]]()

    def encoding(self, name: str, wanted: int) -> Encoding:
        """Returns the encoding of the output of an operation of the source in this number of channels."""
        space = self._spaces[name]
        if (space, wanted) not in self._known:
            plain = space.grouped is None
            self._known[space, wanted] = self._plain(space, wanted) if plain else self._grouped(space, wanted)
        return self._known[space, wanted]

    def _plain(self, space: Space, wanted: int) -> Encoding:
        if wanted == space.channels:
            return identity(wanted)
        if wanted > space.channels:
            return repeated(space.channels, wanted, self._rng)
        return (principal if space.any_basis else chosen)(*self._relevance(space), wanted)

    def _relevance(self, space: Space) -> tuple[np.ndarray, np.ndarray]:
        """Returns the covariance of the channels of a space, and the kernels of the layers that read them.

        Channels that no layer reads, those of the last feature map, matter alike.
        """
        if not space.readers:
            return np.eye(space.channels), np.eye(space.channels)
        covariance, kernels = np.zeros((space.channels,) * 2), []
        for name in space.readers:
            own = self._measured().covariances[name]
            kernel = readers_kernel(self._nodes[name].layer, space.channels)
            variance = np.einsum("co,cd,do->", kernel, own, kernel, optimize=True)
            kernels.append(kernel / np.sqrt(max(variance, 1e-12)))  # all readers matter alike
            covariance += own / len(space.readers)
        return covariance, np.concatenate(kernels, axis=1)

    def _grouped(self, space: Space, wanted: int) -> Encoding:
        """Returns an encoding that keeps the channels of each group together."""
        name = str(space.grouped)
        if name not in self._kept:
            self._kept[name] = self._kept_groups(name)
        kept, groups = self._kept[name], groups_of(self._nodes[name].layer)
        old, new = space.channels // groups, wanted // len(kept)
        if new >= old:
            return in_groups([(group, repeated(old, new, self._rng)) for group in kept], groups)
        covariance, readers = self._relevance(space)
        inside = [slice(group * old, (group + 1) * old) for group in range(groups)]
        parts = {group: chosen(covariance[inside[group], inside[group]], readers[inside[group]], new) for group in kept}
        return in_groups([(group, parts[group]) for group in kept], groups)

    def _kept_groups(self, name: str) -> list[int]:
        """Returns the group of a convolution that each new group stands for.

        These are copies of random groups, or those that matter most to the layers that read them.
        """
        groups, wanted = groups_of(self._nodes[name].layer), self._groups[name]
        if wanted >= groups:
            return np.argmax(repeated(groups, wanted, self._rng).encode, axis=0).tolist()
        covariance, readers = self._relevance(self._spaces[name])
        matter = np.einsum("co,cd,do->c", readers, covariance, readers, optimize=True).reshape(groups, -1).sum(axis=1)
        return sorted(np.argsort(-matter, kind="stable")[:wanted].tolist())
