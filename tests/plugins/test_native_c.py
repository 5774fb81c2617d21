"""Exporter c: the pair against the engine it is made of, against torch, and on an emulated Cortex-M7."""

import ctypes
import hashlib
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from sertool import Source, audio, bundle
from sertool.bundle import container
from sertool.errors import UsageError
from sertool.exporting import pipeline, variants
from sertool.exporting.origin import find_origin
from sertool.kernel.wav2small import Engine
from sertool.plugins import load_plugins
from sertool.testing.clips import sound
from sertool_native.c import BYTES
from sertool_native.c import pair as write_pair

pytestmark = pytest.mark.usefixtures("one_thread")

CSRC = Path(__file__).resolve().parents[1] / "csrc"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic"]
CORTEX_M7 = ["arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard"]
PAIRS = [("wav2small", 8), ("wav2small", 32), ("wav2small-emotion", 8), ("wav2small-emotion", 32)]
#: Largest difference from torch: those of exporters native-int8 and native.
TOLERANCE = {8: 0.05, 32: 1e-3}
OK, E_ARGUMENT, E_SHORT, E_VALUE, E_LENGTH = 0, 1, 2, 3, 6


def needs(*tools: str):
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


COMPILERS = [pytest.param(name, marks=needs(name)) for name in ("gcc", "clang")]


def run(*command, **options) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


class Pair:
    """A pair as it is exported, alone in its folder, and the network in torch that it comes from."""

    def __init__(self, folder: Path, name: str, bits: int):
        origin, form = find_origin(name), variants.parse(f"c:bits={bits}")
        (entry,) = variants.entries([form])
        file = folder / entry.file
        clips = [audio.read(sample) for sample in origin.samples]
        variants.export(origin.network, form, file, origin.manifest, entry, clips)
        self.folder, self.bits, self.weights, self.called = folder, bits, file.read_bytes(), file.name
        self.network, self.manifest, self.clips = origin.network, origin.manifest, clips
        self.prefix = name.replace("-", "_")
        self.source, self.header = folder / f"{self.prefix}.c", folder / f"{self.prefix}.h"
        self.outputs = self.manifest.output_names
        self.passes = int(re.search(r"_PASSES (\d)", self.header.read_text())[1])

    def loaded(self, compiler: str = "gcc", *flags: str) -> "Loaded":
        """It as a library, its sums in the order and precision that C says."""
        path = self.folder / f"{compiler}{''.join(flags)}.so"
        if not path.exists():
            run(
                compiler,
                *STRICT,
                "-O2",
                "-ffp-contract=off",
                *flags,
                "-fPIC",
                "-shared",
                self.source,
                "-o",
                path,
                "-lm",
            )
        return Loaded(path, self)

    def program(self, *compiler: str) -> Path:
        """tests/csrc/run_pair.c with it."""
        path, upper = self.folder / f"run_pair-{compiler[0]}", self.prefix.upper()
        if not path.exists():
            about = [f"-DMODEL={self.prefix}", f'-DHEADER="{self.header.name}"', f"-I{self.folder}"]
            about += [f"-DOUTPUTS={upper}_OUTPUTS", f"-DPASSES={upper}_PASSES"]
            run(*compiler, "-std=c99", "-O3", *about, CSRC / "run_pair.c", self.source, "-o", path, "-lm")
        return path

    def plain(self, samples) -> np.ndarray:
        return Engine(self.weights, "plain").run(samples)


class Loaded:
    """A pair through ctypes, in as much memory as its header says, with a guard behind it."""

    def __init__(self, path: Path, of: Pair):
        self._library, self._of, self._size = ctypes.CDLL(str(path)), of, BYTES[of.bits]
        self._memory = ctypes.create_string_buffer(b"\xa5" * (self._size + 1024))
        self.status("init")

    def status(self, call: str, *arguments) -> int:
        found = self._library[f"{self._of.prefix}_{call}"](self._memory, *arguments)
        assert self._memory.raw[self._size :] == b"\xa5" * 1024 + b"\0"
        return found

    def push(self, samples) -> int:
        samples = np.ascontiguousarray(samples, np.float32)
        return self.status("push", ctypes.c_void_p(samples.ctypes.data), ctypes.c_size_t(len(samples)))

    def run(self, samples) -> np.ndarray:
        out = np.full(len(self._of.outputs), np.nan, np.float32)
        samples = np.ascontiguousarray(samples, np.float32)
        given = ctypes.c_void_p(samples.ctypes.data), ctypes.c_size_t(len(samples))
        assert self.status("run", *given, ctypes.c_void_p(out.ctypes.data)) == OK
        return out

    def finish(self) -> np.ndarray:
        out = np.full(len(self._of.outputs), np.nan, np.float32)
        assert self.status("finish", ctypes.c_void_p(out.ctypes.data)) == OK
        return out


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """exported(name, bits) -> its Pair, made once."""
    made = {}

    def exported(name: str = "wav2small", bits: int = 8) -> Pair:
        if (name, bits) not in made:
            made[name, bits] = Pair(tmp_path_factory.mktemp(f"{name}-{bits}"), name, bits)
        return made[name, bits]

    return exported


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_pair_is_strict_c99(exported, tmp_path, compiler, bits):
    """So it is with -O2, by which all the others compile it."""
    run(compiler, *STRICT, "-O0", "-c", exported(bits=bits).source, "-o", tmp_path / "o")


@needs("g++")
@pytest.mark.parametrize("standard", ["c++98", "c++17"])
def test_the_header_is_cpp_too(exported, standard):
    header = exported("wav2small-emotion").header
    run("g++", *STRICT[1:], f"-std={standard}", "-Wno-long-long", "-x", "c++", "-fsyntax-only", header)


@pytest.mark.slow("takes about a second")
@needs("gcc", "nm", "size")
@pytest.mark.parametrize(
    "compiler",
    [
        pytest.param(["gcc"]),
        pytest.param(CORTEX_M7, marks=needs(CORTEX_M7[0])),
        pytest.param([CORTEX_M7[0], "-mcpu=cortex-m0plus", "-mthumb"], marks=needs(CORTEX_M7[0])),
    ],
    ids=["desktop", "cortex-m7", "cortex-m0plus"],
)
@pytest.mark.parametrize("bits", [8, 32])
def test_it_asks_for_four_functions_and_has_no_data_to_write(exported, tmp_path, compiler, bits):
    pair, tools = exported(bits=bits), compiler[0].removesuffix("gcc")
    run(*compiler, *STRICT, "-O2", "-fno-pie", "-c", pair.source, "-o", tmp_path / "o")
    found = [line.split()[-2:] for line in run(f"{tools}nm", tmp_path / "o").splitlines()]
    wanted = {name for kind, name in found if kind == "U" and not name.startswith("__")}  # __aeabi_dadd and the like
    assert {"memcpy", "memset"} <= wanted <= {"memcpy", "memmove", "memset", "sqrt"}
    calls = ("init", "push", "next", "embedding", "finish", "run", "reset", "names")
    assert {name for kind, name in found if kind in "TRDBC"} == {f"{pair.prefix}_{call}" for call in calls}
    _, data, bss, *_ = run(f"{tools}size", tmp_path / "o").splitlines()[1].split()
    assert (data, bss) == ("0", "0")


@needs("gcc")
@pytest.mark.parametrize("bits", [8, 32])
def test_memory_is_what_it_takes_and_too_little_does_not_compile(exported, tmp_path, bits):
    """The figure of the header is that of 64-bit pointers."""
    pair = exported(bits=bits)
    shutil.copy(pair.source, tmp_path)
    text = pair.header.read_text()
    assert f"_BYTES {BYTES[bits]} " in text
    (tmp_path / pair.header.name).write_text(text.replace(f"_BYTES {BYTES[bits]} ", f"_BYTES {BYTES[bits] - 8} "))
    command = ["gcc", "-std=c99", "-fsyntax-only", tmp_path / pair.source.name]
    assert "memory_fits" in subprocess.run(command, capture_output=True, text=True).stderr


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(("name", "bits"), PAIRS)
def test_outputs_are_the_plain_engines_to_the_bit_and_near_torchs(exported, compiler, name, bits):
    pair = exported(name, bits)
    loaded = pair.loaded(compiler)
    for samples in [sound(n) for n in (33, 34, 63, 64, 65, 1_000, 8_000)] + [pair.clips[0], 1e3 * sound(5_001)]:
        found = loaded.run(samples)
        assert found.tobytes() == pair.plain(samples).tobytes()
        with torch.inference_mode():
            wanted = pair.network(torch.from_numpy(np.asarray(samples, np.float32))[None])[0].numpy()
        assert np.abs(found - wanted).max() <= TOLERANCE[bits]


@pytest.mark.slow("takes about a second")
@needs("gcc")
@pytest.mark.parametrize(("name", "bits"), [("wav2small", 32), ("wav2small-emotion", 8)])
def test_a_recording_in_pieces_and_wrong_turns(exported, name, bits):
    pair = exported(name, bits)
    loaded, samples = pair.loaded(), sound(4_321)
    wanted = pair.plain(samples).tobytes()
    for sizes in ([1, 31, 33], [500], [4_321]):
        for _ in range(pair.passes):
            start = 0
            for size in itertools.cycle(sizes):
                if start >= len(samples):
                    break
                assert loaded.push(samples[start : start + size]) == OK
                start += size
            assert loaded.status("next") == OK
        assert loaded.push(samples) == E_ARGUMENT  # finish first
        assert loaded.finish().tobytes() == wanted
    assert (loaded.push(samples[:32]), loaded.status("next")) == (OK, E_SHORT)
    loaded.status("reset")
    assert loaded.status("next") == E_SHORT
    assert (loaded.push([0, np.nan]), loaded.push([np.inf])) == (E_VALUE, E_VALUE)
    assert (loaded.push(samples), loaded.status("next"), loaded.push(samples[:-1])) == (OK, OK, OK)
    assert loaded.status("next") == E_LENGTH
    assert loaded.push(samples[:2]) == E_LENGTH
    assert loaded.status("finish", None) == E_ARGUMENT
    loaded.status("reset")
    assert loaded.run(samples).tobytes() == wanted
    library = loaded._library
    assert library[f"{pair.prefix}_next"](None) == library[f"{pair.prefix}_push"](None, None, 0) == E_ARGUMENT
    library[f"{pair.prefix}_reset"](None)


@pytest.mark.slow("builds, exports or trains large networks")
@needs("gcc", "valgrind")
def test_valgrind_finds_nothing(exported, tmp_path):
    program = exported(bits=8).program("gcc", "-g", "-O1")
    sound(1_000).tofile(tmp_path / "clip.f32")
    run("valgrind", "-q", "--error-exitcode=1", program, tmp_path / "clip.f32")


@needs("gcc")
def test_the_example_labels_a_recording(exported, tmp_path):
    pair = exported("wav2small-emotion", 8)
    comment = (pair.folder / "main.c").read_text().splitlines()[0]
    assert comment == f"/* cc -O2 main.c {pair.prefix}.c -lm -o {pair.prefix}"
    run("gcc", *STRICT, "-O2", pair.folder / "main.c", pair.source, "-lm", "-o", tmp_path / "it")
    samples = sound(20_000)
    said = subprocess.run([tmp_path / "it"], input=samples.tobytes(), capture_output=True, check=True).stdout.decode()
    assert said == "".join(f"{n} {v:.4f}\n" for n, v in zip(pair.outputs, pair.plain(samples), strict=True))
    assert subprocess.run([tmp_path / "it"], input=b"", capture_output=True).returncode == 1


@needs("gcc")
def test_two_pairs_in_one_program(exported, tmp_path):
    both = [exported(), exported("wav2small-emotion", 8)]
    run("gcc", "-std=c99", "-shared", "-fPIC", *(pair.source for pair in both), "-o", tmp_path / "both.so", "-lm")
    for pair in both:
        assert Loaded(tmp_path / "both.so", pair).run(sound(2_000)).tobytes() == pair.plain(sound(2_000)).tobytes()


@needs(CORTEX_M7[0], "qemu-system-arm", "gcc")
@pytest.mark.parametrize(("bits", "tolerance"), [(8, 1e-2), (32, 1e-4)])
def test_a_cortex_m7_prints_what_the_desktop_does(exported, tmp_path, bits, tolerance):
    pair = exported(bits=bits)
    clips = [pair.clips[0][:16_000], pair.clips[1][4_000:12_000], np.concatenate(pair.clips)[20_000:50_000]]
    files = [tmp_path / f"{i}.f32" for i in range(len(clips))]
    for file, clip in zip(files, clips, strict=True):
        np.asarray(clip, "<f4").tofile(file)
    board = [*CORTEX_M7, "--specs=rdimon.specs", "-T", CSRC / "arm" / "mps2-an500.ld", CSRC / "arm" / "start.c"]
    words = ",".join(f"arg={word}" for word in ("run_pair", *files))
    machine = ["qemu-system-arm", "-M", "mps2-an500", "-display", "none", "-monitor", "none", "-serial", "none"]
    machine += ["-semihosting-config", f"enable=on,target=native,{words}", "-kernel", pair.program(*board)]
    there = np.array([line.split() for line in run(*machine, timeout=120).splitlines()], float)
    here = np.array([line.split() for line in run(pair.program("gcc"), *files).splitlines()], float)
    assert there.shape == here.shape == (3, len(pair.outputs))
    assert np.abs(there - here).max() <= tolerance
    assert np.abs(here - [pair.plain(clip) for clip in clips]).max() <= 1e-5
    assert np.abs(np.diff(here, axis=0)).max() > 0.05  # the clips are told apart


@needs("aarch64-linux-gnu-gcc", "qemu-aarch64")
def test_another_processor_gives_the_same_bits(exported, tmp_path):
    pair, samples = exported(bits=8), sound(8_000)
    samples.tofile(tmp_path / "clip.f32")
    program = pair.program("aarch64-linux-gnu-gcc", "-static", "-ffp-contract=off")
    said = run("qemu-aarch64", program, tmp_path / "clip.f32")
    assert np.array(said.split(), np.float32).tobytes() == pair.plain(samples).tobytes()


def test_the_header_says_what_it_is(exported):
    pair = exported("wav2small-emotion", 8)
    text = " ".join(line.removeprefix(" *") for line in pair.header.read_text().splitlines())
    text = re.sub(r"\s+", " ", text)
    manifest = pair.manifest
    assert f"{manifest.name} {manifest.version} in 8 bits" in text
    assert manifest.licence in text
    assert "angry (0 to 1), happy (0 to 1), neutral (0 to 1), sad (0 to 1)" in text
    assert "after these steps, which this code does not apply: trim top_db 20.0; peak level 0.95." in text
    assert f"in {pair.called}, sha256 {hashlib.sha256(pair.weights).hexdigest()}" in text
    assert max(map(len, pair.header.read_text().splitlines())) <= 120


@needs("gcc")
def test_no_text_of_a_bundle_gets_out_of_its_comment_or_string(exported, tmp_path):
    odd = '*/ #error /* \\ ??/ "é" %s'
    tensors, _ = container.unpacked(exported().weights)
    outputs = [{"name": f'1{odd}{i} "\\', "range": [0, 1]} for i in range(3)]
    manifest = {"name": "3-é w", "version": odd, "title": odd, "licence": odd, "outputs": outputs}
    weights = container.packed(tensors, json.dumps(manifest | {"preprocessing": [{"step": odd}]}))
    for name, text in write_pair(weights, "odd").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    run("gcc", *STRICT, tmp_path / "main.c", tmp_path / "model_3___w.c", "-o", tmp_path / "it", "-lm")
    said = subprocess.run([tmp_path / "it"], input=sound(500).tobytes(), capture_output=True, check=True).stdout
    assert [line.rpartition(" ")[0] for line in said.decode().splitlines()] == [out["name"] for out in outputs]


@needs("gcc")
def test_a_model_may_be_called_as_the_engine_calls_its_own(exported, tmp_path):
    tensors, _ = container.unpacked(exported().weights)
    weights = container.packed(tensors, json.dumps({"name": "ser"}))
    for name, text in write_pair(weights, "ser").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    run("gcc", *STRICT, tmp_path / "main.c", tmp_path / "ser.c", "-o", tmp_path / "it", "-lm")


@pytest.mark.parametrize("bits", [8, 32])
def test_it_holds_files_of_csrc_as_they_are(exported, bits):
    code, *sections = exported(bits=bits).source.read_text().partition("/* ---- weights")[0].split("/* ==== ")
    held = dict(section.split(" */\n\n", 1) for section in sections)
    layers = {8: "wav2small_int8.h", 32: "wav2small_float.h"}
    assert {"statistics.c", "logmel.c", "wav2small.c", layers.pop(bits)} < held.keys()
    assert held.keys().isdisjoint({*layers.values(), "logmel_144.h", "isa.h"})
    for name, text in held.items():
        source = (CSRC.parents[1] / "csrc" / name).read_text()
        local = [line for line in source.splitlines() if line.startswith('#include "')]
        assert [line for line in source.splitlines() if line and line not in local] == [
            line for line in text.splitlines() if line
        ]
    assert " ".join(code[code.index("typedef struct ser_statistics {") :].split()) in " ".join(
        (CSRC.parents[1] / "csrc" / "sertool.h").read_text().split()
    )


def test_what_it_refuses(tmp_path):
    exporter, network = load_plugins().get("exporters", "c"), find_origin("wav2small").network
    with pytest.raises(UsageError, match="bits must be 8 or 32, not 4"):
        exporter.export(Source(network, torch.zeros(1, 80_000)), tmp_path / "it", {}, bits=4)
    with pytest.raises(UsageError, match="needs recordings to calibrate with"):
        exporter.export(Source(network, torch.zeros(1, 80_000)), tmp_path / "it", {})
    with pytest.raises(UsageError, match="only Wav2Small"):
        exporter.export(Source(torch.nn.Flatten(), torch.zeros(1, 80_000)), tmp_path / "it", {}, bits=32)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_holds_one_pair(tmp_path):
    samples = bundle.bundled_folder() / "wav2small" / bundle.SAMPLES
    with pytest.raises(UsageError, match=r"formats c and c:bits=32 both write (main|wav2small)\.[ch]: leave one out"):
        pipeline.export("wav2small", tmp_path / "two", ["c", "c:bits=32"], calibrate=samples, runs=0)
    assert not (tmp_path / "two").exists()


def test_the_page_about_it_says_what_is_so(exported):
    page, pair = (CSRC.parents[1] / "docs" / "c.md").read_text(), exported()
    said = set(re.findall(r"\b(?:wav2small_|WAV2SMALL_)\w+", page))
    assert len(said) > 8
    assert {name for name in said if not re.search(rf"\b{name}\b", pair.header.read_text())} == set()
    for bits, memory in BYTES.items():
        rows = [line.split(" | ") for line in page.splitlines() if line.startswith(f"| {bits} |")]
        assert {row[4] for row in rows} == {f"{memory:,}"}
