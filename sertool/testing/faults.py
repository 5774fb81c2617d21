"""Report faults: AssertionErrors of one line that begins with the location."""

import contextlib
from collections.abc import Iterator


def require(right: bool, where: str, fault: str) -> None:
    """Raise AssertionError unless ``right``; `assert` is not used because python -O removes it."""
    if not right:
        raise AssertionError(f"{where}: {fault}")


@contextlib.contextmanager
def doing(where: str, what: str) -> Iterator[None]:
    """Convert errors raised inside to AssertionErrors that name the operation ``what``."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{where}: {what} raised {type(error).__name__}: {line(error)}") from error


@contextlib.contextmanager
def refused(where: str, what: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Raise AssertionError unless ``kind`` is raised inside, with a message of one line if it is a specific kind."""
    try:
        yield
    except kind as error:
        text = str(error)
        require(
            kind is Exception or ("\n" not in text and bool(text)),
            where,
            f"{what}: the message must be one line, not {text!r}",
        )
    except Exception as error:
        raise AssertionError(
            f"{where}: {what} must be a {kind.__name__}, not {type(error).__name__}: {line(error)}"
        ) from error
    else:
        raise AssertionError(f"{where}: {what} must be {'an error' if kind is Exception else f'a {kind.__name__}'}")


def line(error: BaseException) -> str:
    """Return an error's text in one line of limited length."""
    return " ".join(str(error).split())[:300]
