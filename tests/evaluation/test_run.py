"""From a corpus and models to what is written."""

import copy
import csv
import io
import json
import pickle
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sertool import audio, bundle
from sertool.corpora import Row
from sertool.errors import BundleError, SertoolError, UsageError
from sertool.evaluation import run
from sertool.evaluation.run import Cropped, Whole
from sertool.labelling import Labeller
from sertool.recordings.pool import Meter


@pytest.fixture
def folder(tmp_path):
    rows = ["file,speaker,corpus,split", "1.wav,s,a,train", "2.wav,s,a,val", "3.wav,t,b,val", "4.wav,t,b,"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    return tmp_path


def test_read_takes_the_named_splits_and_corpora(folder):
    def files(*chosen):
        layout, rows = run.read(folder, None, *chosen)
        assert layout == "manifest"
        return [row.file.name for row in rows]

    assert files() == ["1.wav", "2.wav", "3.wav", "4.wav"]
    assert files(["val"]) == ["2.wav", "3.wav"]
    assert files(["val", "train"], ["a"]) == ["1.wav", "2.wav"]


def test_read_says_what_there_is_instead(folder, tmp_path):
    with pytest.raises(UsageError, match=r"no split 'test' \(there are: train, val\)"):
        run.read(folder, None, ["test"])
    with pytest.raises(UsageError, match=r"no corpus 'c' \(there are: a, b\)"):
        run.read(folder, None, [], ["a", "c"])
    with pytest.raises(UsageError, match="no recording is in both the given splits"):
        run.read(folder, None, ["train"], ["b"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no manifest.csv in it; .*--layout NAME \(.*manifest"):
        run.read(tmp_path / "empty", None)
    with pytest.raises(UsageError, match="corpora: there is no 'x'"):
        run.read(folder, "x")


def test_models_are_told_apart(bundle_copy):
    assert list(run.labellers(["wav2small"])) == ["wav2small"]
    assert list(run.labellers([str(bundle_copy)])) == ["wav2small"]  # its own name
    assert list(run.labellers(["wav2small", str(bundle_copy)])) == ["wav2small", str(bundle_copy)]
    with pytest.raises(UsageError, match="wav2small is given twice"):
        run.labellers(["wav2small", "wav2small"])
    with pytest.raises(BundleError):
        run.labellers(["nosuch"])


@pytest.fixture
def of_task(bundle_copy, monkeypatch):
    """of_task(task): a folder of a model whose manifest says so."""

    def make(task):
        folder = bundle_copy.parent / task
        shutil.copytree(bundle_copy, folder)
        text = (folder / bundle.MANIFEST).read_text(encoding="utf-8")
        (folder / bundle.MANIFEST).write_text(text.replace('"task": "dimensional"', f'"task": "{task}"'))
        return str(folder)

    return make


def test_models_of_one_task_are_evaluated_together(of_task):
    models = [of_task("categorical"), "wav2small"]
    assert run.task(run.labellers(models[:1])) == "categorical"
    assert run.task(run.labellers(models[1:])) == "dimensional"
    with pytest.raises(
        UsageError, match="/categorical is categorical, wav2small is dimensional: they cannot be compared"
    ):
        run.labellers(models)


def test_outputs_are_the_labellers_keyed_by_file(tmp_path, clip, labeller):
    files = [clip(tmp_path / f"{i}.wav", 0.1 * (5 - i), seed=i) for i in range(5)]
    (tmp_path / "broken.wav").write_text("text")
    rows = [Row(file, "c", "s") for file in [*files, tmp_path / "broken.wav", files[0]]]
    answers = list(run.outputs(labeller, rows, 2, threading.Event(), Meter()))
    found = {key: answer for part in answers for key, answer in part.items()}
    assert len(answers) == len(found) == 6
    assert "cannot be read as audio" in found.pop((tmp_path / "broken.wav", None, None))
    for file in files:
        expected = labeller.label(file)
        assert found[file, None, None] == pytest.approx([expected[name] for name in labeller.outputs], abs=6e-7)


def test_course_is_windows_a_quarter_apart_with_gaps_of_silence(tmp_path, tone):
    import soundfile

    silence = np.zeros(16_000 * 3)
    samples = np.concatenate([tone(4)[:, 0], silence, tone(2, seed=1)[:, 0]])
    soundfile.write(tmp_path / "long.wav", samples, 16_000)
    found = run.course("wav2small", tmp_path / "long.wav", 1.0)
    assert (found["window"], found["hop"]) == (1.0, 0.25)
    assert found["start"][:4] == [0, 0.25, 0.5, 0.75]
    assert found["end"][-1] == 9
    assert [start for start, value in zip(found["start"], found["valence"], strict=True) if value is None] == [
        4 + 0.25 * i for i in range(9)
    ]
    whole = Labeller("wav2small").label(audio.read(tmp_path / "long.wav")[8000:24000], 16_000)
    assert found["arousal"][2] == pytest.approx(whole["arousal"], abs=1e-6)
    assert run.course("wav2small", tmp_path / "long.wav")["window"] == 8
    (tmp_path / "t.wav").write_text("text")
    with pytest.raises(SertoolError, match=r"t\.wav: cannot be read as audio"):
        run.course("wav2small", tmp_path / "t.wav")


def test_spread_is_even():
    assert run.spread(list(range(10)), 3) == [0, 3, 6]
    assert run.spread([1, 2], 5) == [1, 2]
    assert run.spread([], 5) == []


def test_document_is_json_without_nan_and_its_sum_follows_the_data(labeller, tmp_path):
    rows = [Row(tmp_path / "a.wav", "c", "s", arousal=0.5), Row(tmp_path / "b.wav", "c", "s")]

    def document(rows):
        return run.document(
            {"path": str(tmp_path)},
            rows,
            {"m": (labeller, {"x": float("nan"), "y": [np.inf, (1.0, None)]})},
            {"seed": 1},
        )

    found = json.loads(json.dumps(document(rows), allow_nan=False))
    (model,) = found["models"]
    assert found["schema"] == "sertool.evaluation/1"
    assert found["settings"] == {"seed": 1, "interval": 0.95, "smallest_group": 10}
    assert model["report"] == {"x": None, "y": [None, [1.0, None]]}
    assert model["sha256"] == labeller.runtime.variant.sha256
    assert model["id"] == labeller.bundle.id
    digest = found["corpus"]["rows_sha256"]
    assert document(rows[::-1])["corpus"]["rows_sha256"] == digest
    assert document([Row(tmp_path / "a.wav", "c", "s", arousal=0.6), rows[1]])["corpus"]["rows_sha256"] != digest


def test_predictions_have_a_row_a_file_and_model(tmp_path):
    rows = [Row(tmp_path / "x" / "a.wav", "c", "s", "sad", arousal=0.25), Row(Path("/elsewhere/b.wav"), "c", "t")]
    found = {
        "one": {rows[0].key: [0.1, 0.2], rows[1].key: "broken, really"},
        "two": {rows[1].key: [0.3], rows[0].key: [0.4]},
    }
    names = {"one": ["arousal", "valence"], "two": ["valence"]}
    stream = io.StringIO()
    run.write_predictions(stream, tmp_path, rows, found, names)
    table = list(csv.DictReader(io.StringIO(stream.getvalue())))
    shown = [[r[c] for c in ("model", "file", "true_arousal", "arousal", "valence", "error")] for r in table]
    assert shown == [
        ["one", "x/a.wav", "0.25", "0.1", "0.2", ""],
        ["one", "/elsewhere/b.wav", "", "", "", "broken, really"],
        ["two", "x/a.wav", "0.25", "", "0.4", ""],
        ["two", "/elsewhere/b.wav", "", "", "0.3", ""],
    ]
    assert table[0]["emotion"] == "sad"


def test_predictions_of_classes_name_the_most_probable_beside_the_label(tmp_path):
    rows = [Row(tmp_path / "a.wav", "c", "s", "Anger"), Row(tmp_path / "b.wav", "c", "s")]
    found = {"one": {rows[0].key: [0.2, 0.8], rows[1].key: "broken"}, "two": {row.key: [0.6] for row in rows}}
    stream = io.StringIO()
    run.write_predictions(stream, tmp_path, rows, found, {"one": ["angry", "sad"], "two": ["happy"]}, True)
    table = list(csv.DictReader(io.StringIO(stream.getvalue())))
    shown = [[r[c] for c in ("model", "file", "emotion", "predicted", "angry", "sad", "happy", "error")] for r in table]
    assert shown == [
        ["one", "a.wav", "Anger", "sad", "0.2", "0.8", "", ""],
        ["one", "b.wav", "", "", "", "", "", "broken"],
        ["two", "a.wav", "Anger", "happy", "", "", "0.6", ""],
        ["two", "b.wav", "", "happy", "", "", "0.6", ""],
    ]


def test_pictures_of_classes_are_drawn_where_there_is_something_to_see(tmp_path, monkeypatch):
    drawn = {}
    for name in ("confusion", "reliability", "bars", "probabilities"):
        monkeypatch.setattr(run.plots, name, lambda path, *what, name=name: drawn.update({name: (path.name, *what)}))
    manifest = SimpleNamespace(task="categorical")
    models = {
        name: SimpleNamespace(outputs=classes, bundle=SimpleNamespace(manifest=manifest))
        for name, classes in (("one", ["angry", "sad"]), ("two", ["sad", "neutral", "angry"]))
    }
    rows = [Row("a", "c", "s", "angry"), Row("b", "c", "s", "sad"), Row("c", "c", "s", "bored")]
    outputs = {"one": [[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]], "two": [[0.1, 0.1, 0.8], [0.7, 0.2, 0.1], [0, 1, 0]]}

    def draw(rows, course=None):
        drawn.clear()
        some = {name: values[: len(rows)] for name, values in outputs.items()}
        reports = {
            name: run.REPORTS["categorical"].report(rows, some[name], model.outputs, bootstrap=0)
            for name, model in models.items()
        }
        return run.draw(tmp_path, rows, some, models, reports, course, "title")

    course = {"file": "talk.wav", "models": {name: {} for name in models}}
    assert draw(rows, course) == ["confusion.png", "reliability.png", "bars.png", "course.png"]
    _, matrices, title = drawn["confusion"]
    assert title.startswith("title")
    assert matrices["one"] == (["angry", "sad"], [[1, 0], [1, 0]])
    assert matrices["two"] == (["sad", "neutral", "angry"], [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
    assert drawn["reliability"][1]["two"]["clips"].sum() == 2
    assert drawn["probabilities"][2] == ["angry", "sad", "neutral"]
    assert draw([]) == draw([Row("a", "c", "s", "bored")]) == []


@pytest.mark.parametrize("wrap", [Whole, lambda labeller: Cropped(labeller, 1.0)])
def test_whole_and_cropped_label_as_their_rows_say_and_go_to_other_processes(wrap):
    samples = np.tile(audio.read(bundle.bundled_folder() / "wav2small" / "samples" / "plain.wav"), 4)
    labeller = wrap(Labeller("wav2small", regardless=True))
    rows, seconds = labeller.rows([samples])
    assert len(rows) == 1
    assert labeller.label(samples, audio.SAMPLE_RATE) == labeller.average(rows, seconds)
    for copied in (pickle.loads(pickle.dumps(labeller)), copy.copy(labeller)):
        assert copied.label(samples, audio.SAMPLE_RATE) == labeller.label(samples, audio.SAMPLE_RATE)
