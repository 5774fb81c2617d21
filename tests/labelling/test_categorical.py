"""A model of classes: the likeliest one as ``emotion``, a probability for each, in every format."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile

from sertool.labelling import Labeller
from sertool.runtime import Runtime

CLASSES = ["angry", "happy", "neutral", "sad"]


@pytest.fixture(scope="module")
def levels(emotion_bundle):
    """Labels by level: 0.5 angry, 0.3 happy, 0.2 neutral, 0.02 sad."""
    return Labeller(str(emotion_bundle), window=1.0, vad=False)


def square(*amplitudes):
    """A second of each amplitude, its mean level."""
    return np.concatenate([a * np.tile([1.0, -1.0], 8_000) for a in amplitudes])


def test_the_likeliest_class_is_the_emotion(levels):
    assert levels.outputs == CLASSES
    assert levels.columns == ["emotion", *CLASSES]
    for amplitude, emotion in ((0.5, "angry"), (0.3, "happy"), (0.2, "neutral"), (0.02, "sad")):
        row = levels.label(square(amplitude), 16_000)
        assert row["emotion"] == emotion == max(CLASSES, key=row.get)
        assert [row[name] for name in CLASSES] == levels.runtime.run(square(amplitude).astype(np.float32)).tolist()
        assert sum(row[name] for name in CLASSES) == pytest.approx(1)
        assert list(row) == ["start", "end", "emotion", *CLASSES, "speech", "error"]


def test_probabilities_are_averaged_and_then_the_emotion_is_chosen(levels):
    samples = square(0.29, 0.29, 0.9)
    rows = list(levels.windows(samples, 16_000))
    assert [row["emotion"] for row in rows] == ["happy", "happy", "angry"]
    whole = levels.label(samples, 16_000)
    for name in CLASSES:
        assert whole[name] == pytest.approx(np.mean([row[name] for row in rows]))
    # Two windows say happy, but not as surely as the third says angry.
    assert whole["angry"] > whole["happy"]
    assert whole["emotion"] == "angry"


def test_a_silent_window_has_no_emotion(levels):
    rows = list(levels.windows(square(0.5, 0.0), 16_000))
    assert rows[1]["error"].startswith("silent")
    assert [rows[1][name] for name in levels.columns] == [None] * 5
    assert levels.label(square(0.5, 0.0), 16_000)["emotion"] == "angry"


def test_what_stands_before_the_model_is_repeated(emotion_bundle, tmp_path):
    """With a peak of 0.3 all is happy, however soft it was."""
    folder = tmp_path / "peak"
    shutil.copytree(emotion_bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["preprocessing"] = [{"step": "peak", "level": 0.3}]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    for amplitude in (0.02, 0.9):
        assert Labeller(str(folder), vad=False).label(square(amplitude), 16_000)["emotion"] == "happy"
        found = Runtime(str(folder)).run(square(amplitude).astype(np.float32))
        assert found == pytest.approx(Runtime(str(emotion_bundle)).run(square(0.3).astype(np.float32)), abs=1e-5)


def test_a_rest_counts_where_the_model_cuts_to_a_length_of_its_own(emotion_bundle, tmp_path):
    """Of 8.9 s, the last 0.9 joined a window of which the model heard 8 s, and changed nothing."""
    folder = tmp_path / "cut"
    shutil.copytree(emotion_bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["preprocessing"] = [{"step": "length", "seconds": 8.0}]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    labeller, rate = Labeller(str(folder), vad=False, window=8.0), 16_000
    loud, soft = np.full(8 * rate, 0.5, np.float32), np.full(round(0.9 * rate), 0.02, np.float32)
    rows = list(labeller.windows(np.concatenate([loud, soft]), rate))
    assert [(row["start"], row["end"]) for row in rows] == [(0.0, 8.0), (8.0, 8.9)]
    assert rows[1]["sad"] > rows[0]["sad"]
    both = labeller.label(np.concatenate([loud, soft]), rate)
    assert both["sad"] == pytest.approx((8 * rows[0]["sad"] + 0.9 * rows[1]["sad"]) / 8.9)


@pytest.fixture
def talks(tmp_path):
    for name, amplitude in (("loud", 0.5), ("soft", 0.02), ("silent", 0.0)):
        soundfile.write(tmp_path / f"{name}.wav", square(amplitude), 16_000)
    return [tmp_path / f"{name}.wav" for name in ("loud", "soft", "silent")]


def of_csv(path):
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        {k: (v or None) if k in ("file", "emotion", "error") else float(v) if v else None for k, v in row.items()}
        for row in rows
    ]


def of_parquet(path):
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def of_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_format_says_the_same(command, emotion_bundle, talks, tmp_path):
    read = {"csv": of_csv, "jsonl": of_lines, "parquet": of_parquet}
    found = {}
    for form, reader in read.items():
        answer = command(
            "label", "--model", emotion_bundle, "--no-vad", "--ordered", *talks, "-o", tmp_path / f"t.{form}"
        )
        assert answer.code == 1
        found[form] = reader(tmp_path / f"t.{form}")
    assert found["csv"] == found["jsonl"] == found["parquet"]
    rows = found["csv"]
    assert list(rows[0]) == ["file", "start", "end", "emotion", *CLASSES, "speech", "error"]
    assert [row["emotion"] for row in rows] == ["angry", "sad", None]
    assert [row["angry"] is None for row in rows] == [False, False, True]
    assert rows[2]["error"].startswith("silent")
