"""How a check says what is wrong: one line that begins with where."""

import contextlib


def require(right: bool, where: str, fault: str) -> None:
    """AssertionError unless ``right``; not by `assert`, which python -O leaves out."""
    if not right:
        raise AssertionError(f"{where}: {fault}")


@contextlib.contextmanager
def doing(where: str, what: str):
    """Whatever is raised inside becomes an AssertionError that says during what."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{where}: {what} raised {type(error).__name__}: {line(error)}") from error


@contextlib.contextmanager
def refused(where: str, what: str, kind=Exception):
    """AssertionError unless ``kind`` is raised inside, in one line if it is one that users see."""
    try:
        yield
    except kind as error:
        text = str(error)
        require(
            kind is Exception or ("\n" not in text and bool(text)), where, f"{what} takes one line to say: {text!r}"
        )
    except Exception as error:
        raise AssertionError(
            f"{where}: {what} must be a {kind.__name__}, not {type(error).__name__}: {line(error)}"
        ) from error
    else:
        raise AssertionError(f"{where}: {what} must be {'an error' if kind is Exception else f'a {kind.__name__}'}")


def line(error: BaseException) -> str:
    """An error's text in one line of bearable length."""
    return " ".join(str(error).split())[:300]
