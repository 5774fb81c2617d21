"""Rows of the label table: seconds and outputs to six decimals."""

from collections.abc import Mapping
from typing import Any

from sertool.labelling.labeller import Labeller
from sertool.labelling.plan import Plan
from sertool.recordings.scan import printable
from sertool.segments import Table


def table(labeller: Labeller, plan: Plan, template: str | None = None) -> Table:
    """Return the table of a run.

    Columns: audformat's segmented index; track, channel or speaker, if there are several; columns of given segments;
    the model's columns; seconds of speech; error. Raises UsageError for a template with unknown fields.
    """
    manifest = labeller.bundle.manifest
    given = tuple(renamed(name, labeller.columns, plan) for name in plan.given)
    return Table(
        ("file", "start", "end", *plan.places, *given, *labeller.columns, "speech", *plan.marks, "error"),
        tuple(labeller.outputs),
        "emotion" if labeller.task.has_classes else "",
        given,
        f"{manifest.name} {manifest.version}",
        template,
    )


def renamed(name: str, columns: list[str], plan: Plan) -> str:
    """Return the name of a given column in the table: with ".given" if the table has another column of that name."""
    taken = ("file", "start", "end", *plan.places, *columns, "speech", *plan.marks, "error")
    return f"{name}.given" if name in taken else name


def row(file: str, values: Mapping[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Return a row in column order; numbers are rounded to six decimals, missing values are None."""
    full = {"file": printable(file), **values}
    if full.get("error"):
        full["error"] = printable(full["error"])  # may contain the file name
    return {name: _rounded(full.get(name)) for name in columns}


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
