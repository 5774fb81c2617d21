"""Figures in one style. Needs matplotlib, but no display."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

from sertool.errors import UsageError

_P = ParamSpec("_P")

#: Text is plain: a $ in the name of a folder, a class or a model is literal.
STYLE: Any = {
    "text.parse_math": False,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5B6470",
    "axes.labelcolor": "#1B1F24",
    "text.color": "#1B1F24",
    "xtick.color": "#5B6470",
    "ytick.color": "#5B6470",
    "legend.frameon": False,
    "savefig.dpi": 150,
}
GRID = "#E8EBEF"


def require(path: Path | None = None, option: str = "--plot") -> None:
    """Raise UsageError if matplotlib is not installed or does not support the extension of ``path``."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(f"{option} needs matplotlib: pip install 'sertool[eval]'") from None
    if path is None:
        return
    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in kinds:
        raise UsageError(f"cannot draw {path}: name it .png, .pdf or .svg")


def styled(draw: Callable[_P, None]) -> Callable[_P, None]:
    """Run a function that draws with STYLE."""

    @functools.wraps(draw)
    def plain(*arguments: _P.args, **options: _P.kwargs) -> None:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            draw(*arguments, **options)

    return plain


def figure(width: float, height: float) -> Any:
    """Return an empty figure, in inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
