"""WavLM-large with the head of the Odyssey 2024 speech emotion challenge's baseline (Goncalves et al. 2024)."""

import itertools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WavLMConfig, WavLMModel

from sertool.errors import UsageError
from sertool.nn.checkpoint import CONFIG, ENCODER

from .checkpoint import LARGE, Frozen, assemble, read_config

REPO = "3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes"
ENCODER_REPO = "microsoft/wavlm-large"

WAVLM_ENCODER = (*ENCODER, "num_buckets", "max_bucket_distance")

#: The keys in the published config.json; the rest of the encoder's configuration is that of ENCODER_REPO.
HEAD = {
    "mean": -8.278621631819787e-05,
    "std": 0.08485510250851999,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "classifier_hidden_layers": 1,
}
SETTINGS = {
    **{key: getattr(WavLMConfig(), key) for key in WAVLM_ENCODER},
    **LARGE,
    "mask_time_prob": 0.075,
    **HEAD,
}


def build(weights: str | None = None, config: dict[str, Any] | None = None) -> "WavLM":
    """Build the frozen network; ``weights`` is a local copy of the folder published as REPO, else they are random.

    The folder contains config.json and model.safetensors or pytorch_model.bin, either of them optionally split with an
    index; other files (code, a preprocessor_config.json without relevant settings) are not read. ``config`` overrides
    keys of SETTINGS, for small test networks. Raises UsageError if a file is missing or damaged, or if any weight is
    missing, unexpected or has the wrong shape.
    """
    if weights is None:
        return assemble(WavLM, SETTINGS, config, None, REPO)
    folder = Path(weights)
    published = read_config(folder, REPO, "ser")
    for key in ("ssl_type", *HEAD):
        if key not in published:
            raise UsageError(f"{folder / CONFIG}: key {key!r} is missing; download {REPO} again")
    if published["ssl_type"] != ENCODER_REPO:
        raise UsageError(f"{folder / CONFIG}: ssl_type is {published['ssl_type']!r}, not {ENCODER_REPO!r}")
    return assemble(WavLM, SETTINGS | {key: published[key] for key in HEAD}, config, folder, REPO)


class WavLM(Frozen):
    """Waveform [batch, samples], 16 kHz, at least 400 samples -> [batch, 3]: arousal, dominance, valence, about 0 to 1.

    318,607,043 parameters: 315,453,120 in the encoder with all 24 layers, including masked_spec_embed (1024), which was
    only used in its training, and 3,153,923 in the head. The input is normalised with the mean and standard deviation
    of the training data, not of the clip. Module names match the published weights; the clips of a batch have the same
    length, so the published padding mask is all ones and omitted. Source: the baseline's repository
    MSP-Podcast_Challenge (net/pooling.py, net/ser.py) and REPO's model card.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.mean, self.std = settings["mean"], settings["std"]
        width = settings["hidden_size"]
        encoder = {key: settings[key] for key in WAVLM_ENCODER}
        self.ssl_model = WavLMModel(WavLMConfig(**encoder, apply_spec_augment=False))
        self.pool_model = AttentiveStatistics(width)
        widths = [2 * width] + [width] * settings["classifier_hidden_layers"]
        layers = (nn.Sequential(nn.Linear(i, o), nn.LayerNorm(o), nn.ReLU()) for i, o in itertools.pairwise(widths))
        self.ser_model = nn.Sequential(OrderedDict(fc=nn.Sequential(*layers), out=nn.Sequential(nn.Linear(width, 3))))

    def forward(self, waveform: Tensor) -> Tensor:
        states = self.ssl_model((waveform - self.mean) / (self.std + 1e-6)).last_hidden_state
        outputs: Tensor = self.ser_model(self.pool_model(states))
        return outputs


class AttentiveStatistics(nn.Module):
    """States [batch, frames, width] -> [batch, 2 * width]: their attention-weighted mean and standard deviation.

    Okabe et al. 2018, with the baseline's lower limit of 1e-5 for the variance.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sap_linear = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.randn(width, 1))

    def forward(self, states: Tensor) -> Tensor:
        share = torch.softmax(torch.tanh(self.sap_linear(states)) @ self.attention, dim=1)  # [batch, frames, 1]
        mean = (share * states).sum(dim=1)
        variance = (share * states**2).sum(dim=1) - mean**2
        return torch.cat([mean, variance.clamp(min=1e-5).sqrt()], dim=1)
