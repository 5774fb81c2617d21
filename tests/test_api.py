"""The public API: documented name by name, lazy, and usable as docs/api.md says."""

import inspect
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import sertool
from sertool import audio, bundle

DOCS = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
SECTIONS = {
    part.partition("\n")[0].replace("\\", ""): part for part in re.split(r"^### ", DOCS, flags=re.MULTILINE)[1:]
}
SPEECH = bundle.bundled_folder() / "wav2small" / "samples" / "plain.wav"


@pytest.fixture(scope="module")
def small():
    return sertool.load("wav2small")


def test_every_public_name_is_documented_and_nothing_else():
    assert set(SECTIONS) == set(sertool.__all__)
    assert all(getattr(sertool, name) is not None for name in sertool.__all__)
    assert set(sertool.__all__) <= set(dir(sertool))


@pytest.mark.parametrize(
    "name", ["load", "label_all", "scan", "to_frame", "detect_speech", "export", "Parameters", "Relative"]
)
def test_every_parameter_is_documented(name):
    shown = re.search(rf"`{name}\((.*?)\)`", SECTIONS[name], re.DOTALL)[1]
    parameters = inspect.signature(getattr(sertool, name)).parameters
    assert re.findall(r"(?:^|, )\**(\w+)", re.sub(r"\([^()]*\)", "", shown)) == list(parameters)


@pytest.mark.parametrize("name", ["Labels", "Labeller", "Recording", "Relative", "Result", "Detected", "Bundle"])
def test_every_public_member_is_documented(name, small):
    kind = getattr(sertool, name)
    members = {
        n
        for n, value in vars(kind).items()
        if not n.startswith("_") and (callable(value) or isinstance(value, property))
    }
    members |= {n for n in getattr(kind, "__dataclass_fields__", {}) if not n.startswith("_")}
    internal = {"rows", "window_rows", "segment_rows", "merge", "whole", "average", "labelled", "failed", "cut"}
    internal = internal if name == "Labeller" else {"place", "key", "of_key"} if name == "Recording" else set()
    undocumented = {member for member in members - internal if f"{member}" not in SECTIONS[name]}
    assert not undocumented


def test_import_is_light():
    code = "import sys, sertool; sertool.load; print(*sorted({'numpy', 'torch', 'onnxruntime'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'lable'"):
        sertool.lable  # noqa: B018


def test_labels_are_attributes_and_a_mapping(small):
    labels = small.label(SPEECH)
    assert labels.arousal == labels["arousal"] == labels.to_dict()["arousal"]
    numbers = [f"{name}{end}" for name in ("arousal", "dominance", "valence") for end in ("", ".low", ".high")]
    assert list(labels) == ["start", "end", *numbers, "typical", "speech", "error"]
    assert (labels.start, labels.error, len(labels)) == (0.0, None, 14)
    assert labels == dict(labels) == pickle.loads(pickle.dumps(labels))
    assert labels.replace(end=1.0).end == 1.0 != labels.end
    assert "arousal" in dir(labels)
    assert re.fullmatch(r"Labels\(start=0.0, end=[\d.]+, arousal=.*, error=None\)", repr(labels))
    with pytest.raises(AttributeError, match="no 'emotion'; these labels have start, end, arousal"):
        labels.emotion  # noqa: B018


def test_windows_come_while_the_recording_is_read(small):
    samples = np.tile(audio.read(SPEECH), 20)
    labeller = sertool.load("wav2small", vad=False)
    pushed = 0

    def blocks():
        nonlocal pushed
        for start in range(0, len(samples), 16_000):
            pushed += 1
            yield samples[start : start + 16_000]

    first = next(labeller._stream(blocks()))
    assert (first.start, first.end) == (0.0, 8.0)
    assert pushed < 12 < len(samples) // 16_000
    assert list(labeller.speech_windows(samples, 16_000)) == labeller.rows(blocks())[0]
    assert [w.end for w in small.windows(samples, 16_000)][-1] <= len(samples) / 16_000


def test_many_recordings_and_their_table(small, tmp_path):
    (tmp_path / "broken.wav").write_text("no audio")
    audio.write(tmp_path / "voice.wav", audio.read(SPEECH))
    results = list(sertool.label_all(small, sertool.scan(tmp_path), jobs=2, ordered=True))
    bad, good = results
    assert (bad.name, bad.labels, bad.failed) == ("broken.wav", [], True)
    assert "format not recognised" in bad.error
    assert good.error is None
    assert good.labels[0].arousal == pytest.approx(small.label(tmp_path / "voice.wav").arousal, abs=1e-6)
    pandas = pytest.importorskip("pandas")
    frame = sertool.to_frame(results)
    assert frame.index.names == ["file", "start", "end"]
    assert frame.loc["voice.wav"]["arousal"].iloc[0] == good.labels[0].arousal
    assert frame.index[1][2] == pandas.Timedelta(seconds=good.labels[0].end)
    audformat = pytest.importorskip("audformat")
    assert audformat.is_segmented_index(frame.loc[["voice.wav"]].index)


def test_speech_of_a_file_and_of_an_array(small):
    found = sertool.detect_speech(SPEECH, probabilities=True)
    assert found.times == [(start / 16_000, end / 16_000) for start, end in found.segments]
    assert len(found.probabilities) == -(-found.samples // 160)
    assert sertool.detect_speech(audio.read(SPEECH), 16_000).times == found.times
    with pytest.raises(sertool.UsageError, match="an array needs its rate"):
        sertool.detect_speech(audio.read(SPEECH))


def test_a_bundle_opens_and_checks():
    opened = sertool.Bundle.open("wav2small")
    assert opened.check()["files"] == 12
    assert opened.outputs == ["arousal", "dominance", "valence"]
    with pytest.raises(sertool.SertoolError):
        sertool.Bundle.open("no-such-bundle")


def _in_a_process(labeller):
    return labeller.label(SPEECH)


def test_usable_from_threads_and_processes(small):
    expected, found = small.label(SPEECH), []
    threads = [threading.Thread(target=lambda: found.append(small.label(SPEECH))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(_in_a_process, small).result() == expected
