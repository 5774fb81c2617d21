"""Every command of `sertool papers`, on generated miniatures in the corpora's original layouts."""

import importlib.util
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sertool.cli.papers import shell, table

HERE = Path(__file__).parent
ITEMS = table()["item"]
COMMANDS = list(dict.fromkeys(item["command"] for item in ITEMS))


def module(name):
    """A file of tests, for its generators."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


FIRST, SECOND = module("test_miniature"), module("test_miniature_emotion")


def toml(values: dict) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items()) + "}"


def sets(*overrides):
    return [part for override in overrides for part in ("--set", override)]


MEMBERS = f'[{{model = "wavlm", weights = "weights/wavlm", config = {toml(FIRST.TINY)}}}, '
MEMBERS += '{model = "dawn", weights = "weights/dawn"}]'
SHORT = ("train.threads=1", "train.workers=0", "bundle.runs=0")
DISTIL = sets(
    f"teacher.options={{members = {MEMBERS}}}",
    *("train.steps=2", "train.batch=2", "train.longest_s=0.6", "train.validate_every=2", "train.log_every=1", *SHORT),
)
TRAIN = sets("train.steps=2", "train.batch=2", "train.warmup=1", "train.restarts=[]", "train.validate_every=2", *SHORT)
TRAIN += sets('bundle.formats=["onnx"]', "bundle.robustness={}", "bundle.notes=")
FOLDS = sets("train.epochs=1", "train.patience=1", "train.batch=8", "train.warmup_ratio=0.0", "train.warmup=1", *SHORT)
HUBERT = sets(f'model.options={{weights = "distilhubert", config = {toml(SECOND.TINY)}}}')
WAV2VEC2 = sets(
    f'model.options={{weights = "wav2vec2-base", config = {toml({**SECOND.TINY, "num_hidden_layers": 2})}}}'
)
DAWN = "dawn:config={" + ",".join(f"{key}={json.dumps(value)}" for key, value in FIRST.TINY.items()) + "}"
DAWN = DAWN.replace(" ", "")

#: What begins a command -> what makes it small: words in place of others, and words after it.
SMALL = {
    "sertool distil wav2small-paper --teacher": ({}, [*DISTIL, *sets('bundle.formats=["onnx"]')]),
    # 8 bits of random weights are far off.
    "sertool distil mobilenetv4": ({}, [*DISTIL, *sets('bundle.formats=["onnx"]')]),
    "sertool distil": ({}, DISTIL),
    "sertool train wav2small-labels": ({}, TRAIN),
    "sertool train distilhubert-production": ({}, [*FOLDS, *HUBERT]),
    "sertool crossval distilhubert": ({}, [*FOLDS, *HUBERT]),
    "sertool crossval wav2vec2-base": ({}, [*FOLDS, *WAV2VEC2]),
    "sertool evaluate": ({}, ["--bootstrap", "10"]),
    "sertool export distilhubert": (
        {"distilhubert": "distilhubert:config=" + toml(SECOND.TINY).replace(" = ", "=").replace(" ", "")},
        ["--runs", "0"],
    ),
    "sertool export": ({}, ["--runs", "0"]),
    "sertool bench": (
        {
            "dawn:config={num_hidden_layers=6}": DAWN,
            "dawn:config={num_hidden_layers=4}": DAWN,
            "wav2small-transformer": "wav2small-transformer:layers=1,width=16",
            "0.5,1,2,5,10,30,60": "0.5,1",
            "1,5,10": "1",
        },
        ["--runs", "1", "--warmup", "0"],
    ),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory, torchvision):
    """A folder in which the commands find what they name."""
    import safetensors.torch
    import timm
    import transformers

    root, rng = tmp_path_factory.mktemp("papers"), np.random.default_rng(0)
    for name, seconds in (("long", 70), ("sounds", 1), ("emotional-speech", 2), ("ambience", 3)):
        (root / "audio" / name).mkdir(parents=True)
        soundfile.write(root / "audio" / name / "a.flac", 0.1 * rng.standard_normal(seconds * 16_000), 16_000)
    for name in ("wavlm", "dawn"):
        FIRST.checkpoint(name, root / "weights" / name)
    trunk = root / "weights" / "mobilenetv4_conv_small.e1200_r224_in1k"
    trunk.mkdir()
    network = timm.create_model("mobilenetv4_conv_small", pretrained=False)
    safetensors.torch.save_file(network.state_dict(), trunk / "model.safetensors")
    SECOND.iemocap(root / "IEMOCAP_full_release", rng)
    SECOND.crema_d(root / "CREMA-D", rng)
    SECOND.checkpoint(root / "distilhubert")
    torch.manual_seed(0)
    about = transformers.Wav2Vec2Config(num_hidden_layers=2, **SECOND.TINY)
    transformers.Wav2Vec2Model(about).save_pretrained(root / "wav2vec2-base")
    (root / "wav2vec2-base" / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    _msp_podcast(root / "MSP-PODCAST", rng)
    for emotion, code in (("ang", "05"), ("hap", "03"), ("neu", "01"), ("sad", "04")):
        for actor in (1, 2):
            SECOND.voice(root / f"RAVDESS/Actor_0{actor}/03-01-{code}-01-01-01-0{actor}.wav", emotion, actor, rng)
    _corpora(root / "corpora", rng)
    voices = sorted((HERE.parent / "sertool" / "models" / "wav2small" / "samples").glob("*.wav"))
    spoken = np.concatenate([soundfile.read(path)[0] for path in voices])
    soundfile.write(root / "film.wav", spoken, 16_000)
    soundfile.write(root / "note.wav", spoken, 16_000)
    return root


def _msp_podcast(root, rng):
    (root / "Labels").mkdir(parents=True)
    lines = ["FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"]
    for number in range(6):
        name = f"MSP-PODCAST_{number:04}_0001.wav"
        SECOND.voice(root / "Audios" / name, [*SECOND.VOICES][number], number, rng)
        lines.append(f"{name},N,{1.5 + number},{6.5 - number},{2 + number / 2},{number},Male,Test1")
    (root / "Labels" / "labels_consensus.csv").write_text("\n".join(lines) + "\n")


def _corpora(root, rng):
    lines = ["file,corpus,speaker,emotion,sex,language,split"]
    for speaker in range(6):
        for emotion, code in (("angry", "ang"), ("happy", "hap"), ("neutral", "neu"), ("sad", "sad")):
            SECOND.voice(root / f"{speaker}{emotion}.wav", code, speaker, rng)
            split = ("train", "train", "val", "val", "test-ood", "test-ood")[speaker]
            corpus = ("ravdess", "ravdess", "ravdess", "emodb", "tess", "tess")[speaker]
            lines.append(f"{speaker}{emotion}.wav,{corpus},{speaker},{emotion},{'mf'[speaker % 2]},en,{split}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    for name in ("noise", "rir"):
        (root / name).mkdir()
        soundfile.write(root / name / "a.wav", 0.1 * rng.standard_normal(8_000), 16_000)


@pytest.mark.slow("runs every command of both papers")
@pytest.mark.parametrize("written", COMMANDS)
def test_a_command_does_what_it_says(written, house, command, monkeypatch):
    """In order: what one writes, another takes."""
    monkeypatch.chdir(house)
    assert shlex.split(shell(written)) == written.split()
    words, small = written.split()[1:], next((SMALL[key] for key in SMALL if written.startswith(key)), ({}, []))
    if written == "sertool bench":
        words += ["wav2small:", "--format", "onnx", "--seconds", "1"]
    if "--robustness" in words:
        words += ["--clips", "2"]
    answer = command(*(small[0].get(word, word) for word in words), *small[1])
    assert answer.code == 0, answer.err
    if written in ("sertool distil wav2small-paper", "sertool distil mobilenetv4-small-paper"):
        assert ("begins with random weights" in answer.err) == ("mobilenet" not in written)
    for place, word in enumerate(words):
        if word in ("--plots", "-o", "--tokens"):
            assert (house / words[place + 1]).exists()


def test_every_item_says_what_it_must_and_every_paper_has_items():
    papers = {paper["id"] for paper in table()["paper"]}
    assert {item["paper"] for item in ITEMS} == papers
    for item in ITEMS:
        assert item.keys() == {"paper", "item", "command", "theirs", "ours", "why"}
        assert all(value.strip() and "@" not in value for value in item.values())


def test_the_page_is_what_the_command_prints(command):
    answer = command("papers", "--markdown")
    assert answer.code == 0
    assert (HERE.parent / "docs" / "papers.md").read_text() == answer.out, "sertool papers --markdown > docs/papers.md"


def test_it_shows_one_paper_or_the_commands_alone(command):
    answer = command("papers", "mobile")
    assert "arXiv 2512.23435" in answer.out
    assert "arXiv 2408.13920" not in answer.out
    assert (
        "  $ sertool crossval distilhubert --set data.root=IEMOCAP_full_release --baseline 'data.also=[]'" in answer.out
    )
    lines = command("papers", "--commands").out.splitlines()
    assert [shlex.split(line) for line in lines] == [written.split() for written in COMMANDS]
    answer = command("papers", "third")
    assert (answer.code, answer.err) == (2, "sertool: no paper 'third' (there are: wav2small, mobile)\n")
