"""Train on targets with the CCC loss, keep the averaged weights that validate best."""

import contextlib
import csv
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from ..corpora import check_speakers_disjoint, select
from ..errors import UsageError
from ..evaluation.dimensional import concordance
from ..plugins import load_plugins
from .data import Batches, Clips, decode
from .losses import ccc_loss
from .recipe import Recipe, augmentations

LOG_COLUMNS = ("step", "seconds", "loss", "lr")


@dataclass(frozen=True)
class Progress:
    """Where a run is: what it does now, how far, the running loss and the last validation's CCC by output."""

    stage: str
    done: int
    total: int
    loss: float | None = None
    val: dict | None = None


def build(recipe: Recipe):
    """The recipe's registered Model and a fresh network of it."""
    model = load_plugins().get("models", recipe.model.name)
    torch.manual_seed(recipe.train.seed)
    try:
        return model, model.build(**recipe.model.options)
    except TypeError as error:
        raise UsageError(f"model.options for {model.name!r}: {error}") from None


def splits(recipe: Recipe):
    """(train, val, out-of-domain) rows, their speakers checked to be different."""
    data = recipe.data
    rows = load_plugins().get("corpora", data.corpus).read(Path(data.root))
    train, val = (select(rows, split, data.corpora) for split in (data.train, data.val))
    ood = select(rows, data.ood) if data.ood else []
    for split, part in ((data.train, train), (data.val, val)):
        if not part:
            raise UsageError(f"{data.root}: no row in split {split!r}")
    check_speakers_disjoint(**{data.train: train, data.val: val, **({data.ood: ood} if ood else {})})
    return train, val, ood


def train(recipe: Recipe, run: Path) -> Iterator[Progress]:
    """Train in folder ``run``: last.pt and best.pt, log.csv, recipe.json. Goes on from last.pt if it is there.

    Yields a Progress a step. Closing the generator (Ctrl-C) saves last.pt first.
    """
    settings = recipe.train
    torch.set_num_threads(settings.threads or os.cpu_count())
    model, network = build(recipe)
    train_rows, val_rows, _ = splits(recipe)
    run.mkdir(parents=True, exist_ok=True)
    _check_same_recipe(recipe, run)

    training = yield from _decode("decoding training clips", train_rows, recipe)
    validation = yield from _decode("decoding validation clips", val_rows, recipe)
    batches = Batches(training, augmentations(recipe, load_plugins()), settings, recipe.data.balance)

    network = network.to(memory_format=torch.channels_last)
    averaged = AveragedModel(network, avg_fn=_ema(settings.ema), use_buffers=True)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _learning_rate(step, settings))
    state = {"step": 0, "best": -math.inf, "val": None, "loss": None, "seconds": 0.0}
    parts = {"network": network, "averaged": averaged, "optimiser": optimiser, "schedule": schedule}
    if (run / "last.pt").exists():
        saved = torch.load(run / "last.pt", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        state = saved["state"]

    def save():
        _save({"state": state, **{name: part.state_dict() for name, part in parts.items()}}, run / "last.pt")

    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, sampler=range(state["step"], settings.steps), num_workers=settings.workers
    )
    mixed = contextlib.nullcontext if not settings.bf16 else lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    started = time.monotonic() - state["seconds"]
    try:
        for waveforms, targets in loader:
            network.train()
            with mixed():
                outputs = network(waveforms)
            loss = ccc_loss(outputs.float(), targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            schedule.step()
            averaged.update_parameters(network)
            state["step"] += 1
            state["seconds"] = time.monotonic() - started
            state["loss"] = loss.item() if state["loss"] is None else 0.98 * state["loss"] + 0.02 * loss.item()
            if state["step"] % settings.validate_every == 0 or state["step"] == settings.steps:
                outputs = predict(averaged.module, validation)
                state["val"] = concordance(outputs, validation.targets, model.outputs)
                _log(run / "log.csv", state, schedule.get_last_lr()[0])
                mean = float(np.mean(list(state["val"].values())))
                if mean > state["best"]:
                    state["best"] = mean
                    _save({"network": averaged.module.state_dict(), "step": state["step"]}, run / "best.pt")
                save()
            yield Progress("training", state["step"], settings.steps, state["loss"], state["val"])
    finally:
        save()


@torch.inference_mode()
def predict(network, clips: Clips) -> np.ndarray:
    """Outputs [clips, k] of whole, unpadded clips, one by one as `label` sees them."""
    network.eval()
    outputs = [network(torch.from_numpy(clip)[None])[0].numpy() for clip in clips.waveforms]
    return np.stack(outputs)


def best_network(recipe: Recipe, run: Path):
    """(Model, network in eval mode with the best weights, its step) of a run's folder."""
    model, network = build(recipe)
    saved = torch.load(run / "best.pt", weights_only=True)
    network.load_state_dict(saved["network"])
    return model, network.eval(), saved["step"]


def _decode(stage: str, rows, recipe: Recipe):
    """Decode with a Progress a clip; the generator's value is the Clips."""
    decoding = decode(rows, recipe.targets.intensity)
    while True:
        try:
            yield Progress(stage, *next(decoding))
        except StopIteration as end:
            return end.value


def _ema(decay: float):
    """Moving average whose memory grows with the run, so that it soon forgets the untrained weights."""

    def average(mean, new, count):
        return get_ema_avg_fn(min(decay, (1 + int(count)) / (10 + int(count))))(mean, new, count)

    return average


def _learning_rate(step: int, settings) -> float:
    """Share of the peak at a step: linear warm-up, then cosines down to zero with warm restarts (SGDR)."""
    starts = [settings.warmup, *settings.restarts]
    ends = [*settings.restarts, settings.steps]
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    cycle = sum(step >= start for start in starts) - 1
    progress = (step - starts[cycle]) / max(1, ends[cycle] - starts[cycle])
    return 0.5**cycle * 0.5 * (1 + math.cos(math.pi * progress))


def _check_same_recipe(recipe: Recipe, run: Path) -> None:
    """A run goes on with the recipe it began with, or not at all."""
    path, resolved = run / "recipe.json", json.dumps(recipe.as_dict(), indent=2, sort_keys=True) + "\n"
    if (run / "last.pt").exists() and path.exists() and path.read_text(encoding="utf-8") != resolved:
        raise UsageError(f"{run} holds a run of another recipe (compare {path}); choose another folder with -o")
    path.write_text(resolved, encoding="utf-8")


def _log(path: Path, state: dict, lr: float) -> None:
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        if new:
            table.writerow([*LOG_COLUMNS, *state["val"]])
        values = (f"{value:.4f}" for value in state["val"].values())
        table.writerow([state["step"], f"{state['seconds']:.0f}", f"{state['loss']:.4f}", f"{lr:.3g}", *values])


def _save(state: dict, path: Path) -> None:
    """Write beside and rename, so that a run cut off here keeps its previous checkpoint."""
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    os.replace(beside, path)
