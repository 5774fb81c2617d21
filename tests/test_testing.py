"""sertool.testing: what is sound passes, and each kind of fault is named in one line that begins with where."""

import copy
import io
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from torch import nn

import sertool
from sertool import audio
from sertool.corpora import Row, select
from sertool.errors import SertoolError, UsageError
from sertool.plugins import Plugin, load_plugins
from sertool.testing import (
    check_augmentation,
    check_corpus,
    check_decoder,
    check_exporter,
    check_light,
    check_loss,
    check_model,
    write_clips,
)

CLASSES = ("angry", "happy", "sad")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def register(monkeypatch):
    """register(thing): under its name, as an outside plugin would; the name."""
    kinds = {
        sertool.Model: "models",
        sertool.Augmentation: "augmentations",
        sertool.Exporter: "exporters",
        sertool.Corpus: "corpora",
        sertool.Loss: "losses",
        sertool.Decoder: "decoders",
    }

    def add(thing):
        entry = [(Plugin("outside", None, "here"), thing)]
        monkeypatch.setitem(load_plugins()._named[kinds[type(thing)]], thing.name, entry)
        return thing.name

    return add


def fault(check, *arguments, **options) -> str:
    """What a check says, which is one line."""
    with pytest.raises(AssertionError) as caught:
        check(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


# Models


class Sound(nn.Module):
    """Waveform [batch, samples], at least 100 -> [batch, outputs]."""

    def __init__(self, outputs=3):
        super().__init__()
        self.filters = nn.Conv1d(1, 6, 100, stride=50)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, outputs)

    def forward(self, waveform):
        return self.head(self.norm(self.filters(waveform[:, None])).relu().mean(dim=2))


class Wide(Sound):
    def forward(self, waveform):
        return super().forward(waveform).repeat(1, 2)


class Padding(Sound):
    def forward(self, waveform):
        return super().forward(nn.functional.pad(waveform, (50, 50)))


class Blocks(Sound):
    def forward(self, waveform):
        return super().forward(waveform.reshape(len(waveform), -1, 50).flatten(1))


class Logarithm(Sound):
    def forward(self, waveform):
        return super().forward(waveform).log()


class Doubles(Sound):
    def forward(self, waveform):
        return super().forward(waveform).double()


class Restless(Sound):
    def forward(self, waveform):
        return nn.functional.dropout(super().forward(waveform), 0.5)


class Together(Sound):
    def forward(self, waveform):
        return super().forward(waveform / waveform.abs().max())


class Merged(Sound):
    def forward(self, waveform):
        return super().forward(waveform).mean(dim=0, keepdim=True)


class Probable(Sound):
    def forward(self, waveform):
        return super().forward(waveform).softmax(dim=1)


class Unused(Sound):
    def __init__(self):
        super().__init__()
        self.forgotten = nn.Linear(2, 2)


class Detached(Sound):
    def forward(self, waveform):
        return self.head(self.norm(self.filters(waveform[:, None])).relu().mean(dim=2).detach())


class Steep(Sound):
    def forward(self, waveform):
        outputs = super().forward(waveform)
        return outputs + 0 * (outputs - outputs.detach()).abs().sqrt()


class Unsaved(Sound):
    def __init__(self):
        super().__init__()
        self.scale = torch.rand(3)

    def forward(self, waveform):
        return super().forward(waveform) * self.scale


class Pair(Sound):
    def forward(self, waveform):
        return super().forward(waveform), None


class Twofold(Sound):
    def forward(self, waveform):
        return super().forward(waveform) * (2 if torch.compiler.is_compiling() else 1)


class Branching(Sound):
    def forward(self, waveform):
        return super().forward(waveform if float(waveform.mean()) > 0 else -waveform)


class Embedding(Sound):
    """With an embedding; ``fault`` is what is wrong with it."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault

    def embedding(self, waveform):
        pooled = self.norm(self.filters(waveform[:, None])).relu().mean(dim=2)
        return pooled[0] if self.fault == "shape" else pooled

    def answer(self, embedding):
        return self.head(embedding * (2 if self.fault == "answer" else 1))

    def embedding_and_tokens(self, waveform):
        tokens = self.norm(self.filters(waveform[:, None])).relu()
        pooled = self.embedding(waveform) + (1 if self.fault == "pooling" else 0)
        return pooled, tokens if self.fault == "tokens" else tokens.transpose(1, 2)


def model(build=Sound, **about):
    about = {"outputs": CLASSES, "task": "categorical", "shortest": 100} | about
    return sertool.Model("toy", "a toy", build, **about)


@pytest.mark.slow("exports and trains networks")
@pytest.mark.parametrize("task", ["categorical", "dimensional"])
def test_a_sound_model_passes(register, task):
    state = torch.random.get_rng_state()
    outputs = {"categorical": CLASSES, "dimensional": ("valence", "arousal", "dominance")}[task]
    check_model(register(model(task=task, outputs=outputs)))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_frozen_model_passes(register):
    check_model(register(model(lambda: Sound().requires_grad_(False))), formats=())


def test_options_reach_the_network(register):
    check_model(register(model(outputs=("arousal",), task="dimensional")), formats=(), outputs=1)
    assert "shape [1, 2], not [1, 3]" in fault(check_model, register(model()), outputs=2)
    assert "build(colour='red') raised TypeError" in fault(check_model, register(model()), colour="red")


@pytest.mark.slow("exports and trains networks")
@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("shape", "embedding gives shape [6], not [batch, width]"),
        ("answer", "answer(embedding(waveform)) is not what forward gives"),
        ("pooling", "answer(embedding(waveform)) is not what forward gives"),
        ("tokens", "not [batch, tokens, width]"),
    ],
)
def test_an_embedding_has_to_fit(register, what, wanted):
    assert wanted in fault(check_model, register(model(lambda: Embedding(what))), formats=())


@pytest.mark.slow("exports and trains networks")
def test_a_sound_embedding_passes(register):
    check_model(register(model(Embedding)), formats=())


BROKEN_MODELS = {
    "Wide": (model(Wide), "samples give shape [1, 6], not [1, 3] for angry, happy, sad"),
    "Padding": (model(Padding), "99 samples, one fewer than shortest, must be an error"),
    "Blocks": (model(Blocks), "101 samples raised RuntimeError"),
    "Logarithm": (model(Logarithm), "samples give non-finite outputs"),
    "Doubles": (model(Doubles), "samples give torch.float64, not float32"),
    "Restless": (model(Restless), "different outputs on each call, in eval mode"),
    "Together": (model(Together), "between alone and in a batch"),
    "Merged": (model(Merged), "a batch of 3 gives shape [1, 3]"),
    "Probable": (model(Probable), "gives probabilities, not logits"),
    "Unused": (model(Unused), "no gradient reaches forgotten.weight, forgotten.bias: "),
    "Detached": (model(Detached), "no gradient reaches filters.weight, filters.bias, norm.weight and 1 more"),
    "Steep": (model(Steep), "the gradient of "),
    "Unsaved": (model(Unsaved), "a network with the same state_dict gives different outputs"),
    "Pair": (model(Pair), "samples give tuple, not a tensor"),
    "no module": (model(lambda: "network"), "build returns str, not a torch module"),
    "a column's name": (
        model(outputs=("a", "speech", "b")),
        "output 'speech' has the name of a column of `sertool label`",
    ),
    "an output nobody rates": (
        model(outputs=("arousal", "stress", "b"), task="dimensional"),
        "there are no targets for its output 'stress', only arousal, dominance, valence",
    ),
    "one name twice": (model(outputs=("a", "a", "b")), "outputs is ('a', 'a', 'b')"),
    "a list": (model(outputs=["a", "b", "c"]), "outputs is ['a', 'b', 'c'], not a tuple"),
    "task": (model(task="regression"), "task is 'regression', not one of dimensional, categorical"),
    "shortest": (model(shortest=0), "shortest is 0"),
    "too long a shortest": (model(shortest=101), "100 samples, one fewer than shortest, must be an error"),
    "parts": (model(parts={"ears": "ears"}), "parts: 'ears' is 'ears', which the network does not have"),
}


@pytest.mark.slow("exports and trains networks")
@pytest.mark.parametrize("name", BROKEN_MODELS)
def test_a_broken_model_is_told_what_is_wrong(register, name):
    thing, wanted = BROKEN_MODELS[name]
    text = fault(check_model, register(thing), formats=())
    assert text.startswith("model 'toy': ")
    assert wanted in text


@pytest.mark.slow("exports and trains networks")
@pytest.mark.parametrize(
    ("build", "wanted"),
    [(Twofold, "differs from torch by "), (Branching, "exporting raised SertoolError: Sequential cannot be exported")],
)
def test_a_model_that_exports_as_something_else_is_told(register, build, wanted):
    text = fault(check_model, register(model(build)))
    assert text.startswith(f"model 'toy', format 'onnx': {wanted}")


def test_a_format_that_is_none_is_the_users_error(register):
    with pytest.raises(UsageError, match="exporters: there is no 'tape'"):
        check_model(register(model()), formats=("tape",))
    with pytest.raises(UsageError, match="models: there is no 'no-such'"):
        check_model("no-such")


@pytest.mark.slow("exports and trains networks")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[model]\nname = 'toy'\n[train]\nstep = 3\n", "no key train.step"),
        ("[model]\nname = 'other'\n", "model.name is 'other'"),
        ("[model]\nname = 'toy'\n[[augment]]\nname = 'nois'\n", "there is no 'nois'"),
        ("[model]\nname = 'toy'\n[bundle]\nformats = ['onix']\n", "there is no 'onix'"),
        ("model", "reading it raised "),
        (None, "toy.toml: No such file or directory"),
    ],
)
def test_a_recipe_that_does_not_load_is_told(register, tmp_path, text, wanted):
    path = tmp_path / "toy.toml"
    if text:
        path.write_text(text)
    found = fault(check_model, register(model(recipes=(path,))), formats=())
    assert found.startswith("model 'toy', recipe toy.toml: ")
    assert wanted in found


def test_recipes_of_train_and_distil_pass(register, tmp_path):
    texts = {"a": "[train]\nsteps = 2000\n", "b": "[loss]\ntemperature = 2.0\n[excerpts]\nsources = ['x']\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(f"[model]\nname = 'toy'\n{text}")
    check_model(register(model(recipes=tuple(sorted(tmp_path.iterdir())))), formats=())


# Augmentations


class Gain:
    """Sound; others go wrong from here."""

    def __call__(self, samples, rng):
        return samples * np.float32(rng.uniform(0.5, 1))


class AsDouble(Gain):
    def __call__(self, samples, rng):
        return samples * np.array([rng.uniform(0.5, 1)])


class InPlace(Gain):
    def __call__(self, samples, rng):
        samples *= np.float32(rng.uniform(0.5, 1))
        return samples.copy()


class View(Gain):
    def __call__(self, samples, rng):
        return samples[::-1] if rng.random() < 2 else samples


class Peak(Gain):
    def __call__(self, samples, rng):
        with np.errstate(invalid="ignore"):
            return super().__call__(samples, rng) / np.abs(samples).max()


class Shorter(Gain):
    def __call__(self, samples, rng):
        return super().__call__(samples, rng)[2:]


class Stereo(Gain):
    def __call__(self, samples, rng):
        return np.stack([samples, super().__call__(samples, rng)])


class Listed(Gain):
    def __call__(self, samples, rng):
        return list(samples)


class Fussy(Gain):
    def __call__(self, samples, rng):
        if len(samples) < 400:
            raise ValueError("too short")
        return super().__call__(samples, rng)


class GlobalPython(Gain):
    def __call__(self, samples, rng):
        return samples * np.float32(random.uniform(0.5, 1))


class GlobalNumpy(Gain):
    def __call__(self, samples, rng):
        return super().__call__(samples, rng) * np.float32(np.random.uniform(0.5, 1))


class Seeding(Gain):
    def __call__(self, samples, rng):
        np.random.seed(int(rng.integers(1 << 31)))
        return super().__call__(samples, rng)


class Counting(Gain):
    calls = 0

    def __call__(self, samples, rng):
        self.calls += 1
        return super().__call__(samples, rng) / np.float32(self.calls)


class AtBuild(Gain):
    def __init__(self):
        self.factor = np.float32(np.random.default_rng().uniform())

    def __call__(self, samples, rng):
        return super().__call__(samples, rng) * self.factor


class Fixed(Gain):
    def __call__(self, samples, rng):
        return samples * np.float32(0.5)


class Shared(Gain):
    def __call__(self, samples, rng):
        self.factor = np.float32(rng.uniform(0.5, 1))
        time.sleep(0.002)
        return samples * self.factor


class Forgetful(Gain):
    def __init__(self):
        self.low = 0.5

    def __call__(self, samples, rng):
        return samples * np.float32(rng.uniform(self.low, 1))

    def __getstate__(self):
        return {"low": 0.0}


def closure():
    return lambda samples, rng: samples * np.float32(rng.uniform(0.5, 1))


def augmentation(build):
    return sertool.Augmentation("toy", "a toy", build)


@pytest.mark.slow("exports and trains networks")
def test_a_sound_augmentation_passes_and_leaves_the_global_generators(register):
    random.seed(5)
    np.random.seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist()
    check_augmentation(register(augmentation(Gain)))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    check_augmentation(register(augmentation(Fixed)), random=False)


BROKEN_AUGMENTATIONS = {
    AsDouble: ": sound of 1 samples: gives float64, not float32",
    InPlace: ": changes its input",
    View: ": returns its input or a view of it",
    Peak: ": silence of 1 samples: gives non-finite samples",
    Shorter: ": sound of 1 samples: gives shape (0,), not [m]",
    Stereo: ": sound of 1 samples: gives shape (2, 1), not [m]",
    Listed: ": sound of 1 samples: gives list, not a numpy array",
    Fussy: ": a clip of 1 samples raised ValueError: too short",
    GlobalPython: ": draws from the global generator of random",
    GlobalNumpy: ": draws from the global generator of numpy.random",
    Seeding: ": draws from the global generator of numpy.random",
    Counting: ": the same generator state gives different samples",
    AtBuild: ": a second build gives different samples",
    Fixed: ": 8 generators give the same samples",
    Shared: ": threads that share it get different samples",
    Forgetful: ": a pickled copy gives different samples",
    closure: ": pickle, as for a worker process",
}


@pytest.mark.slow("exports and trains networks")
@pytest.mark.parametrize("build", BROKEN_AUGMENTATIONS, ids=lambda build: build.__name__)
def test_a_broken_augmentation_is_told_what_is_wrong(register, build):
    text = fault(check_augmentation, register(augmentation(build)))
    assert text.startswith("augmentation 'toy'" + BROKEN_AUGMENTATIONS[build])


def test_other_faults_of_augmentations(register):
    assert "random=False, but" in fault(check_augmentation, register(augmentation(Gain)), random=False)
    assert "build returns NoneType" in fault(check_augmentation, register(augmentation(lambda: None)))
    assert "build(loud=3) raised TypeError" in fault(check_augmentation, register(augmentation(Gain)), loud=3)


# Exporters


@pytest.fixture(scope="module")
def exported():
    """exported(source): the model that exporter `onnx` writes, or its SertoolError; each made once."""
    made = {}

    def export(source):
        weights = io.BytesIO()
        torch.save(source.module.state_dict(), weights)
        key = source.input, weights.getvalue()
        if key not in made:
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch, "x.onnx")
                try:
                    load_plugins().get("exporters", "onnx").export(source, path, {})
                    made[key] = onnx.load(path)
                except SertoolError as error:
                    made[key] = error
        return copy.deepcopy(made[key])

    return export


@pytest.fixture
def exporter(exported, register):
    """exporter(twist, **about): the name of one that writes what ``twist(model, source)`` leaves of `onnx`'s model."""

    def make(twist=lambda model, source: None, failure=SertoolError, **about):
        def export(source, path, metadata):
            model = exported(source)
            if isinstance(model, SertoolError):
                if about.get("variant") == "litter":
                    path.write_bytes(b"half of it")
                raise failure(str(model))
            for key, value in metadata.items():
                model.metadata_props.add(key=key, value=value)
            twist(model, source)
            if about.get("variant") != "nothing":
                onnx.save(model, path)

        return register(sertool.Exporter("toy", "a toy", export, **about))

    return make


def coarse(model, source):
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.01), tensor.name))


def restless(model, source):
    model.metadata_props.add(key="when", value=str(time.perf_counter_ns()))


def mute(model, source):
    model.ClearField("metadata_props")


def altered(model, source):
    model.metadata_props[0].value = model.metadata_props[0].value.replace("Checked", "Unchecked")


def harmful(model, source):
    with torch.no_grad():
        next(source.module.parameters()).zero_()


@pytest.mark.slow("exports and trains networks")
def test_a_sound_exporter_passes(exporter):
    check_exporter(exporter())


@pytest.mark.slow("exports and trains networks")
@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"twist": coarse}, ", n_fft 64, waveform: differs from torch by "),
        ({"twist": restless}, ", n_fft 64, waveform: exporting twice gives different bytes (model.onnx)"),
        ({"twist": mute}, ", n_fft 64, waveform: running the file raised BundleError: "),
        ({"twist": altered}, ", n_fft 64, waveform: its metadata differs after reading it back"),
        ({"twist": harmful}, ", n_fft 64, waveform: exporting changes the network"),
        ({"failure": RuntimeError}, ": a network that branches on its input must be a SertoolError, not RuntimeError"),
        (
            {"failure": lambda text: SertoolError("two\nlines")},
            ": a network that branches on its input: the message must be one line",
        ),
        ({"variant": "litter"}, ": leaves a file behind for a network that it could not export"),
        ({"variant": "nothing"}, ", n_fft 64, waveform: no file model.onnx was written"),
        ({"variant": ""}, ": variant is ''"),
        ({"tolerance": 0}, ": tolerance is 0"),
        ({"tolerance": float("nan")}, ": tolerance is nan"),
        ({"runtime": "tflite"}, ": runtime is 'tflite'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_broken_exporter_is_told_what_is_wrong(exporter, how, wanted):
    assert fault(check_exporter, exporter(**how)).startswith(f"exporter 'toy'{wanted}")


def test_the_native_exporter_passes():
    """It is fast, as it needs no tracing."""
    check_exporter("native", inputs=("waveform",), models=("wav2small",))


@pytest.mark.slow("exports and trains networks")
def test_an_exporter_is_held_to_each_input_that_is_asked_for(exporter):
    def only_waveforms(model, source):
        if source.input == "logmel":
            raise UsageError("takes waveforms only")

    check_exporter(exporter(only_waveforms), inputs=("waveform",))
    wanted = ", n_fft 144, logmel: exporting raised UsageError: takes waveforms only"
    assert fault(check_exporter, exporter(only_waveforms)) == f"exporter 'toy'{wanted}"


@pytest.mark.slow("exports and trains networks")
def test_an_exporter_of_some_networks_is_held_to_those_and_to_refusing_others(exporter):
    def only_wav2small(model, source):
        if type(source.module).__name__ != "Wav2Small":
            raise UsageError("only Wav2Small")

    check_exporter(exporter(only_wav2small), inputs=("waveform",), models=("wav2small", "wav2small:centre=true"))
    wanted = "exporter 'toy', wav2small-emotion, waveform: exporting raised UsageError: only Wav2Small"
    assert fault(check_exporter, exporter(only_wav2small), models=("wav2small-emotion",)) == wanted
    said = fault(check_exporter, exporter(), inputs=("waveform",), models=("wav2small",))
    assert said.startswith("exporter 'toy': a network that it does not support")


# Corpora


@pytest.fixture
def corpus(tmp_path, register):
    """corpus(change): the name of a layout whose rows ``change`` has gone over, and a folder in it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = []
    for speaker in ("anna", "ben", "cem"):
        for emotion in ("angry", "sad"):
            path = folder / f"{speaker}-{emotion}.wav"
            soundfile.write(path, np.zeros(160), 16_000)
            split = "val" if speaker == "cem" else "train"
            rows.append(Row(file=path, corpus="toy", speaker=speaker, emotion=emotion, split=split, session=speaker))

    def make(change=lambda rows: rows, missing=None):
        def read(root):
            if root != folder:
                raise missing or UsageError("nothing there")
            return change(list(rows))

        return register(sertool.Corpus("toy", "a toy", read)), folder

    return make


def first(**values):
    """A change of the first row."""
    return lambda rows: [replace(rows[0], **values), *rows[1:]]


def test_a_sound_corpus_passes(corpus):
    check_corpus(*corpus())
    check_corpus(*corpus(first(arousal=1, valence=0.0, duration=0.01, emotion="")))


def elsewhere(rows):
    return first(file=rows[0].file.with_name("lost.wav"))(rows)


BROKEN_CORPORA = {
    "no rows": (lambda rows: [], "does not give a list of rows"),
    "an iterator": (iter, "does not give a list of rows"),
    "another order": (
        lambda rows, turns=[]: turns.append(0) or rows[:: 1 if len(turns) % 2 else -1],
        "reading twice gives different rows",
    ),
    "a table": (lambda rows: [vars(row) for row in rows], "a row is a dict, not a sertool.corpora.Row"),
    "no file": (elsewhere, "lost.wav: no such file"),
    "a string": (lambda rows: first(file=str(rows[0].file))(rows), "file is a str, not a pathlib.Path"),
    "a file twice": (lambda rows: [*rows, rows[0]], "anna-angry.wav: in two rows"),
    "no speaker": (first(speaker=""), "corpus and speaker must not be empty"),
    "a number": (first(speaker=7), "speaker is 7, not a string"),
    "none": (first(sex=None), "sex is None, not a string"),
    "blanks": (first(emotion="angry "), "emotion is 'angry ', with spaces around it"),
    "stars": (first(arousal=4.5), "arousal is 4.5, not a number from 0 to 1"),
    "no number": (first(valence=float("nan")), "valence is nan"),
    "duration": (first(duration=0.0), "duration is 0.0, not seconds"),
    "leak": (first(split="val"), "speaker 'anna' of toy is in both 'train' and 'val'"),
    "sessions": (first(session="ben"), "speaker 'anna' of toy is in both"),
    "unknown labels": (
        lambda rows: [first(emotion="W", arousal=0.5)([row])[0] for row in rows],
        "no emotion that sertool knows (there are: W) and no ratings",
    ),
}


@pytest.mark.parametrize("name", BROKEN_CORPORA)
def test_a_broken_corpus_is_told_what_is_wrong(corpus, name):
    change, wanted = BROKEN_CORPORA[name]
    text = fault(check_corpus, *corpus(change))
    assert text.startswith("corpus 'toy': ")
    assert wanted in text


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [
        (IndexError("0"), "reading an empty folder must be a SertoolError, not IndexError: 0"),
        (SertoolError("not\nthere"), "reading an empty folder: the message must be one line"),
    ],
)
def test_a_folder_of_another_layout_must_be_the_users_error(corpus, missing, wanted):
    assert fault(check_corpus, *corpus(missing=missing)).startswith(f"corpus 'toy': {wanted}")


def test_a_layout_that_finds_nothing_wrong_with_any_folder_is_told(register, tmp_path):
    (tmp_path / "a.wav").touch()
    row = Row(file=tmp_path / "a.wav", corpus="toy", speaker="a", emotion="angry")
    name = register(sertool.Corpus("toy", "a toy", lambda root: [row]))
    assert fault(check_corpus, name, tmp_path) == "corpus 'toy': reading an empty folder must be a SertoolError"


# Losses


def squared(outputs, targets):
    error = (outputs - targets).square().mean()
    return error, {"error": error}


class Counted:
    """Squared errors, divided by the number of training clips."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def prepare(self, targets):
        assert targets.dtype == np.float32
        self.clips = len(targets)

    def __call__(self, outputs, targets):
        return self.scale * squared(outputs, targets)[0] / self.clips, {}


class Stateful:
    calls = 0

    def __call__(self, outputs, targets):
        self.calls += 1
        return squared(outputs, targets)[0] * self.calls, {}


class Unprepared(Counted):
    def prepare(self, targets):
        raise ValueError("no\nclips")


def in_place(outputs, targets):
    with torch.no_grad():
        targets.add_(1)
    return squared(outputs, targets)


def changing_terms(outputs, targets):
    return squared(outputs, targets)[0], {f"of {len(outputs)}": outputs.mean()}


def loss(build, task="dimensional"):
    return sertool.Loss("toy", "a toy", task, build)


def of(function):
    """A loss that is this function of outputs and targets, without terms."""
    return lambda: lambda outputs, targets: (function(outputs, targets), {})


@pytest.mark.parametrize("task", ["dimensional", "categorical"])
def test_a_sound_loss_passes(register, task):
    state = torch.random.get_rng_state()
    check_loss(register(loss(lambda: squared, task)))
    check_loss(register(loss(Counted, task)), scale=2)
    assert torch.equal(torch.random.get_rng_state(), state)


BROKEN_LOSSES = {
    "no function": (lambda: None, ": build returns NoneType, not a function of outputs and targets"),
    "no pair": (lambda: lambda outputs, targets: outputs.mean(), " outputs [1, 1]: returns Tensor, not the loss and a"),
    "error": (of(lambda outputs, targets: outputs.reshape(7)), " outputs [1, 1]: the loss raised RuntimeError: shape"),
    "each clip": (of(lambda outputs, targets: outputs.mean(dim=1)), " outputs [1, 1]: the loss has shape [1], not []"),
    "number": (of(lambda outputs, targets: 3.0), ": random outputs [1, 1]: the loss is float, not a tensor"),
    "log": (of(lambda outputs, targets: (-1 - outputs**2).log().mean()), " outputs [1, 1]: the loss is nan"),
    "root": (
        of(lambda outputs, targets: (outputs - 0.5).abs().sqrt().mean()),
        ": constant outputs [1, 1]: its gradient is",
    ),
    "detached": (of(lambda outputs, targets: squared(outputs.detach(), targets)[0]), "the loss has no gradient"),
    "terms": (lambda: changing_terms, ": its terms have other names in other calls"),
    "taken": (lambda: lambda outputs, targets: (outputs.mean(), {"lr": targets.mean()}), "cannot be called 'lr'"),
    "stateful": (Stateful, ": random outputs [1, 1]: a second call gives another loss: keep no state"),
    "in place": (lambda: in_place, ": random outputs [1, 1]: changes its arguments"),
    "wrong way": (of(lambda outputs, targets: -squared(outputs, targets)[0]), ": right outputs cost "),
    "unprepared": (Unprepared, ": prepare with the targets of 64 clips, 1 outputs, raised ValueError: no clips"),
}


@pytest.mark.parametrize("name", BROKEN_LOSSES)
def test_a_broken_loss_is_told_what_is_wrong(register, name):
    build, wanted = BROKEN_LOSSES[name]
    text = fault(check_loss, register(loss(build)))
    assert text.startswith("loss 'toy'")
    assert wanted in text


def test_options_reach_the_loss(register):
    assert "build(colour='red') raised TypeError" in fault(check_loss, register(loss(Counted)), colour="red")


# Decoders


@pytest.fixture
def decoder(register, tmp_path):
    """decoder(**changes): the name of a decoder of files that hold TOY, 16-bit samples at 8 kHz; such a file."""
    path = tmp_path / "a.toy"

    def write():
        path.write_bytes(b"TOY" + bytes(61) + np.arange(-8_000, 8_000, dtype="<i2").tobytes())

    def blocks(path):
        data = path.read_bytes()[64:]
        if len(data) < 32_000:
            raise sertool.AudioError("truncated")
        for start in (0, 16_000):
            yield 8_000, np.frombuffer(data[start : start + 16_000], "<i2").reshape(-1, 2) / np.float32(32_768)

    def make(**changes):
        about = {"recognises": lambda head, path: head.startswith(b"TOY"), "blocks": blocks, "extensions": (".toy",)}
        return register(sertool.Decoder("toy", "a toy", **about | changes)), path

    write()
    make.blocks, make.write = blocks, write
    return make


def test_a_sound_decoder_passes(decoder):
    check_decoder(*decoder())


def of_samples(samples, rate=8_000):
    return {"blocks": lambda path: iter([(rate, samples)])}


def test_a_broken_decoder_is_told_what_is_wrong(decoder):
    turns = []

    def restless(path):
        turns.append(0)
        yield from [*decoder.blocks(path)][: 1 + len(turns) % 2]

    def harmful(path):
        yield from decoder.blocks(path)
        path.write_bytes(b"TOY" + path.read_bytes()[3:] + b"read")

    def careless(path):
        data = np.frombuffer(path.read_bytes()[64:], "<i2")
        yield 8_000, data.reshape(8_000, 2) / np.float32(32_768)

    def growing(path):
        missing = 32_064 - path.stat().st_size
        yield 8_000, np.zeros((8_000 + missing, 1), np.float32)

    quiet = np.zeros((8_000, 1), np.float32)
    for changes, wanted in (
        ({"extensions": (".tape",)}, "a.toy: its extension is not one of .tape"),
        ({"recognises": lambda head, path: False}, "does not recognise a.toy"),
        ({"recognises": lambda head, path: True}, "recognises an empty file"),
        ({"recognises": lambda head, path: head[:3] in (b"TOY", b"fLa")}, "recognises FLAC"),
        ({"recognises": lambda head, path: head[60] == 0}, "recognises, for x.toy, raised IndexError"),
        ({"blocks": lambda path: 1 / 0}, "a.toy: ZeroDivisionError: division by zero"),
        (of_samples(quiet.astype(np.float64)), "a.toy: TypeError: blocks must yield (rate, float32 [n, channels])"),
        (of_samples(quiet[:0]), "a.toy: no samples"),
        (of_samples(quiet + np.float32("nan")), "a.toy: samples that are not finite"),
        (of_samples(quiet + 32_768), "a.toy: its peak is 32768, full scale is 1"),
        (of_samples(np.zeros((8_000 * 61, 1), np.float32)), "a.toy: a block of 61 s: yield a few seconds each"),
        ({"blocks": restless}, "a.toy: 1 s, then 0.5 s"),
        ({"blocks": harmful}, "changes the file"),
        ({"blocks": careless}, "the first 10% of the file must be a sertool.AudioError, not ValueError"),
        ({"blocks": growing}, "the first 10% of the file gives "),
    ):
        text = fault(check_decoder, *decoder(**changes))
        assert text.startswith(f"decoder 'toy': {wanted}")
        decoder.write()


# Packages, and the clips that plugins' tests train on


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("import json", None),
        ("import scipy", "importing it imports scipy: "),
        pytest.param(
            "def register_models(register):\n    import torch, onnx",
            "importing it imports onnx, torch: ",
            marks=pytest.mark.slow("imports torch"),
        ),
        ("import no_such_module", "importing it fails: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_heavy_package_is_told(tmp_path, monkeypatch, source, wanted):
    (tmp_path / "toy_plugin.py").write_text(source + "\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if wanted:
        assert fault(check_light, "toy_plugin").startswith(f"toy_plugin: {wanted}")
    else:
        check_light("toy_plugin")


def test_the_clips_to_train_on_are_a_corpus(tmp_path):
    folder = write_clips(tmp_path / "a" / "b")
    check_corpus("manifest", folder)
    rows = load_plugins().get("corpora", "manifest").read(folder)
    assert {split: len(select(rows, split)) for split in ("train", "val", "test-ood")} == {
        "train": 16,
        "val": 8,
        "test-ood": 8,
    }
    assert {row.emotion for row in rows} == {"angry", "happy", "neutral", "sad"}
    for row in rows:
        assert 8_000 <= len(audio.read(row.file)) <= 16_000
    again = write_clips(tmp_path / "again")
    assert all((again / row.file.name).read_bytes() == row.file.read_bytes() for row in rows)


def test_importing_it_imports_nothing_heavy():
    code = "import sys, sertool.testing; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnx", "onnxruntime", "pytest"} & set(loaded)
