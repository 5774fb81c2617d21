"""Checkpoints that would run something are refused without advice to let them."""

import json
import pickle

import pytest
import torch

from sertool.errors import UsageError
from sertool.nn import checkpoint
from sertool.nn.weights import read_saved


class Hostile:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_a_checkpoint_that_runs_something_is_refused_without_advice(tmp_path, write, capsys):
    write({"a": Hostile()}, tmp_path / "a.pt")
    with pytest.raises(UsageError) as error:
        read_saved(tmp_path / "a.pt")
    assert "no code from it was run" in str(error.value)
    assert "weights_only" not in str(error.value)
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "a/b.safetensors", ".."])
def test_parts_of_a_checkpoint_lie_beside_its_index(tmp_path, name):
    index = {"weight_map": {"encoder.weight": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match="is not the name of a file in the same folder"):
        checkpoint.read_weights(tmp_path, "openai/whisper-base")
