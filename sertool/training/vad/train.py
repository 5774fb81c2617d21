"""Train the voice activity detector: scenes are made once, then its network learns from all of them."""

import argparse
import functools
import json
import tomllib
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from sertool.errors import SertoolError, UsageError
from sertool.training.vad import network, scenes

RECIPE = Path(__file__).with_name("recipe.toml")
_STEPS = 31  # of a move, to be kept in 8 bits


def example(corpora: Path, weights: tuple, seconds: float, seed: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One scene to learn from: inputs float16 [steps, 52], moves int8 [steps, 250], frames uint8 [steps, 2]."""
    samples, frames = scenes.scene(np.random.default_rng(seed), scenes.material(corpora, weights), seconds)
    steps = len(frames) // network.FRAMES
    inputs, moves = network.seen(network.rows(samples)[: steps * network.ROWS], network.silent(samples)[:steps])
    moves = np.round(moves * _STEPS).astype(np.int8).reshape(steps, -1)
    return inputs.astype(np.float16), moves, frames.reshape(steps, network.FRAMES)


def prepare(recipe: dict, corpora: Path, folder: Path, workers: int) -> list[np.ndarray]:
    """The scenes of a recipe, as arrays [scenes, ...] in files in ``folder``, which are made if they are not there."""
    wanted, made = recipe["scenes"], folder / "scenes.json"
    paths = [folder / f"{name}.npy" for name in ("inputs", "moves", "frames")]
    if not made.exists() or json.loads(made.read_text()) != wanted:
        weights = tuple(sorted(wanted["corpora"].items()))
        make = functools.partial(example, corpora, weights, wanted["seconds"])
        seeds, arrays = [(wanted["seed"], i) for i in range(wanted["number"])], None
        with ProcessPoolExecutor(workers) as pool:
            for i, parts in enumerate(pool.map(make, seeds, chunksize=8)):
                arrays = arrays or [
                    np.lib.format.open_memmap(path, "w+", part.dtype, (len(seeds), *part.shape))
                    for path, part in zip(paths, parts, strict=True)
                ]
                for array, part in zip(arrays, parts, strict=True):
                    array[i] = part
        made.write_text(json.dumps(wanted))
    return [np.load(path, mmap_mode="r") for path in paths]


def tensors(inputs: np.ndarray, moves: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network takes, from parts of the prepared arrays."""
    moves = torch.from_numpy(np.ascontiguousarray(moves)).float() / _STEPS
    shape = (*moves.shape[:2], network.ROWS, network.BANDS)
    return torch.from_numpy(np.ascontiguousarray(inputs)).float(), moves.reshape(shape)


def loss(logits: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of [recordings, steps, 2] over the frames of which it is known whether they are speech.

    In a short pause the talk goes on, so to speak: it is a quarter speech.
    """
    clear = (frames != scenes.UNCLEAR).float()
    wanted = (frames == scenes.SPEECH).float() + 0.25 * (frames == scenes.PAUSE).float()
    errors = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, weight=clear, reduction="sum")
    return errors / clear.sum().clamp(min=1)


def train(recipe: dict, arrays: list[np.ndarray], report=print) -> network.Network:
    """A network after ``steps`` of AdamW, the rate falling as a cosine: the mean of its last weights.

    A batch is a part of so many scenes, and the next one goes on where it ended, so that what is remembered reaches
    beyond a part; half of the scenes begin where others ended.
    """
    told, (inputs, moves, frames) = recipe["training"], arrays
    torch.manual_seed(told["seed"])
    rng = np.random.default_rng(told["seed"])
    net = network.Network()
    mean = deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=told["rate"], weight_decay=1e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min(1, (i + 1) / 100) * (0.505 + 0.495 * np.cos(np.pi * i / told["steps"]))
    )
    length, late = inputs.shape[1] // told["parts"], network.LATE
    order, state, shown = [], None, None
    for step in range(told["steps"]):
        part = step % told["parts"]
        if part == 0:
            if len(order) < told["batch"]:
                order = rng.permutation(len(inputs)).tolist()
            chosen = np.sort([order.pop() for _ in range(told["batch"])])
            tilt = np.cumsum(rng.normal(0, 0.06, (len(chosen), network.BANDS)), axis=1)
            tilt = torch.from_numpy(tilt - tilt.mean(axis=1, keepdims=True)).float()
            if state is not None:
                state = state * torch.from_numpy(rng.random((1, len(chosen), 1)) < 0.5)
        here = slice(part * length, (part + 1) * length)
        given, moved = tensors(inputs[chosen, here], moves[chosen, here])
        given[..., : network.BANDS] += tilt[:, None]
        logits, state = net(given, moved, state)
        state = state.detach()
        first = late if part == 0 else 0
        wanted = torch.from_numpy(frames[chosen, here.start + first - late : here.stop - late])
        error = loss(logits[:, first:], wanted)
        optimiser.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for kept, now in zip(mean.parameters(), net.parameters(), strict=True):
                kept.lerp_(now, max(0.002, 20 / (step + 20)))
        shown = error.item() if shown is None else 0.98 * shown + 0.02 * error.item()
        if (step + 1) % 100 == 0:
            report(f"step {step + 1}: loss {shown:.4f}", mean)
    return mean.eval()


def read(path: Path) -> dict:
    """A recipe; what it leaves out is as in recipe.toml. UsageError if it cannot be read or has what no recipe has."""
    recipe = tomllib.loads(RECIPE.read_text())
    try:
        given = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    for section, values in given.items():
        if unknown := ([section] if section not in recipe else sorted(set(values) - set(recipe[section]))):
            raise UsageError(f"{path}: {unknown[0]!r} is in no recipe; {RECIPE} shows what there is")
        recipe[section] |= values
    return recipe


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m sertool.training.vad", description=__doc__)
    parser.add_argument("recipe", nargs="?", type=Path, default=RECIPE)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with manifest.csv, noise/ and rir/")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the weights and of the scenes")
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
    print(f"{weights}: python csrc/make_vad_tables.py {weights} makes csrc/vad_tables.h of it")
