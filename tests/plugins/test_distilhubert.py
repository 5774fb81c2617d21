"""DistilHuBERT: the published count, folders in miniature against transformers itself, training and ONNX."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers

from sertool import Source
from sertool.errors import UsageError
from sertool.plugins import load_plugins

pytestmark = pytest.mark.usefixtures("torchvision", "offline", "one_thread")

REPO = "ntu-spml/distilhubert"
SMALL = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "conv_dim": [8, 8, 8, 8, 8, 8, 12],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
# As published, but for what SMALL says.
CONFIG = {
    "activation_dropout": 0.1,
    "apply_spec_augment": False,
    "architectures": ["HubertModel"],
    "attention_dropout": 0.1,
    "conv_bias": False,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "do_stable_layer_norm": False,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "feat_proj_dropout": 0.0,
    "feat_proj_layer_norm": False,
    "final_dropout": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout": 0.1,
    "layer_norm_eps": 1e-05,
    "layerdrop": 0.0,
    "mask_feature_prob": 0.0,
    "mask_time_prob": 0.05,
    "model_type": "hubert",
    "num_hidden_layers": 2,
    **SMALL,
}
PREPROCESSOR = {
    "do_normalize": False,
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16000,
}
LENGTHS = [400, 401, 719, 720, 16_001]


def build(config=SMALL, **options):
    return load_plugins().get("models", "distilhubert").build(config=config, **options)


def clip(n, seed=0, level=0.1):
    """Noise with pauses over an offset, float32 [1, n]."""
    rng = np.random.default_rng([n, seed])
    noise = level * rng.standard_normal(n) * (1.2 + np.sin(np.arange(n) / 900)) + 0.02
    return torch.from_numpy(noise.astype(np.float32))[None]


@pytest.fixture(scope="module")
def published(torchvision):
    """transformers' own network of CONFIG, its weights large enough that each shows in the outputs."""
    network = transformers.HubertModel(transformers.HubertConfig(**CONFIG)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(0.25 * torch.randn(value.shape, generator=generator) + ("norm.weight" in name))
    return network


@pytest.fixture
def folder(tmp_path, published, checkpoint):
    return checkpoint(tmp_path / "published", published.state_dict(), CONFIG, PREPROCESSOR)


def test_parameters_are_those_of_the_published_network():
    with torch.device("meta"):
        network = build(config=None)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert counts == {"normalise": 0, "transformer": 23_491_968, "head": 3_076}
    assert round(counts["transformer"] / 1e6, 2) == 23.49
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    assert frozen == 512 * (10 + 2) + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 768  # convolutions, masked_spec_embed
    assert network.state_dict().keys() == dict(network.named_parameters()).keys()


def test_it_is_registered_and_imports_nothing_heavy():
    model = load_plugins().get("models", "distilhubert")
    assert model.outputs == ("angry", "happy", "neutral", "sad")
    assert (model.task, model.shortest) == ("categorical", 400)
    script = (
        "import sys\nfrom sertool.plugins import load_plugins\nprint(*load_plugins().names('models'), *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    found = set(done.stdout.decode().split())
    assert found >= {"distilhubert", "sertool_distilhubert"}
    assert not found & {"torch", "transformers", "safetensors"}


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "sertool_distilhubert.network", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'sertool\[hubert\]'"):
        build()


# Folders


@pytest.mark.parametrize("spelling", ["new", "old"])
@pytest.mark.parametrize("layout", ["safetensors", "bin", "safetensors shards", "bin shards"])
@torch.no_grad()
def test_a_folder_gives_transformers_states(layout, spelling, published, checkpoint, old_spelling, tmp_path):
    weights = published.state_dict()
    weights = old_spelling(weights) if spelling == "old" else weights
    network = build(weights=str(checkpoint(tmp_path / "it", weights, CONFIG, PREPROCESSOR, layout))).eval()
    for n in LENGTHS:
        states = published(clip(n)).last_hidden_state[0].numpy().astype(float).mean(axis=0)
        expected = states @ network.head.weight.numpy().T + network.head.bias.numpy()
        assert np.allclose(network(clip(n))[0].numpy(), expected, atol=1e-5)
    batch = torch.cat([clip(5_001, seed) for seed in range(3)])
    assert torch.allclose(network(batch), torch.cat([network(row[None]) for row in batch]), atol=1e-5)


@torch.no_grad()
def test_a_fine_tuned_networks_encoder_is_taken_and_its_head_is_not(published, checkpoint, refused, folder, tmp_path):
    around = transformers.HubertForSequenceClassification(transformers.HubertConfig(**CONFIG, num_labels=7))
    around.hubert.load_state_dict(published.state_dict())
    weights = around.state_dict()
    assert len(weights) == len(published.state_dict()) + 4
    torch.manual_seed(3)
    network = build(weights=str(checkpoint(tmp_path / "tuned", weights, CONFIG, PREPROCESSOR)))
    torch.manual_seed(3)
    expected = build(weights=str(folder))
    for key, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], value)
    more = {**weights, "layer_weights": torch.ones(3)}
    with refused("1 unexpected weights, the first: layer_weights;", REPO):
        build(weights=str(checkpoint(tmp_path / "more", more, CONFIG, PREPROCESSOR)))
    bare = {**published.state_dict(), "classifier.bias": torch.zeros(7)}
    with refused("1 unexpected weights, the first: classifier.bias;"):
        build(weights=str(checkpoint(tmp_path / "bare", bare, CONFIG, PREPROCESSOR)))
    both = {**weights, "masked_spec_embed": torch.zeros(32)}
    with refused("1 unexpected weights, the first: hubert.masked_spec_embed;"):
        build(weights=str(checkpoint(tmp_path / "both", both, CONFIG, PREPROCESSOR)))


def test_a_key_that_is_missing_left_over_or_misshapen_is_named(published, checkpoint, refused, tmp_path):
    weights = published.state_dict()
    for key in list(weights)[::5]:
        rest = {k: v for k, v in weights.items() if k != key}
        with refused(tmp_path, f"1 missing weights, the first: {key};", REPO):
            build(weights=str(checkpoint(tmp_path / "missing", rest, CONFIG, PREPROCESSOR)))
    with refused("1 unexpected weights, the first: lm_head.weight;"):
        more = {**weights, "lm_head.weight": torch.ones(2)}
        build(weights=str(checkpoint(tmp_path / "more", more, CONFIG, PREPROCESSOR)))
    key = "encoder.layers.1.layer_norm.bias"
    with refused(f"1 misshapen weights, the first: {key}, [33] instead of [32];"):
        build(weights=str(checkpoint(tmp_path / "s", {**weights, key: torch.zeros(33)}, CONFIG, PREPROCESSOR)))


def test_a_file_that_is_missing_or_damaged_is_named_with_the_way_out(folder, refused, tmp_path):
    with refused(tmp_path / "none", "is missing", f"hf download {REPO} --local-dir {tmp_path / 'none'}"):
        build(weights=str(tmp_path / "none"))
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with refused(folder / "model.safetensors", "cannot be read"):
        build(weights=str(folder))
    (folder / "model.safetensors").unlink()
    with refused("is missing", f"hf download {REPO}"):
        build(weights=str(folder))
    (folder / "preprocessor_config.json").write_text("[]")
    with refused(folder / "preprocessor_config.json", "not a JSON object"):
        build(weights=str(folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "wav2vec2"}, "model_type 'wav2vec2', not 'hubert'; give the folder of ntu-spml/distilhubert"),
        ({"num_hidden_layers": 12}, "num_hidden_layers is 12, but 2 in this network"),
        ({"feat_extract_norm": "layer"}, "feat_extract_norm is layer, but group"),
        ({"feat_proj_layer_norm": None}, "feat_proj_layer_norm is True, but False"),  # transformers' default
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "model.options.config.conv_stride"),
    ],
)
def test_a_folder_of_another_network_is_refused(change, said, published, checkpoint, refused, tmp_path):
    config = {key: value for key, value in (CONFIG | change).items() if value is not None}
    it = checkpoint(tmp_path / "other", published.state_dict(), config, PREPROCESSOR)
    with refused(it / "config.json", said):
        build(weights=str(it))


def test_options_that_are_wrong_are_refused(refused):
    with refused("config: no key 'layers' (there are: hidden_size, "):
        build(config={"layers": 2})
    with refused("config: transformers rejects it"):
        build(config=SMALL | {"hidden_act": "nothing"})


@torch.no_grad()
def test_each_clip_is_normalised_where_the_folder_and_the_recipe_say_so(folder, refused):
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | {"do_normalize": True}))
    with refused(folder / "preprocessor_config.json", "do_normalize is True, but False", "model.options.config"):
        build(weights=str(folder))
    torch.manual_seed(0)
    normalising = build(SMALL | {"do_normalize": True}, weights=str(folder)).eval()
    (folder / "preprocessor_config.json").unlink()
    torch.manual_seed(0)
    plain = build(weights=str(folder)).eval()
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    quiet = clip(4_000, level=1e-4)
    values = extract(quiet[0].numpy(), sampling_rate=16000, return_tensors="pt").input_values
    assert torch.allclose(normalising(quiet), plain(values), atol=1e-5)
    assert (normalising(quiet) - plain(quiet)).abs().max() > 1e-3  # little: the first group norm normalises as well


# Training


def train(network, steps, start=0):
    """As training/loop.py: a seed a step, AdamW; the loss that goes down is on one batch."""
    batch, targets = torch.cat([clip(1_600, seed) for seed in range(4)]), torch.arange(4)
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    for step in range(start, steps):
        torch.manual_seed(step)
        network.train()
        loss = torch.nn.functional.cross_entropy(network(batch), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return optimiser, loss.item()


def test_a_step_depends_on_torchs_seed_alone():
    torch.manual_seed(0)
    first, losses = build(), []
    state = {key: value.clone() for key, value in first.state_dict().items()}
    for seed in (1, 2):
        network = build()
        network.load_state_dict(state)
        np.random.seed(seed)
        losses.append(train(network, 3)[1])
    assert losses[0] == losses[1]
    torch.manual_seed(5)
    network = build().train()
    waveform = clip(1_600)
    outputs = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        outputs.append(network(waveform))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])  # dropout is on


def test_all_is_trained_but_the_convolutions_which_cost_no_gradient():
    torch.manual_seed(0)
    network = build().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    seen = []
    hook = network.transformer.feature_extractor.register_forward_hook(lambda *got: seen.append(got[2].requires_grad))
    train(network, 2)
    hook.remove()
    assert seen == [False, False]
    still = ("transformer.feature_extractor.", "transformer.masked_spec_embed")
    for name, value in network.named_parameters():
        assert value.requires_grad != name.startswith(still), name
        assert torch.equal(value, before[name]) == name.startswith(still), name
        if value.requires_grad:
            assert value.grad is not None, name  # or DistributedDataParallel would wait for it
    assert not network.transformer.feature_extractor.training
    assert network.transformer.encoder.training
    assert not network.eval().transformer.encoder.training


def test_published_dropouts_are_kept_and_may_be_changed():
    network = build(SMALL | {"hidden_dropout": 0.3})
    config = network.transformer.config
    assert (config.hidden_dropout, config.activation_dropout, config.attention_dropout) == (0.3, 0.1, 0.1)
    assert (config.layerdrop, config.apply_spec_augment) == (0.0, False)


def test_mixed_precision_on_the_cpu():
    torch.manual_seed(0)
    network = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(clip(1_600))
    outputs.float().sum().backward()
    with torch.no_grad():
        exact = network.eval()(clip(1_600))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(clip(1_600)).float()
    assert torch.allclose(rough, exact, atol=0.05)


# ONNX


@pytest.mark.slow("builds, exports or trains large networks")
def test_onnx_agrees_with_torch(folder, tmp_path):
    import onnx
    import onnxruntime

    torch.manual_seed(2)
    network = build(weights=str(folder))
    names = dict(network.named_parameters()).keys()
    source = Source(network, clip(80_000))
    load_plugins().get("exporters", "onnx").export(source, tmp_path / "it.onnx", {"key": "value"})
    assert dict(network.named_parameters()).keys() == names  # weight norm is still there
    graph = onnx.load(tmp_path / "it.onnx").graph
    weights = {tensor.name for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 8
    assert all(node.input[1] in weights for node in convolutions)
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    with torch.no_grad():
        for n in (400, 401, 719, 720, 16_001, 80_000, 128_000):
            outputs = session.run(None, {"waveform": clip(n).numpy()})[0]
            assert np.abs(outputs - network(clip(n)).numpy()).max() < 1e-4


# Wav2Vec 2.0 base


def test_the_network_that_the_paper_compares_with():
    """92 % fewer parameters by its count: 23.5 M of 94.4 M are 75 % fewer, 23 MB of its 318 MB 92 %."""
    with torch.device("meta"):
        network = load_plugins().get("models", "wav2vec2-base").build()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert counts == {"normalise": 0, "transformer": 94_371_712, "head": 3_076}


@torch.no_grad()
def test_a_folder_of_wav2vec2_gives_transformers_states(checkpoint, refused, tmp_path):
    """As facebook/wav2vec2-base is published: with the quantiser that served pre-training."""
    shape = {**SMALL, "num_hidden_layers": 2, "codevector_dim": 8, "proj_codevector_dim": 8}
    shape |= {"num_codevectors_per_group": 4, "num_codevector_groups": 2}
    around = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**shape)).eval()
    assert {key.split(".")[0] for key in around.state_dict()} == {"wav2vec2", "quantizer", "project_q", "project_hid"}
    config = {**CONFIG, "model_type": "wav2vec2"}
    preprocessor = {**PREPROCESSOR, "do_normalize": True}
    folder = checkpoint(tmp_path / "it", around.state_dict(), config, preprocessor)
    own = {**SMALL, "num_hidden_layers": 2}
    network = load_plugins().get("models", "wav2vec2-base").build(weights=str(folder), config=own).eval()
    for n in LENGTHS:
        samples = clip(n)
        scaled = (samples - samples.mean()) / torch.sqrt(samples.var(unbiased=False) + 1e-7)
        states = around.wav2vec2(scaled).last_hidden_state[0].numpy().astype(float).mean(axis=0)
        expected = states @ network.head.weight.numpy().T + network.head.bias.numpy()
        assert np.allclose(network(samples)[0].numpy(), expected, atol=1e-5)
    with refused("model_type 'wav2vec2', not 'hubert'"):
        build(weights=str(folder))
