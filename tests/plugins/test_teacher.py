"""The teacher: the paper's counts, published folders in miniature against the published arithmetic, and ensembles."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from sertool import Model, Source
from sertool.errors import AudioError, SertoolError
from sertool.plugins import load_plugins
from sertool.runtime import Runtime

pytestmark = [
    pytest.mark.usefixtures("torchvision", "offline", "one_thread"),
    pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask"),  # of the published mask
]

REPOS = {
    "wavlm": "3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes",
    "dawn": "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
}
NAMES = {"0": "arousal", "1": "dominance", "2": "valence"}
LENGTHS = [400, 401, 719, 720, 1043, 16_001]

# Miniature encoders. What WavLM's published config.json does not say has to be an option.
SMALL = {
    "intermediate_size": 40,
    "conv_dim": [8, 8, 8, 8, 8, 8, 12],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
OPTIONS = {"wavlm": {"config": SMALL}, "dawn": {}}

ODYSSEY_CONFIG = {
    "architectures": ["SERModel"],
    "auto_map": {
        "AutoConfig": "pipeline_utils.SERConfig",
        "AutoModelForAudioClassification": "pipeline_utils.SERModel",
    },
    "id2label": NAMES,
    "maxlen": 192000,
    "mean": 0.03,
    "std": 0.11,
    "sampling_rate": 16000,
    "classifier_dropout_prob": 0.5,
    "classifier_hidden_layers": 1,
    "hidden_size": 32,
    "model_type": "ser",
    "num_attention_heads": 4,
    "num_classes": 3,
    "num_hidden_layers": 3,
    "ssl_type": "microsoft/wavlm-large",
    "torch_dtype": "float32",
    "transformers_version": "4.34.0.dev0",
}
DAWN_CONFIG = {
    "_name_or_path": "torch",
    "activation_dropout": 0.1,
    "adapter_kernel_size": 3,
    "add_adapter": False,
    "apply_spec_augment": True,
    "architectures": ["Wav2Vec2ForSpeechClassification"],
    "attention_dropout": 0.1,
    "conv_bias": True,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "feat_extract_activation": "gelu",
    "feat_proj_dropout": 0.1,
    "finetuning_task": "wav2vec2_reg",
    "hidden_act": "gelu",
    "hidden_dropout": 0.1,
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "id2label": NAMES,
    "label2id": {name: int(number) for number, name in NAMES.items()},
    "layer_norm_eps": 1e-05,
    "layerdrop": 0.1,
    "mask_feature_prob": 0.0,
    "mask_time_prob": 0.05,
    "model_type": "wav2vec2",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "pooling_mode": "mean",
    "problem_type": "regression",
    "torch_dtype": "float32",
    "transformers_version": "4.17.0.dev0",
    "vocab_size": None,
    **LARGE,
    **SMALL,
}
DAWN_PREPROCESSOR = {
    "do_normalize": True,
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16000,
}


def build(name, **options):
    return load_plugins().get("models", name).build(**options)


def load(name, folder, **options):
    return build(name, weights=str(folder), **OPTIONS[name], **options)


def clip(n, seed=0):
    """Noise with pauses over an offset, float32 [n]."""
    rng = np.random.default_rng([n, seed])
    return (0.1 * rng.standard_normal(n) * (1.2 + np.sin(np.arange(n) / 900)) + 0.02).astype(np.float32)


def randomised(module, seed):
    """Weights large enough that every one of them shows in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(0.25 * torch.randn(value.shape, generator=generator) + ("norm.weight" in name))
    return module.eval()


# The published models once more: transformers' encoder, and heads written after the published code. A folder's
# weights are theirs; nothing here is the loader's.


def odyssey():
    """(weights under the published keys, reference(clip [n], config) -> [3])."""
    config = transformers.WavLMConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        conv_bias=False,
        mask_time_prob=0.075,
        **LARGE,
        **SMALL,
    )
    encoder = randomised(transformers.WavLMModel(config), 1)
    g = torch.Generator().manual_seed(2)
    shapes = {
        "pool_model.attention": (32, 1),
        "pool_model.sap_linear.weight": (32, 32),
        "pool_model.sap_linear.bias": (32,),
        "ser_model.fc.0.0.weight": (32, 64),
        "ser_model.fc.0.0.bias": (32,),
        "ser_model.fc.0.1.weight": (32,),
        "ser_model.fc.0.1.bias": (32,),
        "ser_model.out.0.weight": (3, 32),
        "ser_model.out.0.bias": (3,),
    }
    head = {key: 0.3 * torch.randn(shape, generator=g) for key, shape in shapes.items()}

    def reference(samples, config=ODYSSEY_CONFIG):
        wavs = torch.tensor((samples - config["mean"]) / (config["std"] + 0.000001), dtype=torch.float32)[None]
        mask = torch.ones_like(wavs)
        x = encoder(wavs, attention_mask=mask).last_hidden_state[0]
        x = x[: int((len(samples) - 1) // (16000 * 0.02) + 1)]  # frames that the mask leaves
        h = torch.tanh(F.linear(x, head["pool_model.sap_linear.weight"], head["pool_model.sap_linear.bias"]))
        w = F.softmax((h @ head["pool_model.attention"]).squeeze(1), dim=0).view(-1, 1)
        mu = torch.sum(x * w, dim=0)
        rh = torch.sqrt((torch.sum(x**2 * w, dim=0) - mu**2).clamp(min=1e-5))
        h = F.linear(torch.cat((mu, rh)), head["ser_model.fc.0.0.weight"], head["ser_model.fc.0.0.bias"])
        h = F.relu(F.layer_norm(h, (32,), head["ser_model.fc.0.1.weight"], head["ser_model.fc.0.1.bias"]))
        return F.linear(h, head["ser_model.out.0.weight"], head["ser_model.out.0.bias"])

    return {**{f"ssl_model.{key}": value for key, value in encoder.state_dict().items()}, **head}, reference


def dawn():
    """As odyssey."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = transformers.Wav2Vec2Config(**sizes, conv_bias=True, **LARGE, **SMALL)
    encoder = randomised(transformers.Wav2Vec2Model(config), 3)
    dense, out_proj = randomised(torch.nn.Linear(32, 32), 4), randomised(torch.nn.Linear(32, 3), 5)
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)

    def reference(samples, preprocessor=DAWN_PREPROCESSOR):
        values = extract(samples, sampling_rate=16000, return_tensors="pt").input_values
        if not preprocessor["do_normalize"]:
            values = torch.from_numpy(samples)[None]
        states = encoder(values)[0]
        return out_proj(torch.tanh(dense(torch.mean(states, dim=1))))[0]

    weights = {f"wav2vec2.{key}": value for key, value in encoder.state_dict().items()}
    for name, layer in (("dense", dense), ("out_proj", out_proj)):
        weights |= {f"classifier.{name}.{key}": value for key, value in layer.state_dict().items()}
    return weights, reference


@pytest.fixture(scope="module")
def published():
    """name -> (weights, reference)."""
    with torch.no_grad():
        return {"wavlm": odyssey(), "dawn": dawn()}


@pytest.fixture
def write(checkpoint):
    """write(folder, name, weights, layout, config): a folder as published; ``layout`` as of ``checkpoint``."""

    def make(folder, name, weights, layout="safetensors", config=None):
        config = {**{"wavlm": ODYSSEY_CONFIG, "dawn": DAWN_CONFIG}[name], **(config or {})}
        preprocessor = {"wavlm": {"mean": 10}, "dawn": DAWN_PREPROCESSOR}[name]
        return checkpoint(folder, weights, config, preprocessor, layout)

    return make


# The paper's sizes


@pytest.mark.slow("builds, exports or trains large networks")
def test_parameters_are_those_of_the_papers_table_1():
    with torch.device("meta"):
        teacher = build("teacher", members=[{"model": "wavlm"}, {"model": "dawn"}])
        twelve = build("wavlm", config={"num_hidden_layers": 12})
    count = [sum(p.numel() for p in network.parameters()) for network in (teacher, *teacher.members, twelve)]
    assert count[:3] == [483_943_750, 318_607_043, 165_336_707]
    assert [round(n / 1e6, 1) for n in count[:3]] == [483.9, 318.6, 165.3]
    assert round(count[3] / 1e6, 1) == 167.4  # so the paper's WavLM has all 24 layers


@pytest.mark.slow("trains or exports a network")
@pytest.mark.parametrize("name", REPOS)
def test_every_published_weight_is_a_parameter(name):
    with torch.device("meta"):
        network = build(name)
    assert network.state_dict().keys() == dict(network.named_parameters()).keys()
    assert any(key.endswith("masked_spec_embed") for key in network.state_dict())


def test_registering_imports_neither_torch_nor_transformers():
    script = (
        "import sys\nfrom sertool.plugins import load_plugins\nprint(*load_plugins().names('models'), *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    found = set(done.stdout.decode().split())
    assert found >= {"wavlm", "dawn", "teacher", "resnet", "sertool_teacher"}
    assert not found & {"torch", "transformers", "safetensors", "onnxruntime"}


# Published folders


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("spelling", ["new", "old"])
@pytest.mark.parametrize("layout", ["safetensors", "bin", "safetensors shards", "bin shards"])
@pytest.mark.parametrize("name", REPOS)
@torch.no_grad()
def test_a_published_folder_gives_the_published_models_outputs(
    name, layout, spelling, published, tmp_path, write, old_spelling
):
    weights, reference = published[name]
    folder = write(tmp_path / name, name, old_spelling(weights) if spelling == "old" else weights, layout)
    network = load(name, folder)
    state = torch.random.get_rng_state()
    expected = torch.stack([reference(clip(n)) for n in LENGTHS])
    outputs = torch.cat([network(torch.from_numpy(clip(n))[None]) for n in LENGTHS])
    assert torch.allclose(outputs, expected, atol=1e-5, rtol=1e-5)
    assert expected.std(dim=0).min() > 1e-2  # the clips can be told apart
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", REPOS)
def test_the_safe_format_comes_first_and_half_precision_becomes_float32(name, published, tmp_path, write):
    weights, _ = published[name]
    write(tmp_path, name, {key: value.half() for key, value in weights.items()})
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    network = load(name, tmp_path)
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    assert {value.device.type for value in network.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("name", REPOS)
@torch.no_grad()
def test_a_clips_outputs_are_the_same_alone_and_in_a_batch(name, published, tmp_path, write):
    network = load(name, write(tmp_path, name, published[name][0]))
    for n in (400, 5_001):
        batch = torch.from_numpy(np.stack([clip(n, seed) for seed in range(4)] + [np.zeros(n, np.float32)]))
        outputs = network(batch)
        assert outputs.isfinite().all()
        for row, expected in zip(batch, outputs, strict=True):
            assert torch.allclose(network(row[None])[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", REPOS)
def test_400_samples_are_the_fewest(name, published, tmp_path, write):
    assert load_plugins().get("models", name).shortest == 400
    network = load(name, write(tmp_path, name, published[name][0]))
    assert network(torch.zeros(2, 400)).shape == (2, 3)
    with pytest.raises(RuntimeError, match="Kernel size"):
        network(torch.zeros(2, 399))


@pytest.mark.parametrize("name", REPOS)
def test_it_stays_frozen(name, published, tmp_path, write):
    network = load(name, write(tmp_path, name, published[name][0]))
    waveform = torch.from_numpy(clip(8_000))[None]
    before = network(waveform)
    torch.nn.ModuleList([network]).train()
    assert not any(module.training for module in network.modules())
    assert not any(value.requires_grad for value in network.parameters())
    assert torch.equal(network(waveform), before)
    assert not before.requires_grad


@pytest.mark.parametrize(
    "change", [{"mean": 0.05}, {"std": 300.0}]
)  # a std near the true one cancels in the first layer norm
@torch.no_grad()
def test_wavlm_normalises_by_the_mean_and_std_of_the_config(change, published, tmp_path, write):
    weights, reference = published["wavlm"]
    samples = clip(4_000)
    before = load("wavlm", write(tmp_path / "a", "wavlm", weights))(torch.from_numpy(samples)[None])[0]
    after = load("wavlm", write(tmp_path / "b", "wavlm", weights, config=change))(torch.from_numpy(samples)[None])[0]
    assert torch.allclose(after, reference(samples, ODYSSEY_CONFIG | change), atol=1e-5, rtol=1e-5)
    assert (after - before).abs().max() > 1e-2


@torch.no_grad()
def test_wavlm_adds_the_published_floor_to_std(published, tmp_path, write):
    weights, reference = published["wavlm"]
    outputs = load("wavlm", write(tmp_path, "wavlm", weights, config={"std": 0.0}))(torch.from_numpy(clip(4_000))[None])
    assert torch.allclose(outputs[0], reference(clip(4_000), ODYSSEY_CONFIG | {"std": 0.0}), atol=1e-5, rtol=1e-5)


def test_the_published_mean_and_std_are_the_defaults():
    network = build("wavlm", config=SMALL | {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4})
    assert (network.mean, network.std) == (-8.278621631819787e-05, 0.08485510250851999)


@torch.no_grad()
def test_dawn_normalises_each_clip_unless_the_folder_says_otherwise(published, tmp_path, write):
    weights, reference = published["dawn"]
    folder = write(tmp_path, "dawn", weights)
    samples = torch.from_numpy(clip(4_000))[None]
    network = load("dawn", folder)
    assert torch.allclose(network(7 * samples + 0.3), network(samples), atol=1e-4)
    (folder / "preprocessor_config.json").unlink()
    assert torch.equal(load("dawn", folder)(samples), network(samples))
    raw = DAWN_PREPROCESSOR | {"do_normalize": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(raw))
    outputs = load("dawn", folder)(samples)[0]
    assert torch.allclose(outputs, reference(samples[0].numpy(), raw), atol=1e-5, rtol=1e-5)
    assert (outputs - network(samples)[0]).abs().max() > 1e-2


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("spelling", ["new", "old"])
@pytest.mark.parametrize("name", REPOS)
def test_a_key_that_is_missing_left_over_or_misshapen_is_named(
    name, spelling, published, tmp_path, write, old_spelling, refused
):
    weights = old_spelling(published[name][0]) if spelling == "old" else published[name][0]
    for number, key in enumerate(weights):
        if number % 7 and "pos_conv" not in key and "encoder.layers.1" not in key:
            continue
        folder = write(tmp_path / "missing", name, {k: v for k, v in weights.items() if k != key})
        shown = key.replace("weight_g", "parametrizations.weight.original0")
        shown = shown.replace("weight_v", "parametrizations.weight.original1")
        with refused(folder, f"1 missing weights, the first: {shown};", REPOS[name]):
            load(name, folder)
    extra = {**weights, "encoder.layers.0.bias": torch.zeros(3), "lm_head.weight": torch.zeros(3)}
    with refused("2 unexpected weights, the first: encoder.layers.0.bias;", REPOS[name]):
        load(name, write(tmp_path / "extra", name, extra))
    key = next(k for k in weights if k.endswith("encoder.layers.2.layer_norm.bias"))
    with refused(f"1 misshapen weights, the first: {key}, [33] instead of [32];"):
        load(name, write(tmp_path / "shape", name, {**weights, key: torch.zeros(33)}))


@pytest.mark.parametrize("name", REPOS)
def test_both_spellings_of_one_weight_are_one_too_many(name, published, tmp_path, write, old_spelling, refused):
    weights = published[name][0]
    both = {**weights, **{key: value for key, value in old_spelling(weights).items() if key not in weights}}
    with refused("2 unexpected weights", "pos_conv_embed.conv.weight_"):
        load(name, write(tmp_path, name, both))


@pytest.mark.parametrize("layout", ["safetensors", "bin", "safetensors shards", "bin shards"])
@pytest.mark.parametrize("name", REPOS)
def test_a_file_that_is_missing_or_damaged_is_named_with_the_way_out(name, layout, published, tmp_path, write, refused):
    folder = write(tmp_path / "it", name, published[name][0], layout)
    with refused(tmp_path / "none", "is missing", f"hf download {REPOS[name]} --local-dir {tmp_path / 'none'}"):
        load(name, tmp_path / "none")
    file = next(folder.glob("*00002*"), None) or next(folder.glob("*model.*"))
    file.write_text("version https://git-lfs.github.com/spec/v1\n")
    with refused(file, "cannot be read"):
        load(name, folder)
    file.unlink()
    with refused("is missing", f"hf download {REPOS[name]} --local-dir {folder}"):
        load(name, folder)
    if layout.endswith("shards"):
        next(folder.glob("*.index.json")).write_text('{"metadata": {}}')
        with refused("index.json: no 'weight_map'"):
            load(name, folder)
    (folder / "config.json").write_text("{")
    with refused(folder / "config.json", "not JSON"):
        load(name, folder)
    (folder / "config.json").unlink()
    with refused(folder / "config.json", "is missing", REPOS[name]):
        load(name, folder)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("wavlm", {"model_type": "wavlm"}, "model_type 'wavlm'"),
        ("wavlm", {"id2label": {"0": "Angry", "1": "Sad", "2": "Happy"}}, "Angry"),
        ("wavlm", {"id2label": {"0": "valence", "1": "dominance", "2": "arousal"}}, "valence"),
        ("wavlm", {"ssl_type": "microsoft/wavlm-base"}, "microsoft/wavlm-base"),
        ("wavlm", {"mean": "drop"}, "key 'mean' is missing"),
        ("wavlm", {"num_attention_heads": 5}, "transformers rejects it"),
        ("dawn", {"model_type": "hubert"}, "model_type 'hubert'"),
        ("dawn", {"id2label": {"0": "arousal"}}, "arousal"),
        ("dawn", {"hidden_act": "nothing"}, "transformers rejects it"),
    ],
)
def test_a_folder_of_another_model_is_refused(name, change, said, published, tmp_path, write, refused):
    folder = write(tmp_path, name, published[name][0], config=change)
    if "drop" in change.values():
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k not in change}))
    with refused(folder / "config.json", said):
        load(name, folder)


def test_weights_of_code_are_not_run(tmp_path, published, write, refused):
    class Harm:
        def __reduce__(self):
            return (tmp_path.joinpath("harm").touch, ())

    folder = write(tmp_path / "it", "dawn", published["dawn"][0])
    (folder / "model.safetensors").unlink()
    torch.save({"wav2vec2.masked_spec_embed": Harm()}, folder / "pytorch_model.bin")
    with refused("pytorch_model.bin: cannot be read"):
        load("dawn", folder)
    torch.save({"state_dict": published["dawn"][0]}, folder / "pytorch_model.bin")
    with refused("pytorch_model.bin: not a dict of weights"):
        load("dawn", folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", REPOS)
def test_an_unknown_key_in_config_is_refused(name, refused):
    with refused("config: no key 'hiden_size'", "hidden_size"), torch.device("meta"):
        build(name, config={"hiden_size": 8})


# Ensembles


@pytest.fixture
def run(tmp_path):
    """A folder of `sertool train`, and its network."""
    torch.manual_seed(7)
    network = build("wav2small")
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.5)
            torch.nn.init.uniform_(module.running_var, 0.3, 3)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({"model": {"name": "wav2small", "options": {"outputs": 3}}}))
    torch.save({"network": network.state_dict(), "step": 5}, folder / "best.pt")
    return folder, network.eval()


@pytest.fixture
def fixed(monkeypatch):
    """fixed(name=(outputs, values)): registered models that always answer so."""

    def register(**models):
        class Fixed(torch.nn.Module):
            def __init__(self, values):
                super().__init__()
                self.values = values

            def forward(self, waveform):
                return waveform.new_tensor(self.values).expand(len(waveform), -1)

        class Known:
            def get(self, kind, name):
                outputs, values = models[name]
                return Model(name, "", lambda: Fixed(values), outputs, 500)

        monkeypatch.setattr("sertool_teacher.ensemble.load_plugins", Known)

    return register


@torch.no_grad()
def test_the_teacher_is_the_mean_of_its_members(published, tmp_path, write):
    folders = {name: write(tmp_path / name, name, published[name][0]) for name in REPOS}
    tables = [{"model": name, "weights": str(folder), **OPTIONS[name]} for name, folder in folders.items()]
    teacher = build("teacher", members=tables)
    batch = np.stack([clip(3_000, seed) for seed in range(3)])
    expected = torch.stack([(published["wavlm"][1](x) + published["dawn"][1](x)) / 2 for x in batch])
    assert torch.allclose(teacher(torch.from_numpy(batch)), expected, atol=1e-5, rtol=1e-5)
    assert tables[0]["model"] == "wavlm"  # the recipe's own tables are left as they are
    assert teacher.shortest == load_plugins().get("models", "teacher").shortest == 400


@torch.no_grad()
def test_a_bundle_and_a_run_are_members(run):
    folder, network = run
    runtime = Runtime("wav2small")
    batch = np.stack([clip(3_000, seed) for seed in range(3)])
    ran = np.stack([runtime.run(x) for x in batch])
    trained = network(torch.from_numpy(batch)).numpy()
    assert np.abs(ran - trained).max() > 0.01
    members = [{"bundle": "wav2small"}, {"run": str(folder)}]
    for chosen, expected in ((members[:1], ran), (members[1:], trained), (members, (ran + trained) / 2)):
        teacher = build("teacher", members=chosen).train()
        assert teacher.shortest == 33
        assert np.allclose(teacher(torch.from_numpy(batch)).numpy(), expected, atol=1e-6)
        assert not any(value.requires_grad for value in teacher.parameters())
    nested = build("teacher", members=[{"model": "teacher", "members": members}, {"bundle": "wav2small"}])
    assert nested.shortest == 33
    assert np.allclose(nested(torch.from_numpy(batch)).numpy(), 0.75 * ran + 0.25 * trained, atol=1e-6)
    with pytest.raises(AudioError, match="too short"):
        nested(torch.zeros(1, 32))


def test_a_lone_file_is_a_member_and_outputs_are_ordered_by_name(bundle_copy, refused):
    batch = torch.from_numpy(clip(3_000)[None])
    expected = Runtime("wav2small").run(batch[0].numpy())
    lone = shutil.copy(bundle_copy / "model.onnx", bundle_copy.parent / "lone.onnx")
    for member in (lone, bundle_copy):
        assert np.allclose(build("teacher", members=[{"bundle": str(member)}])(batch)[0].numpy(), expected, atol=1e-5)
    manifest = json.loads((bundle_copy / "bundle.json").read_text())
    for names, order in ((("valence", "arousal", "dominance"), (1, 2, 0)), (("arousal", "boredom", "valence"), None)):
        manifest["outputs"] = [{"name": name, "range": [0, 1]} for name in names]
        manifest.pop("calibration", None)  # it is of the old names
        (bundle_copy / "bundle.json").write_text(json.dumps(manifest))
        if order:
            outputs = build("teacher", members=[{"bundle": str(bundle_copy)}])(batch)[0].numpy()
            assert np.allclose(outputs, expected[list(order)])
        else:
            with refused(f"bundle {bundle_copy}: outputs arousal, boredom, valence, but not dominance"):
                build("teacher", members=[{"bundle": str(bundle_copy)}])


def test_a_models_outputs_are_ordered_by_name(fixed, refused):
    fixed(
        turned=(("valence", "calm", "dominance", "arousal"), [0.3, 0.9, 0.2, 0.1]),
        plain=(("arousal", "dominance", "valence"), [0.3, 0.4, 0.5]),
        classes=(("angry", "happy"), [0.1, 0.9]),
        more=(("arousal", "dominance", "valence"), [0.3, 0.4, 0.5, 0.6]),
    )
    teacher = build("teacher", members=[{"model": "turned"}, {"model": "plain"}])
    assert torch.allclose(teacher(torch.zeros(2, 500)), torch.tensor([[0.2, 0.3, 0.4]] * 2))
    assert teacher.shortest == 500
    assert build("teacher", members=[{"bundle": "wav2small"}, {"model": "plain"}]).shortest == 500
    with refused("'classes'", "outputs angry, happy, but not arousal"):
        build("teacher", members=[{"model": "plain"}, {"model": "classes"}])
    with refused("'more'", "built with 4 outputs, but registered with 3"):
        build("teacher", members=[{"model": "more"}])(torch.zeros(1, 500))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "members is empty"),
        ("wavlm", "members is empty"),
        (["wavlm"], "exactly one of model, bundle, run"),
        ([{}], "exactly one of model, bundle, run"),
        ([{"weights": "DIR"}], "exactly one of model, bundle, run"),
        ([{"model": "wavlm", "bundle": "wav2small"}], "exactly one of model, bundle, run"),
        ([{"bundle": 3}], "exactly one of model, bundle, run"),
        ([{"bundle": "wav2small", "variant": "int8"}], "a bundle takes no option 'variant'"),
        ([{"run": "runs/x", "weights": "DIR"}], "a run takes no option 'weights'"),
        ([{"model": "nobody"}], "there is no 'nobody'"),
        ([{"model": "wavlm", "weight": "DIR"}], "unexpected keyword argument 'weight'"),
        ([{"bundle": "nobody"}], "no model 'nobody'"),
        ([{"run": "no/such/run"}], "recipe.json is missing: not a folder of `sertool train`"),
    ],
    ids=str,
)
def test_a_table_that_is_wrong_is_refused(members, said, refused):
    with refused(said, error=SertoolError):
        build("teacher", members=members)


def test_a_run_that_is_not_whole_is_refused(run, refused):
    folder, network = run
    members = [{"run": str(folder)}]
    weights = network.state_dict()
    torch.save({"network": {**weights, "extra": torch.zeros(1)}}, folder / "best.pt")
    with refused(folder / "best.pt", "1 unexpected weights, the first: extra;", folder / "recipe.json"):
        build("teacher", members=members)
    torch.save({"network": {k: v for k, v in weights.items() if k != "head.bias"}}, folder / "best.pt")
    with refused("1 missing weights, the first: head.bias;"):
        build("teacher", members=members)
    torch.save([1], folder / "best.pt")
    with refused("best.pt: not written by `sertool train`"):
        build("teacher", members=members)
    (folder / "best.pt").write_bytes(b"PK")
    with refused("best.pt: cannot be read"):
        build("teacher", members=members)
    (folder / "recipe.json").write_text('{"model": {"name": "wav2small"}}')
    torch.save({"network": weights}, folder / "best.pt")
    with refused("recipe.json: no model.name and model.options"):
        build("teacher", members=members)
    (folder / "best.pt").unlink()
    with refused("best.pt is missing"):
        build("teacher", members=members)


# Ensembles of classes


CLASSES = ("angry", "happy", "neutral", "sad")


@pytest.fixture
def emotion_run(tmp_path):
    """A folder of `sertool train resnet-emotion`, and its network."""
    torch.manual_seed(8)
    options = {"width": 8, "n_fft": 400, "hop": 200, "n_mels": 32}
    network = build("resnet-emotion", **options).eval()
    folder = tmp_path / "run"
    folder.mkdir()
    about = {"model": {"name": "resnet-emotion", "options": options | {"weights": "gone"}}}
    (folder / "recipe.json").write_text(json.dumps(about))
    torch.save({"network": network.state_dict(), "step": 5}, folder / "best.pt")
    return folder, network


def test_resnets_of_four_classes_give_logits():
    model = load_plugins().get("models", "resnet-emotion")
    assert (model.outputs, model.task, model.shortest) == (CLASSES, "categorical", 257)
    assert [path.stem for path in model.recipes] == ["resnet-emotion"]
    outputs = model.build(width=8, n_fft=400, hop=200, n_mels=32).eval()(torch.from_numpy(clip(8_000))[None])
    assert outputs.shape == (1, 4)
    assert (outputs.sum() - 1).abs() > 1e-3


@pytest.mark.slow("builds, exports or trains large networks")
@torch.no_grad()
def test_the_teacher_of_classes_is_the_mean_of_probabilities(emotion_run, emotion_bundle):
    folder, network = emotion_run
    torch.manual_seed(9)
    small = build("wav2small-emotion").eval()
    torch.manual_seed(9)
    tables = [{"model": "wav2small-emotion"}, {"run": str(folder)}, {"bundle": str(emotion_bundle)}]
    teacher = build("teacher-emotion", members=tables)
    batch = torch.from_numpy(np.stack([clip(8_000, seed) for seed in range(3)]))
    runtime = Runtime(str(emotion_bundle))
    said = np.stack([runtime.run(x) for x in batch.numpy()])
    shares = [torch.softmax(small(batch), dim=1).numpy(), torch.softmax(network(batch), dim=1).numpy(), said]
    outputs = teacher(batch)
    assert np.allclose(torch.softmax(outputs, dim=1).numpy(), np.mean(shares, axis=0), atol=1e-6)
    assert np.allclose(outputs.exp().numpy(), np.mean(shares, axis=0), atol=1e-6)  # they sum to 1 as they are
    assert teacher.shortest == 257
    assert not any(value.requires_grad for value in teacher.parameters())
    for table, share in zip(tables[1:], shares[1:], strict=True):
        alone = build("teacher-emotion", members=[table])(batch)
        assert np.allclose(torch.softmax(alone, dim=1).numpy(), share, atol=1e-6)
    nested = build("teacher-emotion", members=[{"model": "teacher-emotion", "members": tables[1:2]}, tables[2]])
    expected = (shares[1] + shares[2]) / 2
    assert np.allclose(torch.softmax(nested(batch), dim=1).numpy(), expected, atol=1e-5)


def test_a_certain_member_does_not_make_the_teacher_infinite(emotion_bundle):
    batch = torch.ones(1, 8_000)  # of the loudest, happy is one in a thousand and sad nearly nothing
    outputs = build("teacher-emotion", members=[{"bundle": str(emotion_bundle)}])(batch)
    assert outputs.isfinite().all()
    assert outputs.min() >= np.log(1e-7) - 1e-4


def test_numbers_and_classes_do_not_mix(emotion_bundle, emotion_run, refused):
    with refused("wav2small: outputs arousal, dominance, valence, but not angry"):
        build("teacher-emotion", members=[{"bundle": str(emotion_bundle)}, {"bundle": "wav2small"}])
    with refused("outputs angry, happy, neutral, sad, but not arousal"):
        build("teacher", members=[{"run": str(emotion_run[0])}])


@pytest.mark.slow("builds, exports or trains large networks")
def test_the_teacher_of_classes_can_be_a_bundle(emotion_run, tmp_path):
    """What is exported of logarithms and a softmax is the mean of probabilities."""
    import onnxruntime

    folder, network = emotion_run
    teacher = build("teacher-emotion", members=[{"run": str(folder)}])
    whole = torch.nn.Sequential(teacher, torch.nn.Softmax(dim=1))
    load_plugins().get("exporters", "onnx").export(Source(whole, torch.zeros(1, 80_000)), tmp_path / "t.onnx", {})
    session = onnxruntime.InferenceSession(tmp_path / "t.onnx", providers=["CPUExecutionProvider"])
    samples = clip(8_000)[None]
    with torch.no_grad():
        expected = torch.softmax(network(torch.from_numpy(samples)), dim=1).numpy()
    assert np.abs(session.run(None, {"waveform": samples})[0] - expected).max() <= 1e-4
