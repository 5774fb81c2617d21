"""What every benchmark states: commit, versions, processor; and repeated runs in a line."""

import numpy as np

from sertool.bench import conditions, headline


def header(*packages: str) -> None:
    """Print where and with what the figures below were measured."""
    print(headline(conditions(packages=packages)))


def spread(seconds) -> str:
    """Median, fastest and slowest of repeated runs, in ms."""
    ms = np.asarray(seconds) * 1e3
    return f"{np.median(ms):8.3f} ms  (fastest {ms.min():.3f}, slowest {ms.max():.3f}, {len(ms)} runs)"
