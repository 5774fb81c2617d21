"""`sertool evaluate` on a generated corpus, against figures computed here from `Labeller`."""

import csv
import json
import os
import re
import shutil
import signal
from pathlib import Path

import audmetric
import numpy as np
import pytest
import soundfile
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score

import sertool
from sertool.labelling import Labeller

COLUMNS = ["file", "corpus", "speaker", "emotion", "sex", "language", "split", "arousal", "valence"]
HIGH, LOW = ["angry", "happy"], ["sad", "neutral"]
CLASSES = ["angry", "happy", "neutral", "sad"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """48 clips of two corpora, one rated, one in classes; a corrupt and a missing file; one without a usable label."""
    root, rng = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    with open(root / "manifest.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for i in range(48):
            rated, emotion = i < 24, (HIGH + LOW)[i % 4]
            pitch, level = {"angry": (900, 0.5), "happy": (600, 0.4), "sad": (150, 0.1), "neutral": (300, 0.2)}[emotion]
            time = np.arange(int(rng.uniform(3000, 8000))) / 16_000
            samples = level * (np.sin(2 * np.pi * pitch * time) + 0.3 * rng.standard_normal(len(time)))
            soundfile.write(root / f"{i}.wav", samples, 16_000)
            truth = [f"{value:.3f}" for value in rng.uniform(0, 1, 2)] if rated else ["", ""]
            labels = ["rated" if rated else "classes", i % 2, "" if rated else emotion, "fm"[i % 2], "de"]
            table.writerow([f"{i}.wav", *labels, "val", *truth])
        table.writerow(["corrupt.wav", "rated", 0, "", "f", "de", "val", 0.5, 0.5])
        table.writerow(["missing.wav", "classes", 0, "sad", "f", "de", "val", "", ""])
        table.writerow(["extra.wav", "classes", 1, "bored", "m", "", "other", "", ""])
    (root / "corrupt.wav").write_text("text")
    soundfile.write(root / "extra.wav", 0.1 * rng.standard_normal(4000), 16_000)
    return root


@pytest.fixture(scope="module")
def small():
    return Labeller("wav2small")


@pytest.fixture(scope="module")
def labelled(corpus, small):
    """The manifest's rows of readable files with the outputs that `Labeller` gives."""
    with open(corpus / "manifest.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"] not in ("corrupt.wav", "missing.wav")]
    return [(row, small.label(corpus / row["file"])) for row in rows]


@pytest.fixture(scope="module")
def probable(corpus, emotion_bundle):
    """(true class, probabilities) of the recordings that have one."""
    levels = Labeller(str(emotion_bundle))
    with open(corpus / "manifest.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["emotion"] in CLASSES and row["file"] != "missing.wav"]
    answers = [levels.label(corpus / row["file"]) for row in rows]
    return [row["emotion"] for row in rows], np.array([[found[name] for name in CLASSES] for found in answers])


def pairs(labelled, dimension, keep=lambda row: True):
    chosen = [(float(row[dimension]), out[dimension]) for row, out in labelled if row[dimension] and keep(row)]
    return np.array(chosen).T


def figures(model, group=None):
    found = model["report"]["groups"][group[0]][group[1]] if group else model["report"]["overall"]
    return {name: figure["value"] for name, figure in found["measures"].items()}


def test_json_has_the_figures_of_the_labellers_outputs(corpus, labelled, tmp_path, command):
    code, out, err = command(
        "evaluate", "wav2small", corpus, "--json", tmp_path / "a.json", "--bootstrap", "100", "-j", "2"
    )
    found = json.loads((tmp_path / "a.json").read_text())
    (model,) = found["models"]
    assert code == 1
    assert sorted(re.findall(r"(\w+\.wav): (.+)", err)) == [
        ("corrupt.wav", "cannot be read as audio (format not recognised)"),
        ("missing.wav", "no such file or directory"),
    ]
    assert found["schema"] == "sertool.evaluation/1"
    assert found["corpus"]["rows"] == 51
    assert found["corpus"]["labelled"] == 49
    assert sorted(Path(f["file"]).name for f in found["corpus"]["failed"]) == ["corrupt.wav", "missing.wav"]
    assert model["report"]["unusable"] == 1
    expected = {}
    for name in ("arousal", "valence"):
        truth, output = pairs(labelled, name)
        expected[f"{name} CCC"] = audmetric.concordance_cc(truth, output)
        expected[f"{name} Pearson"] = audmetric.pearson_cc(truth, output)
        expected[f"{name} MAE"] = audmetric.mean_absolute_error(truth, output)
    for name, high, low in (("arousal", HIGH, LOW), ("valence", ["happy"], ["angry", "sad"])):
        classes = [(row["emotion"] in high, out[name]) for row, out in labelled if row["emotion"] in high + low]
        expected[f"{name} AUC"] = roc_auc_score(*zip(*classes, strict=True))
    assert figures(model) == pytest.approx(expected, abs=1e-5)
    truth, output = pairs(labelled, "valence", lambda row: row["speaker"] == "1")
    ccc = figures(model, ("speaker", "rated/1"))["valence CCC"]
    assert ccc == pytest.approx(audmetric.concordance_cc(truth, output), abs=1e-5)
    groups = model["report"]["groups"]
    assert list(groups["speaker"]) == ["classes/0", "classes/1", "rated/0", "rated/1"]
    assert groups["language"]["de"]["clips"] == 48
    assert figures(model, ("corpus", "classes")).keys() == {"arousal AUC", "valence AUC"}
    for figure in model["report"]["overall"]["measures"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert "49 of 51 recordings, 2 failed, 1 without a usable label" in out


def test_the_tables_show_the_same(corpus, tmp_path, command):
    out = command("evaluate", "wav2small", corpus, "--split", "val", "--json", tmp_path / "a.json").out
    overall = json.loads((tmp_path / "a.json").read_text())["models"][0]["report"]["overall"]["measures"]
    for name, figure in overall.items():
        shown = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
        assert re.search(rf"^{name} +{figure['n']} +{re.escape(shown)} *$", out, re.MULTILINE)
    heads = re.findall(r"\n\n(\w+)", out)
    assert heads == ["measure", "corpus", "sex", "speaker"]  # one language is no table
    assert "0 without a usable label" in out


def test_a_model_of_classes_has_the_libraries_figures(corpus, emotion_bundle, probable, tmp_path, command):
    how = ["--json", tmp_path / "a.json", "--predictions", tmp_path / "p.csv", "--bootstrap", "100"]
    code, out, _ = command("evaluate", emotion_bundle, corpus, *how)
    (model,) = json.loads((tmp_path / "a.json").read_text())["models"]
    truth, probabilities = probable
    predicted = [CLASSES[place] for place in probabilities.argmax(axis=1)]
    matrix = confusion_matrix(truth, predicted, labels=CLASSES)
    assert code == 1  # two files cannot be read
    assert 24 > np.trace(matrix) > 6
    assert len(truth) == 24
    overall = model["report"]["overall"]
    assert overall["confusion"] == matrix.tolist()
    expected = {
        "WA": accuracy_score(truth, predicted),
        "UA": recall_score(truth, predicted, average="macro"),
        "macro-F1": f1_score(truth, predicted, average="macro"),
    }
    expected |= {f"F1 {n}": v for n, v in zip(CLASSES, f1_score(truth, predicted, average=None), strict=True)}
    expected |= {f"recall {n}": v for n, v in zip(CLASSES, recall_score(truth, predicted, average=None), strict=True)}
    assert {name: value for name, value in figures(model).items() if name != "ECE"} == pytest.approx(expected)
    assert model["report"]["unusable"] == 25
    assert model["outputs"] == CLASSES
    assert "49 of 51 recordings, 2 failed, 25 without a usable label" in out
    for name, figure in overall["measures"].items():
        shown = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
        assert re.search(rf"^{name} +{figure['n']} +{re.escape(shown)} *$", out, re.MULTILINE)
    row = " +".join(f"{clips} \\({clips / 6:.2f}\\)" for clips in matrix[1])
    assert re.search(rf"^happy +6 +{row} *$", out, re.MULTILINE)
    assert re.search(r"^levels: true +clips +as angry +as happy +as neutral +as sad *$", out, re.MULTILINE)
    assert re.search(r"^sex +clips +WA +UA +macro-F1 *$", out, re.MULTILINE)
    with open(tmp_path / "p.csv", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    for i, (label, says, p) in enumerate(zip(truth, predicted, probabilities, strict=True), start=24):
        assert (rows[f"{i}.wav"]["emotion"], rows[f"{i}.wav"]["predicted"]) == (label, says)
        assert [float(rows[f"{i}.wav"][name]) for name in CLASSES] == pytest.approx(p, abs=6e-7)
    assert rows["corrupt.wav"]["predicted"] == ""


@pytest.mark.slow("starts processes")
def test_models_of_classes_are_drawn_side_by_side(corpus, emotion_bundle, tmp_path, clip, command):
    long, other = clip(tmp_path / "long.wav", 20.0), shutil.copytree(emotion_bundle, tmp_path / "other")
    how = ["--against", other, "--plots", tmp_path, "--course", long, "--bootstrap", "20", "--split", "val"]
    code, out, err = command("evaluate", emotion_bundle, corpus, *how, "--json", tmp_path / "a.json")
    assert code == 1
    for name in ("confusion.png", "reliability.png", "bars.png", "course.png"):
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert f"drew {tmp_path / name}" in err
    assert not (tmp_path / "scatter.png").exists()
    found = json.loads((tmp_path / "a.json").read_text())
    course = found["course"]["models"][str(other)]
    assert np.sum([course[name] for name in CLASSES], axis=0) == pytest.approx(1)
    one, beside = (model["report"] for model in found["models"])
    assert one == beside
    assert out.count(": true") == 2


def test_models_of_two_tasks_are_not_compared(corpus, emotion_bundle, command):
    code, out, err = command("evaluate", "wav2small", corpus, "--against", emotion_bundle)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"wav2small is dimensional, {emotion_bundle} is categorical" in err


def test_robustness_of_a_model_of_classes_is_the_class(corpus, emotion_bundle, tmp_path, command, monkeypatch):
    from sertool import robustness

    gains = [
        robustness.Check(name, "test", 0.95, lambda samples, rng, gain=gain: gain * samples)
        for name, gain in (("inverted", -1), ("nearly off", 0.001))
    ]
    monkeypatch.setattr(robustness, "checks", lambda *_: gains)
    how = ["--corpora", "classes", "--split", "val", "--robustness", "--clips", "6", "--json", tmp_path / "a.json"]
    out = command("evaluate", emotion_bundle, corpus, *how).out
    (found,) = json.loads((tmp_path / "a.json").read_text())["robustness"].values()
    inverted, off = found["checks"]
    assert inverted["share"] == {"emotion": 1}
    assert off["passed"] == {"emotion": False}
    assert off["shift"]["sad"] > 0.2  # what is quiet is sad
    assert list(found["passed"]) == ["emotion", "all"]
    assert found["passed"]["all"] == found["passed"]["emotion"]
    assert re.search(r"^test: inverted +0\.95 +1\.00 +yes +1\.00 +0\.\d\d *$", out, re.MULTILINE)
    assert "unchanged: the same class is the most probable; 6 clips" in out


def test_json_on_standard_output_stands_alone(corpus, command):
    code, out, _ = command("evaluate", "wav2small", corpus, "--split", "other", "--json", "-", "--bootstrap", "0")
    found = json.loads(out)
    assert code == 0
    assert found["corpus"]["splits"] == ["other"]
    assert found["models"][0]["report"]["overall"] == {"clips": 1, "measures": {}}
    assert "no results" in command("evaluate", "wav2small", corpus, "--split", "other").out


def test_against_stands_beside(corpus, bundle_copy, tmp_path, command):
    how = ["--corpora", "rated", "--against", bundle_copy, "--bootstrap", "50", "--seed", "3"]
    code, out, err = command(
        "evaluate", "wav2small", corpus, *how, "--json", tmp_path / "a.json", "--resample", "speakers"
    )
    one, other = json.loads((tmp_path / "a.json").read_text())["models"]
    assert code == 1
    assert err.count("corrupt.wav") == 1
    assert (one["name"], other["name"]) == ("wav2small", str(bundle_copy))
    assert one["report"] == other["report"]  # the same model on the same resamples
    assert re.search(rf"^measure +clips +wav2small +{re.escape(str(bundle_copy))} *$", out, re.MULTILINE)
    assert re.search(r"^speaker +clips +model +arousal CCC", out, re.MULTILINE)


def test_predictions_hold_what_label_says(corpus, labelled, tmp_path, command):
    command("evaluate", "wav2small", corpus, "--predictions", tmp_path / "p.csv", "--bootstrap", "0")
    with open(tmp_path / "p.csv", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 51
    assert rows["corrupt.wav"]["error"].startswith("cannot be read as audio")
    assert rows["corrupt.wav"]["arousal"] == ""
    for row, output in labelled:
        found = rows[row["file"]]
        assert [found[n] for n in ("speaker", "emotion", "sex")] == [row[n] for n in ("speaker", "emotion", "sex")]
        assert float(found["dominance"]) == pytest.approx(output["dominance"], abs=6e-7)
        assert found["true_valence"] == (str(float(row["valence"])) if row["valence"] else "")


def test_plots_are_drawn(corpus, tmp_path, clip, bundle_copy, command):
    long = clip(tmp_path / "long.wav", 20.0)
    how = ["--plots", tmp_path / "new" / "plots", "--against", bundle_copy, "--course", long, "--bootstrap", "20"]
    code, _, err = command("evaluate", "wav2small", corpus, *how, "--json", tmp_path / "a.json", "--corpora", "rated")
    assert code == 1
    for name in ("scatter.png", "bars.png", "course.png"):
        assert (tmp_path / "new" / "plots" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert f"drew {tmp_path / 'new' / 'plots' / name}" in err
    course = json.loads((tmp_path / "a.json").read_text())["course"]
    assert course["file"] == str(long)
    assert list(course["models"]) == ["wav2small", str(bundle_copy)]
    assert course["models"]["wav2small"]["start"][:3] == [0, 2, 4]


def test_robustness_is_printed_beside_constant_and_random(corpus, tmp_path, command, monkeypatch, small):
    from sertool import robustness

    given = {}

    def only_two(clips, noise=None, rooms=None):
        given.update(clips=clips, noise=noise, rooms=rooms)
        half = robustness.Check("half", "test", 0.95, lambda samples, rng: samples[: len(samples) // 2])
        return [robustness.Check("same", "test", 0.95, lambda samples, rng: samples), half]

    monkeypatch.setattr(robustness, "checks", only_two)
    how = ["--robustness", "--clips", "8", "--noise", tmp_path, "--rooms", corpus, "--json", tmp_path / "a.json"]
    out = command("evaluate", "wav2small", corpus, "--corpora", "classes", "--split", "val", *how).out
    found = json.loads((tmp_path / "a.json").read_text())["robustness"]["wav2small"]
    same, half = found["checks"]
    assert (given["noise"], given["rooms"]) == (tmp_path, corpus)
    clips = [soundfile.read(corpus / f"{i}.wav", dtype="float32")[0] for i in range(24, 48, 3)]  # evenly
    assert len(given["clips"]) == same["clips"] == 8
    assert all(np.array_equal(one, other) for one, other in zip(given["clips"], clips, strict=True))
    assert same["share"] == {"arousal": 1, "dominance": 1, "valence": 1}
    moved = [
        abs(small.label(clip[: len(clip) // 2], 16_000)["valence"] - small.label(clip, 16_000)["valence"])
        for clip in clips
    ]
    assert half["share"]["valence"] == np.mean(np.array(moved) < 0.05)
    assert found["passed"]["arousal"]["constant"] == 1
    assert re.search(r"^test: same +0\.95 +1\.00 +1\.00 +1\.00 +yes +1\.00 +0\.\d\d *$", out, re.MULTILINE)
    assert re.search(rf"^test: half .* {half['random']:.2f} *$", out, re.MULTILINE)
    assert "share of the checks passed" in out
    everything = np.mean([check["passed"][name] for check in (same, half) for name in same["share"]])
    assert found["passed"]["all"]["model"] == pytest.approx(everything)
    assert f"{everything:.0%} of all checks passed (constant 100%" in out
    assert "unchanged: moved by less than 0.05; 8 clips" in out


def test_robustness_and_fairness_are_told_of_every_model(corpus, bundle_copy, tmp_path, command, monkeypatch):
    from sertool import robustness

    monkeypatch.setattr(
        robustness, "checks", lambda *_: [robustness.Check("same", "test", 0.95, lambda samples, rng: samples)]
    )
    how = ["--robustness", "--fairness", "--clips", "2", "--json", tmp_path / "a.json", "--against", bundle_copy]
    out = command("evaluate", "wav2small", corpus, "--split", "val", *how).out
    found = json.loads((tmp_path / "a.json").read_text())
    names = ["wav2small", str(bundle_copy)]
    assert list(found["robustness"]) == list(found["fairness"]) == names
    assert all(f"robustness of {name}: share unchanged" in out for name in names)


def test_whole_recordings_are_heard_in_one_piece(tmp_path, command, tone):
    """Neither the detector nor windows: what is above a window, and what nobody says, counts as papers count it."""
    samples = tone(12.0)[:, 0].astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 16_000, subtype="FLOAT")
    (tmp_path / "manifest.csv").write_text("file,corpus,speaker,emotion\nlong.wav,c,s,sad\n")
    expected = sertool.load("wav2small").runtime.run(samples)
    code, _, err = command("evaluate", "wav2small", tmp_path, "--whole", "--predictions", tmp_path / "p.csv")
    assert code == 0, err
    with open(tmp_path / "p.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert [float(row[name]) for name in ("arousal", "dominance", "valence")] == pytest.approx(expected, abs=1e-5)
    assert command("evaluate", "wav2small", tmp_path).code == 1  # two tones are no speech


def test_a_course_needs_no_corpus(tmp_path, command, tone, bundle_copy):
    soundfile.write(tmp_path / "film.wav", tone(20.0), 16_000)
    how = ["--against", bundle_copy, "--course", tmp_path / "film.wav", "--plots", tmp_path / "p"]
    code, out, err = command("evaluate", "wav2small", *how)
    assert (code, out) == (0, "")
    assert err == f"drew {tmp_path / 'p' / 'course.png'}\n"
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["course.png"]
    for more, said in ([], "name a CORPUS"), ([*how, "--robustness"], "without a CORPUS only --course is possible"):
        code, _, err = command("evaluate", "wav2small", *more)
        assert (code, err.count("\n")) == (2, 1)
        assert said in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--course", "{corpus}/0.wav"], "--course needs a folder for its plot: --plots DIR"),
        (["--noise", "{corpus}"], "--noise and --rooms need --robustness"),
        (["--split", "nosuch"], "no split 'nosuch' (there are: other, val)"),
        (["--layout", "nosuch"], "corpora: there is no 'nosuch'"),
        (["--json", "{corpus}/no/a.json"], "there is no folder"),
        (["--plots", "{corpus}/0.wav/x"], "--plots {corpus}/0.wav/x: not a directory"),
        (["--against", "nosuch"], "nosuch"),
        (["--plots", "{corpus}/p", "--course", "{corpus}/corrupt.wav"], "corrupt.wav: cannot be read as audio"),
    ],
)
def test_what_is_wrong_is_one_line(corpus, command, options, message):
    code, out, err = command("evaluate", "wav2small", corpus, *(option.format(corpus=corpus) for option in options))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message.format(corpus=corpus) in err


def test_a_folder_without_a_manifest_asks_for_the_layout(tmp_path, command):
    code, _, err = command("evaluate", "wav2small", tmp_path)
    assert code == 2
    assert re.search(r"no manifest\.csv in it; give the layout: --layout NAME \(.*manifest.*\)", err)


def test_speakers_are_asked_for_before_the_work(tmp_path, clip, command):
    clip(tmp_path / "a.wav")
    (tmp_path / "manifest.csv").write_text("file,speaker\na.wav,\n")
    code, out, err = command("evaluate", "wav2small", tmp_path, "--resample", "speakers")
    assert (code, out) == (2, "")
    assert "a.wav: has no speaker" in err


def test_nothing_that_can_be_read_is_no_crash(tmp_path, command, monkeypatch):
    monkeypatch.setattr("sertool.robustness.checks", lambda *_: [])
    (tmp_path / "a.wav").write_text("text")
    (tmp_path / "manifest.csv").write_text("file,speaker,emotion\na.wav,s,sad\n")
    code, out, err = command("evaluate", "wav2small", tmp_path, "--plots", tmp_path / "p", "--robustness")
    assert code == 1
    assert "0 of 1 recordings, 1 failed" in out
    assert "a.wav: cannot be read as audio" in err
    assert not list((tmp_path / "p").iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_an_interrupt_ends_with_130_and_writes_nothing(corpus, tmp_path, command, monkeypatch):
    calls, rows = [], Labeller.rows

    def interrupted(self, blocks, spread):
        calls.append(blocks)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return rows(self, blocks)

    monkeypatch.setattr(Labeller, "rows", interrupted)
    before = signal.getsignal(signal.SIGINT)
    code, out, err = command("evaluate", "wav2small", corpus, "-j", "1", "--predictions", tmp_path / "p.csv")
    assert (code, out, err) == (130, "", "interrupted: nothing was written\n")
    assert len(calls) < 49
    assert not (tmp_path / "p.csv").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_crops_are_measured_as_recordings_of_their_middle_would_be(corpus, tmp_path, command):
    """A second corpus, cut here: figures of the crop are those of its recordings."""
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(corpus / "manifest.csv", cut)
    for file in corpus.glob("*.wav"):
        if file.name == "corrupt.wav":
            shutil.copy(file, cut)
            continue
        samples, rate = soundfile.read(file, dtype="float32")
        start = max(0, (len(samples) - 4000) // 2)
        soundfile.write(cut / file.name, samples[start : start + 4000], rate, "FLOAT")
    found = {}
    for root, more in ((corpus, ["--crop", "0.25,10"]), (cut, [])):
        command("evaluate", "wav2small", root, "--json", tmp_path / "a.json", "--bootstrap", "0", *more)
        found[root] = {m["name"]: figures(m) for m in json.loads((tmp_path / "a.json").read_text())["models"]}
    assert list(found[corpus]) == ["wav2small", "wav2small 0.25 s", "wav2small 10 s"]
    assert found[corpus]["wav2small 0.25 s"] == pytest.approx(found[cut]["wav2small"], abs=1e-5)
    assert found[corpus]["wav2small 10 s"] == found[corpus]["wav2small"]
    assert found[corpus]["wav2small 0.25 s"] != found[corpus]["wav2small"]


@pytest.mark.parametrize("crops", ["x", "0", "1,1", "-1", "nan", "1,9999"])
def test_crops_that_are_none_are_refused(corpus, command, crops):
    code, out, err = command("evaluate", "wav2small", corpus, f"--crop={crops}")
    assert (code, out) == (2, "")
    assert f"--crop {crops}: write different lengths in seconds" in err


@pytest.mark.parametrize("option", ["--json", "--predictions"])
@pytest.mark.parametrize("name", ["manifest.csv", "0.wav"])
def test_a_file_of_the_corpus_is_not_written_over(corpus, command, option, name):
    before = (corpus / name).read_bytes()
    code, _, err = command("evaluate", "wav2small", corpus, option, corpus / name)
    assert code == 2
    assert f"{corpus / name} is a file of the input folder {corpus}: choose another name" in err
    assert (corpus / name).read_bytes() == before
