"""Reports of several folds as one table, recipes side by side, as Table II of arXiv 2512.23435."""

import numpy as np

_TABLE = ("WA", "UA", "macro-F1", "F1 ")


def summary(recipes: dict[str, list[dict]]) -> dict:
    """Measures over folds, from recipe name -> a report of :mod:`.categorical` (or :mod:`.dimensional`) a fold.

    ``{"recipes": {name: {"folds": number, "measures": {measure: {"mean", "deviation", "values"}}, "confusion": clips of
    all folds, where reports have it}}, "gain": {measure: difference}, "spread": {measure: ratio}}``. Figures are those
    over all clips of a fold;
    ``values`` has None for a fold that lacks the measure, and mean and deviation are over the others. ``deviation`` is
    the sample's (ddof 1), None for a single fold. ``gain`` is the second recipe's mean less the first's, ``spread`` its
    deviation as a multiple of the first's; both are empty unless there are two. Of ECE and MAE a gain below 0 is the
    better.
    """
    found = {name: _over_folds([report["overall"] for report in reports]) for name, reports in recipes.items()}
    gain, spread = {}, {}
    if len(found) == 2:
        first, second = (recipe["measures"] for recipe in found.values())
        both = [name for name in first if name in second]
        gain = {name: second[name]["mean"] - first[name]["mean"] for name in both}
        spread = {n: second[n]["deviation"] / first[n]["deviation"] for n in both if first[n]["deviation"]}
    return {"recipes": found, "gain": gain, "spread": spread}


def markdown(summary: dict, measures=None) -> list[str]:
    """Lines of a Markdown table: a row a measure, by default WA, UA, macro-F1 and F1 by class; a column a recipe.

    ``mean ± standard deviation`` over folds; with two recipes the gain beside them, in points, and by how much the
    deviation changed.
    """
    recipes, gain, spread = summary["recipes"], summary["gain"], summary["spread"]
    there = dict.fromkeys(name for recipe in recipes.values() for name in recipe["measures"])
    measures = [name for name in there if name.startswith(_TABLE)] if measures is None else measures
    heads = ["measure", *recipes, *(["gain, points", "deviation"] if gain else [])]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for measure in measures:
        cells = [_shown(recipe["measures"].get(measure)) for recipe in recipes.values()]
        if gain:
            cells.append(f"{100 * gain[measure]:+.1f}" if measure in gain else "")
            cells.append(f"{100 * (spread[measure] - 1):+.0f} %" if spread.get(measure) is not None else "")
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    return lines


def _over_folds(folds: list[dict]) -> dict:
    names = dict.fromkeys(name for fold in folds for name in fold["measures"])
    found = {"folds": len(folds), "measures": {name: _spread(name, folds) for name in names}}
    matrices = [fold["confusion"] for fold in folds if "confusion" in fold]
    return found | ({"confusion": np.sum(matrices, axis=0).tolist()} if matrices else {})


def _spread(name: str, folds: list[dict]) -> dict:
    values = [fold["measures"][name]["value"] if name in fold["measures"] else None for fold in folds]
    known = [value for value in values if value is not None]
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "deviation": deviation, "values": values}


def _shown(spread: dict | None) -> str:
    if spread is None:
        return ""
    return f"{spread['mean']:.3f}" + ("" if spread["deviation"] is None else f" ± {spread['deviation']:.3f}")
