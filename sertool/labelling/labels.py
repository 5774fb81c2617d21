"""The labels of a recording, or of one window of it."""

from collections.abc import Iterator, Mapping
from typing import Any


class Labels(Mapping[str, Any]):
    """Labels of a stretch of audio, by attribute or as a mapping: ``labels.arousal``, ``labels["arousal"]``.

    ``start`` and ``end`` are seconds in the recording. Then come the model's outputs by name; a model of classes has
    one probability per class, and the most probable class as ``emotion``. ``speech`` is the duration of the labelled
    speech in seconds, None without speech detection. ``error`` is the reason why there are no outputs, else None;
    without outputs they are all None.
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no {name!r}; these labels have {', '.join(self._values)}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return Labels, (self._values,)

    def __repr__(self) -> str:
        shown = (f"{name}={round(value, 3) if isinstance(value, float) else value!r}" for name, value in self.items())
        return f"Labels({', '.join(shown)})"

    def to_dict(self) -> dict[str, Any]:
        """Return a new dict, in the column order of the label table (without the file)."""
        return dict(self._values)

    def replace(self, **values: Any) -> "Labels":
        """Return a copy with some values replaced."""
        return Labels(self._values | values)
