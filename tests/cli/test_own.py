"""`sertool tune`, `adapt` and `calibrate`, and labels that say how sure they are."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import soundfile

from sertool import bundle
from sertool.labelling import Labeller
from sertool.packaging.check import check
from sertool.testing.clips import sound, write_clips

RATE = 16_000


def voice(path, pitch, seed):
    """A buzz of about ``pitch`` Hz: classes that any embedding tells apart."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(rng.uniform(0.5, 0.9) * RATE)) / RATE
    samples = 0.3 * np.sign(np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples + 0.02 * rng.standard_normal(len(time)), RATE, format="WAV")
    return path


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """A folder for each of two classes, with spaces and umlauts in the names."""
    folder = tmp_path_factory.mktemp("own") / "meine Töne"
    for number in range(8):
        voice(folder / "tief" / f"Ton {number} ä.wav", 110, number)
        voice(folder / "hoch" / f"Ton {number} ö.wav", 880, number + 100)
    return folder


@pytest.fixture(scope="module")
def table(notes):
    """The same as a table, with speakers."""
    path = notes.parent / "labels.csv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "emotion", "speaker", "pitch"])
        for clip in sorted(notes.rglob("*.wav")):
            speaker = f"s{int(clip.stem.split()[1]) % 4}"
            writer.writerow(
                [clip.relative_to(notes.parent), clip.parent.name, speaker, 0.2 if "tief" in str(clip) else 0.8]
            )
    return path


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_tune_learns_own_classes_from_folders(command, notes, tmp_path):
    out = tmp_path / "mine"
    answer = command("tune", "wav2small-emotion", notes, "-o", out)
    assert answer.code == 0
    assert "16 clips: hoch 8, tief 8; files, left out in turn" in answer.out
    assert "before: the model does not know these classes" in answer.out
    assert "it is likely to be worse" in answer.out
    made = bundle.read(out)
    assert made.manifest.output_names == ["hoch", "tief"]
    assert len(check(made)["variants"]) == 4
    new = voice(tmp_path / "new.wav", 880, 500)
    (row,) = rows_of(command("label", "-m", out, new).out)
    assert row["emotion"] == "hoch"
    assert float(row["confidence"]) > 0.5
    assert "the new one has no column typical" in answer.out
    assert "typical" not in row
    assert command("bundle", "pack", out, "-o", tmp_path / "mine.zip").code == 0
    assert command("tune", "wav2small-emotion", notes, "-o", out).code == 2
    assert command("tune", "wav2small-emotion", notes, "-o", out, "--overwrite").code == 0


def test_tune_leaves_speakers_out_and_writes_json(command, table, tmp_path):
    answer = command("tune", "wav2small", table, "-o", tmp_path / "mine", "--json")
    assert answer.code == 0
    said = json.loads(answer.out)
    assert said["by"] == "speaker"
    assert said["after"]["value"] > 0.9
    assert said["before"] is None
    assert bundle.read(tmp_path / "mine").manifest.task == "categorical"


def test_tune_learns_numbers(command, table, tmp_path):
    out = tmp_path / "mine"
    answer = command("tune", "wav2small-emotion", table, "--numbers", "pitch", "-o", out)
    assert answer.code == 0
    new = voice(tmp_path / "new.wav", 880, 500)
    (row,) = rows_of(command("label", "-m", out, new).out)
    assert float(row["pitch"]) == pytest.approx(0.8, abs=0.3)
    assert float(row["pitch.low"]) <= float(row["pitch"]) <= float(row["pitch.high"])
    assert "emotion" not in row


def test_a_tuned_bundle_is_exported_to_c(command, notes, tmp_path):
    assert command("tune", "wav2small-emotion", notes, "-o", tmp_path / "mine").code == 0
    arguments = ["export", tmp_path / "mine", "-o", tmp_path / "chip", "--format", "c", "--calibrate", notes]
    assert command(*arguments, "--runs", "0", "--max-diff", "0.9").code == 0  # square waves are no speech
    header = (tmp_path / "chip" / "mine.h").read_text()
    assert "#define MINE_OUTPUTS 2" in header
    assert "mine_embedding" in header


def test_the_same_clips_give_the_same_bundle(command, notes, tmp_path):
    for name in ("one", "two"):
        assert command("tune", "wav2small-emotion", notes, "-o", tmp_path / name, "--name", "own").code == 0
    assert bundle.digest(tmp_path / "one") == bundle.digest(tmp_path / "two")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("file,emotion\na.wav,x\n", (), "all clips are 'x'"),
        ("name,emotion\na.wav,x\n", (), "no column 'file' (there are: name, emotion)"),
        ("file,mood\na.wav,x\n", (), "none of its columns is emotion or label or class"),
        ("file,mood\na.wav,x\n", ("--label", "mod"), "no column 'mod'"),
        ("file,emotion\na.wav,x\na.wav,y\n", (), "line 3: a.wav is labelled twice"),
        ("file,emotion\na.wav,\n", (), "no row has a label"),
        ("file,v\na.wav,high\n", ("--numbers", "v"), "line 2: v 'high' is not a number"),
        ("file,emotion\na.wav,file\n", (), "'file' is a column or an answer"),
        ("file,emotion\na.wav,other\n", (), "'other' is a column or an answer"),
        ("file,emotion\nb.wav,x\n", (), "none of 1 recordings can be used"),
        ("file,emotion\na.wav,x\n", ("--label", "emotion", "--numbers", "v"), "give one of them"),
        ("\x00\xff", (), "no column 'file'"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_a_line(command, tmp_path, text, options, said):
    voice(tmp_path / "a.wav", 200, 0)
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    answer = command("tune", "wav2small-emotion", tmp_path / "labels.csv", "-o", tmp_path / "mine", *options)
    assert answer.code == 2
    assert said in answer.err
    assert not (tmp_path / "mine").exists()


def test_segments_and_broken_files_in_a_table(command, notes, tmp_path):
    low, high = (soundfile.read(next(notes.rglob(f"{kind}/*.wav")))[0] for kind in ("tief", "hoch"))
    soundfile.write(tmp_path / "both.wav", np.concatenate([low, high] * 4), RATE)
    lines, at = ["file;emotion;start;end"], 0.0
    for _ in range(4):
        for kind, samples in (("tief", low), ("hoch", high)):
            end = at + len(samples) / RATE
            lines.append(f"both.wav;{kind};{at:.4f};{end:.4f}".replace(".", ",").replace("both,wav", "both.wav"))
            at = end
    lines.append("missing.wav;tief;;")
    (tmp_path / "labels.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    answer = command("tune", "wav2small-emotion", tmp_path / "labels.csv", "-o", tmp_path / "mine")
    assert answer.code == 0
    assert "missing.wav: " in answer.err
    assert "8 clips: hoch 4, tief 4" in answer.out


def test_adapt_shifts_and_says_what_changes(command, notes, tmp_path):
    answer = command("adapt", "wav2small-emotion", notes, "-o", tmp_path / "mine", "--json")
    assert answer.code == 0
    said = json.loads(answer.out)
    assert said["clips"] == sum(said["before"].values()) == sum(said["after"].values()) == 16
    assert "16 recordings; before: angry" in answer.err
    check(bundle.read(tmp_path / "mine"))
    old, new = (Labeller(model, variant="fp32") for model in ("wav2small-emotion", str(tmp_path / "mine")))
    clip = next(notes.rglob("*.wav"))
    before, after = (np.log([labeller.label(clip)[name] for name in old.outputs]) for labeller in (old, new))
    moved = after - before
    assert np.allclose(moved - moved.mean(), -np.array(said["shift"]), atol=1e-3)


def test_adapt_makes_a_bundle_for_each_speaker(command, table, tmp_path):
    answer = command("adapt", "wav2small-emotion", table, "--by", "speaker", "-o", tmp_path / "voices")
    assert answer.code == 0
    assert sorted(path.name for path in (tmp_path / "voices").iterdir()) == ["s0", "s1", "s2", "s3"]
    assert "s0: fewer than 5 recordings say little about a voice" in answer.err
    assert bundle.read(tmp_path / "voices" / "s0").manifest.name == "s0"


def test_a_speaker_who_cannot_be_heard_does_not_spoil_the_others(command, table, tmp_path):
    broken = table.with_name("broken.csv")
    broken.write_text(table.read_text(encoding="utf-8") + "nothing.wav,tief,s9,0.2\n", encoding="utf-8")
    answer = command("adapt", "wav2small-emotion", broken, "--by", "speaker", "-o", tmp_path / "voices")
    assert answer.code == 1
    assert "s9: no bundle: none of 1 recordings can be used" in answer.err
    assert len(list((tmp_path / "voices").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wav2small"], "--relative-to` compares a voice with itself"),
        (["wav2small-emotion", "--by", "speaker"], "--by needs a table"),
    ],
)
def test_what_adapt_cannot_do_is_said_in_a_line(command, notes, tmp_path, arguments, said):
    answer = command("adapt", arguments[0], notes, "-o", tmp_path / "mine", *arguments[1:])
    assert answer.code == 2
    assert said in answer.err


def test_calibrate_adds_what_label_then_says(command, tmp_path):
    corpus = write_clips(tmp_path / "corpus")
    for number in range(12):
        (tmp_path / "noise").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "noise" / f"{number}.wav", sound(9_000, seed=number), RATE)
    shutil.copytree(bundle.find("wav2small-emotion"), tmp_path / "plain")
    plain = bundle.read(tmp_path / "plain")
    plain.manifest.calibration = {}
    # The files keep the old calibration inside: this bundle is not sound, but can be calibrated.
    bundle.write(plain.path, plain.manifest, (plain.path / bundle.CARD).read_text().partition("<!-- calibration")[0])
    arguments = ["calibrate", plain.path, corpus, "--split", "val", "-o", tmp_path / "sure", "--json"]
    answer = command(*arguments, "--noise", tmp_path / "noise", "--check", "test-ood", "--clips", "20")
    assert answer.code == 0
    said = json.loads(answer.out)
    assert said["calibration"]["temperature"] >= 1
    assert said["measured"].keys() == {"val", "test-ood generated"}
    made = bundle.read(tmp_path / "sure")
    check(made)
    card = (made.path / bundle.CARD).read_text()
    assert card.count("## How sure it is") == 1
    assert "| test-ood generated | 8 |" in card
    clip = next(corpus.glob("*.wav"))
    (before,), (after,) = (rows_of(command("label", "-m", model, clip).out) for model in (plain.path, made.path))
    assert "confidence" not in before
    assert before["angry"] == after["angry"]
    assert 0 < float(after["confidence"]) < 1
    assert 0 <= float(after["typical"]) <= 1
    assert command("calibrate", made.path, corpus, "-o", tmp_path / "again").code == 0
    again = (tmp_path / "again" / bundle.CARD).read_text()
    assert again.count("## How sure it is") == 1


def test_unsure_and_other_take_the_place_of_a_class(command, notes, tmp_path):
    folder = notes / "hoch"
    free = rows_of(command("label", "-m", "wav2small-emotion", folder, "--ordered").out)
    strict = rows_of(command("label", "-m", "wav2small-emotion", folder, "--ordered", "--unsure", "1").out)
    loose = rows_of(command("label", "-m", "wav2small-emotion", folder, "--ordered", "--unsure", "0").out)
    classes = {"angry", "happy", "neutral", "sad"}
    assert {row["emotion"] for row in free} <= classes
    for before, after, never in zip(free, strict, loose, strict=True):
        other = float(before["typical"]) < 0.5
        assert after["emotion"] == ("other" if other else "unsure")
        assert never["emotion"] == ("other" if other else before["emotion"])
        assert {**before, "emotion": ""} == {**after, "emotion": ""}


def test_unsure_begins_below_the_confidence_asked_for(command, notes, tmp_path):
    shutil.copytree(bundle.find("wav2small-emotion"), tmp_path / "plain")
    plain = bundle.read(tmp_path / "plain")
    del plain.manifest.calibration["speech"]  # so that no sound is other
    bundle.write(plain.path, plain.manifest, (plain.path / bundle.CARD).read_text())
    arguments = ["label", "-m", plain.path, notes, "--ordered"]
    free = rows_of(command(*arguments).out)
    middle = float(np.median([float(row["confidence"]) for row in free]))  # between two of an even number
    some = rows_of(command(*arguments, "--unsure", str(middle)).out)
    for before, after in zip(free, some, strict=True):
        assert after["emotion"] == ("unsure" if float(before["confidence"]) < middle else before["emotion"])
    assert {row["emotion"] for row in some} > {"unsure"}
    assert "typical" not in free[0]


def test_a_tone_is_other_and_its_class_is_not_sure(command, tmp_path):
    time = np.arange(5 * RATE) / RATE
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 1000 * time), RATE)
    for model in ("mobile-emotion",):
        (row,) = rows_of(command("label", "-m", model, tmp_path / "tone.wav", "--no-vad").out)
        assert float(row["confidence"]) < 0.5
        assert float(row["typical"]) < 0.5
        (row,) = rows_of(command("label", "-m", model, tmp_path / "tone.wav", "--no-vad", "--unsure", "0.5").out)
        assert row["emotion"] == "other"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["-m", "wav2small", "--unsure", "0.5"], "wav2small has no classes"), (["--unsure", "2"], "2")],
)
def test_unsure_needs_a_calibrated_model_of_classes(command, notes, arguments, said):
    answer = command("label", notes, *arguments)
    assert answer.code == 2
    assert said in answer.err


def test_the_interval_of_a_mean_is_around_the_mean(clip, tmp_path):
    path = clip(tmp_path / "long.wav", 20.0)
    labels = Labeller("wav2small", vad=False).label(path)
    calibration = Labeller("wav2small").bundle.manifest.calibrated
    for name, (low, high) in calibration.intervals.items():
        assert labels[f"{name}.low"] == pytest.approx(labels[name] + low)
        assert labels[f"{name}.high"] == pytest.approx(labels[name] + high)


def test_chance_is_called_chance_and_no_label_is_doubted(command, notes, tmp_path):
    lines = ["file,label"]
    for number, path in enumerate(sorted(notes.rglob("*.wav"))):
        lines.append(f"{path.relative_to(notes.parent)},{'ab'[number // 2 % 2]}")
    table = notes.parent / "chance.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    out = command("tune", "wav2small-emotion", table, "-o", tmp_path / "mine").out
    assert "it is not shown to be better than always giving the most frequent class" in out
    assert "look wrong" not in out


def test_a_bundle_is_adapted_once_and_tuned_again_with_a_warning(command, notes, tmp_path):
    assert command("adapt", "wav2small-emotion", notes, "-o", tmp_path / "one").code == 0
    again = command("adapt", tmp_path / "one", notes, "-o", tmp_path / "two")
    assert again.code == 2
    assert "is adapted already" in again.err
    assert command("tune", tmp_path / "one", notes, "-o", tmp_path / "mine").code == 0
    assert "was tuned before" in command("tune", tmp_path / "mine", notes, "-o", tmp_path / "more").out


def test_the_files_of_a_tuned_bundle_can_be_read_by_everyone(command, notes, tmp_path):
    assert command("tune", "wav2small-emotion", notes, "-o", tmp_path / "mine").code == 0
    modes = {path.stat().st_mode for path in (tmp_path / "mine").iterdir() if path.is_file()}
    assert len(modes) == 1
