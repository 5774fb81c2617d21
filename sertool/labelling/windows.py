"""Cut a stream of blocks into windows; only one window is held in memory."""

from collections.abc import Iterable, Iterator

import numpy as np

from sertool._types import Samples

#: A rest at the end that is shorter than this share of the window is joined to the last window.
SHORTEST_REST = 1 / 8


def spans(start: int, end: int, window: int, hop: int, join: bool = True) -> list[tuple[int, int]]:
    """Return (start, end) of the windows of a stretch from ``start`` to ``end``, as ``windows`` would cut it."""
    rest = int(window * SHORTEST_REST) if join else 0
    result = []
    while start < end:
        last = end - start < window + max(rest, 1)
        result.append((start, end if last else start + window))
        if last:
            break
        start += hop
    return result


def windows(blocks: Iterable[Samples], window: int, hop: int, join: bool = True) -> Iterator[tuple[int, Samples]]:
    """Yield (start, samples) of windows of ``window`` samples, ``hop`` <= window apart, of blocks of any length.

    The last window ends with the recording: it is as short as the rest or, if the rest is shorter than an eighth of a
    window, longer by that rest. So a recording of up to 9/8 windows is one window. Without ``join``, every rest is a
    window of its own.
    """
    rest = int(window * SHORTEST_REST) if join else 0
    pending, first = np.zeros(0, np.float32), 0  # `pending` begins at sample `first`, the next window there or later
    start = 0
    for block in blocks:
        pending = np.concatenate([pending, block]) if len(pending) else block
        # Cut only windows that cannot be the last one.
        while first + len(pending) - start >= window + max(rest, 1):
            yield start, pending[start - first : start - first + window]
            start += hop
            drop = min(start - first, len(pending))
            pending, first = pending[drop:], first + drop
    end = first + len(pending)
    while start < end:
        if end - start < window + max(rest, 1):  # the last window
            yield start, pending[start - first :]
            return
        yield start, pending[start - first : start - first + window]
        start += hop
