"""DistilHuBERT (Chang et al. 2022, arXiv 2110.01900) with a four-class head (arXiv 2512.23435).

Also that paper's baseline, Wav2Vec 2.0 base (Baevski et al. 2020, arXiv 2006.11477), with the same head.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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

#: Dropout options. They only matter in training; the values in the folder are not read.
DROPOUTS = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout")

#: Head weights of a classification network with such an encoder; they are dropped.
HEAD = ("projector.weight", "projector.bias", "classifier.weight", "classifier.bias")


@dataclass(frozen=True)
class Kind:
    """An encoder of transformers: where it is published, and what ``differs`` there from transformers' defaults.

    ``keys`` of config.json, in addition to ENCODER, describe its weights; do_normalize is in preprocessor_config.json.
    In a larger network, the names of its weights start with ``prefix``; weights that start with ``others`` were only
    used for pre-training.
    """

    repo: str
    config: type[PretrainedConfig]
    model: type[PreTrainedModel]
    prefix: str
    differs: dict[str, Any]
    keys: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def described(self) -> tuple[str, ...]:
        return (*ENCODER, *self.keys)

    @property
    def settings(self) -> dict[str, Any]:
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
    weights: str | None = None, config: dict[str, Any] | None = None, outputs: int = 4, kind: str = "distilhubert"
) -> "Classifier":
    """Build the network; ``weights`` is a local copy of the folder published as Kind.repo, to initialise the encoder.

    The folder contains config.json and model.safetensors or pytorch_model.bin, either of them optionally split with an
    index, and optionally preprocessor_config.json, from which do_normalize is read. A classification network of
    transformers works too: its encoder is used and its head is dropped.
    ``config`` overrides keys of Kind.settings, for small test networks and variants; the folder must agree with it,
    because a resumed run and a bundle are built without the folder. Raises UsageError if a file is missing, damaged or
    of another network, or if any weight is missing, unexpected or has the wrong shape.
    """
    spec = KINDS[kind]
    settings = override(spec.settings, config)
    folder = Path(weights) if weights else None
    if folder:
        _check(spec, folder, settings)
    encoder = construct(lambda: _encoder(spec, settings), folder)
    assert isinstance(encoder, PreTrainedModel)
    if folder:
        load(encoder, _of_encoder(spec, read_weights(folder, spec.repo)), folder, spec.repo)
    return Classifier(encoder, settings["do_normalize"], outputs)


class Classifier(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least 400 samples -> logits [batch, outputs], one per class.

    The last hidden states (one per 320 samples) are averaged over time and passed through one linear layer. (The hidden
    layer of transformers' HubertForSequenceClassification, which is linear and comes before the mean, would add no
    expressive power.) DistilHuBERT has 23,495,044 parameters: 4,200,448 in the convolutions that encode the waveform,
    frozen, 393,984 in the projection, 4,719,488 in the positional convolution, 1,536 in the layer norm after it,
    14,175,744 in the two layers, 768 in masked_spec_embed, which was only used for pre-training and is frozen too, and
    3,076 in the head. The only randomness in training is dropout, from torch's generator: SpecAugment and LayerDrop are
    off, as published.
    """

    def __init__(self, encoder: PreTrainedModel, do_normalize: bool, outputs: int) -> None:
        super().__init__()
        self.normalise = UtteranceNorm() if do_normalize else nn.Identity()
        self.transformer = encoder
        self.head = nn.Linear(encoder.config.hidden_size, outputs)
        encoder.feature_extractor.requires_grad_(False)
        if hasattr(encoder, "masked_spec_embed"):
            encoder.masked_spec_embed.requires_grad_(
                False
            )  # unused: DistributedDataParallel would wait for its gradient
        self.train()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        # In training mode, transformers requires gradients of the waveform.
        self.transformer.get_submodule("feature_extractor").eval()
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        logits: Tensor = self.head(self.transformer(self.normalise(waveform)).last_hidden_state.mean(dim=1))
        return logits


def _encoder(kind: Kind, settings: dict[str, Any]) -> PreTrainedModel:
    values: dict[str, Any] = {key: settings[key] for key in (*kind.described, *DROPOUTS)}
    values |= {"apply_spec_augment": False, "layerdrop": 0.0}
    return kind.model(kind.config(**values))


def _check(kind: Kind, folder: Path, settings: dict[str, Any]) -> None:
    """Raise UsageError if the folder contains another network than ``settings`` describe."""
    published, model_type = read_config(folder, kind.repo), kind.config.model_type
    if published.get("model_type") != model_type:
        raise UsageError(
            f"{folder / CONFIG}: model_type {published.get('model_type')!r}, not {model_type!r}; "
            f"give the folder of {kind.repo}"
        )
    actual = {key: (folder / CONFIG, published.get(key, getattr(kind.config(), key))) for key in kind.described}
    if (folder / PREPROCESSOR).exists():
        actual["do_normalize"] = folder / PREPROCESSOR, read_json(folder / PREPROCESSOR).get("do_normalize", True)
    for key, (path, value) in actual.items():
        value = list(value) if isinstance(value, tuple) else value
        wanted = list(settings[key]) if isinstance(settings[key], tuple) else settings[key]
        if value != wanted:
            raise UsageError(
                f"{path}: {key} is {value}, but {wanted} in this network; give the folder of {kind.repo}, "
                f"or set model.options.config.{key} in the recipe"
            )


def _of_encoder(kind: Kind, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the encoder's names; other weights of a larger network are left for `load` to report."""
    if not any(key.startswith(kind.prefix) for key in weights):
        return weights
    bare = {key: key.removeprefix(kind.prefix) for key in weights if not key.startswith((*HEAD, *kind.others))}
    return {key if bare[key] in weights else bare[key]: weights[key] for key in bare}
