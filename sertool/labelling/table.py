"""Rows of the label table: seconds and outputs to six decimals."""

from collections.abc import Mapping
from typing import Any

from sertool.labelling.labeller import Labeller
from sertool.labelling.plan import Plan
from sertool.recordings.recording import printable
from sertool.segments import Table


def table(labeller: Labeller, plan: Plan, template: str | None = None, relative: bool = False) -> Table:
    """Return the table of a run; ``relative`` says whether it has the columns of `Relative`.

    Columns: audformat's segmented index; track, channel or speaker, if there are several; columns of given segments;
    the model's columns; NAME.relative; seconds of speech; error. Raises UsageError for a template with unknown fields.
    """
    manifest = labeller.bundle.manifest
    given = tuple(given_names(labeller, plan).values())
    return Table(
        ("file", "start", "end", *plan.places, *given, *_after_given(labeller, plan, relative)),
        tuple(labeller.outputs),
        labeller.label_column,
        given,
        f"{manifest.name} {manifest.version}",
        template,
    )


def given_names(labeller: Labeller, plan: Plan) -> dict[str, str]:
    """Return given column -> its name in the table: with ".given" appended while another column has that name.

    Names are compared without case, as databases do. The columns of `Relative` count even where the table has none, so
    that a journal's rows suit both.
    """
    columns = ("file", "start", "end", *plan.places, *_after_given(labeller, plan, relative=True))
    taken, names = {name.casefold() for name in columns}, {}
    for given in plan.given:
        name = given
        while name.casefold() in taken:
            name += ".given"
        taken.add(name.casefold())
        names[given] = name
    return names


def relative_names(labeller: Labeller) -> dict[str, str]:
    """Return output of the model -> the column with its distance from a voice's own."""
    return {name: f"{name}.relative" for name in labeller.outputs}


def _after_given(labeller: Labeller, plan: Plan, relative: bool) -> tuple[str, ...]:
    own = relative_names(labeller).values() if relative else ()
    return (*labeller.columns, *own, "speech", *plan.marks, "error")


def row(file: str, values: Mapping[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Return a row in column order; numbers are rounded to six decimals, missing values are None."""
    full = {"file": printable(file), **values}
    if full.get("error"):
        full["error"] = printable(full["error"])  # may contain the file name
    return {name: _rounded(full.get(name)) for name in columns}


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
