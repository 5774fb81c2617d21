"""The shared training loop: optimiser, averaged weights, mixed precision, checkpoints, logs, several GPUs."""

import contextlib
import csv
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypedDict

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
from sertool.training.losses import LossFunction
from sertool.training.prefetch import Batch, Prepare, prefetch
from sertool.training.recipe import deciding, substituted
from sertool.training.sections import Recipe, TrainSection
from sertool.training.targets import answering

#: Steps over which the displayed and logged loss is averaged.
SMOOTHING = 50


@dataclass(frozen=True)
class Progress:
    """The progress of a run: its stage, how far it is, running losses and the last validation's metrics by name."""

    stage: str
    done: int
    total: int
    losses: dict[str, float] | None = None
    val: dict[str, float] | None = None


@dataclass(frozen=True)
class Task:
    """A network, its training data and its loss.

    ``batches[step]`` is (waveforms [batch, samples], targets or an empty tensor), always the same for the same step.
    ``prepare`` turns it into the targets of ``loss`` (such as a teacher's outputs), in a thread of its own.
    ``loss(outputs, targets)`` returns the loss and a dict of its parts, together the ``terms``. ``validate(network)``
    returns the ``figures`` by name, higher is better, or None. ``whole`` turns the network's weights into those to
    write to best.pt, if ``network`` is only a part of the model.
    """

    network: torch.nn.Module
    batches: torch.utils.data.Dataset[Batch]
    loss: LossFunction
    terms: tuple[str, ...] = ("loss",)
    prepare: Prepare = lambda waveforms, targets: targets
    validate: Callable[[torch.nn.Module], dict[str, float] | None] = lambda network: None
    figures: tuple[str, ...] = ()
    whole: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = lambda weights: weights


class _State(TypedDict):
    """The state of a run in last.pt, in addition to those of network and optimiser."""

    step: int
    best: float  # mean of the best validation's metrics
    since: int  # validations since then
    val: dict[str, float] | None
    losses: dict[str, float]
    seconds: float
    processes: int


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def build(recipe: Recipe) -> tuple[Model, torch.nn.Module]:
    """Return the recipe's registered Model and its network with initial weights, the same for the same seed.

    Raises UsageError if the options are wrong, or the weights to start from are missing or from another network.
    """
    torch.manual_seed(recipe.train.seed)
    model, network = _network(recipe, substituted(recipe, recipe.model.options))
    if recipe.model.start:
        start = substituted(recipe, recipe.model.start)
        _begin_with(Path(bundle.installed().get(start, start)), model, network)
    return model, network


def _begin_with(start: Path, model: Model, network: torch.nn.Module) -> None:
    """Load the best weights of a run's folder, or a bundle's weights; raise UsageError if they do not fit."""
    remedy = f"the weights are not from this {model.name}"
    if (start / bundle.WEIGHTS).is_file():
        weights = read_weights(start / bundle.WEIGHTS)
        fill(answering(model, network), weights, f"model.start: {start / bundle.WEIGHTS}", remedy)
        return
    saved = read_saved(start / "best.pt")
    if not isinstance(saved, dict) or "network" not in saved:
        raise UsageError(f"model.start: {start / 'best.pt'}: not written by sertool")
    fill(network, saved["network"], f"model.start: {start / 'best.pt'}", remedy)


def fresh(recipe: Recipe) -> tuple[Model, torch.nn.Module]:
    """Return the recipe's Model and a network to load a checkpoint into; initial weights are not read again."""
    options = {key: value for key, value in recipe.model.options.items() if key != "weights"}
    return _network(recipe, substituted(recipe, options))


def _network(recipe: Recipe, options: dict[str, Any]) -> tuple[Model, torch.nn.Module]:
    model: Model = load_plugins().get("models", recipe.model.name)
    network = made(model, options, f"model.options for {model.name!r}")
    return model.of(network), network


def made(model: Model, options: dict[str, Any], where: str) -> torch.nn.Module:
    """Build a registered Model with these options; raise UsageError, starting with ``where``, if that fails."""
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
    """Set up threads, the device, the process group under torchrun and the run's folder; return the device."""
    together = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(recipe.train.threads or max(1, cores() // together))
    device = _device(recipe.train.device)
    if "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        # The other processes wait while the first one validates, which can take long.
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=6))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    run.mkdir(parents=True, exist_ok=True)
    if rank() == 0:
        check_same_recipe(recipe, run)
    return device


def rank() -> int:
    """Return this process's rank under torchrun, 0 without torchrun."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def leave() -> None:
    """Leave the process group, if there is one; all processes but the first exit here.

    The group's threads must end before the interpreter does, or they abort the process: objects that hold the group are
    collected first.
    """
    if distributed.is_initialized():
        exits = distributed.get_rank() > 0
        gc.collect()
        distributed.destroy_process_group()
        if exits:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def processes() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def train(
    task: Task, settings: TrainSection, run: Path, device: torch.device, stop: Callable[[], bool] = lambda: False
) -> Generator[Progress, None, None]:
    """Train in folder ``run``, which gets last.pt, best.pt, log.csv and tensorboard/; resume from last.pt if present.

    Yields a Progress for each step. If ``stop()`` is true, or the generator is closed, last.pt is saved. A run that is
    interrupted and resumed has the same weights as an uninterrupted one. With ``patience`` training can end early, with
    a last Progress whose total is the number of steps done. Raises UsageError if the run cannot be resumed,
    SertoolError if the loss is not finite.
    """
    network: torch.nn.Module
    network = task.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in stubs
    state: _State = {
        "step": 0,
        "best": -math.inf,
        "since": 0,
        "val": None,
        "losses": {},
        "seconds": 0.0,
        "processes": processes(),
    }

    def average(mean: torch.Tensor, new: torch.Tensor, _: torch.Tensor | int) -> torch.Tensor:
        # The decay grows over the run, so that the initial weights are soon forgotten. lerp keeps frozen weights.
        done = state["step"]
        weight = 1 - min(settings.ema, (1 + done) / (10 + done))
        return torch.lerp(mean, new, weight) if mean.is_floating_point() else new

    averaged = AveragedModel(network, avg_fn=average, use_buffers=True) if settings.ema else None
    validated = averaged.module if averaged else network
    trained = [p for p in network.parameters() if p.requires_grad]
    if not trained:
        raise UsageError("the network has no trainable parameters")
    optimiser = _optimiser(trained, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate(step, settings))
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    parts: dict[str, _Stateful] = {
        "network": network,
        "optimiser": optimiser,
        "schedule": schedule,
        "scaler": scaler,
    }
    if averaged:
        parts["averaged"] = averaged
    if (run / "last.pt").exists():
        saved = read_saved(run / "last.pt")
        if saved["state"]["processes"] != processes():
            raise UsageError(
                f"{run} was trained by {saved['state']['processes']} processes, not {processes()}; resume it with the "
                "same number"
            )
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        state |= saved["state"]
    enough = settings.patience > 0 and state["since"] >= settings.patience
    if enough or state["step"] >= settings.steps:  # the run is complete
        yield Progress("training", state["step"], state["step"], state["losses"], state["val"])
        return
    columns = [*task.terms, "lr", *(f"val {name}" for name in task.figures)]
    log = Log(run, state["step"], columns) if rank() == 0 else None
    saved_at = state["step"]

    def save() -> None:
        nonlocal saved_at
        if rank() == 0 and saved_at != state["step"]:
            saved_at = state["step"]
            _save({"state": state, **{name: part.state_dict() for name, part in parts.items()}}, run / "last.pt")

    forward: Callable[[torch.Tensor], torch.Tensor] = _parallel(network, device)
    if settings.compile:
        forward = torch.compile(forward, dynamic=True)
    loader = torch.utils.data.DataLoader(
        Guarded(task.batches),
        batch_size=None,
        sampler=range(state["step"], settings.steps),
        num_workers=settings.workers,
    )
    started = time.monotonic() - state["seconds"]
    consistent = True  # whether the weights are those at the end of a step
    try:
        with contextlib.closing(prefetch(loader, task.prepare, settings, device)) as batches:
            for waveforms, targets in batches:
                consistent = False
                # The random state depends on the step only, so it need not be saved for a resumed run.
                torch.manual_seed(_seed(settings.seed, state["step"], rank()))
                network.train()
                with mixed_precision(settings, device):
                    outputs = forward(waveforms)
                loss, terms = task.loss(outputs.float(), targets)
                values = {name: float(value.detach()) for name, value in {"loss": loss, **terms}.items()}
                if not math.isfinite(values["loss"]) and not scaler.is_enabled():  # the scaler skips such steps
                    raise SertoolError(f"the loss at step {state['step'] + 1} is not a number; lower train.lr")
                optimiser.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # no annotations in torch
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
                if log:
                    _after_step(task, settings, state, validated, float(schedule.get_last_lr()[0]), log, run)
                consistent = True
                stopping = _anyone(stop(), device)
                enough = settings.patience > 0 and _anyone(state["since"] >= settings.patience, device)
                last = enough or state["step"] == settings.steps
                if stopping or last or state["step"] % settings.save_every == 0:
                    save()
                total = state["step"] if last else settings.steps
                yield Progress("training", state["step"], total, state["losses"], state["val"])
                if stopping or last:
                    return
    finally:
        if consistent:
            save()
        if log:
            log.close()


class Guarded(torch.utils.data.Dataset[Batch | SertoolError]):
    """Batches that return a SertoolError instead of raising it: a worker process would turn it into a traceback."""

    def __init__(self, batches: torch.utils.data.Dataset[Batch]) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | SertoolError:
        try:
            return self.batches[step]
        except SertoolError as error:
            return error


def mixed_precision(settings: TrainSection, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the autocast context for a recipe's precision."""
    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if settings.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=types[settings.precision])


def best_network(recipe: Recipe, run: Path) -> tuple[Model, torch.nn.Module, int]:
    """Return (Model, network in eval mode on the CPU, its step) of a run: the best validated, else the last weights."""
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
    """Return the share of the peak rate: linear warm-up, then constant, or cosines to 0 with warm restarts (SGDR)."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    starts = [settings.warmup, *settings.restarts]
    ends = [*settings.restarts, settings.steps]
    cycle = sum(step >= start for start in starts) - 1
    progress = (step - starts[cycle]) / max(1, ends[cycle] - starts[cycle])
    return 0.5**cycle * 0.5 * (1 + math.cos(math.pi * progress))


def _after_step(
    task: Task, settings: TrainSection, state: _State, network: torch.nn.Module, lr: float, log: "Log", run: Path
) -> None:
    """Validate and log if it is due, and save best.pt; called in the first process only."""
    step = state["step"]
    val: dict[str, float] = {}
    if step % settings.validate_every == 0 or step == settings.steps:
        training = network.training
        state["val"] = task.validate(network.eval())
        network.train(training)
        if val := state["val"] or {}:
            mean = float(np.mean(list(val.values())))
            state["since"] += 1
            if mean > state["best"]:
                state["best"], state["since"] = mean, 0
                _save({"network": task.whole(network.state_dict()), "step": step}, run / "best.pt")
    elif step % settings.log_every:
        return
    log.write(step, state["seconds"], {**state["losses"], "lr": lr, **{f"val {k}": v for k, v in val.items()}})


class _Board(Protocol):
    """The part of TensorBoard's SummaryWriter that is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int, /) -> None: ...

    def close(self) -> None: ...


class Log:
    """Write log.csv, and tensorboard/ if TensorBoard is installed.

    Lines of an existing log.csv after ``step`` are removed: the resumed run repeats these steps.
    """

    def __init__(self, run: Path, step: int, names: list[str]) -> None:
        self.path, self.columns = run / "log.csv", ["step", "seconds", *names]
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "w", newline="", encoding="utf-8") as new:
            table = csv.writer(new, lineterminator="\n")
            table.writerow(self.columns)
            if self.path.exists():
                with open(self.path, newline="", encoding="utf-8") as old:
                    for row in csv.reader(old):
                        if len(row) == len(self.columns) and row[0].isdigit() and int(row[0]) <= step:
                            table.writerow(row)
        move_into_place(temporary, self.path)
        self.board: _Board | None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(run / "tensorboard", purge_step=step + 1)

    def write(self, step: int, seconds: float, figures: dict[str, float]) -> None:
        """Write one line; columns without a figure stay empty."""
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
        raise UsageError(f"train.device: {name!r} is not a device; write auto, cpu or cuda") from None
    if device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if device.index >= torch.cuda.device_count():
            raise UsageError(f"train.device: {name} is not available; write auto or cpu")
    return device


def _optimiser(trained: list[torch.nn.Parameter], settings: TrainSection) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(trained, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    # No weight decay for biases and norms, as usual.
    decayed, others = ([p for p in trained if (p.ndim > 1) == many] for many in (True, False))
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr, weight_decay=settings.weight_decay)


def _parallel(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Return the network to call in training; with several processes, it averages gradients over them."""
    if not distributed.is_initialized():
        return network
    return torch.nn.parallel.DistributedDataParallel(network, [device] if device.type == "cuda" else None)


def _anyone(flag: bool, device: torch.device) -> bool:
    """Return whether the flag is set in any process: all must stop at the same step, or the rest would hang."""
    if not distributed.is_initialized():
        return flag
    flags = torch.tensor(float(flag), device=device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags)


def _smooth(state: _State, values: dict[str, float]) -> None:
    """Update the running losses; values that are not finite are skipped."""
    weight = max(1 / (state["step"] + 1), 1 / SMOOTHING)
    for name, value in values.items():
        before = state["losses"].get(name, value)
        if math.isfinite(value):
            state["losses"] = {**state["losses"], name: before + weight * (value - before)}


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def check_same_recipe(recipe: Recipe, run: Path) -> None:
    """Write recipe.json; raise UsageError if the run was started with a recipe that leads to other weights."""
    path = run / "recipe.json"
    if (run / "last.pt").exists() and path.exists():
        try:
            before = deciding(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError):
            before = None
        if before != deciding(json.loads(json.dumps(recipe.as_dict()))):
            raise UsageError(f"{run} holds a run of a different recipe (compare {path}); choose another folder with -o")
    path.write_text(json.dumps(recipe.as_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save(state: dict[str, Any], path: Path) -> None:
    """Write to a temporary file and rename it, so that an interrupted run keeps its previous checkpoint."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    move_into_place(temporary, path)
