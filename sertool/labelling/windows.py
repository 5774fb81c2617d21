"""Cut a stream of blocks into windows without holding more than one of them."""

from collections.abc import Iterable, Iterator

import numpy as np

#: A rest at the end shorter than this share of the window joins the window before it.
SHORTEST_REST = 1 / 8


def windows(blocks: Iterable[np.ndarray], window: int, hop: int, join: bool = True) -> Iterator[tuple[int, np.ndarray]]:
    """(start, samples) for windows of ``window`` samples, ``hop`` <= window apart, over float32 blocks of any length.

    The last window ends with the recording: it is as short as the rest, or, where the rest would be shorter than an
    eighth of a window, longer by that rest. A recording of up to 9/8 windows is one window. Unless rests ``join``: then
    each is a window of its own.
    """
    rest = int(window * SHORTEST_REST) if join else 0
    held, first = np.zeros(0, np.float32), 0  # `held` begins at sample `first`; the next window too, or later
    start = 0
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else block
        # Cut only what certainly has a window or more behind it.
        while first + len(held) - start >= window + max(rest, 1):
            yield start, held[start - first : start - first + window]
            start += hop
            drop = min(start - first, len(held))
            held, first = held[drop:], first + drop
    end = first + len(held)
    while start < end:
        if end - start < window + max(rest, 1):  # no whole window with a rest that counts
            yield start, held[start - first :]
            return
        yield start, held[start - first : start - first + window]
        start += hop
