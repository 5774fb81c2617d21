"""DistilHuBERT (Chang et al. 2022, arXiv 2110.01900) under a four-class head (arXiv 2512.23435)."""

from pathlib import Path

from torch import Tensor, nn
from transformers import HubertConfig, HubertModel

from sertool.errors import UsageError
from sertool.nn import UtteranceNorm
from sertool.nn.checkpoint import (
    CONFIG,
    ENCODER,
    PREPROCESSOR,
    construct,
    load,
    override,
    read_config,
    read_json,
    read_weights,
)

REPO = "ntu-spml/distilhubert"

#: Keys of the folder's config.json that its weights belong to.
HUBERT = (*ENCODER, "feat_proj_layer_norm")

#: Where they act in training only; the folder's own are not read.
DROPOUTS = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout")

#: As published: transformers' defaults, but for two layers and no norm before the projection. do_normalize is of
#: preprocessor_config.json, and false (transformers' convert_distilhubert_original_s3prl_checkpoint_to_pytorch.py).
SETTINGS = {
    **{key: getattr(HubertConfig(), key) for key in (*HUBERT, *DROPOUTS)},
    "num_hidden_layers": 2,
    "feat_proj_layer_norm": False,
    "do_normalize": False,
}

PREFIX = "hubert."
HEAD = ("projector.weight", "projector.bias", "classifier.weight", "classifier.bias")


def build(weights: str | None = None, config: dict | None = None, outputs: int = 4) -> "DistilHubert":
    """The network; with ``weights``, a local copy of the folder published as REPO, its encoder begins as that one.

    The folder: config.json and model.safetensors or pytorch_model.bin, either also split with an index, and
    preprocessor_config.json, of which do_normalize is read if it is there. One of transformers'
    HubertForSequenceClassification will do, too: its encoder is taken and its head, of other classes, is not.
    ``config`` overrides keys of SETTINGS, for miniatures and relatives; what the folder says must agree with it,
    because a run that goes on, and a bundle, are built without the folder. Raises UsageError if a file is missing,
    damaged or of another network, or if any weight is missing, left over or misshapen.
    """
    settings = override(SETTINGS, config)
    folder = Path(weights) if weights else None
    if folder:
        _check(folder, settings)
    encoder = construct(lambda: _encoder(settings), folder)
    if folder:
        load(encoder, _of_encoder(read_weights(folder, REPO)), folder, REPO)
    return DistilHubert(encoder, settings["do_normalize"], outputs)


class DistilHubert(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least 400 samples -> logits [batch, outputs], one a class.

    The last hidden states (one a 320 samples) are averaged over time and go through one linear layer. (With the hidden
    layer that transformers' HubertForSequenceClassification has between, which is linear and stands before the mean, it
    could express no more.) As published 23,495,044 parameters: 4,200,448 of the convolutions that encode the waveform,
    frozen, 393,984 of the projection, 4,719,488 of the positional convolution, 1,536 of the layer norm behind it,
    14,175,744 of the two layers, 768 of masked_spec_embed, which only ever served pre-training and is frozen too, and
    3,076 of the head. In training all randomness is dropout's, from torch's generator: SpecAugment and LayerDrop are
    off, as published.
    """

    def __init__(self, encoder: HubertModel, do_normalize: bool, outputs: int):
        super().__init__()
        self.normalise = UtteranceNorm() if do_normalize else nn.Identity()
        self.hubert = encoder
        self.head = nn.Linear(encoder.config.hidden_size, outputs)
        encoder.feature_extractor.requires_grad_(False)
        if hasattr(encoder, "masked_spec_embed"):
            encoder.masked_spec_embed.requires_grad_(False)  # unused: DistributedDataParallel would wait for it
        self.train()

    def train(self, mode: bool = True) -> "DistilHubert":
        super().train(mode)
        self.hubert.feature_extractor.eval()  # in training mode, transformers asks for gradients of the waveform
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        return self.head(self.hubert(self.normalise(waveform)).last_hidden_state.mean(dim=1))


def _encoder(settings: dict) -> HubertModel:
    values = {key: settings[key] for key in (*HUBERT, *DROPOUTS)}
    return HubertModel(HubertConfig(**values, apply_spec_augment=False, layerdrop=0.0))


def _check(folder: Path, settings: dict) -> None:
    """UsageError if the folder is of another network than ``settings`` describe."""
    published = read_config(folder, REPO)
    if published.get("model_type") != "hubert":
        raise UsageError(
            f"{folder / CONFIG}: model_type {published.get('model_type')!r}, not 'hubert'; give the folder of {REPO}"
        )
    said = {key: (folder / CONFIG, published.get(key, getattr(HubertConfig(), key))) for key in HUBERT}
    if (folder / PREPROCESSOR).exists():
        said["do_normalize"] = folder / PREPROCESSOR, read_json(folder / PREPROCESSOR).get("do_normalize", True)
    for key, (path, value) in said.items():
        value = list(value) if isinstance(value, tuple) else value
        wanted = list(settings[key]) if isinstance(settings[key], tuple) else settings[key]
        if value != wanted:
            raise UsageError(
                f"{path}: {key} is {value}, but {wanted} in this network; give the folder of {REPO}, "
                f"or say so in the recipe: model.options.config.{key}"
            )


def _of_encoder(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under HubertModel's names; of a network around it, what is neither its own nor the known head stays."""
    if not any(key.startswith(PREFIX) for key in weights):
        return weights
    bare = {key: key.removeprefix(PREFIX) for key in weights if key not in HEAD}
    return {key if bare[key] in weights else bare[key]: weights[key] for key in bare}
