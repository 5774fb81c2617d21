"""DistilHuBERT (Chang et al. 2022, arXiv 2110.01900) under a four-class head (arXiv 2512.23435).

And what that paper compares with, Wav2Vec 2.0 base (Baevski et al. 2020, arXiv 2006.11477), under the same head.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from transformers import HubertConfig, HubertModel, PretrainedConfig, PreTrainedModel, Wav2Vec2Config, Wav2Vec2Model

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

#: Where they act in training only; the folder's own are not read.
DROPOUTS = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout")

#: Of a network for classes that has such an encoder: its own layers, which are not taken.
HEAD = ("projector.weight", "projector.bias", "classifier.weight", "classifier.bias")


@dataclass(frozen=True)
class Kind:
    """An encoder of transformers: where it is published, and what differs there from transformers' defaults.

    ``keys`` of config.json beside ENCODER belong to its weights; do_normalize is of preprocessor_config.json. Of a
    network around it, its weights begin with ``prefix``, and those that begin with ``others`` only served pre-training.
    """

    repo: str
    config: type[PretrainedConfig]
    model: type[PreTrainedModel]
    prefix: str
    differs: dict
    keys: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def described(self) -> tuple[str, ...]:
        return (*ENCODER, *self.keys)

    @property
    def settings(self) -> dict:
        return {key: getattr(self.config(), key) for key in (*self.described, *DROPOUTS)} | self.differs


KINDS = {
    # do_normalize: transformers' convert_distilhubert_original_s3prl_checkpoint_to_pytorch.py.
    "distilhubert": Kind(
        "ntu-spml/distilhubert",
        HubertConfig,
        HubertModel,
        "hubert.",
        {"num_hidden_layers": 2, "feat_proj_layer_norm": False, "do_normalize": False},
        ("feat_proj_layer_norm",),
    ),
    "wav2vec2-base": Kind(
        "facebook/wav2vec2-base",
        Wav2Vec2Config,
        Wav2Vec2Model,
        "wav2vec2.",
        {"do_normalize": True},
        others=("quantizer.", "project_q.", "project_hid."),
    ),
}


def build(
    weights: str | None = None, config: dict | None = None, outputs: int = 4, kind: str = "distilhubert"
) -> "Classifier":
    """The network; with ``weights``, a local copy of the folder published as Kind.repo, its encoder begins as that one.

    The folder: config.json and model.safetensors or pytorch_model.bin, either also split with an index, and
    preprocessor_config.json, of which do_normalize is read if it is there. One of transformers' networks for classes
    will do, too: its encoder is taken and its head, of other classes, is not.
    ``config`` overrides keys of Kind.settings, for miniatures and relatives; what the folder says must agree with it,
    because a run that goes on, and a bundle, are built without the folder. Raises UsageError if a file is missing,
    damaged or of another network, or if any weight is missing, left over or misshapen.
    """
    found = KINDS[kind]
    settings = override(found.settings, config)
    folder = Path(weights) if weights else None
    if folder:
        _check(found, folder, settings)
    encoder = construct(lambda: _encoder(found, settings), folder)
    if folder:
        load(encoder, _of_encoder(found, read_weights(folder, found.repo)), folder, found.repo)
    return Classifier(encoder, settings["do_normalize"], outputs)


class Classifier(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least 400 samples -> logits [batch, outputs], one a class.

    The last hidden states (one a 320 samples) are averaged over time and go through one linear layer. (With the hidden
    layer that transformers' HubertForSequenceClassification has between, which is linear and stands before the mean, it
    could express no more.) DistilHuBERT has 23,495,044 parameters: 4,200,448 of the convolutions that encode the
    waveform, frozen, 393,984 of the projection, 4,719,488 of the positional convolution, 1,536 of the layer norm behind
    it, 14,175,744 of the two layers, 768 of masked_spec_embed, which only ever served pre-training and is frozen too,
    and 3,076 of the head. In training all randomness is dropout's, from torch's generator: SpecAugment and LayerDrop
    are off, as published.
    """

    def __init__(self, encoder: PreTrainedModel, do_normalize: bool, outputs: int):
        super().__init__()
        self.normalise = UtteranceNorm() if do_normalize else nn.Identity()
        self.transformer = encoder
        self.head = nn.Linear(encoder.config.hidden_size, outputs)
        encoder.feature_extractor.requires_grad_(False)
        if hasattr(encoder, "masked_spec_embed"):
            encoder.masked_spec_embed.requires_grad_(False)  # unused: DistributedDataParallel would wait for it
        self.train()

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        self.transformer.feature_extractor.eval()  # in training mode, transformers asks for gradients of the waveform
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        return self.head(self.transformer(self.normalise(waveform)).last_hidden_state.mean(dim=1))


def _encoder(kind: Kind, settings: dict) -> PreTrainedModel:
    values = {key: settings[key] for key in (*kind.described, *DROPOUTS)}
    return kind.model(kind.config(**values, apply_spec_augment=False, layerdrop=0.0))


def _check(kind: Kind, folder: Path, settings: dict) -> None:
    """UsageError if the folder is of another network than ``settings`` describe."""
    published, wanted = read_config(folder, kind.repo), kind.config.model_type
    if published.get("model_type") != wanted:
        raise UsageError(
            f"{folder / CONFIG}: model_type {published.get('model_type')!r}, not {wanted!r}; "
            f"give the folder of {kind.repo}"
        )
    said = {key: (folder / CONFIG, published.get(key, getattr(kind.config(), key))) for key in kind.described}
    if (folder / PREPROCESSOR).exists():
        said["do_normalize"] = folder / PREPROCESSOR, read_json(folder / PREPROCESSOR).get("do_normalize", True)
    for key, (path, value) in said.items():
        value = list(value) if isinstance(value, tuple) else value
        wanted = list(settings[key]) if isinstance(settings[key], tuple) else settings[key]
        if value != wanted:
            raise UsageError(
                f"{path}: {key} is {value}, but {wanted} in this network; give the folder of {kind.repo}, "
                f"or say so in the recipe: model.options.config.{key}"
            )


def _of_encoder(kind: Kind, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the encoder's own names; of a network around it, what is neither its own nor known stays."""
    if not any(key.startswith(kind.prefix) for key in weights):
        return weights
    bare = {key: key.removeprefix(kind.prefix) for key in weights if not key.startswith((*HEAD, *kind.others))}
    return {key if bare[key] in weights else bare[key]: weights[key] for key in bare}
