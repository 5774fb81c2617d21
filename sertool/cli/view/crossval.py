"""Output of `sertool crossval`: a line per fold, the table of all folds."""

from typing import Any

import click

from sertool.evaluation import categorical, folds


def fold(report: dict[str, Any], title: str, *, earlier: bool) -> None:
    """Print the figures of a fold; ``earlier``: an earlier run has tested it."""
    measures = report["overall"]["measures"]
    shown = [name for name in measures if name in ("WA", "UA", "macro-F1") or name.endswith("CCC")]
    figures = ", ".join(f"{name} {measures[name]['value']:.3f}" for name in shown)
    click.echo(f"{title}, {report['clips']} clips: {figures}{', from an earlier run' * earlier}")


def table(results: dict[str, Any], summary: dict[str, Any], confusion: list[list[int]] | None) -> None:
    """Print ``summary``, with a column per cross-validation, and the confusions of ``results``."""
    lines = ["", f"{results['split']}; mean ± standard deviation over {len(results['folds'])} folds"]
    lines += folds.markdown(summary)
    if confusion:
        lines += ["", *categorical.confusion_markdown(confusion, results["outputs"])]
    click.echo("\n".join(lines))
