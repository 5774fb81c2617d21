"""Rows of a table, and what formats need to know to write them."""

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sertool.errors import UsageError

#: Columns that hold whole numbers.
INTEGERS = ("track", "channel", "repeats")
#: The text of a row that has no outputs: the row is a stretch of speech.
SPEECH = "speech"


@dataclass(frozen=True)
class Table:
    """The columns of a table.

    ``outputs`` are the columns with the model's numbers, ``label`` is the column with the most probable class, "" if
    there is none; a table of speech has neither. ``given`` are the columns that come from given segments, as text.
    ``model`` names the model, ``template`` is the user's text for a row in formats that have one text per segment.
    """

    columns: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    label: str = ""
    given: tuple[str, ...] = ()
    model: str = ""
    template: str | None = None

    def __post_init__(self) -> None:
        if self.template is not None:  # with values of the right types, and without values
            examples = {str: "text", int: 1, float: 0.5}
            self.text({name: examples[self.kind(name)] for name in self.columns})
            self.text(dict.fromkeys(self.columns))

    def kind(self, column: str) -> type:
        """Return what the column holds: str, int or float."""
        if column in INTEGERS and column not in self.given:
            return int
        return str if column in ("file", "speaker", "error", self.label, *self.given) else float

    def confidence(self, row: Mapping[str, Any]) -> float | None:
        """Return how sure the row's class is: its calibrated probability if there is one, None without a class."""
        value = row.get("confidence", row.get(row.get(self.label) or "")) if self.label else None
        return value if isinstance(value, float) else None

    def text(self, row: Mapping[str, Any], default: str | None = None) -> str:
        """Return the text of a row: by the user's template, else by ``default``, else the row's label.

        A template is a format string with the columns as fields, ``{label}`` for the row's label and ``{confidence}``
        for the probability of its class. Numbers have two decimals unless their field says otherwise, missing values
        are empty. Raises UsageError for an unknown field.
        """
        template = self.template if self.template is not None else default if default is not None else "{label}"
        fields = {**row, "label": self.label_text(row), "confidence": self.confidence(row)}
        try:
            return " ".join(_Fields().vformat(template, (), fields).split())
        except (KeyError, IndexError, AttributeError) as error:
            unknown = error.args[0] if isinstance(error, KeyError) else "?"
            known = ", ".join((*self.columns, "label", "confidence"))
            raise UsageError(f"--template {template!r}: there is no field {unknown!r} (there are: {known})") from None
        except ValueError as error:
            raise UsageError(f"--template {template!r}: {error}") from None

    def label_text(self, row: Mapping[str, Any]) -> str:
        """Return the row's label: "angry 0.81", "arousal 0.62 valence 0.41", "speech"; "" if it has no outputs."""
        if self.label:
            confidence = self.confidence(row)
            return f"{row[self.label]} {confidence:.2f}" if confidence is not None else row.get(self.label) or ""
        if not self.outputs:
            return SPEECH
        return " ".join(f"{name} {row[name]:.2f}" for name in self.outputs if row.get(name) is not None)


class _Fields(string.Formatter):
    """Formatting by plain names only."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        return kwargs[field_name], field_name  # "{text.upper}" and "{text[0]}" are unknown names

    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return ""
        return format(value, format_spec or (".2f" if isinstance(value, float) else ""))


@dataclass(frozen=True)
class Annotated:
    """A recording and its ``rows``, mappings from the table's columns to values, None for missing ones.

    ``file`` is its name in the table, ``stem`` its path without extension, which is unique for formats that are
    per_recording or templated; ``seconds`` is its length. Of a recording that failed there is one row, whose ``error``
    is the reason.
    """

    file: str
    stem: str
    seconds: float
    rows: Iterable[Mapping[str, Any]]


class Writer(Protocol):
    """Writer of a format: ``write`` adds a recording, ``close`` completes the file."""

    def write(self, recording: Annotated) -> None: ...

    def close(self) -> None: ...
