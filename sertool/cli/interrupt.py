"""Ctrl-C: the first one finishes the current work, the next one exits at once."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import click

#: Some wrappers send the same signal twice: repeats within this many seconds are ignored.
_TWICE_S = 0.5


@contextlib.contextmanager
def interruptible(
    stop: threading.Event, message: str = "", leave: Callable[[], object] | None = None
) -> Iterator[None]:
    """On the first SIGINT, SIGTERM or SIGHUP, print ``message`` and set ``stop``; on the next one, call ``leave``.

    If there is no ``leave`` or it returns, raise KeyboardInterrupt. A signal that the parent process ignores (nohup)
    stays ignored.
    """
    first = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not stop.is_set():
            first = time.monotonic()
            stop.set()
            if message:
                click.echo(message, err=True)
        elif time.monotonic() - first > _TWICE_S:
            if leave:
                leave()
            raise KeyboardInterrupt

    with contextlib.ExitStack() as stack:
        for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, handle))
        yield
