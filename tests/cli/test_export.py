"""`sertool export`: bundles, runs and networks to measured files."""

import csv
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

import sertool
from sertool import bundle
from sertool.errors import UsageError
from sertool.exporting import pipeline
from sertool.exporting.variants import Written
from sertool.plugins import load_plugins
from sertool.runtime import Runtime

EXPORT = ("export", "wav2small-emotion:centre=true")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle of a random network, with its torch weights, made in a process of its own."""
    folder = tmp_path_factory.mktemp("exports") / "it"
    formats = ("--format", "onnx", "--format", "onnx-int8", "--format", "onnx:input=logmel")
    command = [sys.executable, "-m", "sertool", *EXPORT, *formats, "-o", str(folder), "--weights", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def again(exported, tmp_path_factory):
    """The same formats from that bundle."""
    folder = tmp_path_factory.mktemp("again") / "it"
    formats = ("--format", "onnx", "--format", "onnx-int8", "--format", "onnx:input=logmel")
    command = [sys.executable, "-m", "sertool", "export", str(exported[0]), *formats, "-o", str(folder), "--runs", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow("exports and measures files")
def test_every_variant_is_measured_and_described(exported, command):
    folder, answer, err = exported
    manifest = bundle.read(folder).manifest
    assert command("bundle", "check", folder).code == 0
    assert [v.name for v in manifest.variants] == ["fp32", "int8", "fp32-logmel"]
    assert [v.input for v in manifest.variants] == ["waveform", "waveform", "logmel"]
    assert manifest.default == answer["default"]
    assert not answer["missed"]
    assert f"runs its {manifest.default}" in err
    for entry, printed in zip(manifest.variants, answer["variants"], strict=True):
        assert printed == {**{k: v for k, v in entry.to_dict().items() if k != "sha256"}, "written": True}
        assert entry.cost["threads"] == 1
        assert entry.cost["peak_bytes"] > entry.cost["added_bytes"] > 0
    assert manifest.variants[0].cost["speed"] == 1.0
    card = (folder / bundle.CARD).read_text()
    assert f"| `model.int8.onnx` | waveform | {manifest.variants[1].bytes:,} |" in card
    assert f"| {manifest.default} (what `label` runs) |" in card
    assert 'exported as `wav2small-emotion with {"centre": true}`' in card
    assert "None by sertool." in card


@pytest.mark.slow("exports and measures files")
def test_the_difference_is_that_of_the_files(exported):
    """Against the network's own forward pass, on clips of which none was measured."""
    folder, *_ = exported
    model = load_plugins().get("models", "wav2small-emotion")
    torch.manual_seed(0)
    network = model.build(centre=True).eval()
    manifest = bundle.read(folder).manifest
    worst = dict.fromkeys(["fp32", "int8", "fp32-logmel"], 0.0)
    for n in (33, 100, 5_000, 30_011, 100_000):
        samples = np.random.default_rng(n).standard_normal(n).astype(np.float32)
        with torch.inference_mode():
            expected = torch.softmax(network(torch.from_numpy(samples)[None]), dim=1)[0].numpy()
        for name in worst:
            found = Runtime(str(folder), name).run(samples)
            worst[name] = max(worst[name], float(np.abs(found - expected).max()))
    assert worst["fp32"] <= 1e-4
    assert worst["fp32-logmel"] <= 1e-4
    assert 1e-6 < worst["int8"] <= 0.05
    assert manifest.variants[1].difference["max"] > manifest.variants[0].difference["max"]


@pytest.mark.slow("exports and measures files")
def test_a_variant_runs_in_plain_onnxruntime_and_its_metadata_reads_with_onnx_alone(exported):
    import onnx

    folder, *_ = exported
    samples = np.random.default_rng(0).standard_normal((1, 20_000)).astype(np.float32)
    for entry in bundle.read(folder).manifest.variants[:2]:
        session = onnxruntime.InferenceSession(folder / entry.file)
        (probabilities,) = session.run(None, {"waveform": samples})
        assert probabilities.shape == (1, 4)
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)
        (text,) = [p.value for p in onnx.load(folder / entry.file).metadata_props if p.key == "sertool.bundle"]
        inside = json.loads(text)
        assert inside["default"] == entry.name
        assert [output["name"] for output in inside["outputs"]] == ["angry", "happy", "neutral", "sad"]


@pytest.mark.slow("exports and measures files")
def test_exporting_again_from_the_bundle_gives_the_same_bytes(exported, again):
    one, other = bundle.read(exported[0]), bundle.read(again)
    assert [v.sha256 for v in one.manifest.variants] == [v.sha256 for v in other.manifest.variants]
    assert (exported[0] / bundle.WEIGHTS).read_bytes() == (again / bundle.WEIGHTS).read_bytes()
    assert "cost" not in other.manifest.variants[0].to_dict()
    assert "speed beside fp32" not in (again / bundle.CARD).read_text()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A corpus of eight clips of noise with labels of four classes."""
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    with open(root / "manifest.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "corpus", "speaker", "emotion", "split"])
        for i in range(8):
            soundfile.write(root / f"{i}.wav", 0.1 * rng.standard_normal(4_000 + 500 * i), 16_000)
            table.writerow([f"{i}.wav", "some", i // 4, ["angry", "happy", "sad", "fearful"][i % 4], "val"])
    return root


@pytest.mark.slow("exports and measures files")
def test_gates_keep_a_variant_out_and_name_the_figure(exported, labelled, command, tmp_path):
    """UA against a count by hand; the class that no output has does not count."""
    arguments = ("export", exported[0], "-o", tmp_path / "out", "--runs", "0", "--check", labelled, "--split", "val")
    formats = ("--format", "onnx", "--format", "onnx-int8")
    answer = command(*arguments, *formats, "--max-bytes", "200000", "--max-metric-drop", "1", "--json")
    assert answer.code == 1
    assert "not written: fp32 has " in answer.err
    found = bundle.read(tmp_path / "out")
    assert [v.name for v in found.manifest.variants] == ["int8"]
    entries = {v["name"]: v for v in json.loads(answer.out)["variants"]}
    runtime = Runtime(str(exported[0]), "fp32")
    right = {"angry": [], "happy": [], "sad": []}
    with open(labelled / "manifest.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["emotion"] in right:
                samples = soundfile.read(labelled / row["file"], dtype="float32")[0]
                best = runtime.bundle.outputs[int(runtime.run(samples).argmax())]
                right[row["emotion"]].append(best == row["emotion"])
    ua = np.mean([np.mean(hits) for hits in right.values()])
    (check,) = entries["fp32"]["checks"]
    assert check == {
        "on": "labelled0 val",
        "clips": 6,
        "metric": "UA",
        "fp32": round(ua, 4),
        "value": round(ua, 4),
        "drop": 0.0,
    }
    made = found.manifest.made
    assert made["checked"] == {"on": "labelled0 val", "clips": 6}
    assert made["calibrated"] == {"on": "nothing", "clips": 0}
    card = (found.path / bundle.CARD).read_text()
    assert f"Made by sertool {made['sertool']}, checked on 6 clips of labelled0 val." in card


@pytest.mark.slow("exports and measures files")
def test_a_drop_of_the_metric_is_what_the_variant_loses(exported, labelled, monkeypatch, command, tmp_path):
    from sertool.exporting import variants

    def score(self, outputs):
        return float(outputs[0, 0] < 0)  # plain fp32 is told from others by a sign that the test gives it

    real = Runtime.run
    monkeypatch.setattr(variants.Check, "score", score)
    monkeypatch.setattr(Runtime, "run", lambda self, x: real(self, x) * (-1 if self.variant.name == "fp32" else 1))
    same = {"max": 0.0, "mean": 0.0, "clips": 1}
    monkeypatch.setattr(
        variants, "_compare", lambda _, jobs, *__: [setattr(job.entry, "difference", same) for job in jobs]
    )
    arguments = ("export", exported[0], "-o", tmp_path / "out", "--runs", "0", "--check", labelled)
    answer = command(*arguments, "--format", "onnx-int8", "--max-metric-drop", "0.5")
    assert answer.code == 1
    assert "int8 UA on labelled0 some drops by 1.0000, allowed is at most 0.5" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow("exports and measures files")
def test_speed_is_the_ratio_of_the_medians(exported, monkeypatch, command, tmp_path):
    from sertool.measure import cost

    def alternating(calls, repeats):
        assert len(calls) == 2  # the variant, and plain fp32, which was not asked for
        return dict(zip(calls, [[0.2, 0.1, 9.0], [0.4, 0.4, 0.4]], strict=True))

    monkeypatch.setattr(cost, "alternating", alternating)
    arguments = ("export", exported[0], "-o", tmp_path / "out", "--format", "onnx:input=logmel", "--json")
    answer = command(*arguments, "--min-speed", "2.1")
    assert json.loads(answer.out)["variants"][0]["cost"]["speed"] == 2.0
    assert "fp32-logmel runs at 2.00 times the speed of fp32, allowed is at least 2.1" in answer.err
    assert answer.code == 1


@pytest.mark.slow("exports and measures files")
def test_a_run_of_training_is_exported_by_its_folder_or_its_checkpoint(tmp_path, command, exported):
    from sertool.training.recipe import load_recipe

    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "r.toml").write_text('[model]\nname = "wav2small"\n[data]\nroot = "nowhere"\n')
    recipe = load_recipe(tmp_path / "r.toml")
    (run / "recipe.json").write_text(json.dumps(recipe.as_dict()))
    out = tmp_path / "out"
    missing = command("export", run, "-o", out, "--runs", "0")
    assert missing.code == 2
    assert "no best.pt: the run has not reached its first validation" in missing.err
    network = load_plugins().get("models", "wav2small").build()
    torch.save({"network": network.state_dict(), "step": 7}, run / "best.pt")
    for place in (run, run / "best.pt"):
        lost = command("export", place, "-o", out, "--runs", "0")  # its corpus, whose licences the bundle would name
        assert lost.code == 2
        assert "nowhere" in lost.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["nothing"],
            "no 'nothing' to export: give a bundle (mobile, mobile-emotion, ",
        ),
        (["wav2small:colour=1"], "unexpected keyword argument 'colour'"),
        (["wav2small:outputs=3", "--split", "val"], "need --check CORPUS"),
        (["wav2small:outputs=3", "--min-speed", "1", "--runs", "0"], "--min-speed needs --runs above 0"),
        (["wav2small:outputs=3", "--format", "onnx-int7"], "exporters: there is no 'onnx-int7'"),
        (["wav2small:outputs=3", "--format", "onnx", "--format", "onnx"], "would both be variant 'fp32'"),
        (["resnet", "--input", "logmel", "--runs", "0"], "ResNet has no LogMel that the C front end can compute"),
    ],
)
def test_wrong_use_is_one_line(command, tmp_path, arguments, words):
    answer = command("export", *arguments, "-o", tmp_path / "out")
    assert answer.code == 2
    assert words in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_variant_that_missed_a_gate_is_in_the_table_and_in_the_exit_code(command, monkeypatch, tmp_path):
    cost = {"speed": 1.25, "peak_bytes": 81_000_000, "added_bytes": 26_500_000}
    measured = [
        bundle.Variant(name, "x", difference={"max": 1e-5, "mean": 1e-6}, bytes=size, checks=[check], cost=cost)
        for name, size, check in (
            ("fp32", 296_554, {"metric": "UA", "on": "val", "value": 0.5, "drop": 0.0}),
            ("int8", 46_593, {"metric": "UA", "on": "val", "value": 0.48, "drop": 0.02}),
        )
    ]
    missed = ("int8 UA on val drops by 0.0200, allowed is at most 0.005",)
    written = Written(measured, frozenset(["fp32"]), "fp32", missed, {})
    monkeypatch.setattr(pipeline, "export", lambda *arguments: written)
    code, out, err = command("export", "wav2small", "-o", tmp_path / "out")
    assert code == 1
    assert f"sertool: not written: {missed[0]}" in err
    head, *rows = (re.split(r"\s{2,}", line) for line in out.splitlines())
    assert head == ["variant", "bytes", "from torch", "mean", "UA val", "speed", "peak MB", "added MB"]
    assert rows == [
        ["fp32", "296554", "1.0e-05", "1.0e-06", "0.5000 (+0.0000)", "1.25", "81", "26.5"],
        ["int8", "46593", "1.0e-05", "1.0e-06", "0.4800 (-0.0200)", "1.25", "81", "26.5", "not written"],
    ]
    monkeypatch.setattr(pipeline, "export", lambda *arguments: Written(measured, frozenset(), "", missed, {}))
    code, out, err = command("export", "wav2small", "-o", tmp_path / "out", "--json")
    assert code == 1
    assert [entry["written"] for entry in json.loads(out)["variants"]] == [False, False]
    assert f"nothing was written to {tmp_path / 'out'}" in err


@pytest.mark.slow("exports and measures files")
def test_nothing_but_a_bundle_is_replaced_and_that_only_when_asked(exported, command, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    answer = command("export", exported[0], "-o", tmp_path / "letters", "--overwrite")
    assert (answer.code, "is neither a bundle nor an empty folder" in answer.err) == (2, True)
    answer = command("export", exported[0], "-o", exported[0])
    assert (answer.code, "already exists" in answer.err) == (2, True)


@pytest.mark.slow("exports and measures files")
def test_a_changed_weight_is_found_out(exported, command, tmp_path):
    import shutil

    folder = shutil.copytree(exported[0], tmp_path / "it")
    content = bytearray((folder / bundle.WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / bundle.WEIGHTS).write_bytes(content)
    answer = command("export", folder, "-o", tmp_path / "out")
    assert answer.code == 2
    assert "its checksum is not the one" in answer.err


@pytest.mark.slow("exports and measures files")
def test_a_bundle_that_does_not_say_how_it_was_built_is_refused(exported, command, tmp_path):
    import shutil

    folder = shutil.copytree(exported[0], tmp_path / "it")
    manifest = bundle.read(folder).manifest
    for recipe in ({}, {"model": {"name": "x", "options": {"colour": 1}}}, []):
        manifest.training["recipe"] = recipe
        bundle.write(folder, manifest, "card")
        answer = command("export", folder, "-o", tmp_path / "out")
        assert answer.code == 2
        assert "its training.recipe does not say how wav2small-emotion was built" in answer.err


@pytest.mark.slow("exports and measures files")
def test_ctrl_c_leaves_nothing(tmp_path):
    before = sorted(tmp_path.iterdir())
    command = [sys.executable, "-m", "sertool", *EXPORT, "-o", str(tmp_path / "out"), "--runs", "1000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    unfinished = tmp_path / ".out.unfinished"
    deadline = time.monotonic() + 120
    while not list(unfinished.glob("*/*/model.onnx")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow("exports and measures files")
def test_training_begins_with_the_weights_of_a_bundle_that_has_them(exported, tmp_path):
    from sertool.training import loop
    from sertool.training.recipe import load_recipe

    text = '[model]\nname = "wav2small-emotion"\noptions = { centre = true }\n[data]\nroot = "nowhere"\n'
    (tmp_path / "r.toml").write_text(text)
    _, network = loop.build(load_recipe(tmp_path / "r.toml", [f"model.start={exported[0]}", "train.seed=5"]))
    torch.manual_seed(0)
    wanted = load_plugins().get("models", "wav2small-emotion").build(centre=True).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())
    with pytest.raises(
        UsageError, match=r"model\.start: .*weights\.safetensors: .* the weights are not from this wav2small"
    ):
        loop.build(load_recipe(tmp_path / "r.toml", [f"model.start={exported[0]}", "model.name=wav2small"]))


@pytest.mark.parametrize("option", ["--max-diff", "--max-metric-drop", "--min-speed"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_limit_that_is_no_number_is_refused(tmp_path, command, option, value):
    code, _, err = command("export", "wav2small", "-o", tmp_path / "out", option, value)
    assert code == 2
    assert f"{value} is not a finite number" in err


@pytest.mark.slow("exports and measures files")
def test_tokens_are_what_is_pooled_250_a_second(tmp_path, command):
    """Pooled by the shipped weights, they give the shipped model's outputs."""
    from sertool.exporting.origin import find_origin

    file = tmp_path / "tokens.onnx"
    how = ["--tokens", file, "-o", tmp_path / "out", "--format", "onnx", "--runs", "0"]
    code, _, err = command("export", "wav2small", *how)
    assert code == 0, err
    assert re.search(rf"wrote {file}: tokens of 169 values, at most \d\.\de-\d\d from torch", err)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    samples = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    (tokens,) = session.run(None, {"waveform": samples[None]})
    assert tokens.shape == (1, 251, 169)
    network = find_origin("wav2small").network
    with torch.inference_mode():
        outputs = network.head(network.pool(torch.from_numpy(tokens)))[0].numpy()
    assert outputs == pytest.approx(sertool.load("wav2small").runtime.run(samples), abs=1e-4)
    code, _, err = command(
        "export", "resnet", "--tokens", file, "-o", tmp_path / "x", "--format", "onnx", "--runs", "0"
    )
    assert (code, err.strip().splitlines()[-1]) == (
        2,
        "sertool: --tokens: ResNet has no tokens; Wav2Small and the MobileNets do",
    )


@pytest.mark.slow("exports and measures files")
def test_a_folder_named_like_a_network_does_not_shadow_it(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet").mkdir()
    assert command("export", "resnet", "-o", "out", "--format", "onnx", "--runs", "0").code == 0
    listed = command("bench", "resnet", "--list", "--format", "onnx")
    assert (listed.code, listed.out.split()) == (0, ["resnet", "onnx", "network", "resnet"])
