"""The loop that all training shares: optimiser, averaged weights, mixed precision, checkpoints, logs, several GPUs."""

import contextlib
import csv
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.optim.swa_utils import AveragedModel

from sertool import bundle
from sertool._files import move_into_place
from sertool._machine import cores
from sertool.errors import SertoolError, UsageError
from sertool.nn.weights import fill, read_saved, read_weights
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.training.prefetch import prefetch
from sertool.training.recipe import Recipe, TrainSection, deciding, substituted
from sertool.training.targets import answering

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
    ``loss(outputs, targets)`` returns the loss and a dict of its parts, together the ``terms``. ``validate(network)``
    returns the ``figures`` by name, higher is better, or None. ``whole`` turns the network's weights into those that
    best.pt keeps, where ``network`` is a part of what is trained.
    """

    network: torch.nn.Module
    batches: torch.utils.data.Dataset
    loss: Callable
    terms: tuple[str, ...] = ("loss",)
    prepare: Callable = lambda waveforms, targets: targets
    validate: Callable = lambda network: None
    figures: tuple[str, ...] = ()
    whole: Callable[[dict], dict] = lambda weights: weights


def build(recipe: Recipe) -> tuple[Model, torch.nn.Module]:
    """The recipe's registered Model and a network of it as training begins, the same for the same seed.

    UsageError if the options are wrong, or the weights to start from are not there or of another network.
    """
    torch.manual_seed(recipe.train.seed)
    model, network = _network(recipe, substituted(recipe, recipe.model.options))
    if recipe.model.start:
        start = substituted(recipe, recipe.model.start)
        _begin_with(Path(bundle.installed().get(start, start)), model, network)
    return model, network


def _begin_with(start: Path, model: Model, network: torch.nn.Module) -> None:
    """Fill a network with the best weights of a run's folder, or those of a bundle that has them."""
    remedy = f"it is not of this {model.name}"
    if (start / bundle.WEIGHTS).is_file():
        weights = read_weights(start / bundle.WEIGHTS)
        fill(answering(model, network), weights, f"model.start: {start / bundle.WEIGHTS}", remedy)
        return
    saved = read_saved(start / "best.pt")
    if not isinstance(saved, dict) or "network" not in saved:
        raise UsageError(f"model.start: {start / 'best.pt'}: not written by sertool")
    fill(network, saved["network"], f"model.start: {start / 'best.pt'}", remedy)


def fresh(recipe: Recipe) -> tuple[Model, torch.nn.Module]:
    """The recipe's Model and a network for a checkpoint to go into: what it was started from is not needed again."""
    options = {key: value for key, value in recipe.model.options.items() if key != "weights"}
    return _network(recipe, substituted(recipe, options))


def _network(recipe: Recipe, options: dict) -> tuple[Model, torch.nn.Module]:
    model = load_plugins().get("models", recipe.model.name)
    network = made(model, options, f"model.options for {model.name!r}")
    return model.of(network), network


def made(model: Model, options: dict, where: str) -> torch.nn.Module:
    """What a registered Model builds with these options; UsageError, which says ``where``, if that is no network."""
    try:
        network = model.build(**options)
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from None
    except ImportError as error:
        raise UsageError(f"model {model.name!r} needs {error.name or error}, which is not installed") from None
    if not isinstance(network, torch.nn.Module):
        raise UsageError(f"model {model.name!r}: build returned {type(network).__name__}, not a torch module")
    return network


def start(recipe: Recipe, run: Path) -> torch.device:
    """Set up the process: threads, the device, the group of processes under torchrun; and the run's folder."""
    together = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(recipe.train.threads or max(1, cores() // together))
    device = _device(recipe.train.device)
    if "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        # The others wait while the first validates, which may take long.
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=6))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    run.mkdir(parents=True, exist_ok=True)
    if rank() == 0:
        check_same_recipe(recipe, run)
    return device


def rank() -> int:
    """This process's number under torchrun, 0 for a process alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def leave() -> None:
    """Leave the group of processes, if there is one; all but the first end here.

    The group's threads must have ended before Python does, or they abort the process: first goes what holds the group.
    """
    if distributed.is_initialized():
        last = distributed.get_rank() > 0
        gc.collect()
        distributed.destroy_process_group()
        if last:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def train(
    task: Task, settings: TrainSection, run: Path, device: torch.device, stop: Callable[[], bool] = lambda: False
) -> Iterator[Progress]:
    """Train in folder ``run``: last.pt and best.pt, log.csv, tensorboard/. Goes on from last.pt if it is there.

    Yields a Progress a step. When ``stop()`` says so, or the generator is closed, last.pt is saved. A run that is cut
    off and goes on has the same weights as an unbroken one. With ``patience`` it may end early, at a last Progress
    whose total is what was done.
    """
    network = task.network.to(device, memory_format=torch.channels_last)
    state = {"step": 0, "best": -math.inf, "since": 0, "val": None, "losses": {}, "seconds": 0.0}
    state["processes"] = processes()

    def average(mean, new, _):
        # Its memory grows with the run, so that it soon forgets the weights it began with. lerp keeps what is frozen.
        done = state["step"]
        weight = 1 - min(settings.ema, (1 + done) / (10 + done))
        return torch.lerp(mean, new, weight) if mean.is_floating_point() else new

    averaged = AveragedModel(network, avg_fn=average, use_buffers=True) if settings.ema else None
    kept = averaged.module if averaged else network
    trained = [p for p in network.parameters() if p.requires_grad]
    if not trained:
        raise UsageError("the network has nothing to train")
    optimiser = _optimiser(trained, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate(step, settings))
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    parts = {"network": network, "optimiser": optimiser, "schedule": schedule, "scaler": scaler}
    parts |= {"averaged": averaged} if averaged else {}
    if (run / "last.pt").exists():
        saved = read_saved(run / "last.pt")
        if saved["state"]["processes"] != processes():
            raise UsageError(
                f"{run} was trained by {saved['state']['processes']} processes, not {processes()}: its next step "
                "would be another one"
            )
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        state |= saved["state"]
    enough = settings.patience and state["since"] >= settings.patience
    if enough or state["step"] >= settings.steps:  # it had ended
        yield Progress("training", state["step"], state["step"], state["losses"], state["val"])
        return
    columns = [*task.terms, "lr", *(f"val {name}" for name in task.figures)]
    log = Log(run, state["step"], columns) if rank() == 0 else None
    saved_at = state["step"]

    def save():
        nonlocal saved_at
        if rank() == 0 and saved_at != state["step"]:
            saved_at = state["step"]
            _save({"state": state, **{name: part.state_dict() for name, part in parts.items()}}, run / "last.pt")

    forward = _parallel(network, device)
    if settings.compile:
        forward = torch.compile(forward, dynamic=True)
    loader = torch.utils.data.DataLoader(
        Guarded(task.batches),
        batch_size=None,
        sampler=range(state["step"], settings.steps),
        num_workers=settings.workers,
    )
    started = time.monotonic() - state["seconds"]
    whole = True  # whether weights and random state are those of the step's end
    try:
        with contextlib.closing(prefetch(loader, task.prepare, settings, device)) as batches:
            for waveforms, targets in batches:
                whole = False
                # Dropout's randomness, too, is a function of the step: nothing to keep for a run that goes on.
                torch.manual_seed(_seed(settings.seed, state["step"], rank()))
                network.train()
                with mixed_precision(settings, device):
                    outputs = forward(waveforms)
                loss, terms = task.loss(outputs.float(), targets)
                values = {name: float(value.detach()) for name, value in {"loss": loss, **terms}.items()}
                if not math.isfinite(values["loss"]) and not scaler.is_enabled():  # a scaler passes over such steps
                    raise SertoolError(f"the loss at step {state['step'] + 1} is not a number; lower train.lr")
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
                _smooth(state, values)
                state["step"] += 1
                state["seconds"] = time.monotonic() - started
                _after_step(task, settings, state, kept, schedule.get_last_lr()[0], log, run)
                whole = True
                stopping = _anyone(stop(), device)
                enough = settings.patience and _anyone(state["since"] >= settings.patience, device)
                last = enough or state["step"] == settings.steps
                if stopping or last or state["step"] % settings.save_every == 0:
                    save()
                total = state["step"] if last else settings.steps
                yield Progress("training", state["step"], total, state["losses"], state["val"])
                if stopping or last:
                    return
    finally:
        if whole:
            save()
        if log:
            log.close()


class Guarded(torch.utils.data.Dataset):
    """Batches whose errors arrive as they were raised: a worker's would come back as a traceback in a message."""

    def __init__(self, batches):
        self.batches = batches

    def __getitem__(self, step: int):
        try:
            return self.batches[step]
        except SertoolError as error:
            return error


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
        saved = read_saved(run / "best.pt")
        weights, step = saved["network"], saved["step"]
    else:
        last = read_saved(run / "last.pt")
        weights, step = last["network"], last["state"]["step"]
        if "averaged" in last:
            prefix = "module."
            averaged = last["averaged"].items()
            weights = {name.removeprefix(prefix): tensor for name, tensor in averaged if name.startswith(prefix)}
    network.load_state_dict(weights)
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


def _after_step(task, settings, state, kept, lr: float, log, run: Path) -> None:
    """Validate and log where it is time to, in the first process only."""
    if rank() != 0:
        return
    step, val = state["step"], {}
    if step % settings.validate_every == 0 or step == settings.steps:
        training = kept.training
        state["val"] = task.validate(kept.eval())
        kept.train(training)
        if val := state["val"] or {}:
            mean = float(np.mean(list(val.values())))
            state["since"] += 1
            if mean > state["best"]:
                state |= {"best": mean, "since": 0}
                _save({"network": task.whole(kept.state_dict()), "step": step}, run / "best.pt")
    elif step % settings.log_every:
        return
    log.write(step, state["seconds"], {**state["losses"], "lr": lr, **{f"val {k}": v for k, v in val.items()}})


class Log:
    """log.csv, and tensorboard/ where TensorBoard is installed. Lines after ``step`` are from before a cut and go."""

    def __init__(self, run: Path, step: int, names: list[str]):
        self.path, self.columns = run / "log.csv", ["step", "seconds", *names]
        beside = self.path.with_suffix(".tmp")
        with open(beside, "w", newline="", encoding="utf-8") as new:
            table = csv.writer(new, lineterminator="\n")
            table.writerow(self.columns)
            if self.path.exists():
                with open(self.path, newline="", encoding="utf-8") as old:
                    for row in csv.reader(old):
                        if len(row) == len(self.columns) and row[0].isdigit() and int(row[0]) <= step:
                            table.writerow(row)
        move_into_place(beside, self.path)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(run / "tensorboard", purge_step=step + 1)

    def write(self, step: int, seconds: float, figures: dict) -> None:
        """One line; what has no figure this time stays empty."""
        shown = {name: f"{value:.6g}" for name, value in figures.items()}
        row = {"step": step, "seconds": f"{seconds:.0f}", **shown}
        with open(self.path, "a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self.columns, restval="", lineterminator="\n").writerow(row)
        if self.board:
            for name, value in figures.items():
                self.board.add_scalar(name.replace(" ", "/", 1), value, step)

    def close(self) -> None:
        if self.board:
            self.board.close()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"train.device: {name!r} is no device; write auto, cpu or cuda") from None
    if device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if device.index >= torch.cuda.device_count():
            raise UsageError(f"train.device: {name} is not there; write auto or cpu")
    return device


def _optimiser(trained, settings: TrainSection) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(trained, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    # Biases and norms are left alone, as is usual.
    decayed, others = ([p for p in trained if (p.ndim > 1) == many] for many in (True, False))
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr, weight_decay=settings.weight_decay)


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


def _smooth(state: dict, values: dict[str, float]) -> None:
    weight = max(1 / (state["step"] + 1), 1 / SMOOTHING)
    for name, value in values.items():
        before = state["losses"].get(name, value)
        if math.isfinite(value):
            state["losses"] = {**state["losses"], name: before + weight * (value - before)}


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def check_same_recipe(recipe: Recipe, run: Path) -> None:
    """A run goes on with what decided its weights, or not at all."""
    path = run / "recipe.json"
    if (run / "last.pt").exists() and path.exists():
        try:
            before = deciding(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError):
            before = None
        if before != deciding(json.loads(json.dumps(recipe.as_dict()))):
            raise UsageError(f"{run} holds a run of another recipe (compare {path}); choose another folder with -o")
    path.write_text(json.dumps(recipe.as_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save(state: dict, path: Path) -> None:
    """Write beside and rename, so that a run cut off here keeps its previous checkpoint."""
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    move_into_place(beside, path)
