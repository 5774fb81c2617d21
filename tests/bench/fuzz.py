"""Damaged inputs by the thousand: python tests/bench/fuzz.py [--number 1000] [--seed 0] [KIND ...]

Each is a sound file with bytes flipped, cut out, doubled, overwritten or put together with another one. What may happen
is an answer or a SertoolError of one line; all else is printed with the seed that makes it again: another exception,
more than 10 s, a crash (every kind has a process of its own, which notes what it is about to try).
"""

import argparse
import contextlib
import faulthandler
import io
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from sertool import audio, bundle
from sertool.errors import SertoolError

LIMIT_S = 10
RATE = 16_000


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 300 * time) * (1 + np.sin(20 * time))).astype(np.float32)


def by_soundfile(form: str, subtype: str | None = None):
    stream = io.BytesIO()
    soundfile.write(stream, tone(1.0), RATE, format=form, subtype=subtype)
    return stream.getvalue()


def by_av(form: str, codec: str):
    import av

    stream = io.BytesIO()
    with av.open(stream, "w", format=form) as output:
        track = output.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(1.0, 48_000)[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*track.encode(frame), *track.encode(None)]:
            output.mux(packet)
    return stream.getvalue()


RECIPE = b"""
[model]
name = "wav2small"
[data]
root = "corpora"
corpora = ["ravdess"]
[[augment]]
name = "speed"
p = 0.5
[train]
steps = 100
lr = 1e-3
warmup = 0
restarts = [50]
[bundle]
formats = ["onnx"]
gates = { max_diff = 0.1 }
"""
MANIFEST = b"file,corpus,speaker,emotion,split,duration_s\na.wav,c,s,angry,train,1.0\nb.wav,c,t,sad,val,2\n"


def read(path: Path) -> None:
    audio.read(path, lambda note: None)


def recipe(path: Path) -> None:
    from sertool.training.recipe import load_recipe
    from sertool.training.sections import DistilRecipe

    for kind in {}, {"kind": DistilRecipe}:
        with contextlib.suppress(SertoolError):
            load_recipe(path, complete=False, **kind)


def manifest(path: Path) -> None:
    from sertool.corpora.reading import rows_of

    path.rename(path.with_name("manifest.csv"))
    rows_of("manifest", path.parent)


def model(path: Path) -> None:
    from sertool.runtime import Runtime

    Runtime(str(path)).run(tone(0.2), LIMIT_S / 2)


def archive(path: Path) -> None:
    from sertool.packaging import archive

    with tempfile.TemporaryDirectory() as home:
        archive.unpack(path, Path(home, "bundle"))


def packed() -> bytes:
    from sertool.packaging import archive

    with tempfile.TemporaryDirectory() as folder:
        archive.pack(bundle.read(bundle.bundled_folder() / "wav2small"), Path(folder, "a.zip"))
        return Path(folder, "a.zip").read_bytes()


def shipped(name: str) -> bytes:
    return (bundle.bundled_folder() / "wav2small" / name).read_bytes()


#: Kind -> (ending, how to make a sound one, what to do with it).
KINDS = {
    "wav": (".wav", lambda: by_soundfile("WAV"), read),
    "rf64": (".wav", lambda: by_soundfile("RF64"), read),
    "w64": (".w64", lambda: by_soundfile("W64"), read),
    "flac": (".flac", lambda: by_soundfile("FLAC"), read),
    "ogg": (".ogg", lambda: by_soundfile("OGG", "VORBIS"), read),
    "opus": (".opus", lambda: by_soundfile("OGG", "OPUS"), read),
    "mp3": (".mp3", lambda: by_soundfile("MP3"), read),
    "aiff": (".aiff", lambda: by_soundfile("AIFF"), read),
    "caf": (".caf", lambda: by_soundfile("CAF", "ALAC_16"), read),
    "au": (".au", lambda: by_soundfile("AU"), read),
    "m4a": (".m4a", lambda: by_av("mp4", "aac"), read),
    "webm": (".webm", lambda: by_av("webm", "libopus"), read),
    "avi": (".avi", lambda: by_av("avi", "libmp3lame"), read),
    "ts": (".ts", lambda: by_av("mpegts", "aac"), read),
    "aac": (".aac", lambda: by_av("adts", "aac"), read),
    "recipe": (".toml", lambda: RECIPE, recipe),
    "manifest": (".csv", lambda: MANIFEST, manifest),
    "onnx": (".onnx", lambda: shipped("model.onnx"), model),
    "native": (".native", lambda: shipped("model.native"), model),
    "zip": (".zip", packed, archive),
}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one to five of such faults; the beginning, where headers are, is hit more often."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        size = max(1, len(data))
        at = int(rng.integers(min(size, 200))) if rng.random() < 0.5 else int(rng.integers(size))
        length = int(min(size - at, rng.geometric(0.05)))
        kind = rng.integers(7)
        if kind == 0:
            data[at : at + 1] = bytes([data[at] ^ 1 << rng.integers(8)]) if data else b""
        elif kind == 1:
            data[at : at + length] = rng.bytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            data[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80"][rng.integers(4)]
        elif kind == 5:
            data = data[:at] if rng.random() < 0.5 else data + data[at:]
        else:
            data[at : at + length] = bytes(length)
    return bytes(data)


def too_long(*_):
    raise TimeoutError(f"more than {LIMIT_S} s")


def run(kind: str, number: int, seed: int) -> int:
    """Try one kind in this process; how many misbehaved."""
    ending, make, call = KINDS[kind]
    faulthandler.enable()
    signal.signal(signal.SIGALRM, too_long)
    whole, wrong, answers = make(), 0, 0
    for i in range(number):
        print(f"trying {kind} {seed + i}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x" + ending)
            path.write_bytes(damaged(whole, np.random.default_rng([seed + i, *kind.encode()])))
            signal.alarm(LIMIT_S)
            try:
                call(path)
                answers += 1
            except SertoolError as error:
                if "\n" in str(error) or not str(error):
                    wrong += 1
                    print(f"{kind} {seed + i}: not one line: {str(error)!r}")
            except BaseException as error:
                wrong += 1
                print(f"{kind} {seed + i}: {type(error).__name__}: {error}")
            finally:
                signal.alarm(0)
    print(f"{kind}: {number} tried, {answers} answered, {wrong} misbehaved", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return bool(sum(run(kind, options.number, options.seed) for kind in options.kinds))
    failed = 0
    for kind in options.kinds or KINDS:
        began = time.monotonic()
        command = [sys.executable, __file__, kind, "--child", "--number", str(options.number), "--seed"]
        done = subprocess.run([*command, str(options.seed)], stderr=subprocess.PIPE, text=True, errors="replace")
        failed += done.returncode != 0
        if done.returncode < 0 or done.returncode > 1:
            print(f"{kind}: ended with {done.returncode} after: {done.stderr[-2000:]}")
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
