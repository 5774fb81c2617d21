"""The way to the shipped models, in miniature: Whisper's folder, what is kept, a head, folds, a student, a label."""

import csv
import json

import pytest
import torch
from safetensors.torch import save_file

from sertool import bundle
from sertool.plugins import load_plugins

pytestmark = pytest.mark.slow("trains, distils and exports")

SIZES = {"d_model": 32, "encoder_layers": 4, "encoder_attention_heads": 4, "encoder_ffn_dim": 48}
SMALL = {
    "steps": 8,
    "batch": 4,
    "validate_every": 4,
    "shortest_s": 0.2,
    "longest_s": 0.5,
    "threads": 1,
    "workers": 0,
    "warmup": 2,
}


@pytest.fixture
def whisper(tmp_path):
    """A folder as openai/whisper-base is published, of random weights and other sizes."""
    folder = tmp_path / "whisper-base"
    folder.mkdir()
    network = load_plugins().get("models", "whisper").build(config=SIZES, layers=4)
    weights = {f"model.encoder.{key}": value for key, value in network.encoder.state_dict().items()}
    weights = {key: value.contiguous() for key, value in weights.items() if ".mel." not in key}
    weights |= {
        "model.encoder.layer_norm.weight": torch.ones(32),
        "model.decoder.embed_tokens.weight": torch.zeros(2, 32),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "whisper", **SIZES}))
    return folder


def test_from_a_folder_of_whisper_to_labels(whisper, corpus, tmp_path, command):
    def sertool(*arguments):
        code, out, err = command(*arguments)
        assert code == 0, err
        return out

    common = [f"data.root={corpus}", "data.corpora=[]", f"cache.folder={tmp_path / 'kept'}", "bundle.runs=0"]
    common += ["bundle.gates={}", "augment.room.p=0", *(f"train.{key}={value}" for key, value in SMALL.items())]
    config = ", ".join(f"{key} = {value}" for key, value in SIZES.items())
    options = f'{{ weights = "{whisper}", layers = 3, mix = 2, members = 2, hidden = 8, config = {{ {config} }} }}'
    head = [*common, f"model.options={options}", "cache.versions=2", "folds.always=[]"]

    def sets(values):
        return [argument for value in values for argument in ("--set", value)]

    sertool("train", "whisper-emotion", *sets(head), "-o", tmp_path / "teacher")
    made = bundle.read(tmp_path / "teacher" / "mobile-emotion")
    (variant,) = made.manifest.variants
    (encoder,) = variant.beside
    assert encoder.startswith("encoder-")
    assert made.manifest.longest_samples == 480_000
    assert {entry["licence"] for entry in made.manifest.training["data"]} >= {"CC0", "MIT"}
    sertool("bundle", "check", made.path)
    sertool("train", "whisper", *sets(head), "-o", tmp_path / "numbers")
    other = bundle.read(tmp_path / "numbers" / "mobile")
    assert [*other.manifest.variants[0].beside] == [encoder]  # one encoder, one file

    sertool("crossval", "whisper-emotion", *sets([*head, "folds.by=speaker"]), "-o", tmp_path / "fit")
    member = f'teacher.options={{ members = [{{ crossval = "{tmp_path / "fit"}" }}] }}'
    student = [
        *common,
        member,
        "cache.batches=3",
        "train.compile=false",
        "bundle.calibrate=4",
    ]
    student += ['excerpts.sources=[{ root = "$root", split = "train" }]', "bundle.formats=['native']"]
    sertool("distil", "wav2small-emotion", *sets(student), "-o", tmp_path / "student")

    clip = next(corpus.glob("*.wav"))
    for model in (made.path, other.path, tmp_path / "student" / "wav2small-emotion"):
        out = sertool("label", "--no-vad", "-m", model, clip)
        (row,) = csv.DictReader(out.splitlines())
        assert row["error"] == ""
        numbers = [float(row[name]) for name in bundle.read(model).outputs]
        if "emotion" in row:
            assert sum(numbers) == pytest.approx(1, abs=1e-3)


def test_a_window_longer_than_the_model_takes_is_refused(whisper, corpus, tmp_path, command):
    options = {"config": SIZES, "layers": 3, "mix": 2, "hidden": 8}
    text = ",".join(f"{key}={value}" for key, value in options.items() if key != "config")
    config = ",".join(f"{key}={value}" for key, value in SIZES.items())
    code, _, err = command(
        "export", f"whisper:config={{{config}}},{text}", "-o", tmp_path / "x", "--format", "onnx", "--runs", "0"
    )
    assert code == 0, err
    clip = next(corpus.glob("*.wav"))
    code, _, err = command("label", "-m", tmp_path / "x", "--window", "27", clip)
    assert (code, err) == (2, "sertool: window 27 s: whisper takes at most 26 s at once\n")
    assert command("label", "--no-vad", "-m", tmp_path / "x", "--window", "26", clip).code == 0
