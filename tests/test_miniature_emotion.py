"""A miniature of the whole of arXiv 2512.23435: `pytest tests/test_miniature_emotion.py`.

Generated IEMOCAP and CREMA-D folders in their original layout and a tiny random HuBERT checkpoint; five sessions left
out in turn, one fold killed and taken up again; the production model in 8 bits; a voice note labelled.
"""

import csv
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from sertool import audio, bundle

pytestmark = pytest.mark.slow("trains, distils and exports")

CLASSES = ("angry", "happy", "neutral", "sad")

#: Code of IEMOCAP's labels -> (pitch in Hz, level).
VOICES = {
    "ang": (900, 0.5),
    "exc": (600, 0.4),
    "hap": (600, 0.4),
    "neu": (300, 0.2),
    "sad": (150, 0.1),
    "fru": (800, 0.4),
}

# One product of a layer is large enough to go to 8 bits.
TINY = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 520,
    "conv_dim": [8, 8, 8, 8, 8, 8, 12],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}

#: sertool in a process that is killed while it writes a checkpoint of the second fold.
KILLED = """
import os, signal, sys, torch

from sertool import cli

whole, written = torch.save, []

def save(state, path):
    written.append("fold-2" in str(path))
    if sum(written) == 2:
        path.write_bytes(b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
    whole(state, path)

torch.save = save
cli.main(sys.argv[1:])
"""


def voice(path, emotion, speaker, rng):
    pitch, level = VOICES[emotion]
    time = np.arange(int(rng.uniform(5_000, 12_000))) / 16_000
    samples = np.sin(2 * np.pi * (pitch + 11 * speaker) * time) * (1 + 0.3 * np.sin(2 * np.pi * 4 * time)) / 1.3
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, level * samples + 0.01 * rng.standard_normal(len(time)), 16_000)


def iemocap(root, rng):
    """Five sessions of a woman and a man; each says all of VOICES once."""
    for session in range(1, 6):
        folder, dialogue = root / f"Session{session}", f"Ses0{session}F_impro01"
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"]
        for number, emotion in enumerate(VOICES):
            for speaker, sex in enumerate("FM"):
                name = f"{dialogue}_{sex}{number:03}"
                voice(folder / f"sentences/wav/{dialogue}/{name}.wav", emotion, 2 * session + speaker, rng)
                lines += [f"[{number}.0000 - {number}.5000]\t{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]", ""]
        (folder / "dialog/EmoEvaluation").mkdir(parents=True)
        (folder / f"dialog/EmoEvaluation/{dialogue}.txt").write_text("\n".join(lines))


def crema_d(root, rng):
    """Two actors, each of them five emotions, one of which is none of the four."""
    root.mkdir()
    (root / "VideoDemographics.csv").write_text("ActorID,Age,Sex\n1001,51,Male\n1002,21,Female\n")
    for actor in (1001, 1002):
        for code, emotion in {"ANG": "ang", "HAP": "hap", "NEU": "neu", "SAD": "sad", "FEA": "fru"}.items():
            voice(root / f"AudioWAV/{actor}_IEO_{code}_XX.wav", emotion, actor % 10, rng)


def checkpoint(folder):
    """A random network in the layout of ntu-spml/distilhubert."""
    import transformers

    torch.manual_seed(0)
    about = {"num_hidden_layers": 2, "feat_proj_layer_norm": False, **TINY}
    transformers.HubertModel(transformers.HubertConfig(**about)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "sampling_rate": 16_000}))


@pytest.fixture(scope="module")
def paper(tmp_path_factory, torchvision):
    """(folder, arguments that make the shipped recipe small and give it its data)."""
    root, rng = tmp_path_factory.mktemp("emotion"), np.random.default_rng(0)
    iemocap(root / "IEMOCAP_full_release", rng)
    crema_d(root / "CREMA-D", rng)
    checkpoint(root / "distilhubert")
    config = ", ".join(f"{key} = {json.dumps(value)}" for key, value in TINY.items())
    train = {"epochs": 1, "batch": 8, "lr": 0.003, "save_every": 2, "threads": 1, "workers": 0}
    overrides = [
        f"data.root={root / 'IEMOCAP_full_release'}",
        f'data.also=[{{corpus = "crema-d", root = "{root / "CREMA-D"}"}}]',
        f'model.options={{weights = "{root / "distilhubert"}", config = {{{config}}}}}',
        *(f"train.{key}={value}" for key, value in train.items()),
    ]
    return root, [part for override in overrides for part in ("--set", override)]


@pytest.fixture(scope="module")
def unbroken(paper):
    """The folder of a whole cross-validation, and what it said."""
    from click.testing import CliRunner

    from sertool.cli.crossval import crossval

    root, sets = paper
    answer = CliRunner().invoke(crossval, ["distilhubert", "-o", str(root / "unbroken" / "both"), *sets])
    assert answer.exit_code == 0, answer.output
    return root / "unbroken" / "both", answer.output


def test_a_session_is_left_out_in_turn_and_every_clip_of_it_is_tested(paper, unbroken):
    run, said = unbroken
    found = json.loads((run / "results.json").read_text())
    assert list(found["folds"]) == ["1", "2", "3", "4", "5"]
    assert found["split"] == "speakers apart"
    assert str(paper[0]) not in json.dumps(found | {"recipe": {**found["recipe"], "model": {}}})
    with open(run / "predictions.csv", newline="") as stream:
        tested = list(csv.DictReader(stream))
    assert len(tested) == len({row["file"] for row in tested}) == 5 * 10  # frustration is none of the four
    assert {row["corpus"] for row in tested} == {"iemocap"}
    assert {(row["fold"], row["session"]) for row in tested} == {(n, n) for n in "12345"}
    confusion = np.zeros((4, 4), int)
    for row in tested:
        shares = [float(row[name]) for name in CLASSES]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == CLASSES[int(np.argmax(shares))]
        true = {"excited": "happy"}.get(row["emotion"], row["emotion"])
        confusion[CLASSES.index(true), CLASSES.index(row["predicted"])] += 1
    with open(run / "confusion.csv", newline="") as stream:
        head, *lines = csv.reader(stream)
    assert head == ["true", *CLASSES]
    assert [line[0] for line in lines] == list(CLASSES)
    assert [[int(cell) for cell in line[1:]] for line in lines] == confusion.tolist()
    assert (run / "confusion.png").read_bytes().startswith(b"\x89PNG")
    accuracies = [
        np.mean(
            [{"excited": "happy"}.get(r["emotion"], r["emotion"]) == r["predicted"] for r in tested if r["fold"] == n]
        )
        for n in "12345"
    ]
    wa = found["summary"]["recipes"]["both"]["measures"]["WA"]
    assert wa["values"] == pytest.approx(accuracies)
    assert wa["deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert f"| WA | {np.mean(accuracies):.3f} ± {np.std(accuracies, ddof=1):.3f} |" in said
    with open(run / "fold-3" / "rows.csv", newline="") as stream:
        parts = {(row["corpus"], row["session"], row["part"]) for row in csv.DictReader(stream)}
    assert parts == {("crema-d", "", "train")} | {
        ("iemocap", session, part)
        for session, part in {"1": "train", "2": "train", "3": "test", "4": "val", "5": "train"}.items()
    }


def test_a_fold_that_is_killed_goes_on_to_the_same_results(paper, unbroken, command):
    root, sets = paper
    run = root / "killed" / "both"
    arguments = ["crossval", "distilhubert", "-o", str(run), *sets]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (run / "fold-1" / "report.json").exists()
    assert (run / "fold-2" / "last.pt").exists()
    assert not (run / "fold-2" / "report.json").exists()
    assert not (run / "results.json").exists()
    first = (run / "fold-1" / "best.pt").stat().st_mtime_ns
    answer = command(*arguments)
    assert answer.code == 0, answer.err
    assert "fold 1 (1 of 5), 10 clips: " in answer.out
    assert [line.endswith(", from an earlier run") for line in answer.out.splitlines() if line.startswith("fold ")] == [
        True,
        *[False] * 4,
    ]
    assert (run / "fold-1" / "best.pt").stat().st_mtime_ns == first
    for name in ("results.json", "predictions.csv", "confusion.csv", "fold-2/report.json", "fold-2/rows.csv"):
        assert (run / name).read_text() == (unbroken[0] / name).read_text(), name


def test_two_recipes_side_by_side_and_a_random_split_that_says_it_leaks(paper, unbroken, command):
    root, sets = paper
    alone = [*sets, "--set", "data.also=[]"]
    answer = command("crossval", "distilhubert", "-o", root / "alone", *alone, "--against", unbroken[0])
    assert answer.code == 0, answer.err
    table = [line for line in answer.out.splitlines() if line.startswith("| ")]
    assert table[0] == "| measure | both | alone | gain, points | deviation |"
    assert [line.split(" | ")[0] for line in table[1:8]] == [
        f"| {name}" for name in ("WA", "UA", "macro-F1", *(f"F1 {name}" for name in CLASSES))
    ]
    both, mine = (json.loads((run / "results.json").read_text()) for run in (unbroken[0], root / "alone"))
    means = [
        found["summary"]["recipes"][name]["measures"]["UA"]["mean"] for found, name in ((both, "both"), (mine, "alone"))
    ]
    assert table[2].split(" | ")[3] == f"{100 * (means[1] - means[0]):+.1f}"

    answer = command(
        "crossval", "distilhubert", "-o", root / "leak", *alone, "--set", "folds.number=3", "--random-split"
    )
    assert answer.code == 0, answer.err
    assert "speakers are in several parts, so these figures are too high" in answer.err
    assert "random: speakers are in several parts, the figures leak; mean" in answer.out
    leak = json.loads((root / "leak" / "results.json").read_text())
    assert "leak" in leak["split"]
    assert list(leak["folds"]) == ["random-1", "random-2", "random-3"]


def test_the_production_model_in_8_bits_labels_a_voice_note(paper, command, tmp_path):
    import onnx

    root, sets = paper
    answer = command("train", "distilhubert-production", "-o", tmp_path / "run", *sets)
    assert answer.code == 0, answer.err
    folder = tmp_path / "run" / "distilhubert"
    assert command("bundle", "check", folder).code == 0
    found = bundle.read(folder).manifest
    assert (found.task, found.output_names) == ("categorical", list(CLASSES))
    assert [step["step"] for step in found.preprocessing] == ["trim", "pre-emphasis", "peak", "length"]
    assert {entry["corpus"] for entry in found.training["data"]} == {"iemocap", "crema-d"}
    (variant,) = found.variants
    assert variant.name == "int8"
    assert 0 < variant.difference["max"] < 0.05
    operators = {node.op_type for node in onnx.load(folder / variant.file).graph.node}
    assert {"MatMulInteger", "Softmax"} <= operators
    assert str(root) not in json.dumps(found.training["recipe"]["data"])

    # Speech and pauses, longer than one window.
    spoken = [audio.read(path) for path in sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))]
    pause = 1e-4 * np.random.default_rng(0).standard_normal(24_000)
    note = np.concatenate([part for samples in spoken for part in (samples, pause)])
    assert len(note) > 12 * 16_000
    soundfile.write(tmp_path / "note.wav", note, 16_000)
    whole = command("label", "--model", folder, tmp_path / "note.wav", "--format", "jsonl")
    assert whole.code == 0, whole.err
    row = json.loads(whole.out)
    assert sum(row[name] for name in CLASSES) == pytest.approx(1, abs=1e-5)
    assert row["emotion"] == max(CLASSES, key=row.get)
    assert 8 < row["speech"] < len(note) / 16_000 - 4  # pauses are left out
    course = command("label", "--model", folder, tmp_path / "note.wav", "--format", "jsonl", "--by", "speech-window")
    rows = [json.loads(line) for line in course.out.splitlines()]
    assert len(rows) == 2
    assert rows[0]["end"] <= rows[1]["start"]
    for name in CLASSES:
        mean = np.average([window[name] for window in rows], weights=[window["speech"] for window in rows])
        assert row[name] == pytest.approx(mean, abs=2e-6)
