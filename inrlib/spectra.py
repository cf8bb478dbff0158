"""How a signal looks in frequency: DFT magnitude, decibels, and what goes missing or appears.

Conventions. The DFT is divided by the number of samples, so a tone of amplitude A has two lines of
height A/2 whatever the grid. `centred` spectra have frequency zero in the middle: on an axis of N
samples, index N // 2. Bin k is k periods per grid length, hence k Hz on [0, 1) and k/2 cycles per
unit on [−1, 1). All functions are pure, work under `jit` and `vmap`, and keep the precision they
are given.

>>> from inrlib import signals
>>> tone = signals.tone(23, signals.grid(128))
>>> int(level(tone).argmax())
23
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

__all__ = [
    "bins",
    "centre_crop",
    "centred",
    "centroid",
    "decibels",
    "high_band",
    "level",
    "lines",
    "mean_frequency",
    "odd_energy",
]


def lines(
    values: Float[Array | np.ndarray, "N C"], hann: bool = False
) -> tuple[Int[np.ndarray, " K"], Float[Array, "K C"]]:
    """One-sided amplitude spectrum of a signal sampled on [0, 1).

        a_k = |DFT_k| · (2 or 1) / N,      k = 0 … N/2 Hz

    The factor is 1 at zero and at the Nyquist frequency, 2 between: a tone of amplitude A gives A.

    Args:
      values: the samples.
      hann: weigh them with a Hann window of mean 1 first. A signal whose ends do not meet leaks
        into all lines as 1/k; the window makes that 1/k³ and widens each line to three.

    Returns:
      Frequencies in Hz and amplitudes, K = N // 2 + 1.
    """
    n = values.shape[0]
    if hann:
        window = 1 - np.cos(2 * np.pi * np.arange(n) / n)
        values = values * window[:, None].astype(values.dtype)
    weight = np.full((n // 2 + 1, 1), 2.0)
    weight[0] = 1
    if n % 2 == 0:
        weight[-1] = 1
    spectrum = jnp.abs(jnp.fft.rfft(values, axis=0)) / n
    return np.arange(n // 2 + 1), spectrum * jnp.asarray(weight, spectrum.dtype)


def centred(pixels: Float[Array | np.ndarray, "H W C"]) -> Float[Array, "H W"]:
    """DFT magnitude of a picture, root mean square over its channels, zero frequency centred."""
    spectrum = jnp.fft.fft2(pixels, axes=(0, 1)) / (pixels.shape[0] * pixels.shape[1])
    magnitude = jnp.sqrt(jnp.mean(jnp.abs(spectrum) ** 2, axis=-1))
    return jnp.fft.fftshift(magnitude)


def bins(size: int) -> Int[np.ndarray, " {size}"]:
    """The integer frequency of each index of a `centred` axis: −(size // 2) … (size − 1) // 2."""
    return np.arange(size) - size // 2


def decibels(
    magnitude: Float[Array | np.ndarray, "*N"], floor: float = -200.0
) -> Float[Array, "*N"]:
    """20 log10(magnitude), not below `floor` dB."""
    smallest = 10 ** (floor / 20)
    return 20 * jnp.log10(jnp.maximum(magnitude, smallest))


def level(values: Float[Array | np.ndarray, "N C"], hann: bool = False) -> Float[Array, " K"]:
    """The one-sided spectrum in dB re amplitude 1, root mean square over the channels (`lines`)."""
    amplitudes = lines(values, hann)[1]
    return decibels(jnp.sqrt(jnp.mean(amplitudes**2, axis=-1)))


def mean_frequency(values: Float[Array | np.ndarray, "N C"]) -> Float[Array, ""]:
    """Mean frequency in Hz of a signal on [0, 1), weighted by energy, its mean value left out.

        Σ_k k a_k² / Σ_k a_k²,      k = 1 … N/2 Hz, a_k of `lines` with the window

    The mean is subtracted before the window is applied: afterwards a part of it stands at 1 Hz.
    """
    frequencies, amplitudes = lines(values - values.mean(axis=0), hann=True)
    energy = jnp.sum(amplitudes[1:] ** 2, axis=-1)
    return jnp.sum(frequencies[1:] * energy) / jnp.sum(energy)


def odd_energy(magnitude: Float[Array | np.ndarray, "H W"]) -> Float[Array, ""]:
    """Share of the energy in DFT coefficients with an odd index along either axis.

    A picture on [−1, 1)² made of harmonics of f0 = 1 has period 1, half the grid: all its odd
    coefficients are zero (Section 4.1).
    """
    odd = [jnp.asarray(bins(size) % 2 == 1) for size in magnitude.shape]
    either = odd[0][:, None] | odd[1][None, :]
    return jnp.sum(jnp.where(either, magnitude, 0) ** 2) / jnp.sum(magnitude**2)


def high_band(magnitude: Float[Array | np.ndarray, "H W"], share: float = 0.5) -> Float[Array, ""]:
    """Share of the energy beyond `share` of the band on either axis, the mean left out.

    Raises:
      ValueError: share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"high_band: share={share} must lie between 0 and 1.")
    far = [jnp.asarray(np.abs(bins(size)) >= share * size / 2) for size in magnitude.shape]
    either = far[0][:, None] | far[1][None, :]
    energy = (jnp.asarray(magnitude) ** 2).at[tuple(size // 2 for size in magnitude.shape)].set(0)
    return jnp.sum(jnp.where(either, energy, 0)) / jnp.sum(energy)


def centroid(magnitude: Float[Array | np.ndarray, "H W"]) -> Float[Array, ""]:
    """Spectral centroid in cycles per grid length: Σ |k| |ĝ_k|² / Σ |ĝ_k|²."""
    rows, columns = (jnp.asarray(bins(size), magnitude.dtype) for size in magnitude.shape)
    radius = jnp.hypot(rows[:, None], columns[None, :])
    return jnp.sum(radius * magnitude**2) / jnp.sum(magnitude**2)


def centre_crop(
    magnitude: Float[Array | np.ndarray, "H W"], size: int
) -> Float[Array | np.ndarray, "{size} {size}"]:
    """The size×size middle of a `centred` spectrum, zero frequency at index size // 2.

    Raises:
      ValueError: a size that is odd or larger than the spectrum.
    """
    if size % 2 or not 0 < size <= min(magnitude.shape):
        raise ValueError(
            f"centre_crop: size={size} must be even and at most {min(magnitude.shape)}, so that "
            "zero frequency keeps its place."
        )
    top, left = (extent // 2 - size // 2 for extent in magnitude.shape)
    return magnitude[top : top + size, left : left + size]
