"""What cannot become a bundle is said before the first step; networks with memory become ONNX."""

import numpy as np
import pytest
import torch
from torch import nn

from sertool import Source
from sertool.errors import ExportWarning, SertoolError
from sertool.exporting import release
from sertool.nn.logmel import LogMel
from sertool.plugins import load_plugins
from sertool.training.recipe import load_recipe

PLUGIN = """
import sertool, torch

class Network(torch.nn.Module):
    def __init__(self, give="right", k=3):
        super().__init__()
        self.scale, self.give, self.k = torch.nn.Parameter(torch.ones(1)), give, k

    def forward(self, x):
        y = self.scale * x.mean(dim=1, keepdim=True).expand(-1, self.k)
        if self.give == "loop":
            for _ in range(int(x.abs().sum())):  # depends on the data: no exporter follows it
                y = y + 1
        return {"tuple": (y, y), "dict": {"y": y}, "raise": None}.get(self.give, y) if self.give != "raise" else 1 / 0

def build(give="right", k=3):
    return {"none": None, "text": "network"}.get(give, Network(give, k))

def needs():
    import no_such_library

@sertool.hookimpl
def register_models(register):
    names = ("valence", "arousal", "dominance")
    register(sertool.Model("toy", "a toy", build, names, 33))
    register(sertool.Model("needy", "needs what is not there", needs, names, 33))
    register(sertool.Model("odd", "an output's name that no table takes", build, ("=1+1", "arousal", "valence"), 33))
"""


@pytest.fixture
def toy(tmp_path, corpus, monkeypatch):
    """toy(name, steps, **options): the recipe of such a network."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "toys.py").write_text(PLUGIN)
    monkeypatch.setenv("SERTOOL_PLUGINS_DIR", str(tmp_path / "plugins"))
    load_plugins.cache_clear()

    def make(name="toy", steps=6, **options):
        given = ", ".join(f"{key} = {value!r}" for key, value in options.items())
        text = (
            f'[model]\nname = "{name}"\noptions = {{ {given} }}\n[data]\nroot = "{corpus}"\n[train]\nsteps = {steps}\n'
        )
        (tmp_path / "toy.toml").write_text(text + "warmup = 0\n")
        return tmp_path / "toy.toml"

    yield make
    load_plugins.cache_clear()


WRONG = [
    ({"give": "none"}, "model 'toy': build returned NoneType, not a torch module"),
    ({"give": "text"}, "model 'toy': build returned str, not a torch module"),
    ({"give": "tuple"}, "model 'toy': two clips gave tuple, not [2, 3]"),
    ({"give": "dict"}, "model 'toy': two clips gave dict, not [2, 3]"),
    ({"give": "raise"}, "model 'toy': 33 samples raised ZeroDivisionError: division by zero"),
    ({"k": 2}, "model 'toy': two clips gave [2, 2], not [2, 3]"),
    ({"name": "needy"}, "model 'needy' needs no_such_library, which is not installed"),
    ({"name": "odd"}, "the new bundle: outputs"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_a_network_that_answers_otherwise_is_said_before_training(toy, tmp_path, command, options, said):
    code, _, err = command("train", toy(**options), "-o", tmp_path / "run")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"sertool: {said}")
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.slow("exports and measures files")
def test_what_cannot_be_exported_is_said_before_a_long_run_and_not_after(toy):
    with pytest.raises(SertoolError, match="cannot be exported to ONNX"):
        release.rehearse(load_recipe(toy(steps=release.LONG, give="loop")))
    release.rehearse(load_recipe(toy(steps=release.LONG)))


class Recurrent(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self.logmel, self.memory = LogMel(64), getattr(nn, kind)(26, 12, batch_first=True, bidirectional=kind != "RNN")
        self.head = nn.Linear(24 if kind != "RNN" else 12, 3)

    def forward(self, waveform):
        return self.head(self.memory(self.logmel(waveform))[0].mean(dim=1))


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_a_network_with_memory_becomes_onnx_of_any_length(tmp_path, kind):
    torch.manual_seed(0)
    network = Recurrent(kind).eval()
    exporter = load_plugins().get("exporters", "onnx")
    with pytest.warns(
        ExportWarning, match="Recurrent has recurrent layers and is exported with torch's older exporter"
    ):
        exporter.export(Source(network, torch.randn(1, 80_000)), tmp_path / "a.onnx", {})
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for samples in (33, 1_001, 16_000, 200_001):
        waveform = torch.randn(1, samples)
        (found,) = session.run(None, {"waveform": waveform.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, network(waveform).numpy(), atol=1e-5)
