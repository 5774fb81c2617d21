"""The live view of `sertool listen`: a level meter and the last row's numbers as bars."""

import numpy as np
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sertool._types import Samples
from sertool.labelling.labels import Labels

_FLOOR_DB = 60.0


class View:
    """A context in which ``heard`` and ``row`` redraw the view, ten times a second at most."""

    def __init__(self, outputs: list[str], label: str) -> None:
        self._outputs, self._label = outputs, label
        self._level, self._dropped = 0.0, 0.0
        self._row: Labels | None = None
        self._live = Live(get_renderable=self._drawn, refresh_per_second=10, transient=True)

    def __enter__(self) -> "View":
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def heard(self, block: Samples, dropped: float) -> None:
        """Show the level of a block."""
        loudness = 20 * np.log10(max(float(np.abs(block).max(initial=0)), 1e-9))
        self._level = max(0.0, 1 + loudness / _FLOOR_DB, self._level - 0.05)
        self._dropped = dropped

    def row(self, row: Labels) -> None:
        """Show a row."""
        self._row = row

    def _drawn(self) -> Group:
        table = Table.grid(padding=(0, 1))
        table.add_row("level", ProgressBar(1.0, min(self._level, 1.0), width=40), "")
        row = self._row
        title = Text("listening; Ctrl-C ends")
        if row is not None:
            title = Text(f"{row.start:.1f} to {row.end:.1f} s  ")
            title.append(str(row.error or row.get(self._label) or ""), style="bold")
            for name in self._outputs:
                value = row[name]
                shown = "" if value is None else f"{value:.2f}"
                table.add_row(name, ProgressBar(1.0, min(max(value or 0.0, 0.0), 1.0), width=40), shown)
        lost = [Text(f"{self._dropped:.2f} s dropped", style="red")] if self._dropped else []
        return Group(title, table, *lost)
