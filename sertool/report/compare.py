"""Two tables of the same recordings side by side, or labels beside the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sertool.errors import UsageError
from sertool.report.rows import Labelled, Row

#: Column with how much two tables differ in a row, 0 to 1 for classes.
DIFFERENCE = "difference"


@dataclass(frozen=True)
class Compared:
    """``table`` has the columns of both, each after its prefix; ``labels`` and ``outputs`` are those of each table.

    ``classes`` are those that occur in each, if classes are compared. ``truth``: the second has no model's numbers.
    ``meaning`` says what the column DIFFERENCE is, ``agreement`` how alike the tables are, ``notes`` are remarks.
    """

    table: Labelled
    prefixes: tuple[str, str]
    labels: tuple[str, str] | None
    outputs: tuple[tuple[str, ...], tuple[str, ...]]
    classes: list[list[str]]
    truth: bool
    meaning: str
    agreement: str
    notes: list[str] = field(default_factory=list)


def compare(first: Labelled, second: Labelled) -> Compared:
    """Join two tables by file, or by file, place and start where both have several rows of a recording.

    Classes are compared if both have them, else the numbers that both have. Raises UsageError if there is nothing in
    common.
    """
    prefixes = _prefixes(first.name, second.name)
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
    renamed = [
        {name: f"{prefix} {name}" for name in (*outputs, *([table.label] if both else ()))}
        for prefix, table, outputs in zip(prefixes, (first, second), own, strict=True)
    ]
    distance, meaning = _distance(first, second, shared, prefixes)
    kept = [name for name in first.columns if name not in renamed[0] and not name.endswith((".low", ".high"))]
    kept = [name for name in kept if name not in ("confidence", "typical")]
    rows = []
    for one, other in pairs:
        row: dict[str, Any] = {name: one.get(name) for name in kept}
        for names, cells in zip(renamed, (one, other), strict=True):
            row |= {new: cells.get(name) for name, new in names.items()}
        row["error"] = _error(one, other, prefixes)
        row[DIFFERENCE] = None if row["error"] else distance(one, other)
        rows.append(row)
    named = [tuple(names[name] for name in outputs) for names, outputs in zip(renamed, own, strict=True)]
    labels = (renamed[0][first.label], renamed[1][second.label]) if both else None
    classes = [sorted({row[name] for row in rows if row[name]}) for name in labels or ()]
    truth = both and not second.outputs
    beyond = [row for row in rows if row[labels[1]] and row[labels[1]] not in first.outputs] if labels and truth else []
    if beyond and first.outputs:
        have = "has" if len(beyond) == 1 else "have"
        notes.append(f"{len(beyond)} {have} a class that {first.name} does not know, and so no difference")
    columns = dict.fromkeys(
        ("file", DIFFERENCE, *(labels or ()), *(n for pair in _alternate(*named) for n in pair), *kept)
    )
    table = Labelled(
        f"{first.name} and {second.name}",
        (*(name for name in columns if name != "error"), "error"),
        rows,
        (*named[0], *named[1]),
        labels[0] if labels else "",
    )
    agreement = _agreement(rows, labels)
    return Compared(table, prefixes, labels, (named[0], named[1]), classes, truth, meaning, agreement, notes)


def _has(table: Labelled) -> str:
    return f"classes ({table.label})" if table.label else f"numbers ({', '.join(table.outputs) or 'none'})"


def _prefixes(first: str, second: str) -> tuple[str, str]:
    """Return short names of two files: their stems, or A and B if these are long or equal."""
    one, other = (name.rpartition(".")[0] or name for name in (first, second))
    short = all(len(name) <= 16 and not set(name) & set(' :<>="') for name in (one, other))
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
    for table, count in ((first, left), (second, unused)):
        if count:
            notes.append(f"{count} {'row is' if count == 1 else 'rows are'} in {table.name} only and left out")
    return pairs, notes


def _distance(
    first: Labelled, second: Labelled, shared: Sequence[str], prefixes: tuple[str, str]
) -> tuple[Callable[[Row, Row], float | None], str]:
    """Return (function of two rows, what it measures)."""
    one, other = prefixes
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

    return doubt, f"the probability that {one} gives to classes other than the one in {other}"


def _agreement(rows: Sequence[Row], labels: tuple[str, str] | None) -> str:
    """Return how alike two tables are, in words."""
    if labels is None:
        values = [row[DIFFERENCE] for row in rows if row[DIFFERENCE] is not None]
        return f"{sum(values) / max(len(values), 1):.2f} apart on average"
    compared = [row for row in rows if row[DIFFERENCE] is not None]
    same = sum(row[labels[0]] == row[labels[1]] for row in compared)
    return f"the same class in {same} of {len(compared)} ({same / max(len(compared), 1):.0%})"


def _error(one: Row, other: Row, prefixes: tuple[str, str]) -> str | None:
    errors = {prefix: row.get("error") for prefix, row in zip(prefixes, (one, other), strict=True) if row.get("error")}
    if len(set(errors.values())) == 1 and len(errors) == 2:
        return str(next(iter(errors.values())))
    return "; ".join(f"{prefix}: {error}" for prefix, error in errors.items()) or None


def _alternate(one: Sequence[str], other: Sequence[str]) -> list[tuple[str, ...]]:
    """Put the columns of both tables beside each other where they have as many."""
    return list(zip(one, other, strict=True)) if len(one) == len(other) else [(*one, *other)]
