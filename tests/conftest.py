"""What the tests share: seeded audio, the command in this process and in one of its own, copies of the bundle."""

import atexit
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

Answer = namedtuple("Answer", "code out err")
#: Emotion -> (pitch in Hz, level): told apart by their spectrum.
EMOTIONS = {"angry": (2400, 0.5), "happy": (1200, 0.4), "sad": (150, 0.1), "neutral": (450, 0.2)}

# librosa compiles by numba into a cache that two workers at once have been seen to spoil: each has its own.
os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="sertool-numba-")
atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)

# Who is started in a shell's background is started with Ctrl-C ignored, and passes that on to what a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path_factory):
    """Neither the user's own bundles nor their plugins take part."""
    for name in ("SERTOOL_BUNDLES", "SERTOOL_PLUGINS_DIR", "SERTOOL_DISABLE_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "no-data"))


@pytest.fixture(scope="session")
def tone():
    """tone(seconds, rate, channels, seed): float64 [samples, channels], amplitude-modulated tones over soft noise.

    Every channel has tones of its own, so that a wrong mix shows.
    """

    def make(seconds=0.5, rate=16_000, channels=1, seed=0):
        rng = np.random.default_rng(seed)
        time = np.arange(round(seconds * rate)) / rate
        pitch = rng.uniform(150, 900, (2, channels))
        phase = rng.uniform(0, 6, (2, channels))
        tones = np.sin(2 * np.pi * time[:, None, None] * pitch + phase).sum(axis=1)
        envelope = 0.6 + 0.4 * np.sin(2 * np.pi * 3.1 * time + rng.uniform(0, 6))
        return 0.2 * envelope[:, None] * tones + 0.003 * rng.standard_normal((len(time), channels))

    return make


@pytest.fixture(scope="session")
def clip(tone):
    """clip(path, seconds, rate, channels, seed, **how to write): a file of such tones; its path."""

    def write(path, seconds=0.1, rate=16_000, channels=1, seed=0, **how):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as stream:  # soundfile takes no name that is not UTF-8
            how.setdefault("format", "WAV")
            soundfile.write(stream, tone(seconds, rate, channels, seed), rate, **how)
        return path

    return write


@pytest.fixture(scope="session")
def encode():
    """encode(path, samples [n] or [n, channels], rate, codec, container, bit_rate, **options): a file through PyAV."""
    av = pytest.importorskip("av")

    def write(path, samples, rate, codec="aac", container=None, bit_rate=96_000, **options):
        planar = np.ascontiguousarray(np.atleast_2d(np.asarray(samples).T), np.float32)
        layout = {1: "mono", 2: "stereo"}[len(planar)]
        with av.open(os.fspath(path), "w", format=container, options=options) as output:
            stream = output.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = bit_rate
            frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=layout)
            frame.sample_rate = rate
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                output.mux(packet)
        return Path(path)

    return write


@pytest.fixture(scope="session")
def torchvision():
    """For tests that import timm or transformers themselves: as the product does it before it imports them."""
    from sertool.nn.torchvision import declare_operators

    declare_operators()


@pytest.fixture(scope="session")
def timm(torchvision):
    import timm

    return timm


@pytest.fixture(scope="module")
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def command(capsys):
    """command(*arguments): sertool in this process; (code, out, err)."""
    from sertool import cli

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.main([os.fspath(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Answer(exit.value.code, out, err)

    return call


@pytest.fixture
def process():
    """process(*arguments, **of subprocess.run): sertool in a process of its own; (code, out, err). No traceback."""

    def call(*arguments, **how):
        how.setdefault("stdout", subprocess.PIPE)
        done = subprocess.run([sys.executable, "-m", "sertool", *arguments], stderr=subprocess.PIPE, timeout=120, **how)
        err = done.stderr.decode()
        assert "Traceback" not in err
        return Answer(done.returncode, (done.stdout or b"").decode(), err)

    return call


@pytest.fixture
def bundle_copy(tmp_path):
    """A copy of the shipped bundle that a test may harm."""
    from sertool import bundle

    return Path(shutil.copytree(bundle.bundled_folder() / "wav2small", tmp_path / "copied" / "wav2small"))


@pytest.fixture(scope="session")
def native_bundle(tmp_path_factory):
    """native_bundle(name): a copy of a shipped bundle with variants native, its default, and native-int8."""
    made = {}

    def make(name="wav2small"):
        if name in made:
            return made[name]
        from sertool import audio, bundle
        from sertool.exporting import variants
        from sertool.exporting.origin import find_origin

        origin, shipped = find_origin(name), bundle.bundled_folder() / name
        clips = [audio.read(file) for file in origin.samples]
        folder = Path(shutil.copytree(shipped, tmp_path_factory.mktemp("native") / name))
        manifest = bundle.read(shipped).manifest
        manifest.variants = [entry for entry in manifest.variants if entry.runtime == "onnx"]
        formats = [variants.parse("native"), variants.parse("native-int8")]
        for form, entry in zip(formats, variants.entries(formats), strict=True):
            variants.export(origin.network, form, folder / entry.file, manifest, entry, clips)
            entry.difference = {"max": form.exporter.tolerance}
            manifest.variants.append(entry)
        manifest.default = "native"
        bundle.write(folder, manifest, (folder / bundle.CARD).read_text(encoding="utf-8"))
        return made.setdefault(name, folder)

    return make


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A corpus of generated voices, small enough to train on in seconds.

    A manifest of 4 speakers x 4 emotions x 2 clips in train, val and ood, with noise and rooms beside it.
    """
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    with open(root / "manifest.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "corpus", "speaker", "emotion", "intensity", "split", "licence"])
        for speaker, split in enumerate(["train", "train", "val", "test-ood"]):
            for emotion, (pitch, level) in EMOTIONS.items():
                for take in range(2):
                    name = f"{speaker}-{emotion}-{take}.wav"
                    time = np.arange(int(rng.uniform(8_000, 20_000))) / 16_000
                    voice = np.sin(2 * np.pi * pitch * (1 + 0.05 * speaker) * time)
                    samples = level * (voice + 0.1 * rng.standard_normal(len(time)))
                    soundfile.write(root / name, samples, 16_000)
                    table.writerow([name, f"corpus{speaker == 3:d}", speaker, emotion, "", split, "CC0"])
    for folder in ("noise", "rir"):
        (root / folder).mkdir()
        soundfile.write(
            root / folder / "x.wav", np.exp(-np.arange(4000) / 400) * rng.standard_normal(4000) * 0.1, 16_000
        )
    return root


@pytest.fixture(scope="session")
def labeller():
    from sertool.labelling import Labeller

    return Labeller()


@pytest.fixture(scope="session")
def emotion_bundle(tmp_path_factory, labeller):
    """A model of four classes: the softmax of lines over a clip's mean level, each class at its best somewhere."""
    import onnx
    from onnx import TensorProto, helper

    from sertool import bundle

    weights = np.array([[40.0, 25.0, 10.0, 0.0]], np.float32)
    offsets = np.array([-10.0, -5.0, -1.0, 0.0], np.float32)
    nodes = [
        helper.make_node("Abs", ["waveform"], ["level"]),
        helper.make_node("ReduceMean", ["level"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Gemm", ["mean", "weights", "offsets"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    ends = [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [1, "time"])]
    ends += [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 4])]
    constants = [onnx.numpy_helper.from_array(weights, "weights"), onnx.numpy_helper.from_array(offsets, "offsets")]
    graph = helper.make_graph(nodes, "levels", ends[:1], ends[1:], constants)
    folder = tmp_path_factory.mktemp("bundles") / "levels"
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    manifest = replace(
        labeller.bundle.manifest,
        name="levels",
        task="categorical",
        calibration={},
        outputs=[bundle.Output(name) for name in ("angry", "happy", "neutral", "sad")],
        shortest_samples=1,
        variants=[bundle.Variant("fp32", "model.onnx", difference={})],
        default="fp32",
    )
    bundle.write(folder, manifest, "a card")
    return folder
