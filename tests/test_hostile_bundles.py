"""Bundles made to do harm: each is refused with one line, and nothing outside is read, written or changed."""

import io
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from sertool import bundle
from sertool.bundle import graph, names
from sertool.errors import BundleError, SertoolError
from sertool.packaging import archive
from sertool.packaging.check import check
from sertool.runtime import Runtime

SHIPPED = bundle.bundled_folder() / "wav2small"
FLOAT = TensorProto.FLOAT
RANDOM = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1


def fault(call, *arguments):
    with pytest.raises(SertoolError) as error:
        call(*arguments)
    said = str(error.value)
    assert said.isprintable()
    assert len(said) < 800
    return said


def manifest():
    """That of a model with three outputs, as bundle.json has it."""
    shipped = json.loads((SHIPPED / "bundle.json").read_text(encoding="utf-8"))
    own = {
        "name": "toy",
        "metrics": {},
        "training": {},
        "variants": [{"name": "fp32", "file": "model.onnx", "input": "waveform", "difference": {}}],
        "default": "fp32",
    }
    return shipped | own


def parsed(about):
    """The same as it is given to what writes bundles."""
    return bundle.Manifest.parse(json.dumps(about), "test", embedded=True)


def embedded(about):
    """The same as it stands inside a model's file."""
    found = parsed(about)
    return found.embedded(found.variants[0])


def model(about=None, weights=None, nodes=None, shape_in=(1, "time"), shape_out=(1, 3), kind=FLOAT, **more):
    """An ONNX model: outputs = mean of the waveform times three weights; whatever is given takes its place."""
    weights = numpy_helper.from_array(np.array([[1, 2, 3]], np.float32), "weights") if weights is None else weights
    nodes = nodes or [
        helper.make_node("ReduceMean", ["waveform"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["mean", "weights"], ["outputs"]),
    ]
    inputs = [helper.make_tensor_value_info("waveform", kind, shape_in)]
    outputs = [helper.make_tensor_value_info("outputs", kind, shape_out)]
    inputs += [helper.make_tensor_value_info(name, FLOAT, [1]) for name in more.get("inputs", ())]
    outputs += [helper.make_tensor_value_info(name, FLOAT, [1, 1]) for name in more.get("outputs", ())]
    made = helper.make_model(
        helper.make_graph(nodes, "toy", inputs, outputs, [weights] if weights else []),
        opset_imports=[helper.make_opsetid(domain, more.get("opset", 13)) for domain in ("", *more.get("domains", ()))],
        ir_version=more.get("ir", 8),
    )
    about = about or manifest()
    text = about if isinstance(about, str) else embedded(about)
    made.metadata_props.add(key=bundle.METADATA_KEY, value=text)
    return made.SerializeToString()


def external(location, **entries):
    """Weights that lie in another file."""
    tensor = TensorProto(name="weights", data_type=FLOAT, dims=[1, 3], data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": location} | entries).items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def seal(folder, about=None):
    """Sums and manifest as whoever made the bundle would write them, so that only the attack itself is left."""
    about = about or json.loads((folder / "bundle.json").read_text())
    for variant in about["variants"]:
        file = folder / variant["file"]
        if file.is_file():
            variant |= {"bytes": file.stat().st_size, "sha256": bundle.sha256(file)}
    (folder / "bundle.json").write_text(json.dumps(about))
    resum(folder)


def resum(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{bundle.sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A bundle as it should be."""
    folder = tmp_path_factory.mktemp("sound") / "toy"
    (folder / "samples").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model())
    soundfile.write(folder / "samples" / "noise.wav", RANDOM, 16_000, subtype="FLOAT")
    outputs = ",".join(f"{RANDOM.mean() * factor:.9f}" for factor in (1, 2, 3))
    (folder / "samples" / "expected.csv").write_text(f"file,arousal,dominance,valence\nnoise.wav,{outputs}\n")
    bundle.write(folder, parsed(manifest()), "a card")
    check(bundle.read(folder))
    return folder


@pytest.fixture
def toy(sound, tmp_path):
    """A copy of it that a test makes hostile."""
    (tmp_path / "secret").write_bytes(np.full(3, 7, np.float32).tobytes())
    return Path(shutil.copytree(sound, tmp_path / "there" / "toy"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SERTOOL_BUNDLES", str(tmp_path / "home"))
    return tmp_path / "home"


def put(value, table, *keys):
    """A copy of a manifest with one value changed."""
    table = json.loads(json.dumps(table))
    inner = table
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return table


#: Outputs of the mean of a LogMel.
FRAMES = [
    helper.make_node("ReduceMean", ["waveform"], ["each"], axes=[2], keepdims=0),
    helper.make_node("ReduceMean", ["each"], ["mean"], axes=[1], keepdims=1),
    helper.make_node("MatMul", ["mean", "weights"], ["outputs"]),
]


# The manifest: the same checks for bundle.json and for what stands inside a lone file

VALUES = [
    (("sample_rate",), 8000, "'sample_rate' must be 16000"),
    (("window_s",), 0, "'window_s' must be above 0"),
    (("window_s",), -8.0, "'window_s' must be above 0"),
    (("window_s",), 1e300, "'window_s' must be above 0 and at most 3600"),
    (("shortest_samples",), 0, "'shortest_samples' must be 1 to 128000"),
    (("shortest_samples",), -33, "'shortest_samples' must be 1 to 128000"),
    (("shortest_samples",), 10**9, "'shortest_samples' must be 1 to 128000"),
    (("name",), "../../toy", "'name' must be a plain name"),
    (("name",), "", "'name' must be a plain name"),
    (("version",), "1/../../2", "'version' must be a plain name"),
    (("title",), "a\x1b[2J", r"'a\x1b[2J'"),
    (("licence",), "MIT\nfree", r"'MIT\nfree'"),
    (("student",), "x" * 100_000, "'student' must be one line"),
    (("task",), "\x1b]0;x\x07", "task '\\x1b"),
    (("outputs", 0, "name"), "a\nb", "'name' must be one line"),
    (("outputs", 0, "name"), "\x1b[31mred", "'name' must be one line"),
    (("outputs", 0, "name"), "\u202eevil", "'name' must be one line"),
    (("outputs", 0, "name"), "=1+1", "'name' must be one line that begins with a letter or digit"),
    (("outputs", 0, "name"), "", "'name' must be one line"),
    (("outputs", 0, "name"), "x" * 65, "'name' must be one line"),
    (("outputs", 0, "name"), "valence", "'name' must be unique"),
    (("outputs", 0, "name"), "file", "'name' must be unique, and none of"),
    (("outputs", 0, "name"), "error", "'name' must be unique, and none of"),
    (("outputs", 0, "name"), "emotion", "'name' must be unique, and none of"),
    (("outputs", 0, "range"), [1, 0], "'range' must be two numbers"),
    (("outputs", 0, "range"), ["0", "1"], "'range' must be two numbers"),
    (("outputs", 0, "range"), [0, 1, 2], "'range' must be two numbers"),
    (("preprocessing",), [{"step": "length", "seconds": 1e9}], "seconds must be a number from 0.001 to 3600"),
    (("preprocessing",), [{"step": "x" * 100_000}], "pre-processing"),
    (("preprocessing",), [7], "unknown step"),
    (("variants", 0, "name"), "a\x1b[0m", "'name' must be a plain name"),
    (("variants", 0, "input"), "file", "input 'file' is unknown"),
    (("default",), "other", "default 'other' must be one of fp32"),
    (("training",), {"a": "\ud800"}, r"'\ud800' is not Unicode"),
]  # fmt: skip
FILES = ["../model.onnx", "sub/model.onnx", "/etc/passwd", "C:model.onnx", "sub\\model.onnx", "model.onnx\0.txt"]
FILES += ["", ".", "..", ".hidden", "-rf", "aux.onnx", "NUL", "model.onnx.", "a\nb", "\x1b[2J", "x" * 300, "a*b"]
MEASURED = [
    (("variants", 0, "difference"), {"max": -1}, "'difference' must be a number that is not negative"),
    (("variants", 0, "difference"), {"max": "much"}, "'difference' must be a number"),
    (("variants", 0, "cost"), [], "'cost' must be a table"),
    (("variants", 0, "bytes"), 10**30, "too large a number"),
]


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [*VALUES, *((("variants", 0, "file"), file, "must be a plain file name") for file in FILES)],
)
def test_a_value_out_of_range_is_refused_in_a_folder_and_in_a_lone_file(toy, keys, value, said):
    about = put(value, manifest(), *keys)
    beside = put(value, json.loads((toy / "bundle.json").read_text()), *keys)
    (toy / "bundle.json").write_text(json.dumps(beside))
    assert said in fault(bundle.read, toy)
    lone = toy.parent / "lone.onnx"
    lone.write_bytes(model(json.dumps(about)))
    assert said in fault(Runtime, str(lone))


@pytest.mark.parametrize(("keys", "value", "said"), MEASURED)
def test_a_figure_that_is_none_is_refused(toy, keys, value, said):
    (toy / "bundle.json").write_text(json.dumps(put(value, json.loads((toy / "bundle.json").read_text()), *keys)))
    assert said in fault(bundle.read, toy)


@pytest.mark.parametrize(
    "frontend", [{"n_fft": 128, "hop": 32, "n_mels": 26}, {"n_fft": 10**9, "hop": 0, "n_mels": -1}]
)
def test_a_front_end_of_unknown_geometry_is_refused(toy, frontend):
    about = put({"name": "logmel", "normalise": True} | frontend, manifest(), "frontend")
    about = put("logmel", about, "variants", 0, "input")
    (toy / "model.onnx").write_bytes(model(about, nodes=FRAMES, shape_in=(1, "frames", 26)))
    seal(toy, about)
    for given in (toy, toy / "model.onnx"):
        assert "the C front-end has no LogMel of" in fault(Runtime, str(given))


JSON = {
    "endless depth": ("[" * 200_000, "levels of nesting"),
    "some depth": (json.dumps(manifest())[:-1] + ', "more": ' + "[" * 40 + "]" * 40 + "}", "levels of nesting"),
    "deep tables": (
        json.dumps(manifest())[:-1] + ', "more": ' + '{"a":' * 200 + "1" + "}" * 201,
        "levels of nesting",
    ),
    "five megabytes": (json.dumps(manifest())[:-1] + " " * 5_000_000 + "}", "larger than 4 MB"),
    "huge number": (json.dumps(manifest())[:-1] + ', "more": ' + "9" * 100_000 + "}", "too large a number"),
    "large number": (json.dumps(manifest())[:-1] + ', "more": ' + "9" * 30 + "}", "too large a number"),
    "NaN": (json.dumps(manifest() | {"window_s": float("nan")}), "NaN is not a number"),
    "infinity": (json.dumps(manifest() | {"window_s": float("inf")}), "Infinity is not a number"),
    "1e999": (json.dumps(manifest()).replace("8.0", "1e999"), "1e999 is too large a number"),
    "key twice": (json.dumps(manifest())[:-1] + ', "name": "other"}', "key 'name' is given twice"),
    "key twice within": (json.dumps(manifest())[:-1] + ', "more": [{"\\u001b": 1, "\\u001b": 2}]}', "is given twice"),
    "no JSON": ("PK\x03\x04", "not JSON"),
}


@pytest.mark.parametrize("attack", JSON)
def test_a_json_bomb_is_refused_in_a_folder_and_in_a_lone_file(toy, attack):
    text, said = JSON[attack]
    (toy / "bundle.json").write_text(text)
    assert said in fault(bundle.read, toy)
    (toy.parent / "lone.onnx").write_bytes(model(text))
    assert said in fault(Runtime, str(toy.parent / "lone.onnx"))


def test_a_manifest_that_is_not_utf8_is_refused(toy):
    (toy / "bundle.json").write_bytes(b"\xff\xfe{")
    assert "not UTF-8" in fault(bundle.read, toy)


@pytest.mark.parametrize("name", ["bundle.json", "SHA256SUMS", "samples/expected.csv"])
def test_a_text_of_a_gigabyte_is_refused_before_all_of_it_is_read(toy, name):
    with open(toy / name, "r+b") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(BundleError, match=f"{name}: larger than 4 MB"):
        bundle.sums(toy) if name == "SHA256SUMS" else bundle.expected_outputs(bundle.read(toy))


# Files that are not what they seem


def swap(path, kind, secret):
    """Put something else in a file's place."""
    if path.is_dir():
        shutil.move(path, secret.parent / "moved")
        path.symlink_to(secret.parent / "moved")
        return
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(secret)
    elif kind == "device":
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "device"])
@pytest.mark.parametrize(
    "name", ["bundle.json", "SHA256SUMS", "model.onnx", "samples/expected.csv", "samples/noise.wav"]
)
def test_what_is_no_file_is_refused(toy, tmp_path, name, kind):
    shutil.copy(toy / name, tmp_path / "same")  # a link to the right content is a link all the same
    swap(toy / name, kind, tmp_path / "same")
    said = fault(lambda: check(bundle.read(toy)))
    assert name in said
    if name == "model.onnx":
        assert "a link" in said if kind in ("link", "device") else "not a file" in said
        assert fault(Runtime, str(toy)) == said


def test_a_folder_that_is_a_link_is_refused(toy, tmp_path):
    swap(toy / "samples", "link", tmp_path / "secret")
    assert "samples: a link" in fault(lambda: check(bundle.read(toy)))


def test_a_link_that_nothing_lists_is_refused(toy):
    (toy / "more").symlink_to("/")
    assert "'more' is a link" in fault(lambda: check(bundle.read(toy)))


def test_far_too_many_files_are_refused(toy):
    for number in range(names.MOST_FILES):
        (toy / f"{number}").touch()
    assert "more than 1000 files" in fault(lambda: check(bundle.read(toy)))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "dangling"])
def test_a_lone_model_that_is_no_file_is_refused(tmp_path, kind):
    path = tmp_path / "model.onnx"
    path.touch()
    swap(path, "link" if kind == "dangling" else kind, tmp_path / "nowhere")
    assert "model.onnx" in fault(Runtime, str(path))


def test_a_model_of_five_gigabytes_is_refused_before_it_is_read(toy):
    with open(toy / "model.onnx", "r+b") as stream:
        stream.truncate(5_000_000_000)  # takes no space
    for given in (toy, toy / "model.onnx"):
        assert "model.onnx: larger than 4 GB" in fault(Runtime, str(given))


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "samples/../../secret", "C:x", "a\\b", ".", "a//b", "a/", "\x1b"]
)
def test_a_name_that_leaves_the_bundle_is_refused_in_its_sums(toy, name):
    with open(toy / "SHA256SUMS", "a") as stream:
        stream.write(f"{bundle.sha256(toy.parents[1] / 'secret')}  {name}\n")
    assert f"{name!r} is not a valid name of a file in a bundle" in fault(bundle.sums, toy)


@pytest.mark.parametrize("name", ["readme.md", "README.MD", "samples/NOISE.wav"])
def test_names_that_differ_by_case_only_are_refused(toy, name):
    (toy / name).touch()
    resum(toy)
    assert "are the same file on some systems" in fault(lambda: check(bundle.read(toy)))


def test_a_file_that_is_also_a_folder_is_refused_in_its_sums(toy):
    with open(toy / "SHA256SUMS", "a") as stream:
        stream.write(f"{'0' * 64}  README.md/inner\n")
    assert "'README.md' is a file and the folder of 'README.md/inner'" in fault(bundle.sums, toy)


def test_sums_without_end_are_refused(toy):
    (toy / "SHA256SUMS").write_text("".join(f"{'0' * 64}  {n}\n" for n in range(2000)))
    assert "more than 1000 files" in fault(bundle.sums, toy)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("../../../secret,0,0,0", "'../../../secret' is not a sample"),
        ("/etc/hostname,0,0,0", "'/etc/hostname' is not a sample"),
        ("noise.wav\0,0,0,0", "is not a sample"),
        ("noise.wav,nan,0,0", "is not a sample with its outputs"),
        ("noise.wav,inf,0,0", "is not a sample with its outputs"),
        ("noise.wav,much,0,0", "could not convert"),
        ("noise.wav", "expected.csv"),
        (f"{'x' * 200_000},0,0,0", "field larger than field limit"),
        ("other.wav,0,0,0", "other.wav: missing"),
        ("expected.csv,0,0,0", "expected.csv: cannot be read as audio"),
    ],
)  # fmt: skip
def test_expected_outputs_of_something_else_are_refused(toy, row, said):
    (toy / "samples" / "expected.csv").write_text(f"file,arousal,dominance,valence\n{row}\n")
    resum(toy)
    assert said in fault(lambda: check(bundle.read(toy)))


def test_a_sample_of_hours_is_refused_before_all_of_it_is_decoded(toy):
    soundfile.write(toy / "samples" / "noise.wav", np.zeros(100 * 16_000, np.int16), 16_000, format="FLAC")
    resum(toy)
    assert "noise.wav: longer than 60 s" in fault(lambda: check(bundle.read(toy)))


# ONNX files


def constant(tensor):
    """Nodes that take the weights from a Constant's attribute."""
    return [
        helper.make_node("ReduceMean", ["waveform"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Constant", [], ["weights"], value=tensor),
        helper.make_node("MatMul", ["mean", "weights"], ["outputs"]),
    ]


def branch(tensor):
    """Nodes that take the weights from a graph within an attribute."""
    value = helper.make_tensor_value_info("chosen", FLOAT, [1, 3])
    inner = helper.make_graph([helper.make_node("Identity", ["weights"], ["chosen"])], "inner", [], [value], [tensor])
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    choice = helper.make_node("If", ["yes"], ["chosen"], then_branch=inner, else_branch=inner)
    mean = helper.make_node("ReduceMean", ["waveform"], ["mean"], axes=[1], keepdims=1)
    return [yes, choice, mean, helper.make_node("MatMul", ["mean", "chosen"], ["outputs"])]


OUTSIDE = [
    "../../secret",
    "sub/../../../secret",
    "*/_ORT_MEM_ADDR_/*",
    "C:\\secret",
    "..\\secret",
    "a\0b",
    "./weights",
    "",
]
#: Where a tensor may hide -> a model with it there.
PLACES = {
    "initialiser": lambda tensor: model(weights=tensor),
    "attribute": lambda tensor: model(weights=False, nodes=constant(tensor)),
    "inner graph": lambda tensor: model(weights=False, nodes=branch(tensor)),
}


@pytest.mark.parametrize("location", [*OUTSIDE, "{secret}"])
@pytest.mark.parametrize("place", PLACES)
def test_weights_that_lie_outside_are_refused_before_onnxruntime_sees_the_file(
    toy, tmp_path, monkeypatch, location, place
):
    location = location.format(secret=tmp_path / "secret")
    (toy / "model.onnx").write_bytes(PLACES[place](external(location)))
    seal(toy)
    monkeypatch.setattr("sertool.runtime.onnx.Model", None)
    for given in (toy, toy / "model.onnx"):
        said = fault(Runtime, str(given))
        shown = repr(location) if len(repr(location)) <= 80 else f"{repr(location)[:60]}..."
        assert f"external data: {shown} is not a valid name" in said


@pytest.mark.parametrize("attribute", ["tensors", "sparse_tensor", "sparse_tensors", "graphs"])
@pytest.mark.parametrize("holder", ["node", "function", "training", "sparse initialiser"])
def test_weights_that_lie_outside_are_found_wherever_onnx_may_have_a_tensor(tmp_path, attribute, holder):
    found, tensor = onnx.ModelProto.FromString(model()), external("../secret")
    if holder == "function":
        node = found.functions.add(name="f", domain="d").node.add(op_type="Identity")
    elif holder == "training":
        node = found.training_info.add().algorithm.node.add(op_type="Identity")
    elif holder == "sparse initialiser":
        found.graph.sparse_initializer.add().indices.CopyFrom(tensor)
        node = None
    else:
        node = found.graph.node.add(op_type="Identity")
    if node is not None:
        into = node.attribute.add(name="a")
        if attribute == "tensors":
            into.tensors.add().CopyFrom(tensor)
        elif attribute == "graphs":
            into.graphs.add().initializer.add().CopyFrom(tensor)
        elif attribute == "sparse_tensor":
            into.sparse_tensor.values.CopyFrom(tensor)
        else:
            into.sparse_tensors.add().indices.CopyFrom(tensor)
    (tmp_path / "model.onnx").write_bytes(found.SerializeToString())
    assert "'../secret' is not a valid name" in fault(graph.external_files, tmp_path / "model.onnx")


def test_the_places_of_tensors_are_those_of_the_onnx_package():
    """Every field of onnx.proto through which a tensor can be reached, found from its own description."""
    reached, known = {}, {"ModelProto": "model"}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    holders = holding_tensors(onnx.ModelProto.DESCRIPTOR)
    while waiting:
        message = waiting.pop()
        if message.name in reached or message.name == "TensorProto":
            continue
        inner = {f.number: f.message_type for f in message.fields if f.message_type and f.message_type.name in holders}
        reached[message.name] = set(inner)
        waiting += inner.values()
    known |= {"GraphProto": "graph", "NodeProto": "node", "AttributeProto": "attribute", "FunctionProto": "function"}
    known |= {"SparseTensorProto": "sparse", "TrainingInfoProto": "training"}
    assert reached == {name: set(graph._FIELDS[own]) for name, own in known.items()}


def holding_tensors(root):
    """Names of the messages that a TensorProto can be within."""
    edges, waiting = {}, [root]
    while waiting:
        message = waiting.pop()
        if message.full_name not in edges:
            edges[message.full_name] = [f.message_type for f in message.fields if f.message_type]
            waiting += edges[message.full_name]
    holding = {"onnx.TensorProto"}
    while True:
        more = {name for name, inner in edges.items() if any(m.full_name in holding for m in inner)} - holding
        if not more:
            return {name.rpartition(".")[2] for name in holding}
        holding |= more


def test_weights_beside_the_model_are_read_if_they_are_listed_and_as_they_were(toy):
    (toy / "weights.bin").write_bytes(np.array([1, 2, 3], np.float32).tobytes())
    (toy / "model.onnx").write_bytes(model(weights=external("weights.bin")))
    seal(toy)
    check(bundle.read(toy))
    assert np.allclose(Runtime(str(toy / "model.onnx")).run(RANDOM), RANDOM.mean() * np.array([1, 2, 3]))
    (toy / "weights.bin").write_bytes(np.array([1, 2, 4], np.float32).tobytes())
    assert "refers to 'weights.bin', which SHA256SUMS does not list with this checksum" in fault(Runtime, str(toy))
    resum(toy)
    sums = toy / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if "weights.bin" not in line))
    assert "refers to 'weights.bin', which SHA256SUMS does not list with this checksum" in fault(Runtime, str(toy))


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_weights_beside_the_model_must_be_a_file(toy, tmp_path, kind):
    (toy / "weights.bin").touch()
    (toy / "model.onnx").write_bytes(model(weights=external("weights.bin")))
    seal(toy)
    swap(toy / "weights.bin", kind, tmp_path / "secret")
    for given in (toy, toy / "model.onnx"):
        assert "weights.bin" in fault(Runtime, str(given))


LOOP = [
    helper.make_node("ReduceMean", ["waveform"], ["mean"], axes=[1], keepdims=1),
    helper.make_node("Concat", ["mean", "mean"], ["outputs"], axis=1),
]
BATCH = [
    helper.make_node("Concat", ["waveform", "waveform"], ["both"], axis=0),
    helper.make_node("ReduceMean", ["both"], ["mean"], axes=[1], keepdims=1),
    helper.make_node("MatMul", ["mean", "weights"], ["outputs"]),
]
CUSTOM = [helper.make_node("Boom", ["waveform"], ["outputs"], domain="evil")]
UNKNOWN = [helper.make_node("Bo\x1bom", ["waveform"], ["outputs"])]
BOTH = [
    *LOOP[:1],
    helper.make_node("MatMul", ["mean", "weights"], ["outputs"]),
    helper.make_node("Abs", ["mean"], ["more"]),
]
ADDED = [
    *LOOP[:1],
    helper.make_node("Mul", ["mean", "more"], ["twice"]),
    helper.make_node("MatMul", ["twice", "weights"], ["outputs"]),
]
DOUBLES = numpy_helper.from_array(np.ones((1, 3)), "weights")
#: Attack -> (file, what is said of it)
MODELS = {
    "empty": (lambda: b"", "not an ONNX file, or incomplete"),
    "text": (lambda: b"#!/bin/sh\nrm -rf ~\n", "not an ONNX file, or incomplete"),
    "pickle": (lambda: b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.", "not an ONNX file"),
    "half": (lambda: model()[: len(model()) // 2], "not an ONNX file, or incomplete"),
    "without its end": (lambda: model()[:-1], "not an ONNX file, or incomplete"),
    "one byte": (lambda: b"\x08", "not an ONNX file, or incomplete"),
    "no graph": (lambda: b"\x08\x08", "onnxruntime"),
    "endless depth": (lambda: nested(200), "not an ONNX file"),
    "wide tag": (lambda: model() + b"\xba\x80\x80\x80\x10\x00", "not an ONNX file"),
    "opset to come": (lambda: model(opset=99), "Opset 99 is under development"),
    "IR to come": (lambda: model(ir=99), "Unsupported model IR version: 99"),
    "operator of its own": (lambda: model(nodes=CUSTOM, domains=["evil"]), "evil:Boom"),
    "unknown operator": (lambda: model(nodes=UNKNOWN), "Bo?om"),
    "two inputs": (lambda: model(nodes=ADDED, inputs=["more"]), "2 inputs; a bundle's model has one"),
    "two outputs": (lambda: model(nodes=BOTH, outputs=["more"]), "2 outputs; a bundle's model has one"),
    "doubles": (lambda: model(weights=DOUBLES, kind=TensorProto.DOUBLE), "tensor(double)"),
    "a rank too many": (lambda: model(shape_in=(1, "time", 1), shape_out=(1, 1, 3)), "its output is"),
    "a batch of two": (lambda: model(shape_in=(2, "time"), shape_out=(2, 3)), "not float32 of shape [1, 3]"),
    "a fixed length": (lambda: model(shape_in=(1, 16_000)), "its input is tensor(float) [1, 16000]"),
    "two outputs of three": (lambda: model(nodes=LOOP, weights=False, shape_out=(1, 2)), "not float32 of shape [1, 3]"),
    "no manifest": (lambda: model().replace(b"sertool.bundle\x12", b"sertool.bungle\x12"), "no 'sertool.bundle' in"),
    "manifest not UTF-8": (lambda: model("@@").replace(b"@@", b"\xff\xff"), "model.onnx"),
}  # fmt: skip


def nested(depth):
    """Graphs within graphs, as bytes: the onnx package refuses to write them."""
    inner = b""
    for _ in range(depth):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # attribute's graph, node's attribute, graph's node
            inner = tag + varint(len(inner)) + inner
    return b"\x3a" + varint(len(inner)) + inner


def varint(value):
    data = b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


@pytest.mark.parametrize("attack", MODELS)
def test_a_file_that_is_no_model_of_ours_is_refused_when_it_is_loaded(toy, capfd, attack):
    data, said = MODELS[attack]
    (toy / "model.onnx").write_bytes(data())
    seal(toy)
    for line in (fault(lambda: check(bundle.read(toy))), fault(Runtime, str(toy / "model.onnx"))):
        assert "model.onnx" in line
        assert said in line
        assert "onnxruntime_src" not in line
    assert capfd.readouterr() == ("", "")  # onnxruntime's own log would be many lines


def test_a_file_of_endless_fields_is_refused_in_time(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(model() + b"\x08\x08" * 1000)
    assert graph.external_files(tmp_path / "model.onnx") == set()
    monkeypatch.setattr(graph, "_MOST", 500)
    assert "not an ONNX file" in fault(graph.external_files, tmp_path / "model.onnx")


def test_numbers_without_end_that_a_few_bytes_ask_for_are_an_error(toy):
    shape = helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([2**62])))
    total = helper.make_node("ReduceSum", ["zeros"], ["total"], keepdims=0)
    nodes = [shape, helper.make_node("ConstantOfShape", ["shape"], ["zeros"]), total, *LOOP[:1]]
    nodes += [
        helper.make_node("Add", ["mean", "total"], ["y"]),
        helper.make_node("MatMul", ["y", "weights"], ["outputs"]),
    ]
    (toy / "model.onnx").write_bytes(model(nodes=nodes))
    seal(toy)
    assert "onnxruntime failed" in fault(lambda: check(bundle.read(toy)))


@pytest.mark.parametrize(("nodes", "shape"), [(BATCH, (2, 3)), (LOOP, (1, 2))])
def test_outputs_unlike_those_that_the_file_declares_are_refused_when_it_is_run(toy, nodes, shape):
    (toy / "model.onnx").write_bytes(model(nodes=nodes, weights=None if nodes is BATCH else False))
    seal(toy)
    for given in (toy, toy / "model.onnx"):
        assert f"outputs of shape {shape}, but it declares (1, 3)" in fault(
            lambda given=given: Runtime(str(given)).run(RANDOM)
        )


def test_frames_of_another_number_of_mels_are_refused(toy):
    about = put("logmel", manifest(), "variants", 0, "input")
    (toy / "model.onnx").write_bytes(model(about, nodes=FRAMES, shape_in=(1, "frames", 40)))
    seal(toy, about)
    assert "not float32 of shape [1, any length, 26]" in fault(Runtime, str(toy))


# Zips


def zipped(folder, path, change=lambda archive: None, compression=zipfile.ZIP_DEFLATED, leave=()):
    """A folder as a zip, to which ``change`` adds."""
    with zipfile.ZipFile(path, "w", compression) as made:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            if (name := file.relative_to(folder).as_posix()) not in leave:
                made.write(file, f"toy/{name}")
        change(made)
    return path


def entry(name, mode=stat.S_IFREG | 0o644, **fields):
    """An entry with a name as it is, which ZipInfo would tidy up."""
    made = zipfile.ZipInfo("x")
    made.filename, made.external_attr, made.create_system = name, mode << 16, 3
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def adding(name, **how):
    return lambda made: made.writestr(entry(name, **how), b"/etc/passwd")


def zip_of_zeros():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("zeros", bytes(50_000_000))
    return packed.getvalue()


def many(made):
    for number in range(1200):
        made.writestr(f"toy/{number}", b"")


ZIPS = {
    "up": (adding("../evil"), "'../evil' is not a valid name"),
    "up from within": (adding("toy/../../evil"), "'toy/../../evil' is not a valid name"),
    "absolute": (adding("/tmp/evil"), "'/tmp/evil' is not a valid name"),
    "drive": (adding("C:/evil"), "'C:/evil' is not a valid name"),
    "backslash": (adding("toy\\..\\evil"), "is not a valid name"),
    "NUL": (adding("toy/README.md\0.exe"), "is not a valid name"),
    "device of Windows": (adding("toy/aux.txt"), "'toy/aux.txt' is not a valid name"),
    "escapes": (adding("toy/\x1b[2J"), "is not a valid name"),
    "deep": (adding("toy/" + "a/" * 50 + "b"), "is not a valid name"),
    "case": (adding("toy/readme.md"), "are the same file on some systems"),
    "file and folder": (adding("toy/README.md/x"), "is a file and the folder of"),
    "link": (adding("toy/link", mode=stat.S_IFLNK | 0o777), "'toy/link' is a link or a device"),
    "device": (adding("toy/null", mode=stat.S_IFCHR | 0o666), "'toy/null' is a link or a device"),
    "pipe": (adding("toy/pipe", mode=stat.S_IFIFO | 0o666), "'toy/pipe' is a link or a device"),
    "two folders": (adding("other/x"), "does not contain exactly one folder"),
    "no folder": (adding("x"), "does not contain exactly one folder"),
    "not listed": (adding("toy/evil"), "'evil' is not listed in SHA256SUMS"),
    "zip within": (lambda made: made.writestr("toy/inner.zip", zip_of_zeros()), "'inner.zip' is not listed"),
    "zeros": (lambda made: made.writestr("toy/zeros", bytes(50_000_000)), "too large or too compressible for a bundle"),
    "entries": (many, "more than 1000 entries"),
    "bzip2": (lambda made: made.writestr("toy/b", b"x", zipfile.ZIP_BZIP2), "not stored or deflated"),
}


@pytest.mark.parametrize("attack", ZIPS)
def test_a_hostile_zip_is_refused_and_leaves_nothing(toy, tmp_path, home, attack):
    change, said = ZIPS[attack]
    path = zipped(toy, tmp_path / "toy.zip", change)
    before = sorted(tmp_path.rglob("*"))
    assert said in fault(archive.unpack, path, tmp_path / "new")
    assert said in fault(archive.install, path, None, False, None, check)
    assert [p for p in sorted(tmp_path.rglob("*")) if p != home] == before
    assert os.listdir(home) == []


def test_two_entries_of_one_name_are_refused(toy, tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(toy, tmp_path / "toy.zip", adding("toy/README.md"))
    assert "contains two files with the same name" in fault(archive.unpack, path, tmp_path / "new")


def patched(path, at, form, *values, record=b"PK\x01\x02", number=0):
    """Overwrite fields of a record of a zip."""
    data, place = bytearray(path.read_bytes()), -1
    for _ in range(number + 1):
        place = data.index(record, place + 1)
    struct.pack_into(form, data, place + at, *values)
    path.write_bytes(data)


#: Attack -> (where, what) is overwritten in the first record of the list of entries, or in its end.
PATCHES = {
    "a size without end": (((24, "<I", 4_000_000_001),), "is larger than 4 GB"),
    "sizes that lie": (((24, "<I", 70_000),), "cannot be unpacked|not as long as|Bad CRC|damaged"),
    "compressed size beyond the end": (((20, "<I", 0x7FFFFFFF),), "overlaps another entry"),
    "encrypted": (((8, "<H", 1),), "is encrypted"),
    "overlap": (((42, "<I", 0), (20, "<I", 100_000)), "overlaps another entry"),
    "another local name": (((42, "<I", 1),), "not a zip of a bundle|damaged|Bad magic"),
}


@pytest.mark.parametrize("attack", PATCHES)
def test_a_zip_whose_list_of_entries_lies_is_refused(toy, tmp_path, attack):
    changes, said = PATCHES[attack]
    path = zipped(toy, tmp_path / "toy.zip")
    for at, form, value in changes:
        patched(path, at, form, value)
    assert re.search(said, fault(archive.unpack, path, tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_one_piece_of_data_under_many_names_is_refused(tmp_path):
    """The bomb of D. Fifield: entries that all point to the same bytes."""
    path = tmp_path / "toy.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made:
        made.writestr("toy/bundle.json", bytes(1000))
        for number in range(5):
            made.writestr(f"toy/{number:>11}".replace(" ", "a"), bytes(1000))
    for number in range(1, 6):
        patched(path, 42, "<I", 0, number=number)
    assert "overlaps another entry" in fault(archive.unpack, path, tmp_path / "new")


def test_a_list_of_entries_of_megabytes_is_not_read(tmp_path):
    path = tmp_path / "toy.zip"
    with zipfile.ZipFile(path, "w") as made:
        for number in range(12_000):
            made.writestr(f"toy/{'x' * 60}{number}", b"")
    assert "its list of entries is too long" in fault(archive.unpack, path, tmp_path / "new")


@pytest.mark.parametrize("size", [0, 1, 21, 22, 1000, -1])
def test_half_a_zip_is_refused(toy, tmp_path, size):
    path = zipped(toy, tmp_path / "toy.zip")
    path.write_bytes(path.read_bytes()[:size])
    assert "not a zip of a bundle, or incomplete" in fault(archive.unpack, path, tmp_path / "new")


def outcome(call, *arguments):
    """What a call returns, or its one line of refusal; any other exception is a fault of the test's subject."""
    try:
        return call(*arguments)
    except SertoolError as error:
        return str(error)


def test_a_zip_with_a_flipped_bit_is_refused_or_the_same_bundle(toy, tmp_path):
    whole = zipped(toy, tmp_path / "toy.zip").read_bytes()
    rng, refused = np.random.default_rng(1), 0
    for number, place in enumerate(rng.integers(0, len(whole), 60)):
        data = bytearray(whole)
        data[place] ^= 1 << rng.integers(8)
        (tmp_path / "flipped.zip").write_bytes(data)
        found = outcome(archive.unpack, tmp_path / "flipped.zip", tmp_path / f"new-{number}")
        if isinstance(found, str):
            refused += 1
            assert found.isprintable()
            assert not (tmp_path / f"new-{number}").exists()
        else:
            bundle.check_sums(found)  # what was flipped is nothing that counts, as a date
    assert refused > 30


def test_a_model_with_changed_bytes_loads_or_is_refused(tmp_path):
    whole, rng = model(), np.random.default_rng(2)
    said = []
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            data[place] = rng.integers(256)
        (tmp_path / "model.onnx").write_bytes(data)
        said.append(outcome(Runtime, str(tmp_path / "model.onnx")))
    refusals = [line for line in said if isinstance(line, str)]
    assert len(refusals) > 100
    assert all(line.isprintable() for line in refusals)


def test_a_zip_that_is_a_pipe_or_a_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "folder.zip").mkdir()
    for name in ("pipe.zip", "folder.zip"):
        assert "not a file" in fault(archive.unpack, tmp_path / name, tmp_path / "new")


# Through the commands: one line, an exit code, no traceback


def spoil(folder, how, tmp_path):
    if how == "manifest":
        (folder / "bundle.json").write_text(json.dumps(put("\x1b[2J", manifest(), "title")))
    elif how == "bomb":
        (folder / "bundle.json").write_text("[" * 200_000)
    elif how == "pipe":
        swap(folder / "bundle.json", "pipe", tmp_path)
    elif how == "metrics":
        seal(folder, json.loads((folder / "bundle.json").read_text()) | {"metrics": {"\x1b[2J": 7}})
    elif how == "model":
        (folder / "model.onnx").write_bytes(b"#!/bin/sh")
        seal(folder)
    elif how == "outside":
        (folder / "model.onnx").write_bytes(model(weights=external("../../secret")))
        seal(folder)
    elif how == "batch":
        (folder / "model.onnx").write_bytes(model(nodes=BATCH))
        seal(folder)


@pytest.mark.parametrize("how", ["manifest", "bomb", "pipe", "metrics", "model", "outside", "batch"])
def test_every_command_ends_with_one_line(toy, sound, tmp_path, home, command, how):
    shutil.copytree(toy, home / "installed")
    for folder in (toy, home / "installed"):
        spoil(folder, how, tmp_path)
    clip = toy / "samples" / "noise.wav"
    calls = {
        ("bundle", "check", toy): (1,),
        ("bundle", "show", toy): (2,) if how in ("manifest", "bomb", "pipe", "metrics") else (0,),
        ("bundle", "show", toy, "--json"): (2,) if how in ("manifest", "bomb", "pipe") else (0,),
        ("bundle", "diff", sound, toy): (1,) if how == "metrics" else (2,),
        ("bundle", "install", toy): (1,),
        ("label", "-m", toy, clip): (0,) if how == "metrics" else (2,),
        ("label", "-m", "installed", clip): (0,) if how == "metrics" else (2,),
    }
    if how == "metrics":  # free in form: only `show` cannot read it
        calls |= {("bundle", "check", toy): (0,), ("bundle", "install", toy): (0,)}
    for call, codes in calls.items():
        code, out, err = command(*call)
        assert code in codes, (call, err)
        assert len(err.splitlines()) == (code == 2 or (code == 1 and call[1] != "diff")), (call, err)
        assert "\x1b" not in out + err
    code, out, err = command("models")
    assert (code, err) == (0, "")
    assert "installed" in out
    assert "\x1b" not in out


@pytest.mark.slow("takes long")
@pytest.mark.parametrize("attack", ["opset to come", "batch", "external"])
def test_label_refuses_a_hostile_lone_file_with_one_line_in_a_process_of_its_own(tmp_path, attack):
    path, clip = tmp_path / "evil.onnx", tmp_path / "noise.wav"
    soundfile.write(clip, RANDOM, 16_000)
    if attack == "external":
        path.write_bytes(model(weights=external("/etc/passwd")))
    else:
        path.write_bytes(model(nodes=BATCH) if attack == "batch" else MODELS[attack][0]())
    call = [sys.executable, "-m", "sertool", "label", "-m", str(path), str(clip)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "evil.onnx" in done.stderr


def endless():
    """A loop of 2^62 turns."""
    element = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["value", "value"], ["doubled"]),
        ],
        "body",
        [element("turn", TensorProto.INT64, []), element("go", TensorProto.BOOL, []), element("value", FLOAT, [1, 3])],
        [element("go_on", TensorProto.BOOL, []), element("doubled", FLOAT, [1, 3])],
    )
    return [
        helper.make_node("ReduceMean", ["waveform"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["mean", "weights"], ["start"]),
        helper.make_node("Constant", [], ["turns"], value=numpy_helper.from_array(np.array(2**62))),
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("Loop", ["turns", "yes", "start"], ["outputs"], body=body),
    ]


def test_a_model_without_end_is_stopped(toy, monkeypatch):
    monkeypatch.setattr("sertool.packaging.check.LIMIT_S", 0.5)
    (toy / "model.onnx").write_bytes(model(nodes=endless()))
    seal(toy)
    assert "noise.wav: the model did not finish within 0.5 s" in fault(check, bundle.read(toy))


def test_an_input_of_another_name_is_refused(toy):
    made = onnx.ModelProto.FromString((toy / "model.onnx").read_bytes())
    made.graph.input[0].name = made.graph.node[0].input[0] = "audio"
    (toy / "model.onnx").write_bytes(made.SerializeToString())
    seal(toy)
    assert "its input is 'audio', bundle.json says 'waveform'" in fault(check, bundle.read(toy))


@pytest.mark.parametrize("largest", [0.3, 1e9])
def test_a_bundle_may_not_declare_that_it_gives_anything(toy, largest):
    about = json.loads((toy / "bundle.json").read_text())
    about["variants"][0]["difference"] = {"max": largest}
    seal(toy, about)
    assert "at most 0.5 is allowed" in fault(check, bundle.read(toy))


def test_a_name_within_a_graph_that_is_not_utf8_prints_no_banner(toy, capfd):
    """onnxruntime would say "EP Error" on standard output, among the rows, and try the same again."""
    data = (toy / "model.onnx").read_bytes()
    assert data.count(b"mean") == 2
    at = data.rindex(b"mean")  # what the product reads, and what onnxruntime complains of by that name
    (toy / "model.onnx").write_bytes(data[:at] + b"mea\xde" + data[at + 4 :])
    seal(toy)
    assert "cannot load it" in fault(Runtime, str(toy))
    assert capfd.readouterr() == ("", "")
