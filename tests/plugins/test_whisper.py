"""Whisper's encoder: folders in miniature against transformers itself, heads, one graph from waveform to outputs."""

import numpy as np
import onnxruntime
import pytest
import torch
import transformers

from sertool import Source
from sertool.errors import UsageError
from sertool.nn.positions import sinusoids
from sertool.plugins import load_plugins

pytestmark = pytest.mark.usefixtures("torchvision", "offline", "one_thread")

REPO = "openai/whisper-tiny"
SIZES = {"d_model": 32, "encoder_layers": 4, "encoder_attention_heads": 4, "encoder_ffn_dim": 48}
CONFIG = {
    "model_type": "whisper",
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "activation_function": "gelu",
    "scale_embedding": False,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
    **SIZES,
}
PREPROCESSOR = {"feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "n_fft": 400}
LENGTHS = [400, 401, 719, 16_001, 48_000]


def build(name="whisper", layers=4, **options):
    return load_plugins().get("models", name).build(size="tiny", layers=layers, config=SIZES, **options)


def clip(n, seed=0):
    """Noise with pauses, float32 [1, n]."""
    rng = np.random.default_rng([n, seed])
    noise = 0.1 * rng.standard_normal(n) * (1.1 + np.sin(np.arange(n) / 900))
    return torch.from_numpy(noise.astype(np.float32))[None]


@pytest.fixture(scope="module")
def published(torchvision):
    """transformers' own network of CONFIG, its weights large enough that each shows in the outputs."""
    network = transformers.WhisperModel(transformers.WhisperConfig(**CONFIG)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "embed_positions" not in name:
                value.copy_(0.2 * torch.randn(value.shape, generator=generator) + ("norm.weight" in name))
    return network


@pytest.fixture
def folder(tmp_path, published, checkpoint):
    return checkpoint(tmp_path / "published", published.state_dict(), CONFIG, PREPROCESSOR)


def states_of(published, mels):
    """transformers' hidden states [tokens, layers + 1, width] of mels [1, 80, frames] of any length."""
    encoder = published.encoder
    x = torch.nn.functional.gelu(encoder.conv2(torch.nn.functional.gelu(encoder.conv1(mels)))).transpose(1, 2)
    states = [x + encoder.embed_positions.weight[: x.shape[1]]]
    for layer in encoder.layers:
        found = layer(states[-1], None)
        states.append(found[0] if isinstance(found, tuple) else found)
    return torch.stack(states, dim=2)[0]


@pytest.mark.parametrize("n", LENGTHS)
def test_the_front_end_is_the_published_one(n):
    wanted = transformers.WhisperFeatureExtractor()._torch_extract_fbank_features(clip(n).numpy())
    found = build().encoder.features(clip(n))
    assert found.shape == (1, n // 160, 80)
    assert np.abs(found.transpose(1, 2).numpy() - wanted).max() < 1e-4


@torch.no_grad()
def test_a_folder_gives_transformers_states_at_any_length(published, folder):
    network = build(weights=str(folder), mix=5).eval()
    for n in LENGTHS:
        features = network.encoder.features(clip(n))
        wanted = states_of(published, features.transpose(1, 2))
        assert (network.encoder(clip(n))[0] - wanted).abs().max() < 1e-4


@torch.no_grad()
def test_thirty_seconds_are_what_transformers_makes_of_them_as_a_whole(published, folder):
    network = build(weights=str(folder), mix=1).eval()
    samples = clip(480_000)
    features = network.encoder.features(samples).transpose(1, 2)
    whole = published.encoder(features, output_hidden_states=True).hidden_states
    assert len(whole) == 5
    normed = published.encoder.layer_norm(network.encoder(samples)[:, :, 0])
    assert (normed - whole[-1]).abs().max() < 1e-4  # transformers norms its last state


@pytest.mark.parametrize("layout", ["safetensors", "bin", "safetensors shards"])
def test_layers_above_those_kept_are_left_out_and_decoders_too(layout, published, checkpoint, tmp_path):
    weights = {f"model.{key}": value for key, value in published.state_dict().items()}
    weights["proj_out.weight"] = torch.zeros(50, 32)
    folder = checkpoint(tmp_path / "it", weights, CONFIG, PREPROCESSOR, layout)
    network = build(weights=str(folder), layers=2, mix=2)
    assert len(network.encoder.layers) == 2
    assert network.encoder.keep == (1, 2)
    own = published.state_dict()["encoder.layers.1.fc1.weight"]
    assert torch.equal(network.encoder.layers[1].fc1.weight, own)


def test_a_folder_of_something_else_is_refused(published, checkpoint, refused, tmp_path):
    weights = published.state_dict()

    def folder(weights=weights, **config):
        return str(checkpoint(tmp_path / "x", weights, CONFIG | config, PREPROCESSOR))

    with refused("model_type 'hubert'", REPO):
        build(weights=folder(model_type="hubert"))
    with refused("encoder_layers is 6, but 4"):
        build(weights=folder(encoder_layers=6))
    with refused("num_mel_bins is 128, but 80"):
        build(weights=folder(num_mel_bins=128))
    without = {key: value for key, value in weights.items() if key != "encoder.layers.3.fc2.bias"}
    with refused("1 missing weights, the first: layers.3.fc2.bias", "complete copy"):
        build(weights=folder(without))
    with refused("1 unexpected weights, the first: extra"):
        build(weights=folder(weights | {"encoder.extra": torch.zeros(1)}))
    with refused("1 misshapen weights", "conv1.weight"):
        build(weights=folder(weights | {"encoder.conv1.weight": torch.zeros(32, 80, 5)}))
    with refused("config.json", "is missing", f"hf download {REPO}"):
        build(weights=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": 5}, "numbers from 0 to 4"),
        ({"layers": 0}, "layers must be a whole number above 0"),
        ({"mix": 6}, "mix must be at most layers"),
        ({"members": 0}, "members must be a whole number above 0"),
        ({"heads": 5}, "heads must divide the encoder's width, 32"),
    ],
)
def test_what_it_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        build(**options)
    with pytest.raises(UsageError, match="size must be one of tiny, base, small, not 'huge'"):
        load_plugins().get("models", "whisper").build(size="huge")


def test_clips_too_short_or_too_long_are_refused():
    network = build().eval()
    for n in (399, 480_001):
        with pytest.raises(ValueError, match="400 to 480000 samples"):
            network(torch.zeros(1, n))


def test_the_encoder_is_frozen_and_the_head_is_not():
    network = build(members=2).train()
    assert not any(p.requires_grad for p in network.encoder.parameters())
    assert all(p.requires_grad for p in network.head.parameters())
    assert not network.encoder.training
    x = clip(8_000)
    assert torch.equal(network.eval()(x), network.head(network.encoder(x)))
    with torch.device("meta"):
        base = load_plugins().get("models", "whisper").build(layers=4)
    convolutions = 512 * 80 * 3 + 512 * 512 * 3 + 2 * 512
    learnt = sum(p.numel() for name, p in base.encoder.named_parameters() if not name.startswith(("mel.", "embed")))
    assert learnt == convolutions + 4 * (4 * 512**2 + 3 * 512 + 2 * 512 * 2048 + 2048 + 512 + 4 * 512)


def test_positions_are_the_published_table():
    """A 16-bit rounding of sines and cosines, as transformers builds them in float32 before that."""
    from transformers.models.whisper.modeling_whisper import sinusoids as theirs

    found = sinusoids(1500, 512)
    assert found.shape == (1500, 512)
    assert np.array_equal(found, found.astype(np.float16).astype(np.float32))
    assert np.abs(found - theirs(1500, 512).numpy()).max() < 6e-4


@pytest.fixture
def exported(tmp_path):
    """exported(network, exporter, **options): a session of the graph that it was written as, and its file."""

    def write(network, exporter, name="x.onnx", **options):
        path = tmp_path / name
        load_plugins().get("exporters", exporter).export(Source(network, clip(80_000)), path, {}, **options)
        return onnxruntime.InferenceSession(str(path)), path

    return write


@pytest.mark.slow("builds, exports or trains large networks")
@torch.no_grad()
@pytest.mark.parametrize(("exporter", "largest"), [("onnx", 1e-4), ("onnx-int8", 0.05)])
def test_one_graph_takes_raw_audio_of_any_length(exporter, largest, exported):
    network = build("whisper-emotion", members=2).eval()
    session, _ = exported(network, exporter)
    for n in LENGTHS:
        found = session.run(None, {session.get_inputs()[0].name: clip(n).numpy()})[0]
        assert np.abs(found - network(clip(n)).numpy()).max() < largest


@pytest.mark.slow("builds, exports or trains large networks")
def test_models_over_one_encoder_share_its_file(exported, folder, tmp_path):
    networks = [build(name, weights=str(folder)).eval() for name in ("whisper", "whisper-emotion")]
    for number, network in enumerate(networks):
        exported(network, "onnx-int8", f"{number}.onnx", apart="encoder")
        whole, _ = exported(network, "onnx-int8", "whole.onnx")
        apart = onnxruntime.InferenceSession(str(tmp_path / f"{number}.onnx"))
        feed = {whole.get_inputs()[0].name: clip(9_000).numpy()}
        assert np.array_equal(whole.run(None, feed)[0], apart.run(None, feed)[0])
    (shared,) = tmp_path.glob("encoder-*.bin")
    assert (tmp_path / "0.onnx").stat().st_size + shared.stat().st_size < 1.2 * (tmp_path / "whole.onnx").stat().st_size
    with pytest.raises(UsageError, match="no weights of a part 'decoder'"):
        exported(networks[0], "onnx-int8", "no.onnx", apart="decoder")


@pytest.mark.slow("builds, exports or trains large networks")
def test_positions_are_computed_where_the_file_is_loaded(exported):
    """500 tokens of 32 channels: a table of 192 kB is not in the file, and its sums are not off by a bit."""
    network = build().eval()
    _, plain = exported(network, "onnx", "plain.onnx")
    _, small = exported(network, "onnx-int8", "small.onnx", recipe="weights")
    assert plain.stat().st_size - small.stat().st_size > 4 * 1500 * 32
    assert small.stat().st_size < 4 * 1500 * 32
