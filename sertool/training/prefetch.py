"""Prepare the next batches in a background thread: move them to the device and compute the teacher's outputs."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias

import torch

from sertool.training.sections import TrainSection

#: Prepared batches that can wait in the queue.
DEPTH = 2

#: (waveforms [batch, samples], targets).
Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]
#: prepare(waveforms, targets): the targets that the loss takes.
Prepare: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def prefetch(
    loader: Iterable[Batch | Exception], prepare: Prepare, settings: TrainSection, device: torch.device
) -> Generator[Batch, None, None]:
    """Yield (waveforms, prepare(waveforms, targets)) for each batch, in order, prepared in a thread of its own.

    On CUDA the thread has its own stream. Exceptions raised in the thread, or yielded by the loader in place of a
    batch, are raised here. Closing the generator ends the thread.
    """
    ready: queue.Queue[tuple[torch.Tensor, torch.Tensor, torch.cuda.Event | None] | BaseException | None]
    ready = queue.Queue(maxsize=DEPTH)
    closed = threading.Event()

    def put(item: tuple[torch.Tensor, torch.Tensor, torch.cuda.Event | None] | BaseException | None) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)  # applies to the calling thread only
        stream = None
        if device.type == "cuda":
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # no annotations in torch
        if stream:
            stream.wait_stream(torch.cuda.current_stream(device))  # the teacher was moved to the device on that one
        try:
            with torch.cuda.stream(stream):  # None: does nothing
                for batch in loader:
                    if isinstance(batch, Exception):
                        raise batch
                    waveforms, targets = batch
                    waveforms = waveforms.to(device, non_blocking=True)
                    targets = prepare(waveforms, targets.to(device, non_blocking=True))
                    done = stream.record_event() if stream else None
                    if not put((waveforms, targets, done)):
                        return
            put(None)
        except BaseException as error:  # re-raised in the consumer's thread
            put(error)

    thread = threading.Thread(target=work, name="teacher", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            waveforms, targets, done = item
            if done:
                current = torch.cuda.current_stream(device)
                current.wait_event(done)
                for tensor in (waveforms, targets):
                    tensor.record_stream(
                        current
                    )  # do not let the other stream reuse the memory before this one is done
            yield waveforms, targets
    finally:
        closed.set()
        thread.join()
