"""Embeddings: in files of every format, through both runtimes, on the command line."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from sertool import Source, audio, bundle
from sertool.bundle import METADATA_KEY, container
from sertool.errors import BundleError, UsageError
from sertool.exporting import variants
from sertool.exporting.origin import find_origin
from sertool.features import steps
from sertool.kernel.wav2small import Engine
from sertool.labelling import Labeller
from sertool.nn.embedding import WithEmbedding
from sertool.plugins import load_plugins
from sertool.runtime import Runtime
from sertool.testing.clips import sound

SHIPPED = {"wav2small": 169, "wav2small-emotion": 169, "mobile": 2048, "mobile-emotion": 2048}
#: Exporter -> largest difference of an embedding, whose values are about 0.1 to 1, from torch.
FORMATS = {
    "onnx": 3e-5,  # of values up to 4: 1.03e-5 was seen with AVX-512
    "onnx-fp16": 2e-3,
    "onnx-int8": 0.02,
    "onnx-int8:recipe=weights,bits=4": 0.05,
    "onnx-int8:recipe=static": 0.3,
    "native": 3e-5,
    "native-int8": 0.06,
    "audonnx": 3e-5,
}


@pytest.fixture(scope="module")
def origin():
    return find_origin("wav2small-emotion")


def written(origin, text, folder, embedding=True):
    form = variants.parse(text, embedding=embedding)
    (entry,) = variants.entries([form])
    path = folder / entry.file
    clips = [sound(20_000, seed=seed) for seed in range(3)]
    variants.export(origin.network, form, path, origin.manifest, entry, clips)
    return path


def of_torch(origin, samples):
    prepared = torch.from_numpy(steps.build(origin.manifest.preprocessing)(samples))[None]
    with torch.inference_mode():
        outputs, embedding, tokens = WithEmbedding(origin.network)(prepared)
    return outputs[0].numpy(), embedding[0].numpy(), tokens[0].numpy()


@pytest.mark.parametrize("text", FORMATS)
def test_a_file_of_any_format_gives_the_embedding_of_torch(origin, text, tmp_path):
    runtime = Runtime(str(written(origin, text, tmp_path)))
    assert runtime.width == 169
    for n in (400, 16_001, 50_000):
        expected = of_torch(origin, sound(n))
        outputs, embedding = runtime.run_both(sound(n))
        assert np.abs(embedding - expected[1]).max() < FORMATS[text]
        assert np.array_equal(outputs, runtime.run(sound(n)))
        assert np.abs(outputs - expected[0]).max() < 0.1


def test_a_file_has_an_embedding_only_where_it_is_asked_for(origin, tmp_path):
    for text in ("onnx", "native", "native-int8", "onnx-int8:recipe=weights"):
        (tmp_path / text[:8]).mkdir()
        path = written(origin, text, tmp_path / text[:8], embedding=False)
        runtime = Runtime(str(path))
        assert runtime.width == 0
        assert runtime.run_both(sound(9_000))[1].shape == (0,)
        with pytest.raises(UsageError, match="no embedding: export it again with --with-embedding"):
            Labeller(str(path), vectors="embedding")
    plain = onnx.load(tmp_path / "onnx" / "model.onnx")
    assert [end.name for end in plain.graph.output] == ["outputs"]


def test_parameters_keep_their_names_beside_an_embedding(origin, tmp_path):
    plain, both = tmp_path / "plain", tmp_path / "both"
    plain.mkdir()
    both.mkdir()
    names = [
        {tensor.name for tensor in onnx.load(written(origin, "onnx", folder, folder == both)).graph.initializer}
        for folder in (plain, both)
    ]
    assert {name for name in names[0] if "head" in name or "conv" in name} <= names[1]
    assert not any(name.startswith("module.") for name in names[1])


def test_a_network_without_an_embedding_is_refused(tmp_path):
    exporter = load_plugins().get("exporters", "onnx")
    network = torch.nn.Sequential(torch.nn.Linear(100, 3))
    source = Source(network.eval(), torch.zeros(1, 100), embedding=True)
    with pytest.raises(UsageError, match="Linear has no embedding: it needs methods embedding and answer"):
        exporter.export(source, tmp_path / "x.onnx", {METADATA_KEY: "{}"})


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_that_ships_has_one(name):
    shipped = bundle.read(bundle.find(name))
    found = []
    for variant in shipped.manifest.variants:
        runtime = Runtime(name, variant.name)
        assert runtime.width == SHIPPED[name]
        found.append(runtime.run_both(sound(24_000))[1])
    for other in found[1:]:  # the same values, up to the bits of the file
        assert np.corrcoef(found[0], other)[0, 1] > 0.95


def test_the_last_layer_makes_the_outputs_of_the_embedding():
    from safetensors.numpy import load_file

    for name, softmax in (("wav2small", False), ("wav2small-emotion", True)):
        weights = load_file(bundle.find(name) / bundle.WEIGHTS)
        weight, bias = (
            next(w for key, w in weights.items() if key.endswith(f"head.{part}")) for part in ("weight", "bias")
        )
        for runtime in (Runtime(name, "fp32"), Runtime(name, "native")):
            outputs, embedding = runtime.run_both(sound(30_000))
            expected = weight @ embedding + bias
            if softmax:
                expected = np.exp(expected) / np.exp(expected).sum()
            assert np.allclose(outputs, expected, atol=1e-5)


def test_the_engine_gives_it_after_the_last_pass_only():
    weights = container.read(bundle.find("wav2small") / "model.native").data
    engine = Engine(weights)
    for _ in range(engine.passes):
        with pytest.raises(ValueError, match="argument"):
            engine.embedding()
        engine.push(sound(5_000))
        engine.next()
    embedding = engine.embedding()
    assert np.array_equal(embedding, engine.embedding())
    assert np.array_equal(engine.finish(), engine.run(sound(5_000)))
    with pytest.raises(ValueError, match="argument"):
        engine.embedding()
    assert np.array_equal(embedding, engine.run_both(sound(5_000))[1])


def test_weights_without_the_constant_have_no_embedding(tmp_path):
    tensors, text = container.unpacked(container.read(bundle.find("wav2small") / "model.native").data)
    constant = tensors.pop("lin.bias")
    path = tmp_path / "model.native"
    path.write_bytes(container.packed(tensors, text))
    runtime = Runtime(str(path))
    assert runtime.width == 0
    assert np.array_equal(runtime.run(sound(9_000)), Runtime("wav2small", "native").run(sound(9_000)))
    with_it = Runtime("wav2small", "native").run_both(sound(9_000))[1]
    assert np.allclose(Engine(path.read_bytes()).run_both(sound(9_000))[1] + constant, with_it, atol=1e-6)


def test_tokens_are_those_of_torch(origin):
    runtime = Runtime("wav2small-emotion", "fp32")
    tokens = runtime.tokens(sound(32_000))
    assert tokens.shape[1] == 169
    assert abs(len(tokens) - 2 * 250) <= 1
    assert np.allclose(tokens, of_torch(origin, sound(32_000))[2], atol=1e-4)
    with pytest.raises(UsageError, match="wav2small-emotion \\(native\\) has no tokens"):
        Runtime("wav2small-emotion", "native").tokens(sound(32_000))
    with pytest.raises(UsageError, match="mobile \\(int8\\) has no tokens"):
        Runtime("mobile").tokens(sound(32_000))


def test_an_embedding_of_another_shape_is_refused(tmp_path):
    model = onnx.load(bundle.find("wav2small") / "model.onnx")
    turned = {"embedding": "tokens", "tokens": "embedding"}
    for node in model.graph.node:
        node.input[:] = [turned.get(name, name) for name in node.input]
        node.output[:] = [turned.get(name, name) for name in node.output]
    for end in model.graph.output:
        end.name = turned.get(end.name, end.name)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"its embedding is .* not float32 of shape"):
        Runtime(str(path))


def test_a_calibration_for_another_embedding_is_refused(tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(bundle.find("wav2small"), folder)
    manifest = bundle.read(folder).manifest
    manifest.calibration["speech"]["weights"].append(0.0)
    bundle.write(folder, manifest, (folder / bundle.CARD).read_text())
    with pytest.raises(BundleError, match="its calibration is for 170 values, its embedding has 169"):
        Labeller(str(folder))


# ---- sertool embed ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(clip, tmp_path):
    """Two recordings and one that is none."""
    for number in range(2):
        clip(tmp_path / "in" / f"Ä {number}.wav", 0.9, seed=number)
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF....WAVE")
    return tmp_path / "in"


def test_embed_writes_what_the_model_hears(command, folder, tmp_path):
    answer = command("embed", "-m", "wav2small", folder, "-o", tmp_path / "e.csv", "--ordered")
    assert answer.code == 1  # one failed
    with open(tmp_path / "e.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = [f"e{number:03d}" for number in range(169)]
    assert list(rows[0]) == ["file", "start", "end", *columns, "speech", "error"]
    good = [row for row in rows if not row["error"]]
    for row in good:
        _, expected = Runtime("wav2small").run_both(audio.read(folder / row["file"]))
        assert np.allclose([float(row[name]) for name in columns], expected, atol=1e-5)
    assert [row["e000"] for row in rows if row["error"]] == [""]


def test_embed_writes_a_matrix_beside_its_table(command, folder, tmp_path):
    assert command("embed", "-m", "wav2small", folder, "-o", tmp_path / "e.npy", "--ordered").code == 1
    matrix = np.load(tmp_path / "e.npy")
    with open(tmp_path / "e.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert matrix.shape == (3, 169)
    assert matrix.dtype == np.float32
    assert [row["file"] for row in rows] == ["broken.wav", "Ä 0.wav", "Ä 1.wav"]
    assert np.isnan(matrix[0]).all()
    assert rows[0]["error"]
    for row, values in zip(rows[1:], matrix[1:], strict=True):
        assert np.allclose(values, Runtime("wav2small").run_both(audio.read(folder / row["file"]))[1], atol=1e-5)


def test_embed_is_resumed_and_does_not_mix_with_labels(command, folder, tmp_path):
    assert command("embed", "-m", "wav2small", folder, "-o", tmp_path / "e.csv").code == 1
    again = command("embed", "-m", "wav2small", folder, "-o", tmp_path / "e.csv", "--resume")
    assert "1 labelled" not in again.err.replace("2 labelled", "")
    mixed = command("label", "-m", "wav2small", folder, "-o", tmp_path / "e.csv", "--resume")
    assert mixed.code == 2
    assert "vectors" in mixed.err


def test_tokens_of_a_folder(command, folder, tmp_path):
    out = tmp_path / "tokens"
    answer = command("embed", "-m", "wav2small", folder, "--tokens", "-o", out)
    assert answer.code == 1
    assert "broken.wav: " in answer.err
    for number in range(2):
        tokens = np.load(out / f"Ä {number}.npy")
        assert np.array_equal(tokens, Runtime("wav2small", "fp32").tokens(audio.read(folder / f"Ä {number}.wav")))
    assert sorted(path.name for path in out.iterdir()) == ["Ä 0.npy", "Ä 1.npy"]
    assert "--resume keeps such files" in command("embed", "-m", "wav2small", folder, "--tokens", "-o", out).err
    before = (out / "Ä 0.npy").stat().st_mtime_ns
    assert command("embed", "-m", "wav2small", folder, "--tokens", "-o", out, "--resume").code == 1
    assert (out / "Ä 0.npy").stat().st_mtime_ns == before


def test_tokens_of_a_long_recording_are_those_of_its_windows(command, clip, tmp_path):
    path = clip(tmp_path / "long.wav", 20.0)
    assert command("embed", "-m", "wav2small", path, "--tokens", "-o", tmp_path / "out", "--window", "4").code == 0
    tokens = np.load(tmp_path / "out" / "long.npy")
    runtime, samples = Runtime("wav2small", "fp32"), audio.read(path)
    parts = [runtime.tokens(samples[start : start + 64_000]) for start in range(0, 320_000, 64_000)]
    assert np.array_equal(tokens, np.concatenate(parts))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tokens", "--by", "window"], "without --by"),
        (["--tokens", "-m", "mobile"], "mobile (int8) has no tokens"),
        (["--tokens", "-m", "wav2small", "--runtime", "native"], "has no tokens"),
    ],
)
def test_what_tokens_cannot_do_is_said_in_a_line(command, folder, tmp_path, arguments, said):
    answer = command("embed", folder, "-o", tmp_path / "t", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_the_exported_bundle_of_the_command_line_has_one(command, tmp_path):
    out = tmp_path / "bundle"
    arguments = ["export", "wav2small", "-o", out, "--format", "onnx", "--format", "native", "--runs", "0"]
    assert command(*arguments, "--with-embedding").code == 0
    assert [Runtime(str(out), name).width for name in ("fp32", "native")] == [169, 169]
    assert json.loads((Path(out) / "bundle.json").read_text())["variants"][0]["difference"]["max"] < 1e-4


def test_a_silent_recording_has_no_tokens(command, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    answer = command("embed", "-m", "wav2small", tmp_path / "silent.wav", "--tokens", "-o", tmp_path / "out")
    assert answer.code == 1
    assert "silent: " in answer.err
    assert not list((tmp_path / "out").iterdir())
