"""Training the voice activity detector: scenes and their truth, a run of it, and that csrc/vad.c is its network."""

import csv
import importlib
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from sertool import audio, bundle
from sertool.speech import detector
from sertool.training.vad import network, scenes, train

RATE, FRAME = audio.SAMPLE_RATE, detector.FRAME
CSRC = Path(__file__).resolve().parents[2] / "csrc"
TABLE = re.compile(r"vad_(\w+)\[(\d+)\] = \{(.*?)\};", re.DOTALL)


@pytest.fixture(scope="module")
def tables():
    """What csrc/make_vad_tables.py makes of weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(CSRC), *sys.path])
        return importlib.import_module("make_vad_tables").tables


def shipped() -> network.Network:
    """The torch network in float64 with the weights of csrc/vad_tables.h."""
    found = {}
    for name, size, text in TABLE.findall((CSRC / "vad_tables.h").read_text()):
        found[name] = torch.tensor([float(number.rstrip("f")) for number in text.replace("\n", "").split(", ")])
        assert len(found[name]) == int(size)
    net = network.Network()
    units = network.UNITS
    net.load_state_dict(
        {
            "groups.weight": found["groups"].reshape(network.BANDS, 16)[:, : network.GROUPS].T,
            "patterns.weight": found["patterns"].reshape(-1, network.MOVES).T,
            "patterns.bias": found["patterns_bias"],
            "mix.weight": found["mix"].reshape(-1, network.MIXED).T,
            "mix.bias": found["mix_bias"],
            "memory.weight_ih_l0": found["gates"].reshape(-1, 3 * units).T,
            "memory.weight_hh_l0": found["past"].reshape(-1, 3 * units).T,
            "memory.bias_ih_l0": found["gates_bias"],
            "memory.bias_hh_l0": found["past_bias"],
            "head.weight": found["head"].reshape(network.FRAMES, units),
            "head.bias": found["head_bias"],
        }
    )
    return net.double()


def by_torch(net: network.Network, samples: np.ndarray) -> np.ndarray:
    given = network.seen(network.rows(samples).astype(np.float64), network.silent(samples))
    inputs, moves = (torch.from_numpy(x)[None] for x in given)
    with torch.no_grad():
        logits, _ = net(inputs, moves)
    found = torch.sigmoid(logits[0, network.LATE :]).reshape(-1).numpy()[: -(-len(samples) // FRAME)]
    return np.where(network.flat(samples), 0, found)


def voice() -> np.ndarray:
    return audio.read(sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))[0])


# ---- the network ------------------------------------------------------------------------------------------------


def recordings() -> dict:
    rng, clip = np.random.default_rng(0), voice()
    quiet = np.concatenate([np.zeros(RATE), clip, np.zeros(RATE)])
    n = 7 * RATE
    return {
        "voice": clip,
        "after digital silence": quiet,
        "faint, over noise": 10 ** (-50 / 20) * (quiet + 1e-3 * rng.standard_normal(len(quiet))),
        "noise that comes and goes": rng.standard_normal(n) * 10 ** (np.sin(np.arange(n) / 9000) - 1),
        "loud": 1e4 * clip,
        "muted twice": np.concatenate([clip[:9000], np.zeros(7777), clip[9000:], np.full(5000, 0.1), clip]),
        "offset": 0.3 + 1e-3 * rng.standard_normal(n),
        "as long as what is heard first": clip[2000:5201],
        "33 samples": clip[5000:5033],
        "32 samples": clip[5000:5032],
    }


@pytest.mark.parametrize("name", recordings())
def test_the_c_network_is_the_one_that_is_trained(name):
    samples = recordings()[name].astype(np.float32)
    np.testing.assert_allclose(detector.probabilities(samples), by_torch(shipped(), samples), rtol=0, atol=1e-4)


def test_the_tables_hold_the_weights_and_are_what_the_program_writes(tables):
    net = shipped().float()
    assert sum(weights.numel() for weights in net.parameters()) - 2 * network.UNITS <= 10_000  # two biases are one
    text = tables({name: weights.numpy() for name, weights in net.state_dict().items()})
    assert text == (CSRC / "vad_tables.h").read_text()


def test_the_level_takes_no_part_in_what_the_network_sees_unless_it_is_faint():
    rows, silent = network.rows(voice()), network.silent(voice())
    inputs, moves = network.seen(rows, silent)
    louder, same = network.seen(rows + 30, silent)
    np.testing.assert_allclose(louder, inputs, rtol=0, atol=2e-5)
    np.testing.assert_allclose(same, moves, rtol=0, atol=2e-5)
    assert (inputs[50:, -1] == 0).all()
    fainter, _ = network.seen(network.rows(voice() * np.float32(10 ** (-70 / 20))), silent)
    assert (fainter[50:, -1] < -1).all()


# ---- scenes -----------------------------------------------------------------------------------------------------


def test_truth_is_what_is_loud_with_its_short_pauses():
    def tone(ms, db=0.0):
        return np.sin(np.arange(ms * RATE // 1000)) * 10 ** (db / 20)

    clip = np.concatenate(
        [tone(500, -70), tone(400), tone(150, -60), tone(300, -30), tone(50), tone(400, -60), tone(20, -20)]
        + [tone(400, -60), tone(500), tone(200, -32), tone(800, -70)]
    )
    found, edges = scenes.truth(clip), []
    for start, end in scenes._runs(found):
        edges += [10 * start, 10 * end]
    assert edges == pytest.approx([500, 1400, 2220, 2920], abs=15)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A folder of corpora with two speakers, four kinds of noise, rooms, and a voice without words."""
    folder, rng = tmp_path_factory.mktemp("corpora"), np.random.default_rng(0)
    (folder / "noise").mkdir()
    (folder / "rir").mkdir()
    rows = []
    for corpus, split in (("talk", "train"), ("talk", "val"), (scenes.BURSTS, "train"), (scenes.BURSTS, "val")):
        rows.append({"file": f"{corpus}-{split}.wav", "corpus": corpus, "speaker": split, "split": split})
        audio.write(folder / rows[-1]["file"], voice())
    table(folder / "manifest.csv", rows)
    rows = []
    for kind in ("Rain", "Dog", "loops", "Baby cry"):
        rows.append({"file": f"noise/{kind}.wav", "source": "s", "kind": kind, "duration_s": "2"})
        audio.write(folder / rows[-1]["file"], 0.1 * rng.standard_normal(2 * RATE).astype(np.float32))
    table(folder / "noise/manifest.csv", rows)
    rows = [{"file": f"rir/{i}.wav"} for i in range(5)]
    for row in rows:
        audio.write(folder / row["file"], np.exp(-np.arange(3000) / 500).astype(np.float32))
    table(folder / "rir/manifest.csv", rows)
    return folder


def table(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_what_is_held_out_takes_no_part_in_training(corpora):
    here, there = (scenes.material(corpora, (("talk", 1.0),), held_out) for held_out in (False, True))
    names = [
        {path.name for path in (*sum(sum(of.speech, ()), ()), *sum(of.noise, ()), *of.bursts, *of.rooms)}
        for of in (here, there)
    ]
    assert names[0] == {"talk-train.wav", "emogator-train.wav", "Rain.wav", "Dog.wav", "1.wav", "2.wav", "3.wav"}
    assert names[1] == {"talk-val.wav", "emogator-val.wav", "loops.wav", "0.wav", "4.wav"}


def test_a_scene_has_speech_where_it_says_so(corpora):
    of, gaps = scenes.material(corpora, (("talk", 1.0),)), []
    for seed in range(6):
        samples, frames = scenes.scene(np.random.default_rng(seed), of, 5, snr=(27, 27), dbfs=(-10, -10))
        assert (samples.dtype, samples.shape, frames.shape) == (np.float32, (5 * RATE,), (500,))
        assert np.abs(samples).max() <= 1
        again, _ = scenes.scene(np.random.default_rng(seed), of, 5, snr=(27, 27), dbfs=(-10, -10))
        assert np.array_equal(samples, again)
        power = 10 * np.log10((samples.reshape(-1, FRAME) ** 2).mean(axis=1) + 1e-12)
        if (frames == scenes.SPEECH).sum() > 50 and (frames == scenes.SILENT).sum() > 50:
            gaps.append(np.median(power[frames == scenes.SPEECH]) - np.median(power[frames == scenes.SILENT]))
        for start, end in scenes._runs(frames == scenes.PAUSE):
            assert 20 < end - start <= 100
    assert np.median(gaps) > 8


def test_an_impulse_response_is_convolved_with():
    rng = np.random.default_rng(0)
    x, h = rng.standard_normal(1000), rng.standard_normal(300)
    np.testing.assert_allclose(scenes.convolve(x, h), np.convolve(x, h)[:1000], atol=1e-9)


# ---- a run ------------------------------------------------------------------------------------------------------

RECIPE = """
[scenes]
number = 3
seconds = 4
seed = 1
corpora = {{ {corpus} = 1.0 }}
[training]
seed = 0
steps = 4
batch = 2
parts = 2
rate = 4e-3
"""


def test_a_recipe_is_trained_and_becomes_tables(corpora, tables, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(corpus="talk"))
    found = []
    for _ in range(2):
        train.main([str(recipe), "--corpora", str(corpora), "-o", str(tmp_path / "run"), "--workers", "1"])
        found.append(load_file(tmp_path / "run" / "vad.safetensors"))
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])  # the seed makes the run
    text = tables(found[0])
    assert {name: int(size) for name, size, _ in TABLE.findall(text)}["mix"] == (network.SEEN + 16) * 32


@pytest.mark.slow("trains networks")
def test_training_lowers_the_loss_and_a_pause_is_a_quarter_speech():
    frames = torch.tensor([[[scenes.SILENT, scenes.SPEECH], [scenes.UNCLEAR, scenes.PAUSE]]])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    sure = torch.tensor([[[-50.0, 50.0], [50.0, -np.log(3)]]])
    assert train.loss(sure, frames).item() == pytest.approx(entropy / 3)
    assert train.loss(torch.zeros(1, 2, 2), frames).item() == pytest.approx(np.log(2))
    rng = np.random.default_rng(0)
    spoken = np.repeat(rng.random((8, 12)) < 0.5, 5, axis=1)
    inputs = (spoken[..., None] * rng.standard_normal(network.SEEN)).astype(np.float16)
    moves = np.zeros((8, 60, network.ROWS * network.BANDS), np.int8)
    later = np.repeat(spoken[..., None], 2, axis=2).astype(np.uint8)
    recipe = {"training": {"seed": 0, "steps": 100, "batch": 8, "parts": 1, "rate": 1e-2}}
    lines = []
    train.train(recipe, [inputs, moves, later], lambda line, mean: lines.append(float(line.split()[-1])))
    assert lines[-1] < 0.5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[scenes", "recipe.toml: "),
        ("[training]\nspeed = 3", "recipe.toml: unknown section or key 'speed'"),
        ("[train]", "recipe.toml: unknown section or key 'train'"),
        (RECIPE.format(corpus="opera"), "manifest.csv: no speech of corpus 'opera', split 'train'"),
    ],
)
def test_a_wrong_recipe_is_one_line(corpora, tmp_path, capsys, text, says):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        train.main([str(tmp_path / "recipe.toml"), "--corpora", str(corpora), "-o", str(tmp_path / "run")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


def test_the_package_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vad", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("sertool.training.vad", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")
