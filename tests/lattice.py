"""Signals on a grid by frequency: what the tests of Section 3 share."""

import numpy as np


def grid(shape):
    """The samples of [0, 1)^D in float64, without the package's own `signals.grid`."""
    axes = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=-1)


def energies(f, shape):
    """|DFT|² of one channel, divided by its sum."""
    energy = np.abs(np.fft.fftn(np.asarray(f)[:, 0].reshape(shape))) ** 2
    return energy / energy.sum()


def mask(k, shape):
    """Where a DFT has the frequencies ±k."""
    inside = np.zeros(shape, bool)
    k = np.round(k).astype(int)
    for both in (k, -k):
        inside[tuple((both % shape).T)] = True
    return inside


def no_alias(k, order):
    """The smallest grid on which harmonics of that order do not alias."""
    return tuple(int(n) for n in 2 * order * np.abs(k).max(axis=0) + 2)
