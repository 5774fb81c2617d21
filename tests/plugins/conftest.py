"""What tests of networks with published weights share: checkpoint folders in miniature, no network, one thread."""

import json
import socket

import pytest


@pytest.fixture
def offline(monkeypatch):
    """Whoever reaches for the network fails."""

    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def old_spelling():
    """old_spelling(weights): as torch.nn.utils.weight_norm named them before 2023."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}

    def rename(weights):
        renamed = {}
        for key, value in weights.items():
            for new, old in names.items():
                key = key.replace(new, old)
            renamed[key] = value
        assert len(renamed.keys() - weights.keys()) == 2
        return renamed

    return rename


@pytest.fixture(scope="session")
def checkpoint():
    """checkpoint(folder, weights, config, preprocessor, layout): a Hugging Face folder; how the weights lie in it."""
    import torch
    from safetensors.torch import save_file

    def write(folder, weights, config, preprocessor, layout="safetensors"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        weights = {key: value.detach().contiguous().clone() for key, value in weights.items()}
        kind = layout.removesuffix(" shards")
        stem = {"safetensors": "model", "bin": "pytorch_model"}[kind]
        save = {"safetensors": lambda w, p: save_file(w, p, metadata={"format": "pt"}), "bin": torch.save}[kind]
        if not layout.endswith("shards"):
            save(weights, folder / f"{stem}.{kind}")
            return folder
        keys, index = list(weights), {}
        for number in (1, 2, 3):
            file = f"{stem}-{number:05}-of-00003.{kind}"
            save({key: weights[key] for key in keys[number - 1 :: 3]}, folder / file)
            index |= dict.fromkeys(keys[number - 1 :: 3], file)
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        return folder

    return write


@pytest.fixture(scope="session")
def refused():
    """refused(*wanted, error): a context that raises an error, one line that holds ``wanted`` and no address."""
    from sertool.errors import UsageError

    class Check:
        def __init__(self, *wanted, error=UsageError):
            self.wanted, self.context = wanted, pytest.raises(error)

        def __enter__(self):
            self.info = self.context.__enter__()

        def __exit__(self, *exception):
            caught = self.context.__exit__(*exception)
            text = str(self.info.value)
            assert "\n" not in text
            assert "://" not in text
            for part in self.wanted:
                assert str(part) in text
            return caught

    return Check
