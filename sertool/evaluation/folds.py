"""Summarise the reports of several folds in one table with a column per recipe, as Table II of arXiv 2512.23435."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_TABLE = ("WA", "UA", "macro-F1", "F1 ")


def summary(recipes: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Summarise measures over folds. ``recipes``: name -> reports of the folds, as :mod:`.categorical` returns them.

    Returns ``{"recipes": {name: {"folds": number, "measures": {measure: {"mean", "deviation", "values"}}, "confusion":
    clips of all folds, if reports have it}}, "gain": {measure: difference}, "spread": {measure: ratio}}``. Values are
    those over all clips of a fold; ``values`` has None for a fold that lacks the measure, and mean and deviation are
    over the others. ``deviation`` is the sample standard deviation (ddof 1), None for a single fold. ``gain`` is the
    second recipe's mean minus the first's, ``spread`` its deviation divided by the first's; both are empty unless there
    are two recipes. For ECE and MAE a gain below 0 is an improvement. Reports of :mod:`.dimensional` also work.
    """
    result = {name: _over_folds([report["overall"] for report in reports]) for name, reports in recipes.items()}
    gain, spread = {}, {}
    if len(result) == 2:
        first, second = (recipe["measures"] for recipe in result.values())
        both = [name for name in first if name in second]
        gain = {name: second[name]["mean"] - first[name]["mean"] for name in both}
        spread = {n: second[n]["deviation"] / first[n]["deviation"] for n in both if first[n]["deviation"]}
    return {"recipes": result, "gain": gain, "spread": spread}


def markdown(summary: dict[str, Any], measures: Sequence[str] | None = None) -> list[str]:
    """Return the lines of a Markdown table: a row per measure, a column per recipe.

    Default measures: WA, UA, macro-F1 and F1 by class. Cells are ``mean ± standard deviation`` over folds; with two
    recipes there are also columns with the gain in points and the relative change of the deviation.
    """
    recipes, gain, spread = summary["recipes"], summary["gain"], summary["spread"]
    available = dict.fromkeys(name for recipe in recipes.values() for name in recipe["measures"])
    measures = [name for name in available if name.startswith(_TABLE)] if measures is None else measures
    heads = ["measure", *recipes, *(["gain, points", "deviation"] if gain else [])]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for measure in measures:
        cells = [_format(recipe["measures"].get(measure)) for recipe in recipes.values()]
        if gain:
            cells.append(f"{100 * gain[measure]:+.1f}" if measure in gain else "")
            cells.append(f"{100 * (spread[measure] - 1):+.0f} %" if spread.get(measure) is not None else "")
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    return lines


def _over_folds(folds: list[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for fold in folds for name in fold["measures"])
    result: dict[str, Any] = {"folds": len(folds), "measures": {name: _spread(name, folds) for name in names}}
    matrices = [fold["confusion"] for fold in folds if "confusion" in fold]
    return result | ({"confusion": np.sum(matrices, axis=0).tolist()} if matrices else {})


def _spread(name: str, folds: list[dict[str, Any]]) -> dict[str, Any]:
    values = [fold["measures"][name]["value"] if name in fold["measures"] else None for fold in folds]
    known = [value for value in values if value is not None]
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "deviation": deviation, "values": values}


def _format(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return ""
    return f"{spread['mean']:.3f}" + ("" if spread["deviation"] is None else f" ± {spread['deviation']:.3f}")
