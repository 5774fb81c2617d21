"""Dawn: wav2vec2-large-robust pruned to 12 layers, fine-tuned on MSP-Podcast (Wagner et al. 2023)."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from sertool.nn import UtteranceNorm
from sertool.nn.checkpoint import ENCODER, PREPROCESSOR, read_json

from .checkpoint import LARGE, Frozen, assemble, read_config

REPO = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"

DEFAULTS = {"do_normalize": True, **{key: getattr(Wav2Vec2Config(), key) for key in ENCODER}}
SETTINGS = {**DEFAULTS, **LARGE, "num_hidden_layers": 12, "conv_bias": True}


def build(weights: str | None = None, config: dict[str, Any] | None = None) -> "Dawn":
    """Build the frozen network; ``weights`` is a local copy of the folder published as REPO, else they are random.

    The folder contains config.json and model.safetensors or pytorch_model.bin, either of them optionally split with an
    index, and optionally preprocessor_config.json, from which do_normalize is read. ``config`` overrides keys of
    SETTINGS, for small test networks. Raises UsageError if a file is missing or damaged, or if any weight is missing,
    unexpected or has the wrong shape.
    """
    if weights is None:
        return assemble(Dawn, SETTINGS, config, None, REPO)
    folder = Path(weights)
    published = read_config(folder, REPO, "wav2vec2")
    if (folder / PREPROCESSOR).exists():
        published["do_normalize"] = read_json(folder / PREPROCESSOR).get("do_normalize", True)
    settings = {key: published.get(key, value) for key, value in DEFAULTS.items()}
    return assemble(Dawn, settings, config, folder, REPO)


class Dawn(Frozen):
    """Waveform [batch, samples], 16 kHz, at least 400 samples -> [batch, 3]: arousal, dominance, valence, about 0 to 1.

    165,336,707 parameters: 164,284,032 in the encoder, including masked_spec_embed (1024), which was only used in its
    training, and 1,052,675 in the head. Each clip is normalised to zero mean and unit variance, as transformers'
    Wav2Vec2FeatureExtractor does; the mean of the last states over time is the input of the head. Module names match
    the published weights. Source: REPO's model card.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        width = settings["hidden_size"]
        self.normalise = UtteranceNorm() if settings["do_normalize"] else nn.Identity()
        encoder = {key: settings[key] for key in ENCODER}
        self.wav2vec2 = Wav2Vec2Model(Wav2Vec2Config(**encoder, apply_spec_augment=False))
        self.classifier = nn.Sequential(
            OrderedDict(dense=nn.Linear(width, width), tanh=nn.Tanh(), out_proj=nn.Linear(width, 3))
        )

    def forward(self, waveform: Tensor) -> Tensor:
        outputs: Tensor = self.classifier(self.wav2vec2(self.normalise(waveform)).last_hidden_state.mean(dim=1))
        return outputs
