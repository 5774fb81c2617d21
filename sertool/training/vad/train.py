"""Train the voice activity detector: make the scenes once, then train the network on them."""

import argparse
import functools
import json
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from sertool._types import Array
from sertool.errors import SertoolError, UsageError
from sertool.training.vad import network, scenes

RECIPE = Path(__file__).with_name("recipe.toml")
_STEPS = 31  # quantisation steps per unit of a move, for storage in 8 bits


def example(
    corpora: Path, weights: tuple[tuple[str, float], ...], seconds: float, seed: tuple[int, int]
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int8], scenes.Frames]:
    """Make one training scene: inputs float16 [steps, 52], moves int8 [steps, 250], frames uint8 [steps, 2]."""
    samples, frames = scenes.scene(np.random.default_rng(seed), scenes.material(corpora, weights), seconds)
    steps = len(frames) // network.FRAMES
    inputs, moves = network.seen(network.rows(samples)[: steps * network.ROWS], network.silent(samples)[:steps])
    moves = np.round(moves * _STEPS).astype(np.int8).reshape(steps, -1)
    return inputs.astype(np.float16), moves, frames.reshape(steps, network.FRAMES)


def prepare(recipe: dict[str, Any], corpora: Path, folder: Path, workers: int) -> list[Array]:
    """Return a recipe's scenes as arrays [scenes, ...] from files in ``folder``; make them if they are missing."""
    wanted, marker = recipe["scenes"], folder / "scenes.json"
    paths = [folder / f"{name}.npy" for name in ("inputs", "moves", "frames")]
    if not marker.exists() or json.loads(marker.read_text()) != wanted:
        weights = tuple(sorted(wanted["corpora"].items()))
        make: Callable[[tuple[int, int]], Sequence[Array]] = functools.partial(
            example, corpora, weights, wanted["seconds"]
        )
        seeds = [(wanted["seed"], i) for i in range(wanted["number"])]
        arrays: list[Array] = []
        with ProcessPoolExecutor(workers) as pool:
            for i, parts in enumerate(pool.map(make, seeds, chunksize=8)):
                arrays = arrays or [
                    np.lib.format.open_memmap(path, "w+", part.dtype, (len(seeds), *part.shape))
                    for path, part in zip(paths, parts, strict=True)
                ]
                for array, part in zip(arrays, parts, strict=True):
                    array[i] = part
        marker.write_text(json.dumps(wanted))
    return [np.load(path, mmap_mode="r") for path in paths]


def tensors(inputs: Array, moves: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert parts of the prepared arrays to the network's inputs and moves."""
    scaled = torch.from_numpy(np.ascontiguousarray(moves)).float() / _STEPS
    shape = (*scaled.shape[:2], network.ROWS, network.BANDS)
    return torch.from_numpy(np.ascontiguousarray(inputs)).float(), scaled.reshape(shape)


def loss(logits: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of [recordings, steps, 2] over all frames that are not unclear.

    The target of a short pause is 0.25: the conversation continues.
    """
    clear = (frames != scenes.UNCLEAR).float()
    wanted = (frames == scenes.SPEECH).float() + 0.25 * (frames == scenes.PAUSE).float()
    errors = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, weight=clear, reduction="sum")
    return errors / clear.sum().clamp(min=1)


def train(
    recipe: dict[str, Any], arrays: list[Array], report: Callable[[str, network.Network], object] = print
) -> network.Network:
    """Train a network with AdamW and a cosine schedule and return the moving average of its weights.

    A batch is one part of each of several scenes; the next batch continues with the following part and the same
    recurrent state, so that the network learns dependencies longer than a part. Half of the new scenes start with the
    final state of another scene.
    """
    settings, (inputs, moves, frames) = recipe["training"], arrays
    torch.manual_seed(settings["seed"])
    rng = np.random.default_rng(settings["seed"])
    net = network.Network()
    mean = deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings["rate"], weight_decay=1e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min(1, (i + 1) / 100) * (0.505 + 0.495 * np.cos(np.pi * i / settings["steps"]))
    )
    length, late = inputs.shape[1] // settings["parts"], network.LATE
    order: list[int] = []
    state: torch.Tensor | None = None
    shown: float | None = None
    for step in range(settings["steps"]):
        part = step % settings["parts"]
        if part == 0:
            if len(order) < settings["batch"]:
                order = rng.permutation(len(inputs)).tolist()
            chosen = np.sort([order.pop() for _ in range(settings["batch"])])
            curve = np.cumsum(rng.normal(0, 0.06, (len(chosen), network.BANDS)), axis=1)
            tilt = torch.from_numpy(curve - curve.mean(axis=1, keepdims=True)).float()
            if state is not None:
                state = state * torch.from_numpy(rng.random((1, len(chosen), 1)) < 0.5)
        start, end = part * length, (part + 1) * length
        batch, batch_moves = tensors(inputs[chosen, start:end], moves[chosen, start:end])
        batch[..., : network.BANDS] += tilt[:, None]
        logits, last_state = net(batch, batch_moves, state)
        state = last_state.detach()
        first = late if part == 0 else 0
        wanted = torch.from_numpy(frames[chosen, start + first - late : end - late])
        error = loss(logits[:, first:], wanted)
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]  # no annotations in torch
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for average, current in zip(mean.parameters(), net.parameters(), strict=True):
                average.lerp_(current, max(0.002, 20 / (step + 20)))
        shown = error.item() if shown is None else 0.98 * shown + 0.02 * error.item()
        if (step + 1) % 100 == 0:
            report(f"step {step + 1}: loss {shown:.4f}", mean)
    return mean.eval()


def read(path: Path) -> dict[str, Any]:
    """Read a recipe; missing keys have the values of recipe.toml.

    Raises UsageError if the file cannot be read or has an unknown section or key.
    """
    recipe: dict[str, Any] = tomllib.loads(RECIPE.read_text())
    try:
        given = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    for section, values in given.items():
        if unknown := ([section] if section not in recipe else sorted(set(values) - set(recipe[section]))):
            raise UsageError(f"{path}: unknown section or key {unknown[0]!r}; see {RECIPE}")
        recipe[section] |= values
    return recipe


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m sertool.training.vad", description=__doc__)
    parser.add_argument("recipe", nargs="?", type=Path, default=RECIPE)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with manifest.csv, noise/ and rir/")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the weights and the scenes")
    parser.add_argument("--workers", type=int, default=2, help="processes that make scenes")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    weights = options.output / "vad.safetensors"

    def report(line: str, mean: network.Network) -> None:
        print(line, flush=True)
        save_file(mean.state_dict(), weights)

    try:
        recipe = read(options.recipe)
        options.output.mkdir(parents=True, exist_ok=True)
        arrays = prepare(recipe, options.corpora, options.output, options.workers)
        save_file(train(recipe, arrays, report).state_dict(), weights)
    except (OSError, SertoolError) as error:
        parser.exit(2, f"{error}\n")
    print(f"wrote {weights}; to make csrc/vad_tables.h: python csrc/make_vad_tables.py {weights}")
