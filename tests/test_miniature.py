"""A miniature of the whole of arXiv 2408.13920: `pytest tests/test_miniature.py`.

Two tiny random checkpoints of WavLM and Dawn in the published folders' layout teach each of the five students, on
audio mixed by every augmentation of the paper; each run is cut off in the middle, goes on, is exported and evaluated.
"""

import json

import numpy as np
import pytest
import soundfile
import torch

from sertool import bundle
from sertool.plugins import load_plugins
from sertool.training.distil import distil
from sertool.training.recipe import load_recipe
from sertool.training.sections import DistilRecipe

pytestmark = pytest.mark.slow("trains, distils and exports")

STUDENTS = ["wav2small", "mobilenetv3-small", "mobilenetv4-small", "mobilenetv4-medium", "mobilenetv4-large"]

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.fixture(scope="module")
def paper(tmp_path_factory, timm):
    """The recipe of the paper, with generated audio where its audio goes and tiny teachers; (path, overrides)."""
    root = tmp_path_factory.mktemp("miniature")
    rng = np.random.default_rng(0)
    for folder, seconds in (("long", 70), ("sounds", 1), ("emotional-speech", 2), ("ambience", 3)):
        (root / "audio" / folder).mkdir(parents=True)
        time = np.arange(seconds * 16_000) / 16_000
        for take in range(2):
            voice = np.sin(2 * np.pi * 150 * (1 + take) * time) * (1 + np.sin(2 * np.pi * 3 * time))
            noise = rng.standard_normal(len(time))
            soundfile.write(root / "audio" / folder / f"{take}.flac", 0.1 * voice + 0.05 * noise, 16_000)
    with open(root / "manifest.csv", "w") as stream:
        stream.write("file,corpus,speaker,emotion,sex,language,split\n")
        for speaker in range(6):
            for emotion, pitch in (("angry", 400), ("happy", 300), ("sad", 120), ("neutral", 180)):
                time = np.arange(8_000) / 16_000
                samples = 0.2 * np.sin(2 * np.pi * (pitch + 10 * speaker) * time) + 0.01 * rng.standard_normal(8_000)
                soundfile.write(root / f"{speaker}{emotion}.wav", samples, 16_000)
                split = ("train", "train", "val", "val", "test-ood", "test-ood")[speaker]
                stream.write(f"{speaker}{emotion}.wav,acted,{speaker},{emotion},{'mf'[speaker % 2]},en,{split}\n")
    for name in ("wavlm", "dawn"):
        checkpoint(name, root / "weights" / name)
    (root / "samples").mkdir()
    soundfile.write(root / "samples" / "x.wav", 0.1 * rng.standard_normal(40_000), 16_000)
    (shipped,) = [p for p in load_plugins().get("models", "wav2small").recipes if p.stem == "wav2small-paper"]
    text = shipped.read_text().replace('"audio/', f'"{root}/audio/')
    (root / "paper.toml").write_text(text)
    train = {"steps": 3, "batch": 2, "longest_s": 1.0, "validate_every": 3, "log_every": 1, "threads": 1, "workers": 0}
    # What WavLM's published config.json leaves to its encoder's, a miniature has to say.
    wavlm = ", ".join(f"{key} = {json.dumps(value)}" for key, value in TINY.items())
    members = f'{{model = "wavlm", weights = "{root}/weights/wavlm", config = {{{wavlm}}}}}, '
    members += f'{{model = "dawn", weights = "{root}/weights/dawn"}}'
    overrides = [
        f"teacher.options={{members = [{members}]}}",
        f"data.root={root}",
        "data.ood=test-ood",
        "augment.shout.p=0.5",
        'bundle.formats=["onnx"]',  # 8 bits of weights after three steps are far off
        "bundle.gates={max_diff = 1e9}",  # after three steps a network of 32 M may answer with hundreds of thousands
    ]
    return root / "paper.toml", [*overrides, *(f"train.{key}={value}" for key, value in train.items())]


@pytest.mark.parametrize("student", STUDENTS)
def test_the_whole_system_from_checkpoints_to_an_evaluated_bundle(student, paper, command, tmp_path):
    path, overrides = paper
    overrides = [*overrides, f"model.name={student}", f"bundle.name={student}"]
    run = tmp_path / "run"
    asked = iter([True])
    recipe = load_recipe(path, overrides, kind=DistilRecipe)
    list(distil(recipe, run, stop=lambda: next(asked)))  # cut off after the first step
    assert torch.load(run / "last.pt", weights_only=True)["state"]["step"] == 1

    sets = [part for override in overrides for part in ("--set", override)]
    answer = command("distil", path, "-o", run, *sets)
    assert answer.code == 0, answer.err
    assert [line.split(",")[0] for line in (run / "log.csv").read_text().splitlines()] == ["step", "1", "2", "3"]

    folder = run / student
    if student != "mobilenetv4-large":  # its outputs are so large by then that they differ by more than check allows
        assert command("bundle", "check", folder).code == 0
    manifest = bundle.read(folder).manifest
    assert manifest.student == student
    expected = np.loadtxt(folder / bundle.SAMPLES / bundle.EXPECTED, delimiter=",", skiprows=1, usecols=(1, 2, 3))
    assert manifest.variants[0].difference["max"] <= 1e-4 * max(1, np.abs(expected).max())
    assert [augmentation["name"] for augmentation in manifest.training["recipe"]["augment"]] == [
        "mixup",
        "rotate",
        "drop-frequencies",
        "shout",
    ]
    answer = command("evaluate", folder, path.parent, "--split", "test-ood", "--json", tmp_path / "e.json")
    assert answer.code == 0, answer.err
    assert "arousal AUC" in json.dumps(json.loads((tmp_path / "e.json").read_text()))
    answer = command("label", "--model", folder, path.parent / "0angry.wav", "--format", "jsonl")
    assert {"arousal", "dominance", "valence"} <= json.loads(answer.out).keys()


def checkpoint(name, folder):
    """A tiny random checkpoint of a teacher's member in the layout of the published folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    network = load_plugins().get("models", name).build(config=TINY)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, folder / "model.safetensors")
    config = {"id2label": {"0": "arousal", "1": "dominance", "2": "valence"}, **TINY}
    if name == "wavlm":
        config |= {"model_type": "ser", "ssl_type": "microsoft/wavlm-large", "mean": -8e-05, "std": 0.085}
        config |= {"classifier_hidden_layers": 1}
    else:
        config |= {"model_type": "wav2vec2", "conv_bias": True, "do_stable_layer_norm": True, "mask_time_prob": 0.05}
        config |= {"feat_extract_norm": "layer"}
        (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    (folder / "config.json").write_text(json.dumps(config))
