"""How the channels of a narrower or wider network represent those of the network it inherits from. NumPy alone.

There are three ways to have c channels instead of C. Repeated channels (Chen et al., "Net2Net", arXiv:1511.05641,
section 3.1) lose nothing. Chosen channels are found by elimination: a few at a time are removed, those whose loss costs
least after all others have been refitted (Hassibi and Stork, "Second order derivatives for network pruning: Optimal
Brain Surgeon", 1993). If no layer acts on single channels, any basis is possible: the principal directions are used,
weighted by the layers that read the channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

RIDGE = 0.1
"""Strength of all ridge regressions, in units of the mean variance of the inputs."""
_CONDITIONING = 1e-3  # added to covariances that are inverted to choose channels, in the same unit
_INDEPENDENT = 0.05  # largest squared partial correlation of two channels that are removed at once


@dataclass(frozen=True, eq=False)
class Encoding:
    """c channels that stand for C.

    Attributes:
        encode: float64 (C, c): values of the new channels = values of the old ones @ encode.
        decode: float64 (c, C): the best linear reconstruction of the old values, up to a constant.
        index: int (c,): the old channel that each new one equals; None in another basis.
        groups: for channels that a grouped convolution reads or computes, the old group of each new one, and the
            encoding within it; else empty.
    """

    encode: np.ndarray
    decode: np.ndarray
    index: np.ndarray | None
    groups: tuple[tuple[int, "Encoding"], ...] = ()

    @property
    def lossless(self) -> bool:
        """Whether the old values can be computed from the new ones."""
        return self.index is not None and len(np.unique(self.index)) == len(self.encode)


def identity(channels: int) -> Encoding:
    """Returns the same channels."""
    return Encoding(np.eye(channels), np.eye(channels), np.arange(channels))


def repeated(channels: int, wanted: int, rng: np.random.Generator) -> Encoding:
    """Returns all channels, and copies of random ones, of which none is copied twice before all are copied once."""
    copies = [rng.permutation(channels) for _ in range(-(-wanted // channels) - 1)]
    index = np.concatenate([np.arange(channels), *copies])[:wanted]
    encode = (index == np.arange(channels)[:, None]).astype(np.float64)
    return Encoding(encode, (encode / encode.sum(axis=1, keepdims=True)).T, index)


def chosen(covariance: np.ndarray, readers: np.ndarray, wanted: int) -> Encoding:
    """Returns the channels without which the layers that read them lose most.

    Args:
        covariance: float64 (C, C) of the channels.
        readers: float64 (C, any): kernels of the layers that read them.
        wanted: number of channels to keep.
    """
    index = backward_elimination(covariance, readers, wanted)
    return Encoding(np.eye(len(covariance))[:, index], _regression(covariance, index), index)


def principal(covariance: np.ndarray, readers: np.ndarray, wanted: int) -> Encoding:
    """Returns the directions without which the layers that read the channels lose most.

    They minimize the expected square of (x - x encode decode) @ readers.

    Args:
        covariance: float64 (C, C) of the channels.
        readers: float64 (C, any): kernels of the layers that read them.
        wanted: number of directions.
    """
    metric = readers @ readers.T
    values, vectors = np.linalg.eigh(metric + _CONDITIONING * np.trace(metric) / len(metric) * np.eye(len(metric)))
    root, inverse = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T
    directions = np.linalg.eigh(root @ covariance @ root)[1][:, ::-1][:, :wanted]
    encode, decode = root @ directions, directions.T @ inverse
    lengths = np.linalg.norm(encode, axis=0)
    return Encoding(encode / lengths, decode * lengths[:, None], None)


def in_groups(parts: Sequence[tuple[int, Encoding]], groups: int) -> Encoding:
    """Returns channels in groups of equal size.

    Args:
        parts: for each new group, the old one and the encoding of its channels, which keeps channels as they are.
        groups: number of old groups.
    """
    old, new = parts[0][1].encode.shape
    copies = np.bincount([group for group, _ in parts], minlength=groups)
    encode, decode = np.zeros((groups * old, len(parts) * new)), np.zeros((len(parts) * new, groups * old))
    index = np.zeros(len(parts) * new, int)
    for number, (group, each) in enumerate(parts):
        here, there = slice(number * new, (number + 1) * new), slice(group * old, (group + 1) * old)
        encode[there, here], decode[here, there] = each.encode, each.decode / copies[group]
        index[here] = each.index + group * old
    return Encoding(encode, decode, index, tuple(parts))


def backward_elimination(covariance: np.ndarray, readers: np.ndarray, wanted: int) -> np.ndarray:
    """Removes channels until the wanted number remains; returns their indices in ascending order.

    The loss is the variance of x @ readers that the remaining channels cannot explain. Removing channel q costs
    |w_q|^2 / M_qq, where M is the inverse covariance of the remaining channels and w the refitted kernels. Up to one
    percent of the channels are removed at once: the cheapest ones that hardly depend on each other.
    """
    left = np.arange(len(covariance))
    if readers.shape[1] > len(left):  # only readers @ readers.T matters
        values, vectors = np.linalg.eigh(readers @ readers.T)
        readers = vectors * np.sqrt(np.maximum(values, 0))
    inverse = np.linalg.inv(covariance + _CONDITIONING * _mean_variance(covariance) * np.eye(len(covariance)))
    kernels = np.asarray(readers, np.float64)
    while len(left) > wanted:
        pivots = np.diag(inverse)
        order = np.argsort(np.einsum("co,co->c", kernels, kernels) / pivots, kind="stable")
        removed = [order[0]]
        for each in order[1 : 4 * len(left) // 100]:
            if len(removed) >= min(len(left) - wanted, len(left) // 100):
                break
            if np.all(inverse[each, removed] ** 2 < _INDEPENDENT * pivots[each] * pivots[removed]):
                removed.append(each)
        solved = np.linalg.solve(inverse[np.ix_(removed, removed)], np.hstack([kernels[removed], inverse[removed]]))
        stays = np.ones(len(left), dtype=bool)
        stays[removed] = False
        columns = inverse[np.ix_(stays, removed)]
        kernels = kernels[stays] - columns @ solved[:, : kernels.shape[1]]
        inverse = inverse[np.ix_(stays, stays)] - columns @ solved[:, kernels.shape[1] :][:, stays]
        left = left[stays]
    return left


def ridge(gram: np.ndarray, cross: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Returns the kernel that minimizes |y - x kernel|^2 + strength |kernel - prior|^2.

    Args:
        gram: float64 (n, n), covariance of the inputs x.
        cross: float64 (n, m), covariance of inputs and values y.
        prior: float64 (n, m).
    """
    strength = RIDGE * _mean_variance(gram)
    factor = cho_factor(gram + strength * np.eye(len(gram)), overwrite_a=True, check_finite=False)
    return prior + cho_solve(factor, cross - gram @ prior, check_finite=False)


def wide_ridge(x: np.ndarray, y: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Computes `ridge` of centered rows x (rows, n) and y (rows, m), for more inputs than rows."""
    strength = RIDGE * max(float(np.square(x).mean()), 1e-12) * len(x)
    factor = cho_factor(x @ x.T + strength * np.eye(len(x)), overwrite_a=True, check_finite=False)
    return prior + x.T @ cho_solve(factor, y - x @ prior, check_finite=False)


def _regression(covariance: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns the linear prediction of all channels from those of the index: (c, C)."""
    inside = covariance[np.ix_(index, index)]
    inside = inside + _CONDITIONING * _mean_variance(covariance) * np.eye(len(index))
    predicted = np.linalg.solve(inside, covariance[index])
    predicted[:, index] = np.eye(len(index))
    return predicted


def _mean_variance(covariance: np.ndarray) -> float:
    return max(float(np.trace(covariance)) / len(covariance), 1e-12)
