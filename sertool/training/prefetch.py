"""Work ahead of the student: the next batches on the device, with the teacher's outputs."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator

import torch

from sertool.training.recipe import TrainSection

#: Batches that may wait for the student.
DEPTH = 2


def prefetch(
    loader: Iterable, prepare: Callable, settings: TrainSection, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(waveforms, prepare(waveforms, targets)) a batch, in order, made in a thread (on CUDA, a stream) of its own.

    What goes wrong there is raised here, and so is an error that the loader gives in place of a batch. Closing the
    generator ends the thread.
    """
    ready: queue.Queue = queue.Queue(maxsize=DEPTH)
    closed = threading.Event()

    def put(item) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work():
        if settings.threads:
            torch.set_num_threads(settings.threads)  # counts for the thread that says so
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if stream:
            stream.wait_stream(torch.cuda.current_stream(device))  # on which the teacher was moved there
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
        except BaseException as error:  # whatever it is, it belongs to the student's thread
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
                    tensor.record_stream(current)  # its memory is not the teacher's to use again before we are done
            yield waveforms, targets
    finally:
        closed.set()
        thread.join()
