"""LogMel as two convolutions and a matrix product, so that it runs on any device and exports to ONNX."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sertool._types import Array
from sertool.features import mel


class LogMel(nn.Module):
    """Convert waveforms to LogMel in dB, with frozen constants (docs/numerics.md).

    ``n_fft``: one of the students' two geometries, or any Geometry. Input [batch, samples], 16 kHz; output
    [batch, 1 + samples // hop, n_mels]. Raises ValueError for fewer than n_fft // 2 + 1 samples. Follows
    librosa.feature.melspectrogram(center=True, pad_mode="reflect") and power_to_db(ref=1, amin=1e-10, top_db=None).
    """

    def __init__(self, n_fft: int | mel.Geometry = 64) -> None:
        super().__init__()
        self.geometry = g = n_fft if isinstance(n_fft, mel.Geometry) else mel.geometry(n_fft)
        real, imaginary = mel.fourier_basis(g.n_fft)
        bank = mel.mel_filters(g.n_fft, g.n_mels)
        self.real = _frozen(real[:, None])  # [bins, 1, n_fft]
        self.imaginary = _frozen(imaginary[:, None])  # [bins, 1, n_fft]
        self.mel = _frozen(bank.T)  # [bins, n_mels]

    def forward(self, waveform: Tensor) -> Tensor:
        g = self.geometry
        # Skipped while tracing: the shape is symbolic then, and the exported Pad has its own check.
        if not torch.compiler.is_compiling() and waveform.shape[-1] < g.shortest:
            raise ValueError(f"LogMel needs at least {g.shortest} samples, got {waveform.shape[-1]}")
        with _full_precision(waveform):
            return self._logmel(waveform)

    def _logmel(self, waveform: Tensor) -> Tensor:
        g = self.geometry
        padded = F.pad(waveform[:, None], (g.n_fft // 2, g.n_fft // 2), mode="reflect")
        real = F.conv1d(padded, self.real, stride=g.hop)
        imaginary = F.conv1d(padded, self.imaginary, stride=g.hop)
        power = (real * real + imaginary * imaginary).transpose(1, 2)
        return 10 * torch.log10(torch.clamp(power @ self.mel, min=mel.AMIN))


def _full_precision(waveform: Tensor) -> AbstractContextManager[object]:
    """Turn mixed precision off: 8 bits of mantissa lose quiet bands."""
    device = waveform.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def _frozen(values: Array) -> nn.Parameter:
    return nn.Parameter(torch.as_tensor(values, dtype=torch.float32).contiguous(), requires_grad=False)
