"""Table of `sertool export`."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sertool.exporting.variants import Written


def table(written: "Written") -> None:
    """Print one line per variant, including those that missed a gate."""
    entries = written.variants
    heads = ["variant", "bytes", "from torch", "mean"]
    heads += [f"{check['metric']} {check['on']}" for check in entries[0].checks]
    heads += ["speed", "peak MB", "added MB"] if entries[0].cost else []
    rows = [heads]
    for entry in entries:
        row = [entry.name, str(entry.size), *(f"{(entry.difference or {})[key]:.1e}" for key in ("max", "mean"))]
        row += [f"{check['value']:.4f} ({0.0 - check['drop']:+.4f})" for check in entry.checks]
        if cost := entry.cost:
            row += [f"{cost['speed']:.2f}", f"{cost['peak_bytes'] / 1e6:.0f}", f"{cost['added_bytes'] / 1e6:.1f}"]
        rows.append(row + ([] if entry.name in written.kept else ["not written"]))
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    for row in rows:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=False))]
        click.echo("  ".join(cells).rstrip())
