"""The single definition of LogMel's constants: window, Fourier basis, mel filters (docs/numerics.md).

The C tables (csrc/logmel_64.h, csrc/logmel_144.h) and the torch layers (sertool/nn/logmel.py) are generated from it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sertool._types import Floats

SAMPLE_RATE = 16_000
F_MAX = 8_000.0
AMIN = 1e-10


@dataclass(frozen=True)
class Geometry:
    """Sizes of a LogMel: ``n_fft`` and ``hop`` in samples, ``n_mels`` filters."""

    n_fft: int
    hop: int
    n_mels: int

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def shortest(self) -> int:
        """Return the minimum number of samples for reflect padding."""
        return self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        return 1 + samples // self.hop


#: The two geometries in use, by n_fft: all students, and MobileNetV4-L. arXiv 2408.13920 gives 26 mels for 64 and no
#: number for 144: 58 is the same share of the bins (26 of 33, 58 of 73) and takes the 2.2 G operations of its Table I.
GEOMETRIES = {g.n_fft: g for g in (Geometry(64, 32, 26), Geometry(144, 72, 58))}


def geometry(n_fft: int) -> Geometry:
    """Return the geometry with that FFT length. Raise ValueError if there is none."""
    try:
        return GEOMETRIES[n_fft]
    except KeyError:
        raise ValueError(f"n_fft {n_fft}: LogMel is defined for {', '.join(map(str, GEOMETRIES))}") from None


def chosen(n_fft: int = 64, hop: int | None = None, n_mels: int | None = None) -> Geometry:
    """Return a student's geometry: one of GEOMETRIES, or for another n_fft, hop n_fft / 2 and the same share of mels.

    ``hop`` and ``n_mels`` override these. Raises ValueError if the sizes are invalid.
    """
    known = GEOMETRIES.get(n_fft, Geometry(n_fft, n_fft // 2, round((n_fft // 2 + 1) * 26 / 33)))
    result = Geometry(n_fft, known.hop if hop is None else hop, known.n_mels if n_mels is None else n_mels)
    for name, value, least in (("n_fft", result.n_fft, 16), ("hop", result.hop, 1), ("n_mels", result.n_mels, 1)):
        if type(value) is not int or value < least:
            raise ValueError(f"{name} must be a whole number from {least}, not {value!r}")
    if result.n_fft % 2 or result.hop > result.n_fft:
        raise ValueError(f"n_fft must be even, and hop at most n_fft; they are {n_fft} and {result.hop}")
    return result


def hann(n_fft: int) -> Floats:
    """Return the periodic Hann window, float64 [n_fft]: 0.5 - 0.5 cos(2 pi n / n_fft)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)


def fourier_basis(n_fft: int) -> tuple[Floats, Floats]:
    """Return the windowed real and imaginary DFT rows, float64 [n_fft // 2 + 1, n_fft] each."""
    k, n = np.arange(n_fft // 2 + 1)[:, None], np.arange(n_fft)[None]
    angle = 2 * np.pi * ((k * n) % n_fft) / n_fft  # the modulo keeps the angle, and so cos and sin, accurate to an ulp
    return np.cos(angle) * hann(n_fft), -np.sin(angle) * hann(n_fft)


def hz_to_mel(hz: npt.ArrayLike) -> Floats:
    """Convert Hz to Slaney's mel scale: linear, 3 mel per 200 Hz, below 1 kHz; above it 27 mel per factor 6.4."""
    hz = np.asarray(hz, dtype=np.float64)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4))


def mel_to_hz(mel: npt.ArrayLike) -> Floats:
    """Invert :func:`hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def mel_filters(n_fft: int, n_mels: int) -> Floats:
    """Return triangular mel filters, float64 [n_mels, n_fft // 2 + 1], 0 to 8000 Hz, each of area 1 (Slaney norm).

    The definition is that of librosa.filters.mel with its defaults (htk=False, norm="slaney"). With 64 points, a few
    of the lowest triangles fall between two bins and are empty: their output is always -100 dB.
    """
    edges = mel_to_hz(np.linspace(0, hz_to_mel(F_MAX), n_mels + 2))
    bins = np.arange(n_fft // 2 + 1) * SAMPLE_RATE / n_fft
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
