"""Evaluation on annotated segments of recordings, against clips cut out of them."""

import json

import numpy as np
import pytest
import soundfile

from sertool import audio, bundle
from sertool.errors import UsageError
from sertool.evaluation import segmented

RATE = 16_000


@pytest.fixture
def talks(tmp_path, emotion_bundle):
    """Two talks whose segments differ in level, the same segments as clips, and the truth as TextGrids and CSV."""
    voice = audio.read(sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))[0])[: 2 * RATE]
    rng = np.random.default_rng(0)
    lines, clips = ["file,start,end,speaker,emotion"], ["file,speaker,emotion"]
    (tmp_path / "talks").mkdir()
    (tmp_path / "clips").mkdir()
    for talk in ("a", "b"):
        samples = np.zeros(20 * RATE, np.float32)
        for number, emotion in enumerate(("angry", "sad", "neutral", "happy", "bored")):
            start = round(1 + 3.5 * number + rng.uniform(0, 0.5), 3)
            first = round(start * RATE)
            part = voice * np.float32(10 ** rng.uniform(-1.5, 0.5))
            samples[first : first + len(part)] = part
            lines.append(f"{talk}.wav,{start},{start + 2},{talk},{emotion}")
            soundfile.write(tmp_path / "clips" / f"{talk}{number}.wav", part, RATE, "FLOAT")
            clips.append(f"{talk}{number}.wav,{talk},{emotion}")
        soundfile.write(tmp_path / "talks" / f"{talk}.wav", samples, RATE, "FLOAT")
    (tmp_path / "truth.csv").write_text("\n".join(lines))
    (tmp_path / "clips" / "manifest.csv").write_text("\n".join(clips))
    return tmp_path


def report(command, *arguments):
    answer = command("evaluate", *arguments, "--bootstrap", "0", "--json", "-")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)["models"][0]["report"]


def test_segments_give_the_figures_of_the_same_clips(talks, emotion_bundle, command):
    whole = report(command, emotion_bundle, talks / "clips", "--whole")
    parts = report(command, emotion_bundle, talks / "talks", "--segments", talks / "truth.csv")
    assert parts["overall"] == whole["overall"]
    for talk in ("a", "b"):
        assert parts["groups"]["speaker"][f"talks/{talk}"] == whole["groups"]["speaker"][f"clips/{talk}"]


def test_predictions_name_the_segments(talks, emotion_bundle, command):
    output = talks / "predictions.csv"
    arguments = ["--segments", talks / "truth.csv", "--bootstrap", "0", "--predictions", output]
    assert command("evaluate", emotion_bundle, talks / "talks", *arguments).code == 0
    head, first, *_ = output.read_text(encoding="utf-8").splitlines()
    assert head.startswith("model,file,start,end,corpus,speaker")
    assert first.split(",")[1] == "a.wav"
    assert float(first.split(",")[3]) - float(first.split(",")[2]) == pytest.approx(2)


def test_a_tier_of_texts_is_a_tier_of_labels(talks):
    (talks / "talks" / "a.txt").write_text("1\t3\tangry\n4\t5\tsad\n")
    rows = segmented.read(talks / "talks", talks / "talks", "audacity", None)
    assert [(row.emotion, row.speaker, row.start, row.end) for row in rows] == [
        ("angry", "a.wav", 1, 3),
        ("sad", "a.wav", 4, 5),
    ]


def test_what_is_no_truth_is_refused(talks, tmp_path):
    (talks / "wrong.csv").write_text("file,start,end,valence\na.wav,0,1,high\n")
    with pytest.raises(UsageError, match="valence is 'high', not a number"):
        segmented.read(talks / "talks", talks / "wrong.csv", None, None)
    (talks / "other.csv").write_text("file,start,end,emotion\nz.wav,0,1,sad\n")
    with pytest.raises(UsageError, match="no segment belongs to a recording"):
        segmented.read(talks / "talks", talks / "other.csv", None, None)


@pytest.mark.parametrize("option", [["--crop", "1"], ["--whole"], ["--robustness"], ["--layout", "manifest"]])
def test_options_that_segments_exclude(talks, emotion_bundle, command, option):
    answer = command("evaluate", emotion_bundle, talks / "talks", "--segments", talks / "truth.csv", *option)
    assert answer.code == 2
    assert "--segments makes the rows" in answer.err
