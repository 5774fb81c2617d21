"""The loop that all training shares: optimiser, averaged weights, mixed precision, checkpoints, logs, several GPUs."""

import contextlib
import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from ..errors import UsageError
from ..plugins import load_plugins
from ..registry import Model
from .prefetch import prefetch
from .recipe import Recipe, TrainSection, substituted

#: Steps over which the loss that is shown and logged is averaged.
SMOOTHING = 50


@dataclass(frozen=True)
class Progress:
    """Where a run is: what it does now, how far, the running losses and the last validation's figures by name."""

    stage: str
    done: int
    total: int
    losses: dict | None = None
    val: dict | None = None


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    ``batches[step]`` is (waveforms [batch, samples], targets or an empty tensor), the same whenever that step is asked
    for. ``prepare`` turns it into what ``loss`` takes, beside the student's work (a teacher's outputs).
    ``loss(outputs, targets)`` returns the loss and its terms by name. ``validate(network)`` returns figures by name,
    higher is better, or None.
    """

    network: torch.nn.Module
    batches: torch.utils.data.Dataset
    loss: Callable
    prepare: Callable = lambda waveforms, targets: targets
    validate: Callable = lambda network: None


def build(recipe: Recipe) -> tuple[Model, torch.nn.Module]:
    """The recipe's registered Model and a network of it as training begins, the same for the same seed.

    UsageError if the options are wrong, or the weights to start from are not there or of another network.
    """
    model, network = fresh(recipe)
    if recipe.model.start:
        best = Path(substituted(recipe, recipe.model.start)) / "best.pt"
        try:
            network.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["network"])
        except OSError as error:
            raise UsageError(f"model.start: {best}: {error.strerror}") from None
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"model.start: {best}: not weights of this {model.name} ({reason})") from None
    return model, network


def fresh(recipe: Recipe) -> tuple[Model, torch.nn.Module]:
    """The recipe's registered Model and a network of it with random weights."""
    model = load_plugins().get("models", recipe.model.name)
    torch.manual_seed(recipe.train.seed)
    try:
        return model, model.build(**substituted(recipe, recipe.model.options))
    except TypeError as error:
        raise UsageError(f"model.options for {model.name!r}: {error}") from None


def start(recipe: Recipe, run: Path) -> torch.device:
    """Set up the process: threads, the device, the group of processes under torchrun; and the run's folder."""
    torch.set_num_threads(recipe.train.threads or os.cpu_count())
    device = _device(recipe.train.device)
    if "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    run.mkdir(parents=True, exist_ok=True)
    if rank() == 0:
        _check_same_recipe(recipe, run)
    return device


def rank() -> int:
    """This process's number under torchrun, 0 for a process alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def train(
    task: Task, settings: TrainSection, run: Path, device: torch.device, stop: Callable[[], bool] = lambda: False
) -> Iterator[Progress]:
    """Train in folder ``run``: last.pt and best.pt, log.csv, tensorboard/. Goes on from last.pt if it is there.

    Yields a Progress a step. When ``stop()`` says so, or the generator is closed, last.pt is saved. A run that is cut
    off and goes on has the same weights as an unbroken one.
    """
    network = task.network.to(device, memory_format=torch.channels_last)
    averaged = AveragedModel(network, avg_fn=_ema(settings.ema), use_buffers=True) if settings.ema else None
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = _optimiser(trained, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate(step, settings))
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    state = {"step": 0, "best": -math.inf, "val": None, "losses": {}, "seconds": 0.0}
    parts = {"network": network, "optimiser": optimiser, "schedule": schedule, "scaler": scaler}
    parts |= {"averaged": averaged} if averaged else {}
    if (run / "last.pt").exists():
        saved = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        state = saved["state"]
        _set_random_state(saved["random"], device)
    log = _Log(run, state["step"]) if rank() == 0 else None
    kept = averaged.module if averaged else network

    saved_at = None

    def save():
        nonlocal saved_at
        if rank() == 0 and saved_at != state["step"]:
            saved_at = state["step"]
            states = {name: part.state_dict() for name, part in parts.items()}
            _save({"state": state, "random": _random_state(device), **states}, run / "last.pt")

    forward = _parallel(network, device)
    loader = torch.utils.data.DataLoader(
        task.batches,
        batch_size=None,
        sampler=range(state["step"], settings.steps),
        num_workers=settings.workers,
        generator=torch.Generator(),  # else it would draw from the student's randomness, once a start
    )
    started = time.monotonic() - state["seconds"]
    try:
        with contextlib.closing(prefetch(loader, task.prepare, settings, device)) as batches:
            for waveforms, targets in batches:
                network.train()
                with mixed_precision(settings, device):
                    outputs = forward(waveforms)
                loss, terms = task.loss(outputs.float(), targets)
                optimiser.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                if settings.clip_gradient:
                    scaler.unscale_(optimiser)
                    torch.nn.utils.clip_grad_norm_(trained, settings.clip_gradient)
                scaler.step(optimiser)
                scaler.update()
                schedule.step()
                if averaged:
                    averaged.update_parameters(network)
                _smooth(state, {"loss": loss, **terms})
                state["step"] += 1
                state["seconds"] = time.monotonic() - started
                _after_step(task, settings, state, kept, schedule, log, run)
                stopping = _anyone(stop(), device)
                if stopping or state["step"] % settings.save_every == 0 or state["step"] == settings.steps:
                    save()
                yield Progress("training", state["step"], settings.steps, state["losses"], state["val"])
                if stopping:
                    return
    finally:
        save()
        if log:
            log.close()


def mixed_precision(settings: TrainSection, device: torch.device):
    """The autocast context of a recipe's precision."""
    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if settings.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=types[settings.precision])


def best_network(recipe: Recipe, run: Path) -> tuple[Model, torch.nn.Module, int]:
    """(Model, network in eval mode on the CPU, its step) of a run: what validated best, else what there was last."""
    model, network = fresh(recipe)
    if (run / "best.pt").exists():
        saved = torch.load(run / "best.pt", weights_only=True, map_location="cpu")
        step = saved["step"]
    else:
        last = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
        weights = last["network"]
        if "averaged" in last:
            weights = {name[7:]: tensor for name, tensor in last["averaged"].items() if name.startswith("module.")}
        saved, step = {"network": weights}, last["state"]["step"]
    network.load_state_dict(saved["network"])
    return model, network.eval(), step


def learning_rate(step: int, settings: TrainSection) -> float:
    """Share of the peak at a step: linear warm-up, then constant, or cosines down to zero with warm restarts (SGDR)."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    starts = [settings.warmup, *settings.restarts]
    ends = [*settings.restarts, settings.steps]
    cycle = sum(step >= start for start in starts) - 1
    progress = (step - starts[cycle]) / max(1, ends[cycle] - starts[cycle])
    return 0.5**cycle * 0.5 * (1 + math.cos(math.pi * progress))


def _after_step(task, settings, state, kept, schedule, log, run) -> None:
    """Validate and log where it is time to, in the first process only."""
    if rank() != 0:
        return
    step, lr = state["step"], schedule.get_last_lr()[0]
    last = step == settings.steps
    if step % settings.validate_every == 0 or last:
        training = kept.training
        state["val"] = task.validate(kept.eval())
        kept.train(training)
        if state["val"]:
            mean = float(np.mean(list(state["val"].values())))
            if mean > state["best"]:
                state["best"] = mean
                _save({"network": kept.state_dict(), "step": step}, run / "best.pt")
        log.write(state, lr, state["val"] or {})
    elif step % settings.log_every == 0:
        log.write(state, lr, {})


class _Log:
    """log.csv, and tensorboard/ where TensorBoard is installed; lines after ``step`` are from before a cut and go."""

    def __init__(self, run: Path, step: int):
        self.path = run / "log.csv"
        self.rows = []
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as stream:
                self.rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= step]
            self._rewrite()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(run / "tensorboard", purge_step=step + 1)

    def write(self, state: dict, lr: float, val: dict) -> None:
        figures = {**state["losses"], "lr": lr, **{f"val {name}": value for name, value in val.items()}}
        row = {"step": str(state["step"]), "seconds": f"{state['seconds']:.0f}"}
        row |= {name: f"{value:.6g}" for name, value in figures.items()}
        new_columns = not self.rows or row.keys() - self.rows[0].keys()
        self.rows.append(row)
        if new_columns:
            self._rewrite()
        else:
            with open(self.path, "a", newline="", encoding="utf-8") as stream:
                csv.DictWriter(stream, self.rows[0].keys(), lineterminator="\n").writerow(row)
        if self.board:
            for name, value in figures.items():
                self.board.add_scalar(name.replace(" ", "/", 1), value, state["step"])

    def close(self) -> None:
        if self.board:
            self.board.close()

    def _rewrite(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        self.rows = [{name: row.get(name, "") for name in columns} for row in self.rows]
        with open(self.path, "w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, columns, lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"train.device: {name!r} is no device; write auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"train.device: {name} is not there; write auto or cpu")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return device


def _optimiser(trained, settings: TrainSection) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(trained, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(trained, lr=settings.lr, weight_decay=settings.weight_decay)


def _parallel(network, device: torch.device):
    """The network as it is called in training: gradients averaged over the processes where there are several."""
    if not distributed.is_initialized():
        return network
    return torch.nn.parallel.DistributedDataParallel(network, [device] if device.type == "cuda" else None)


def _anyone(flag: bool, device: torch.device) -> bool:
    """Whether any process says so: all must leave at the same step, or the rest would wait for ever."""
    if not distributed.is_initialized():
        return flag
    flags = torch.tensor(float(flag), device=device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags)


def _ema(decay: float):
    """Moving average whose memory grows with the run, so that it soon forgets the untrained weights."""

    def average(mean, new, count):
        return get_ema_avg_fn(min(decay, (1 + int(count)) / (10 + int(count))))(mean, new, count)

    return average


def _smooth(state: dict, terms: dict) -> None:
    weight = max(1 / (state["step"] + 1), 1 / SMOOTHING)
    for name, value in terms.items():
        before = state["losses"].get(name)
        value = float(value.detach())
        state["losses"] = {**state["losses"], name: value if before is None else before + weight * (value - before)}


def _random_state(device: torch.device) -> dict:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_random_state(state: dict, device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _check_same_recipe(recipe: Recipe, run: Path) -> None:
    """A run goes on with the recipe it began with, or not at all."""
    path, resolved = run / "recipe.json", json.dumps(recipe.as_dict(), indent=2, sort_keys=True) + "\n"
    if (run / "last.pt").exists() and path.exists() and path.read_text(encoding="utf-8") != resolved:
        raise UsageError(f"{run} holds a run of another recipe (compare {path}); choose another folder with -o")
    path.write_text(resolved, encoding="utf-8")


def _save(state: dict, path: Path) -> None:
    """Write beside and rename, so that a run cut off here keeps its previous checkpoint."""
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    os.replace(beside, path)
