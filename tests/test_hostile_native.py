"""Native weights made to do harm, or damaged: each is refused with one line."""

import contextlib
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import soundfile

from sertool import bundle
from sertool.bundle import container
from sertool.errors import AudioError, BundleError, SertoolError
from sertool.runtime import Runtime
from sertool.testing.clips import sound

ENTRY = struct.Struct("<24s10I")


@pytest.fixture(scope="module")
def whole(native_bundle):
    return (native_bundle() / "model.native").read_bytes()


@pytest.fixture
def given(tmp_path):
    """given(data): what Runtime says of a lone file of these bytes, one line."""

    def say(data, name="model.native"):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(SertoolError) as error:
            Runtime(str(path))
        said = str(error.value)
        assert said.isprintable()
        assert len(said) < 800
        assert said.startswith(f"{path}: ")
        return said

    return say


def parts(data):
    """(entries as lists, everything behind them) of a container."""
    (count,) = struct.unpack_from("<I", data, 12)
    return [list(ENTRY.unpack_from(data, 32 + 64 * i)) for i in range(count)], data[32 + 64 * count :]


def sealed(entries, rest, count=None, text=None, size=None):
    """A container with sums as whoever made it would write them; ``text`` replaces the one at its end."""
    head = 32 + 64 * len(entries)
    said = rest[rest.rindex(b'{"calibration"') :]
    rest = rest[: -len(said)]
    said = said if text is None else text
    place = head + len(rest) if said else 0
    length = size if size is not None else head + len(rest) + len(said)
    start = struct.pack(
        "<8s5I", b"SERNATV1", length, len(entries) if count is None else count, place, len(said), zlib.crc32(said)
    )
    table = b"".join(ENTRY.pack(*entry) for entry in entries)
    return start + struct.pack("<I", zlib.crc32(table, zlib.crc32(start))) + table + rest + said


def changed(data, which, field, value):
    entries, rest = parts(data)
    entries[which][field] = value
    return sealed(entries, rest)


def test_what_was_taken_apart_and_put_together_is_the_same(whole, tmp_path):
    assert sealed(*parts(whole)) == whole
    (tmp_path / "it").write_bytes(whole)
    assert json.loads(Runtime(str(tmp_path / "it")).embedded)["name"] == "wav2small"


@pytest.mark.parametrize("size", [0, 7, 8, 31, 32, 100, 1_300, 200_000, -1])
def test_half_a_file_is_refused(whole, given, size):
    said = given(whole[:size])
    assert ("not native weights, or damaged" if size not in (0, 7) else "not an ONNX file") in said


@pytest.mark.parametrize("more", [b"\0", b"x" * 1000])
def test_a_file_with_more_behind_it_is_refused(whole, given, more):
    assert "its size differs from its header" in given(whole + more)


def test_a_flipped_bit_is_refused_wherever_it_is(whole, tmp_path):
    """But for what no sum is of: the zeros between tensors."""
    rng, kept = np.random.default_rng(3), 0
    used = np.zeros(len(whole), bool)
    used[: 32 + 64 * len(parts(whole)[0])] = True
    used[whole.rindex(b'{"calibration"') :] = True
    for entry in parts(whole)[0]:
        used[entry[7] : entry[7] + entry[8]] = True
    text = rng.integers(whole.rindex(b'{"calibration"'), len(whole), 10)
    for place in [*range(0, 200, 3), *rng.integers(0, len(whole), 50), *text]:
        data = bytearray(whole)
        data[place] ^= 1 << rng.integers(8)
        (tmp_path / "flipped").write_bytes(data)
        if used[place]:
            with pytest.raises(BundleError):
                container.read(tmp_path / "flipped")
            kept += 1
        else:
            Runtime(str(tmp_path / "flipped"))
    assert kept > 100


#: Of an entry: 0 name, 1 type, 2 rank, 3 to 6 shape, 7 offset, 8 bytes, 9 sum, 10 zero.
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (0, b"", "without a unique name"),
        (0, b"network", "without a unique name"),  # given twice
        (0, b"\x1b[2J", "without a unique name"),
        (0, b"caf\xe9", "without a unique name"),
        (1, 0, "unknown kind"),
        (1, 4, "unknown kind"),
        (2, 0, "unknown kind"),
        (2, 5, "unknown kind"),
        (3, 0, "impossible shape"),
        (6, 2, "impossible shape"),
        (3, 0xFFFFFFFF, "size does not match its shape"),
        (8, 0xFFFFFFFF, "size does not match its shape"),
        (7, 0xFFFFFFC0, "outside the file"),
        (7, 33, "outside the file"),
        (9, 1, "wrong checksum"),
        (10, 1, "unknown kind"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(whole, given, field, value, words):
    assert words in given(changed(whole, 1, field, value))


def test_tensors_that_share_bytes_are_refused(whole, given):
    entries, rest = parts(whole)
    first = next(i for i, entry in enumerate(entries) if entry[0].rstrip(b"\0") == b"conv2.weight")
    entries[first + 2] = [entries[first + 2][0], *entries[first][1:]]
    assert "overlap" in given(sealed(entries, rest))
    entries, rest = parts(whole)
    entries[1][1:] = [1, 1, 8, 1, 1, 1, 0, 32, zlib.crc32(sealed(entries, rest)[:32]), 0]
    assert "not native weights" in given(sealed(entries, rest))  # over the header


@pytest.mark.parametrize("count", [0, 65, 1 << 20, 0xFFFFFFFF])
def test_a_count_that_cannot_be_is_refused(whole, given, count):
    assert "not 1 to 64 tensors" in given(sealed(*parts(whole), count=count))


def test_a_size_that_is_another_is_refused(whole, given):
    assert "size differs from its header" in given(sealed(*parts(whole), size=0xFFFFFFFF))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no 'sertool.bundle' in its metadata"),
        (b"not JSON", "not JSON"),
        (b"[" * 100_000, "levels of nesting"),
        (b'{"schema": "sertool.bundle/9"}', "is unknown"),
        (b"\xff\xfe", "not UTF-8"),
        (b" " * ((4 << 20) + 1), "or too long"),
    ],
    ids=["none", "no JSON", "deep", "schema", "no UTF-8", "long"],
)
def test_a_text_that_is_no_manifest_is_refused(whole, given, text, words):
    assert words in given(sealed(*parts(whole), text=text))


def manifest(data, **own):
    about = json.loads(data[data.rindex(b'{"calibration"') :])
    about["variants"][0] |= own
    return json.dumps(about, sort_keys=True).encode()


def test_a_manifest_of_something_else_is_refused(whole, given):
    for own, words in (
        ({"runtime": "onnx"}, "its manifest says runtime onnx, it is native"),
        ({"runtime": "tflite"}, "runtime 'tflite' is unknown"),
        ({"runtime": ["native"]}, "is unknown"),
        ({"input": "logmel"}, "native weights take the waveform"),
    ):
        assert words in given(sealed(*parts(whole), text=manifest(whole, **own)))


def test_a_container_of_another_network_is_refused(whole, given):
    entries, rest = parts(whole)
    entries = [entry for entry in entries if not entry[0].startswith(b"sof")]
    short = sealed(entries, bytes(64 * (len(parts(whole)[0]) - len(entries))) + rest)
    assert "not the weights of a network" in given(short)


@pytest.mark.slow("takes long")
def test_outputs_that_are_not_as_many_as_the_manifest_names_are_refused(whole, given, native_bundle):
    other = (native_bundle("wav2small-emotion") / "model.native").read_bytes()
    said = whole[whole.rindex(b'{"calibration"') :]
    assert "4 outputs, not 3 as its manifest says" in given(sealed(*parts(other), text=said))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1e-45])
@pytest.mark.parametrize("file", ["model.native", "model.int8.native"])
def test_weights_that_are_no_numbers_give_an_error_or_numbers(native_bundle, tmp_path, file, value):
    whole, clip = (native_bundle() / file).read_bytes(), sound(3_000)
    entries, rest = parts(whole)
    start = len(whole) - len(rest)
    for index, (_, kind, *_, offset, length, _, _) in enumerate(parts(whole)[0]):
        if kind != 1:
            continue
        entries, rest = parts(whole)
        filled = np.full(length // 4, value, "<f4").tobytes()
        entries[index][9] = zlib.crc32(filled)
        rest = rest[: offset - start] + filled + rest[offset - start + length :]
        (tmp_path / "it").write_bytes(sealed(entries, rest))
        runtime = Runtime(str(tmp_path / "it"))
        with contextlib.suppress(AudioError):  # its output is not a number
            assert np.isfinite(runtime.run(clip)).all()


def test_a_file_that_is_as_large_as_nothing_is_not_read(tmp_path, whole):
    path = tmp_path / "large.native"
    with open(path, "wb") as stream:
        stream.write(whole)
        stream.truncate(container.LARGEST + (1 << 30))
    with pytest.raises(BundleError, match="size differs from its header"):
        Runtime(str(path))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.native")
    with pytest.raises(BundleError, match="not a file"):
        Runtime(str(tmp_path / "model.native"))


def test_a_bundle_whose_file_is_for_another_runtime_is_refused(native_bundle, tmp_path):
    import shutil

    for name, kind, words in (("fp32", "native", "not native weights"), ("native", "onnx", "not an ONNX file")):
        folder = shutil.copytree(native_bundle(), tmp_path / kind)
        about = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        next(entry for entry in about["variants"] if entry["name"] == name)["runtime"] = kind
        (folder / "bundle.json").write_text(json.dumps(about), encoding="utf-8")
        with pytest.raises(BundleError, match=words):
            Runtime(str(folder), name)


def test_bundle_check_finds_another_manifest_inside(native_bundle, tmp_path, command, whole):
    import shutil

    folder = shutil.copytree(native_bundle(), tmp_path / "it")
    about = json.loads(whole[whole.rindex(b'{"calibration"') :]) | {"title": "another"}
    (folder / "model.native").write_bytes(sealed(*parts(whole), text=json.dumps(about).encode()))
    about = bundle.read(folder).manifest
    bundle.write(folder, about, (folder / bundle.CARD).read_text(encoding="utf-8"))
    code, _, err = command("bundle", "check", folder)
    assert (code, "model.native: its metadata and bundle.json differ in 'title'" in err) == (1, True)


def test_label_refuses_it_with_one_line_in_a_process_of_its_own(tmp_path, whole):
    (tmp_path / "evil.native").write_bytes(changed(whole, 1, 7, 0xFFFFFFC0))
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    call = [sys.executable, "-m", "sertool", "label", "-m", tmp_path / "evil.native", tmp_path / "a.wav"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "evil.native" in done.stderr
