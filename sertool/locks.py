"""One process at a time."""

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def hold(stream) -> None:
    """Hold a file as long as it is open, where the system can; BlockingIOError if somebody else does."""
    if fcntl is not None:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
