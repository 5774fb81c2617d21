"""What sertool's own plugins register keeps what sertool.testing asks of any plugin.

Corpora are held to it where their layouts are written: test_corpora.py and test_published_corpora.py.
"""

import importlib.metadata

import numpy as np
import pytest
import soundfile

from sertool.plugins import load_plugins
from sertool.testing import check_augmentation, check_exporter, check_light, check_loss, check_model

pytestmark = [
    pytest.mark.usefixtures("offline", "one_thread"),
    pytest.mark.slow("exports and trains every network that ships"),
]

#: An encoder in miniature.
SMALL = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 40,
    "conv_dim": [8, 8, 8, 8, 8, 8, 12],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
WHISPER = {
    "layers": 2,
    "mix": 2,
    "hidden": 8,
    "config": {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16},
}
#: Model -> the options and formats that it is checked with. What is not exported here is in the tests of its plugin.
MODELS = {
    "wav2small": [({}, ["onnx", "onnx:input=logmel"])],
    "wav2small-transformer": [({"layers": 1, "width": 16, "heads": 2}, ["onnx"]), ({"layers": 1, "stride": 1}, [])],
    "wav2small-emotion": [({"centre": True}, [])],
    "resnet": [({}, ["onnx"])],
    "resnet-emotion": [({}, [])],
    "wavlm": [({"config": SMALL}, [])],
    "dawn": [({"config": SMALL}, [])],
    "teacher": [({"members": [{"model": "wavlm", "config": SMALL}, {"model": "resnet"}]}, [])],
    "teacher-emotion": [({"members": [{"model": "resnet-emotion"}, {"bundle": "wav2small-emotion"}]}, [])],
    "distilhubert": [({"config": SMALL}, [])],
    "wav2vec2-base": [({"config": {**SMALL, "num_hidden_layers": 2}}, [])],
    "whisper": [(WHISPER, ["onnx"])],
    "whisper-emotion": [(WHISPER, [])],
    "mobilenetv4-small": [({}, [])],
    "mobilenetv4-medium": [({}, [])],
    "mobilenetv4-large": [({}, [])],
    "mobilenetv3-small": [({}, [])],
}
#: Augmentation -> options; "$folder" stands for one with two recordings in it.
AUGMENTATIONS = {
    "noise": {"folder": "$folder"},
    "room": {"folder": "$folder"},
    "mixup": {"sounds": "$folder"},
    "polarity": {"random": False},
}
#: Exporter -> what it is checked with.
WAV2SMALL = {"inputs": ["waveform"], "models": ["wav2small", "wav2small:centre=true", "wav2small-emotion"]}
EXPORTERS = {"native": WAV2SMALL, "native-int8": WAV2SMALL, "c": WAV2SMALL, "web": WAV2SMALL}


POINTS = [point for point in importlib.metadata.entry_points(group="sertool") if point.dist.name == "sertool"]


def ours(kind):
    """Names that sertool's own plugins register."""
    own = {point.name for point in POINTS}
    found = [plugin.registered.get(kind, []) for plugin in load_plugins().found if plugin.name in own]
    return sorted(name for names in found for name in names)


@pytest.mark.parametrize("name", ours("models"))
def test_models(name, timm):
    for options, formats in MODELS[name]:
        check_model(name, formats=formats, **options)


@pytest.mark.parametrize("name", ours("augmentations"))
def test_augmentations(name, tmp_path):
    rng = np.random.default_rng(0)
    for number in (1, 2):
        fading = np.exp(-np.arange(8_000) / 2_000) * rng.standard_normal(8_000)
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * fading, 16_000)
    options = AUGMENTATIONS.get(name, {})
    check_augmentation(name, **{k: str(tmp_path) if v == "$folder" else v for k, v in options.items()})


@pytest.mark.parametrize("name", ours("exporters"))
def test_exporters(name):
    check_exporter(name, **EXPORTERS.get(name, {}))


@pytest.mark.parametrize("name", ours("losses"))
def test_losses(name):
    check_loss(name)


@pytest.mark.parametrize("package", sorted(point.value for point in POINTS))
def test_packages(package):
    check_light(package)
