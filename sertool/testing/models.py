"""Checks of a model."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sertool import bundle
from sertool.evaluation.dimensional import DIMENSIONS
from sertool.nn.embedding import WithEmbedding
from sertool.options import named_options
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.testing.clips import sound
from sertool.testing.exported import differences, export
from sertool.testing.faults import doing, refused, require
from sertool.training.losses import ChosenLoss
from sertool.training.recipe import load_recipe, read_table
from sertool.training.sections import DistilRecipe, Recipe

#: Lengths to check, in addition to the shortest and the next two.
LENGTHS = (8_001, 16_000, 33_333)
SAME = 1e-4


def check(name: str, formats: Sequence[str], options: dict[str, Any]) -> None:
    """Check a model; see `sertool.testing.check_model`."""
    model, where = load_plugins().get("models", name), f"model {name!r}"
    _check_registered(model, where)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with doing(where, f"build({', '.join(f'{key}={value!r}' for key, value in options.items())})"):
            network = model.build(**options)
        require(isinstance(network, nn.Module), where, f"build returns {type(network).__name__}, not a torch module")
        fewest = getattr(network, "shortest", model.shortest)  # of an ensemble: that of its members
        shortest = max(model.shortest, fewest)
        modules = dict(network.named_modules())
        for part, inside in model.parts.items():
            require(inside in modules, where, f"parts: {part!r} is {inside!r}, which the network does not have")
        with doing(where, "training mode on a second of sound"):
            settle(network, max(shortest, 16_000))
        lengths = sorted({shortest, shortest + 1, shortest + 2, *(n for n in LENGTHS if n > shortest)})
        _check_outputs(model, network, lengths, where)
        _check_shortest(network, fewest, where)
        _check_batch(network, max(shortest, 16_000), where)
        _check_embedding(network, max(shortest, 16_000), where)
        _check_gradients(network, max(shortest, 16_000), where)
        _check_state(model, network, options, max(shortest, 16_000), where)
        for form in formats:
            _check_format(model, network, form, shortest, lengths, where)
    for path in model.recipes:
        _check_recipe(model, path, where)


def settle(network: nn.Module, samples: int) -> None:
    """Set batch norm statistics from three clips: with the initial ones, activations can vanish or explode."""
    norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [part.momentum for part in norms]
    for part in norms:
        part.momentum = 1.0
    with torch.no_grad():
        network.train()(_batch(samples))
    for part, momentum in zip(norms, momenta, strict=True):
        part.momentum = momentum
    network.eval()


def _batch(samples: int) -> torch.Tensor:
    """Return clips [3, samples] of different levels, to detect normalisation across the batch."""
    return torch.from_numpy(np.stack([sound(samples, level, seed) for seed, level in enumerate((0.1, 0.001, 0.5))]))


def _check_registered(model: Model, where: str) -> None:
    names = model.outputs
    right = isinstance(names, tuple) and bool(names) and all(isinstance(n, str) and n for n in names)
    require(right and len(set(names)) == len(names), where, f"outputs is {names!r}, not a tuple of different names")
    reserved = [name for name in names if name in bundle.RESERVED]
    require(
        not reserved, where, f"output {reserved[0] if reserved else ''!r} has the name of a column of `sertool label`"
    )
    require(model.task in bundle.TASKS, where, f"task is {model.task!r}, not one of {', '.join(bundle.TASKS)}")
    unknown = [name for name in names if model.task == "dimensional" and name not in DIMENSIONS]
    trained = f"there are no targets for its output {unknown[0] if unknown else ''!r}, only {', '.join(DIMENSIONS)}"
    require(not unknown, where, trained)
    require(type(model.shortest) is int and model.shortest > 0, where, f"shortest is {model.shortest!r}, not samples")


def _check_outputs(model: Model, network: nn.Module, lengths: list[int], where: str) -> None:
    parts = []
    for n in lengths:
        waveform = torch.from_numpy(sound(n))[None]
        with torch.inference_mode(), doing(where, f"{n} samples"):
            torch.manual_seed(0)
            outputs = network(waveform)
            torch.manual_seed(1)
            again = network(waveform)
        require(isinstance(outputs, torch.Tensor), where, f"{n} samples give {type(outputs).__name__}, not a tensor")
        shape, wanted = list(outputs.shape), [1, len(model.outputs)]
        require(shape == wanted, where, f"{n} samples give shape {shape}, not {wanted} for {', '.join(model.outputs)}")
        require(outputs.dtype == torch.float32, where, f"{n} samples give {outputs.dtype}, not float32")
        require(bool(outputs.isfinite().all()), where, f"{n} samples give non-finite outputs")
        require(torch.equal(outputs, again), where, f"{n} samples give different outputs on each call, in eval mode")
        parts.append(outputs)
    together = torch.cat(parts)
    if model.task == "categorical" and len(model.outputs) > 1:
        sums_to_1 = bool(((together.sum(dim=1) - 1).abs() < SAME).all())
        probabilities = bool((together >= 0).all()) and sums_to_1
        require(not probabilities, where, "gives probabilities, not logits: leave the softmax to sertool")


def _check_embedding(network: Any, samples: int, where: str) -> None:
    """Check a network that has an embedding; see sertool.nn.embedding."""
    if not (hasattr(network, "embedding") and hasattr(network, "answer")):
        return
    waveform = _batch(samples)
    with torch.inference_mode(), doing(where, "embedding"):
        outputs, embedding, *tokens = WithEmbedding(network)(waveform)
        expected, alone = network(waveform), network.embedding(waveform)
    right = embedding.ndim == 2 and len(embedding) == len(waveform)
    require(right, where, f"embedding gives shape {list(embedding.shape)}, not [batch, width]")
    require(torch.equal(outputs, expected), where, "answer(embedding(waveform)) is not what forward gives")
    require(torch.equal(embedding, alone), where, "embedding_and_tokens gives another embedding")
    for part in tokens:
        fits = part.ndim == 3 and (len(part), part.shape[2]) == tuple(embedding.shape)
        require(fits, where, f"tokens have shape {list(part.shape)}, not [batch, tokens, width]")


def _check_shortest(network: nn.Module, fewest: int, where: str) -> None:
    if fewest > 1:
        with torch.inference_mode(), refused(where, f"{fewest - 1} samples, one fewer than shortest,"):
            network(torch.from_numpy(sound(fewest - 1))[None])


def _check_batch(network: nn.Module, samples: int, where: str) -> None:
    batch = _batch(samples)
    with torch.inference_mode(), doing(where, f"a batch of {len(batch)}"):
        together, alone = network(batch), torch.cat([network(clip[None]) for clip in batch])
    require(together.shape == alone.shape, where, f"a batch of {len(batch)} gives shape {list(together.shape)}")
    furthest = float((together - alone).abs().max())
    require(furthest <= SAME, where, f"a clip's outputs differ by {furthest:.1e} between alone and in a batch")


def _check_gradients(network: nn.Module, samples: int, where: str) -> None:
    """Check the gradients of all trainable parameters; a network may be completely frozen."""
    trained = {key: value for key, value in network.named_parameters() if value.requires_grad}
    if not trained:
        return
    network.train()
    with doing(where, "a training step"):
        network(_batch(samples)).square().sum().backward()
    lost = [key for key, value in trained.items() if value.grad is None]
    require(not lost, where, f"no gradient reaches {_some(lost)}: use it, or set requires_grad to False")
    bad = [key for key, value in trained.items() if value.grad is not None and not value.grad.isfinite().all()]
    require(not bad, where, f"the gradient of {_some(bad)} is not finite")
    network.zero_grad(set_to_none=True)
    network.eval()


def _check_state(model: Model, network: nn.Module, options: dict[str, Any], samples: int, where: str) -> None:
    """Save the state and load it into a network built without initial weights, as a resumed run does."""
    file = io.BytesIO()
    with doing(where, "state_dict through a file"):
        torch.save(network.state_dict(), file)
        file.seek(0)
        other = model.build(**{key: value for key, value in options.items() if key != "weights"})
        other.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        same = torch.equal(network.eval()(_batch(samples)), other.eval()(_batch(samples)))
    require(same, where, "a network with the same state_dict gives different outputs: register all state as buffers")


def _check_format(
    model: Model, network: nn.Module, form: str, shortest: int, lengths: Sequence[int], where: str
) -> None:
    where = f"{where}, format {form!r}"
    name, options = named_options(form)
    input_form = options.pop("input", "waveform")
    exporter = load_plugins().get("exporters", name)
    about = {"student": model.name, "task": model.task, "outputs": model.outputs, "shortest": shortest}
    if model.task == "categorical":
        network = nn.Sequential(network, nn.Softmax(dim=1))
    with tempfile.TemporaryDirectory() as scratch:
        with doing(where, "exporting"):
            file = export(network, exporter, Path(scratch), about, input_form, options)
        with doing(where, "running the file"):
            for n, difference in differences(network, file, lengths):
                fault = f"differs from torch by {difference:.1e} at {n} samples, allowed is {exporter.tolerance:g}"
                require(difference <= exporter.tolerance, where, fault)


def _check_recipe(model: Model, path: Path, where: str) -> None:
    where = f"{where}, recipe {path.name}"
    with doing(where, "reading it"):
        distils = "excerpts" in read_table(path)
        recipe = load_recipe(path, complete=False, kind=DistilRecipe if distils else Recipe)
    require(recipe.model.name == model.name, where, f"model.name is {recipe.model.name!r}")
    with doing(where, "looking up what it names"):
        for entry in recipe.augment:
            load_plugins().get("augmentations", entry.get("name", ""))
        ChosenLoss(recipe, model)
        for form in recipe.bundle.formats:
            load_plugins().get("exporters", named_options(form)[0])


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
