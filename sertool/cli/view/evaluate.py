"""Tables of `sertool evaluate`."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sertool.labelling import Labeller

#: Model -> its report.
Reports: TypeAlias = Mapping[str, dict[str, Any]]

#: Maximum number of groups per grouping on the terminal; --json has all.
SHOWN_GROUPS = 20


def show(
    about: dict[str, Any],
    models: "Mapping[str, Labeller]",
    reports: Reports,
    robustness: Reports,
    fairness: Reports,
) -> None:
    """Print the results as tables."""
    from rich.console import Console

    from sertool.evaluation import run

    # Output to a file or pipe is not limited to the width of a terminal.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)
    first = next(iter(reports.values()))
    what = "segments" if about["layout"] == "segments" else "recordings"
    console.print(
        f"{about['labelled']} of {about['rows']} {what}, {len(about['failed'])} failed, "
        f"{first['unusable']} without a usable label"
    )
    _show_overall(console, reports)
    for name, report in reports.items():
        if "confusion" in report["overall"]:
            _show_confusion(console, name, models[name].outputs, report["overall"]["confusion"])
    headline = run.REPORTS[run.task(models)].headline
    measures = list(dict.fromkeys(measure for report in reports.values() for measure in headline(report)))
    for grouping in first["groups"]:
        _show_groups(console, grouping, reports, measures)
    for name, result in robustness.items():
        _show_robustness(console, name, result)
    for name, result in fairness.items():
        _show_fairness(console, name, result)


def _show_overall(console: "Console", reports: Reports) -> None:
    from sertool.evaluation.grouped import shown

    overall = {name: report["overall"]["measures"] for name, report in reports.items()}
    measures = dict.fromkeys(measure for figures in overall.values() for measure in figures)
    table = _table("measure", ["clips", *reports])
    for measure in measures:
        clips = next(figures[measure]["n"] for figures in overall.values() if measure in figures)
        table.add_row(measure, str(clips), *(shown(figures.get(measure)) for figures in overall.values()))
    if measures:
        console.print()
        console.print(table)
    else:
        console.print("no results: no recording has arousal, dominance, valence or a class that the models can predict")


def _show_confusion(console: "Console", model: str, classes: list[str], confusion: list[list[int]]) -> None:
    from sertool.evaluation.categorical import confusion_cells

    if not sum(map(sum, confusion)):
        return
    table = _table(f"{model}: true", ["clips", *(f"as {name}" for name in classes)])
    for name, row, cells in zip(classes, confusion, confusion_cells(confusion), strict=True):
        table.add_row(name, str(sum(row)), *cells)
    console.print()
    console.print(table)


def _show_groups(console: "Console", grouping: str, reports: Reports, measures: list[str]) -> None:
    from sertool.evaluation.grouped import shown

    groups = list(next(iter(reports.values()))["groups"][grouping])
    if len(groups) < 2 or not measures:
        return
    measured = [g for g in groups if any(report["groups"][grouping][g]["measures"] for report in reports.values())]
    table = _table(grouping, ["clips", *(["model"] if len(reports) > 1 else []), *measures])
    for group in measured[:SHOWN_GROUPS]:
        for i, (model, report) in enumerate(reports.items()):
            result = report["groups"][grouping][group]
            heads = [group, str(result["clips"])] if i == 0 else ["", ""]
            heads += [model] if len(reports) > 1 else []
            table.add_row(*heads, *(shown(result["measures"].get(measure), 2) for measure in measures))
    console.print()
    console.print(table)
    if len(measured) > SHOWN_GROUPS:
        console.print(f"... and {len(measured) - SHOWN_GROUPS} more: --json has all")
    if len(measured) < len(groups):
        console.print(f"{len(groups) - len(measured)} more have too few labelled clips")


def _show_robustness(console: "Console", model: str, result: dict[str, Any]) -> None:
    names = [name for name in result["passed"] if name != "all"]
    table = _table(f"robustness of {model}: share unchanged", ["above", *names, "passed", "constant", "random"])
    for check in result["checks"]:
        failed = [name for name in names if not check["passed"][name]]
        verdict = f"not {', '.join(failed)}" if failed else "yes"
        shares = [check["share"][name] for name in names]
        cells = [f"{value:.2f}" for value in (check["threshold"], *shares, check["constant"], check["random"])]
        table.add_row(f"{check['group']}: {check['check']}", *cells[:-2], verdict, *cells[-2:])
    passed = [result["passed"][name] for name in names]
    cells = [f"{value:.2f}" for value in (*(p["model"] for p in passed), passed[0]["constant"], passed[0]["random"])]
    table.add_row("share of the checks passed", "", *cells[:-2], "", *cells[-2:])
    console.print()
    console.print(table)
    everything = result["passed"]["all"]
    console.print(
        f"{everything['model']:.0%} of all checks passed (constant {everything['constant']:.0%}, random "
        f"{everything['random']:.0%}); unchanged: {result['unchanged']}; {result['checks'][0]['clips']} clips; "
        "constant, random: results of constant and of random outputs"
    )


def _show_fairness(console: "Console", model: str, result: dict[str, Any]) -> None:
    console.print()
    if not result["checks"]:
        console.print("fairness: no languages or sexes with enough clips of one class to compare")
        return
    table = _table(f"fairness of {model}: largest difference", ["below", "difference", "passed", "constant", "random"])
    for check in result["checks"]:
        difference = f"{check['difference']:.3f} [{check['low']:.3f}, {check['high']:.3f}]"
        others = (f"{check[name]:.3f}" for name in ("constant", "random"))
        table.add_row(check["check"], f"{check['limit']:g}", difference, "yes" if check["passed"] else "no", *others)
    console.print(table)
    shares = ", ".join(f"{who} {share:.0%}" for who, share in result["passed"].items())
    groups = ", ".join(dict.fromkeys(group for check in result["checks"] for group in check["groups"]))
    console.print(
        f"share of the comparisons passed: {shares}; groups: {groups}; classes are weighted equally in all groups"
    )


def _table(head: str, columns: list[str]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, title=None)
    table.add_column(Text(head), no_wrap=True)
    for column in columns:
        table.add_column(Text(column), justify="left", no_wrap=True)
    return table
