"""Two tables of the same recordings side by side, or labels beside the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sertool.errors import UsageError
from sertool.report.rows import Labelled, Row

#: Column with how much two tables differ in a row, 0 to 1 for classes.
DIFFERENCE = "difference"
#: Column that says whether two classes are the same, and what it says of labels and truth, and of two models.
VERDICT = "verdict"
_OF_TRUTH, _OF_MODELS, _NEITHER = ("right", "wrong"), ("same", "different"), "not compared"


@dataclass(frozen=True)
class Compared:
    """``table`` has the columns of both; ``labels`` and ``outputs`` are those of each table.

    ``names`` are what the tables are called, ``bare`` are columns' names without them. ``classes`` are those that
    occur in each, if classes are compared, ``unknown`` those that the first has no number for. ``truth``: the second
    has no model's numbers. ``meaning`` says what the column DIFFERENCE is, ``agreement`` how alike the tables are,
    ``notes`` are remarks.
    """

    table: Labelled
    names: tuple[str, str]
    bare: dict[str, str]
    labels: tuple[str, str] | None
    outputs: tuple[tuple[str, ...], tuple[str, ...]]
    classes: list[list[str]]
    unknown: list[str]
    truth: bool
    meaning: str
    agreement: str
    notes: list[str] = field(default_factory=list)


def compare(first: Labelled, second: Labelled) -> Compared:
    """Join two tables by file, or by file, place and start where both have several rows of a recording.

    Classes are compared if both have them, else the numbers that both have. Raises UsageError if there is nothing in
    common.
    """
    both = bool(first.label and second.label)
    shared = tuple(name for name in first.outputs if name in second.outputs)
    if not (both or shared):
        raise UsageError(
            f"nothing to compare: {first.name} has {_has(first)}, {second.name} has {_has(second)}; "
            "--label names the column with the class"
        )
    pairs, notes = _joined(first, second)
    if not pairs:
        raise UsageError(f"{first.name} and {second.name} have no recording in common (compared by column file)")
    own = (first.outputs, second.outputs) if both else (shared, shared)
    truth = both and not second.outputs
    own_name = first.model.partition(" ")[0]
    names = (own_name or "the model", "the truth") if truth else _names(first, second)
    renamed = [
        {name: f"{name} ({called})" for name in (*outputs, *([table.label] if both else ()))}
        for called, table, outputs in zip(names, (first, second), own, strict=True)
    ]
    if truth:
        renamed = [
            {name: name for name in renamed[0]},
            {second.label: "truth" if "truth" not in first.columns else "true class"},
        ]
    distance, meaning = _distance(first, second, shared, names)
    kept = [name for name in first.columns if name not in renamed[0] and not name.endswith((".low", ".high"))]
    kept = [name for name in kept if name not in ("confidence", "typical")]
    rows = []
    for one, other in pairs:
        row: dict[str, Any] = {name: one.get(name) for name in kept}
        for new_names, cells in zip(renamed, (one, other), strict=True):
            row |= {new: cells.get(name) for name, new in new_names.items()}
        row["error"] = _error(one, other, names)
        row[DIFFERENCE] = None if row["error"] else distance(one, other)
        if both:
            row[VERDICT] = _verdict(one.get(first.label), other.get(second.label), row[DIFFERENCE], truth)
        rows.append(row)
    named = [tuple(new_names[name] for name in outputs) for new_names, outputs in zip(renamed, own, strict=True)]
    labels = (renamed[0][first.label], renamed[1][second.label]) if both else None
    classes = [sorted({row[name] for row in rows if row[name]}) for name in labels or ()]
    unknown = [name for name in classes[1] if name not in first.outputs] if truth and first.outputs else []
    verdict = (VERDICT,) if both else ()
    columns = dict.fromkeys(
        ("file", *verdict, *(labels or ()), DIFFERENCE, *(n for pair in _alternate(*named) for n in pair), *kept)
    )
    table = Labelled(
        f"{first.name} and {second.name}",
        (*(name for name in columns if name != "error"), "error"),
        rows,
        (*named[0], *named[1]),
        labels[0] if labels else "",
    )
    if both:  # what needs a look comes first
        rank = {kind: place for place, kind in enumerate(("wrong", "different", "right", "same"))}
        rows.sort(key=lambda row: (rank.get(row[VERDICT], len(rank)), -(row[DIFFERENCE] or 0.0)))
    bare = {new: old for new_names in renamed for old, new in new_names.items()}
    agreement = _agreement(rows, labels, truth, unknown)
    outputs = (named[0], named[1])
    return Compared(table, names, bare, labels, outputs, classes, unknown, truth, meaning, agreement, notes)


def _has(table: Labelled) -> str:
    return f"classes ({table.label})" if table.label else f"numbers ({', '.join(table.outputs) or 'none'})"


def _names(first: Labelled, second: Labelled) -> tuple[str, str]:
    """Return short names of two tables: their models, else their stems, or A and B if these are long or equal."""
    one, other = first.model.partition(" ")[0], second.model.partition(" ")[0]
    if one and other and one != other:
        return one, other
    one, other = (table.name.rpartition(".")[0] or table.name for table in (first, second))
    short = all(len(name) <= 16 and not set(name) & set(' :<>="()') for name in (one, other))
    return (one, other) if short and one != other else ("A", "B")


def _joined(first: Labelled, second: Labelled) -> tuple[list[tuple[Row, Row]], list[str]]:
    single = [len(table.files) == len(table.rows) for table in (first, second)]
    by_row = not any(single)

    def key(row: Row) -> tuple[Any, ...]:
        if not by_row:
            return (row["file"],)
        return (row["file"], *(row.get(name) for name in first.places), round(row.get("start") or 0.0, 2))

    if not by_row and not single[1]:
        raise UsageError(f"{second.name} has several rows of a recording, {first.name} only one: swap them")
    others = {key(row): row for row in second.rows}
    pairs = [(row, others[key(row)]) for row in first.rows if key(row) in others]
    notes = []
    left = len(first.rows) - len(pairs)
    unused = len(others) - len({key(row) for row, _ in pairs})
    for table, other, count in ((first, second, left), (second, first, unused)):
        if count:
            rows = "row of" if count == 1 else "rows of"
            notes.append(
                f"{count} {rows} {table.name} {'is' if count == 1 else 'are'} not in {other.name}, and left out"
            )
    return pairs, notes


def _distance(
    first: Labelled, second: Labelled, shared: Sequence[str], names: tuple[str, str]
) -> tuple[Callable[[Row, Row], float | None], str]:
    """Return (function of two rows, what it measures)."""
    one, other = names
    if not (first.label and second.label):

        def apart(a: Row, b: Row) -> float | None:
            gaps = [abs(a[n] - b[n]) for n in shared if a.get(n) is not None and b.get(n) is not None]
            return float(sum(gaps) / len(gaps)) if gaps else None

        return apart, f"the mean distance between {one} and {other} over {', '.join(shared)}"
    if shared:

        def moved(a: Row, b: Row) -> float | None:
            pairs = [(a.get(n), b.get(n)) for n in dict.fromkeys((*first.outputs, *second.outputs))]
            return float(sum(abs((p or 0) - (q or 0)) for p, q in pairs)) / 2

        return moved, f"the share of probability that {one} and {other} give to different classes"

    def doubt(a: Row, b: Row) -> float | None:
        true = b.get(second.label)
        if first.outputs:
            probability = a.get(true) if true in first.outputs else None
            return None if probability is None else float(1 - probability)
        return None if true is None else float(a.get(first.label) != true)

    return doubt, f"the probability that {one} gives to classes other than the true one"


def _verdict(one: Any, other: Any, difference: float | None, truth: bool) -> str:
    if one is None or other is None or difference is None:
        return _NEITHER
    return (_OF_TRUTH if truth else _OF_MODELS)[one != other]


def _agreement(rows: Sequence[Row], labels: tuple[str, str] | None, truth: bool, unknown: Sequence[str]) -> str:
    """Return how alike two tables are, in words."""
    if labels is None:
        values = [row[DIFFERENCE] for row in rows if row[DIFFERENCE] is not None]
        return f"{sum(values) / max(len(values), 1):.2f} apart on average"
    verdicts = [row[VERDICT] for row in rows]
    good, _ = _OF_TRUTH if truth else _OF_MODELS
    count, left = verdicts.count(good), verdicts.count(_NEITHER)
    share = f"{count} of {len(rows) - left} ({100 * count / max(len(rows) - left, 1):.0f} %)"
    foreign = sum(row[labels[1]] in unknown for row in rows if not row["error"])
    if not truth:
        parts = [f"the same class in {share}"]
    elif foreign:
        parts = [
            f"right in {share} of the classes that the model knows",
            f"{foreign} of {len(rows)} ({100 * foreign / len(rows):.0f} %) are of classes that it has no word for and "
            "gives other names",
        ]
    else:
        parts = [f"right in {share}"]
    if left > foreign:
        parts.append(f"{left - foreign} without a class")
    return "; ".join(parts)


def _error(one: Row, other: Row, names: tuple[str, str]) -> str | None:
    errors = {name: row.get("error") for name, row in zip(names, (one, other), strict=True) if row.get("error")}
    if len(set(errors.values())) == 1 and len(errors) == 2:
        return str(next(iter(errors.values())))
    return "; ".join(f"{name}: {error}" for name, error in errors.items()) or None


def _alternate(one: Sequence[str], other: Sequence[str]) -> list[tuple[str, ...]]:
    """Put the columns of both tables beside each other where they have as many."""
    return list(zip(one, other, strict=True)) if len(one) == len(other) else [(*one, *other)]
