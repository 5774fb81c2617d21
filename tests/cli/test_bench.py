"""`sertool bench`, with small models: what it prints and writes, and what it does where a model fails."""

import json
import os
import re
import shutil
import sys

import numpy as np
import pytest

from sertool import bench, bundle
from sertool.measure import cost, native

QUICK = ["--runs", "3", "--warmup", "1", "--seconds", "0.5"]

PLUGIN = """
import sertool


def build(**options):
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            width = 4
            self.ears = nn.Conv1d(1, width, 32, stride=16, bias=False)
            self.norm = nn.BatchNorm1d(width)
            self.mind = nn.Linear(width, 3)

        def forward(self, waveform):
            return self.mind(self.norm(self.ears(waveform[:, None])).mean(dim=2))

    return Tiny(**options)


@sertool.hookimpl
def register_models(register):
    figures = {"fp32": {"parameters": 200, "seconds": 0.4}}
    about = {"published": {"source": "a paper", "figures": figures}, "parts": {"ears": "ears", "mind": "mind"}}
    register(sertool.Model("tiny", "small", build, ("arousal", "dominance", "valence"), shortest=32, **about))
"""


@pytest.fixture
def broken(bundle_copy):
    """A bundle whose file is not an ONNX file."""
    return shutil.move(bundle_copy, bundle_copy.with_name("broken"))


def harm(folder):
    (folder / "model.onnx").write_bytes(b"nonsense")
    return folder


def lines(text, beginning):
    return [line for line in text.splitlines() if line.startswith(beginning)]


@pytest.mark.slow("measures models in processes of their own")
def test_json_has_every_figure_and_every_run(command):
    code, out, err = command("bench", "wav2small", *QUICK, "--threads", "2", "--json", "-")
    assert (code, err) == (0, "")
    found = json.loads(out)
    conditions = found["conditions"]
    assert conditions["versions"].keys() >= {"sertool", "onnxruntime"}
    assert (conditions["threads"], conditions["repeats"], conditions["warmup"], conditions["seconds"]) == (2, 3, 1, 0.5)
    assert conditions["processor"]
    assert conditions["cores"] >= 1
    entries = bundle.read(bundle.find("wav2small")).manifest.variants
    assert [row["format"] for row in found["models"]] == [entry.name for entry in entries]
    for row, entry in zip(found["models"], entries, strict=True):
        path = bundle.find("wav2small") / entry.file
        assert row["bytes"] == entry.bytes == path.stat().st_size
        if entry.runtime == "native":
            assert {key: row[key] for key in ("parameters", "bytes", "macs")} == native.count(path, 8000)
        else:
            assert (row["parameters"], row["macs"]) == (cost.parameters(path), cost.macs(path, 8000))
        assert len(row["runs_s"]) == 3
        assert [row[key] for key in ("low_s", "seconds", "high_s")] == pytest.approx(
            [np.percentile(row["runs_s"], share) for share in (10, 50, 90)]
        )
        assert row["rtf"] == pytest.approx(row["seconds"] / 0.5)
        assert row["load_s"] > 0
        assert 0 < row["added_bytes"] < row["peak_bytes"]


def test_the_table_states_its_conditions(command, tmp_path):
    code, out, err = command("bench", "wav2small:variant=fp32", *QUICK, "--json", tmp_path / "a.json")
    assert (code, err) == (0, "")
    (row,) = json.loads((tmp_path / "a.json").read_text())["models"]
    head, table = out.split("\n\n")
    for part in (
        "onnxruntime ",
        "cores",
        "1 thread,",
        "each in its own process",
        "median of 3 runs after 1 to warm up",
    ):
        assert part in head
    cells = re.split(r"\s{2,}", table.splitlines()[1])
    assert cells[:4] == ["wav2small", "fp32", "0.5 s", "72.6 K"]
    assert cells[4] == f"{row['bytes'] / 1000:.0f} KB"
    assert cells[5] == f"{row['macs'] / 1e6:.1f} M"
    assert float(cells[6].split()[0]) == pytest.approx(1000 * row["seconds"], abs=0.1)
    assert cells[-2:] == [f"{row[key] / 1e6:.1f} MB" for key in ("peak_bytes", "added_bytes")]


@pytest.mark.slow("measures models in processes of their own")
@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_a_model_that_fails_is_a_row_and_the_others_go_on(broken, command, form):
    harm(broken)
    code, out, err = command("bench", broken, "wav2small-emotion", *QUICK, *form)
    assert code == 1
    files = sum(len(bundle.read(bundle.find(str(model))).manifest.variants) for model in (broken, "wav2small-emotion"))
    assert err.splitlines() == [f"1 of {files} failed"]
    assert "not the file that bundle.json describes" in out
    assert "72.7 K" in out


def test_a_bundle_without_a_manifest_is_a_row_too(broken, command):
    (broken / "bundle.json").write_text("{")
    code, out, _ = command("bench", broken, *QUICK, "--json", "-")
    (row,) = json.loads(out)["models"]
    assert code == 1
    assert "bundle.json" in row["error"]


@pytest.mark.slow("measures models in processes of their own")
def test_markdown_is_a_table(command):
    _, out, _ = command("bench", "wav2small:variant=fp32", *QUICK, "--markdown")
    head, rule, row = lines(out, "|")
    assert head.count("|") == rule.count("|") == row.count("|")
    assert set(rule) <= set("|-: ")
    assert row.startswith("| wav2small | fp32 | 0.5 s | 72.6 K |")


@pytest.mark.slow("measures models in processes of their own")
def test_two_models_turn_by_turn(command, tmp_path):
    code, out, _ = command("bench", "--vs", "wav2small", "wav2small-emotion", *QUICK, "--json", tmp_path / "a.json")
    assert code == 0
    found = json.loads((tmp_path / "a.json").read_text())
    first, second = (row["runs_s"] for row in found["models"])
    assert len(first) == len(second) == 3
    ratios = np.divide(second, first)
    assert found["ratio"]["median"] == pytest.approx(np.median(ratios))
    assert (found["ratio"]["low"], found["ratio"]["high"]) == pytest.approx(tuple(np.percentile(ratios, [10, 90])))
    assert f"takes {found['ratio']['median']:.3f} times as long as wav2small" in out
    assert "both in one process, alternately" in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nobody"], "no model 'nobody'"),
        (["--vs", "wav2small", "wav2small", "wav2small"], "--vs takes two models"),
        (["--vs", "--sweep", "1", "wav2small", "wav2small-emotion"], "--vs and --sweep"),
        (["wav2small", "--plots", "x"], "--plots draws a sweep"),
        (["wav2small", "--sweep", "1,zero"], "is not a list of seconds"),
        (["wav2small", "--sweep", "1,0"], "above 0"),
        (["wav2small", "--format", "onyx"], "no 'onyx'"),
    ],
)
def test_what_cannot_be_meant_is_refused(command, arguments, reason):
    code, out, err = command("bench", *arguments)
    assert (code, out) == (2, "")
    assert reason in err


@pytest.mark.slow("measures models in processes of their own")
def test_a_sweep_is_a_row_a_length_and_a_picture(command, tmp_path):
    code, out, _ = command(
        "bench", "wav2small:variant=fp32", "--sweep", "2,0.5,0.001", "--runs", "2", "--warmup", "0",
        "--plots", tmp_path / "plots", "--json", tmp_path / "a.json",
    )  # fmt: skip
    rows = json.loads((tmp_path / "a.json").read_text())["models"]
    assert code == 1
    assert [row["audio_s"] for row in rows] == [0.001, 0.5, 2]
    assert "too short" in rows[0]["error"]
    assert rows[2]["macs"] == pytest.approx(4 * rows[1]["macs"], rel=0.01)
    assert rows[2]["peak_bytes"] > rows[1]["peak_bytes"]
    assert len(lines(out, "wav2small")) == 3
    assert (tmp_path / "plots" / "sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def plugins(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "tiny.py").write_text(PLUGIN)
    return {**os.environ, "SERTOOL_PLUGINS_DIR": str(tmp_path / "plugins")}


@pytest.mark.slow("measures models in processes of their own")
def test_a_network_is_exported_and_put_beside_what_a_paper_says(process, plugins, tmp_path):
    models = ["tiny", "tiny:depth=9"]
    code, out, err = process("bench", *models, "--format", "onnx", *QUICK, "--json", str(tmp_path / "a"), env=plugins)
    found = json.loads((tmp_path / "a").read_text())
    tiny, unknown = found["models"]
    assert code == 1
    assert err == "1 of 2 failed\n"
    assert "unexpected keyword argument 'depth'" in unknown["error"]
    # The batch norm, folded into the convolution, would have taken along its biases if they were zero.
    assert tiny["parameters"] == 4 * 32 + 4 + 15
    assert tiny["macs"] == 4 * 32 * 499 + 12
    assert tiny["published"] == {"parameters": 200, "seconds": 0.4}
    assert found["relative_to"] == "tiny"
    assert [found["relative"][0][figure] for figure in ("parameters", "seconds", "bytes")] == [
        [1, 1],
        [1, 1],
        [1, None],
    ]
    assert "Multiples of tiny in the same format (in brackets: published ones; a paper)" in out
    assert re.split(r"\s{2,}", out.splitlines()[-1]) == ["tiny", "onnx", "1 (1)", "1", "1", "1 (1)", "1", "1"]


@pytest.mark.slow("measures models in processes of their own")
def test_a_sweep_tells_the_parts_of_a_network(process, plugins, tmp_path):
    quick = ["--sweep", "0.1,1", "--runs", "2", "--warmup", "0", "--format", "onnx"]
    code, out, _ = process(
        "bench", "tiny", *quick, "--json", str(tmp_path / "a"), "--plots", str(tmp_path), env=plugins
    )
    assert code == 0
    rows = json.loads((tmp_path / "a").read_text())["models"]
    assert [list(row["parts"]) for row in rows] == [["ears", "mind"]] * 2
    assert all(part["seconds"] > 0 for row in rows for part in row["parts"].values())
    assert "ears, ms" in out
    assert (tmp_path / "sweep.png").exists()


def test_list_shows_and_measures_nothing(command, monkeypatch):
    monkeypatch.setattr(cost, "process", None)
    code, out, _ = command("bench", "--list")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} >= {"teacher", "wavlm", "dawn", "distilhubert", "wav2small"}
    assert out.index("teacher") < out.index("wavlm") < out.index("dawn")


def test_what_counting_needs_is_named(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, out, err = command("bench", "wav2small", *QUICK)
    assert (code, out) == (2, "")
    assert "pip install 'sertool[train]'" in err


@pytest.mark.slow("measures models in processes of their own")
def test_ctrl_c_shows_what_was_finished(command, monkeypatch, tmp_path):
    measured = bench.table

    def until(subjects, *arguments):
        yield next(measured(subjects, *arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "table", until)
    code, out, err = command("bench", "wav2small", "wav2small-emotion", *QUICK, "--json", tmp_path / "a.json")
    assert code == 130
    assert "interrupted" in err
    assert len(lines(out, "wav2small ")) == 1
    assert not lines(out, "wav2small-emotion")
    assert len(json.loads((tmp_path / "a.json").read_text())["models"]) == 1


@pytest.mark.slow("measures models in processes of their own")
def test_each_row_is_saved_as_it_is_finished(command, monkeypatch, tmp_path):
    saved, measured = [], bench.table

    def watched(*arguments):
        for row in measured(*arguments):
            yield row
            saved.append(json.loads((tmp_path / "a.json").read_text())["models"][-1]["model"])

    monkeypatch.setattr(bench, "table", watched)
    command("bench", "wav2small:variant=fp32", "wav2small-emotion:variant=fp32", *QUICK, "--json", tmp_path / "a.json")
    assert saved == ["wav2small", "wav2small-emotion"]


@pytest.mark.slow("measures models in processes of their own")
def test_nothing_is_left_behind(command, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    command("bench", "wav2small", *QUICK)
    assert not list(tmp_path.iterdir())
