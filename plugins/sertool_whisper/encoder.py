"""Whisper's front end and the first layers of its encoder (Radford et al. 2022, arXiv 2212.04356), frozen."""

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.features.mel import Geometry
from sertool.nn import LogMel, Positions, TransformerLayer
from sertool.nn.checkpoint import CONFIG, construct, load, override, read_config, read_weights

#: Size -> (width, layers, attention heads) of the published encoders that run on a computer without a GPU.
SIZES = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12)}

#: Keys of config.json, besides the sizes, that determine what the encoder computes; all published encoders have these.
FIXED: dict[str, Any] = {
    "num_mel_bins": 80,
    "activation_function": "gelu",
    "scale_embedding": False,
    "max_source_positions": 1500,
}

#: Prefixes of weights in a published folder that do not belong to the encoder.
OTHERS = ("decoder.", "proj_out.")

#: 25 ms every 10 ms, 80 mels (arXiv 2212.04356, section 2.2).
GEOMETRY = Geometry(n_fft=400, hop=160, n_mels=80)


class Encoder(nn.Module):
    """Waveform [batch, samples], 16 kHz, 400 to 480,000 samples -> hidden states [batch, tokens, kept, width].

    50 tokens per second. ``keep`` lists the outputs to return: 0 for the convolutions, n for layer n; layers above the
    last of them are not computed. Frozen, always in eval mode. Raises ValueError for clips of other lengths.
    """

    shortest, longest, samples_a_token = GEOMETRY.n_fft, 30 * 16_000, 2 * GEOMETRY.hop

    def __init__(self, width: int, heads: int, ffn: int, keep: tuple[int, ...]) -> None:
        super().__init__()
        self.width, self.keep = width, keep
        self.mel = LogMel(GEOMETRY)
        self.conv1 = nn.Conv1d(GEOMETRY.n_mels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.embed_positions = Positions(FIXED["max_source_positions"], width)
        self.layers = nn.ModuleList(TransformerLayer(width, heads, ffn) for _ in range(max(keep)))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def forward(self, waveform: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and not self.shortest <= waveform.shape[1] <= self.longest:
            raise ValueError(f"Whisper takes {self.shortest} to {self.longest} samples, not {waveform.shape[1]}")
        x = self.features(waveform).transpose(1, 2)  # [batch, mels, frames]
        x = F.gelu(self.conv2(F.gelu(self.conv1(x)))).transpose(1, 2)  # [batch, tokens, width]
        x = self.embed_positions(x)
        states = [x] if 0 in self.keep else []
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if number in self.keep:
                states.append(x)
        return torch.stack(states, dim=2)

    def features(self, waveform: Tensor) -> Tensor:
        """Return [batch, frames, 80]: log10 of the mels, limited to 8 below the maximum, as WhisperFeatureExtractor.

        The clip is not padded to 30 s.
        """
        x = self.mel(waveform)[:, :-1] / 10  # Whisper drops the last frame
        x = torch.maximum(x, x.amax(dim=(1, 2), keepdim=True) - 8)
        return (x + 4) / 4


def build(size: str, keep: list[int], weights: str | None, config: dict[str, Any] | None) -> Encoder:
    """Build a frozen encoder, random or with the weights in the Hugging Face folder of a published Whisper.

    ``size`` is one of SIZES; ``config`` overrides d_model, encoder_attention_heads, encoder_ffn_dim and encoder_layers,
    for small test networks. Raises UsageError for an unknown size or layer, if a file is missing, damaged or of another
    network, or if any weight is missing, unexpected or has the wrong shape.
    """
    if size not in SIZES:
        raise UsageError(f"whisper: size must be one of {', '.join(SIZES)}, not {size!r}")
    width, layers, heads = SIZES[size]
    settings = {
        "d_model": width,
        "encoder_layers": layers,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
    }
    settings = override(settings, config)
    wanted = sorted(set(keep))
    if (
        not wanted
        or any(type(k) is not int or not 0 <= k <= settings["encoder_layers"] for k in wanted)
        or max(wanted) < 1
    ):
        raise UsageError(
            f"whisper: layers must be numbers from 0 to {settings['encoder_layers']}, one above 0, not {keep}"
        )
    folder, repo = Path(weights) if weights else None, f"openai/whisper-{size}"
    if folder:
        _check(folder, repo, settings)

    def create() -> Encoder:
        return Encoder(
            settings["d_model"], settings["encoder_attention_heads"], settings["encoder_ffn_dim"], tuple(wanted)
        )

    encoder = construct(create, folder)
    assert isinstance(encoder, Encoder)
    if folder:
        encoder.mel = LogMel(GEOMETRY)  # computed, not in the folder
        published = _of_encoder(read_weights(folder, repo), settings, max(wanted), folder)
        computed = {f"mel.{name}": value for name, value in encoder.mel.state_dict().items()}
        load(encoder, published | computed, folder, repo)
    encoder.requires_grad_(False)
    return encoder


def _check(folder: Path, repo: str, settings: dict[str, Any]) -> None:
    published = read_config(folder, repo)
    if published.get("model_type") != "whisper":
        raise UsageError(
            f"{folder / CONFIG}: model_type {published.get('model_type')!r}, not 'whisper'; give the folder of {repo}"
        )
    for key, wanted in {**FIXED, **settings}.items():
        actual = published.get(key, FIXED.get(key))
        if actual != wanted:
            raise UsageError(
                f"{folder / CONFIG}: {key} is {actual}, but {wanted} in this network; give the folder of {repo}, "
                "or another size"
            )


def _of_encoder(weights: dict[str, Tensor], settings: dict[str, Any], layers: int, folder: Path) -> dict[str, Tensor]:
    """Return the encoder's weights up to a layer, under its names; unknown weights are kept for `load` to report."""
    bare = {key.removeprefix("model."): value for key, value in weights.items()}
    if len(bare) < len(weights):
        raise UsageError(f"{folder}: contains weights twice, with and without the prefix 'model.'")
    result: dict[str, Tensor] = {}
    above = tuple(f"encoder.layers.{n}." for n in range(layers, settings["encoder_layers"]))
    for key, value in bare.items():
        if not key.startswith((*OTHERS, *above, "encoder.layer_norm.")):
            result[key.removeprefix("encoder.")] = value
    return result
