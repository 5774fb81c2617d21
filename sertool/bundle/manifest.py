"""The manifest: bundle.json, and the part of it that is embedded in each model file (docs/bundles.md)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

from sertool.bundle.calibration import Calibration
from sertool.bundle.names import LARGEST_TEXT, is_line, is_plain, one_line, quoted
from sertool.errors import BundleError, UsageError
from sertool.features import steps
from sertool.features.mel import SAMPLE_RATE
from sertool.registry import RUNTIMES
from sertool.tasks import RESERVED, TASKS

SCHEMA = "sertool.bundle/1"
#: Input of a variant's file: 16 kHz samples, or the LogMel frames that the C front end computes from them.
INPUTS = ("waveform", "logmel")
#: Key of the manifest in an ONNX file's metadata_props, so that a single file can be used for labelling.
METADATA_KEY = "sertool.bundle"

_KEYS = {
    "schema": str,
    "name": str,
    "version": str,
    "title": str,
    "student": str,
    "task": str,
    "outputs": list,  # of {"name", "range"}
    "sample_rate": int,
    "input": dict,
    "frontend": dict,
    "preprocessing": list,
    "window_s": float,
    "shortest_samples": int,
    "variants": list,  # of {"name", "file", "input", "bytes", "sha256", "difference"} and other measurements
    "default": str,  # name of the variant that `label` uses
    "licence": str,
    "training": dict,
    "metrics": dict,
}
#: Input of every model.
_WAVEFORM = {"name": "waveform", "shape": [1, "time"], "dtype": "float32", "channels": 1}
_VARIANT_KEYS = {"name": str, "file": str, "input": str}
_MEASURED_ON_FILE = {"bytes": int, "sha256": str, "difference": dict}  # cannot be embedded in the file
_LOGMEL_KEYS = {"n_fft": int, "hop": int, "n_mels": int, "normalise": bool}
_OPTIONAL = {"longest_samples", "made", "calibration"}
_ORDER = (
    *("name", "version", "title", "student", "task", "outputs", "sample_rate", "input", "frontend", "preprocessing"),
    *("window_s", "shortest_samples", "longest_samples", "variants", "default", "licence", "training", "metrics"),
    *("made", "calibration"),
)
_LONGEST_WINDOW = 3600  # seconds; a window is held in memory
_DEEPEST = 32  # levels of nesting


@dataclass(frozen=True)
class Output:
    """A named output of a model; its nominal range is ``low`` to ``high``."""

    name: str
    low: float = 0
    high: float = 1


@dataclass
class Variant:
    """A model file of a bundle.

    ``input`` is one of INPUTS, ``runtime`` one of RUNTIMES, ``format`` the argument of `sertool export`. Measured on
    the file, and None or empty in an embedded manifest: ``difference`` from torch ("max", "mean", "clips"), ``checks``
    of its metric, ``cost``, size in ``bytes``, ``beside`` (name -> bytes of files that it refers to) and ``sha256``.
    ``more`` holds keys that this version does not know.
    """

    name: str
    file: str
    input: str = "waveform"
    runtime: str = RUNTIMES[0]
    format: str | None = None
    difference: dict[str, Any] | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    bytes: int | None = None
    beside: dict[str, int] = field(default_factory=dict)
    sha256: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the file and of the files that it refers to."""
        return (self.bytes or 0) + sum(self.beside.values())

    @property
    def largest_difference(self) -> float:
        """The largest difference of an output from torch; 0 if none was measured."""
        return float((self.difference or {}).get("max", 0))

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "Variant":
        """Read the table of bundle.json."""
        known, more = _split(cls, table)
        return cls(**known, more=more)

    def to_dict(self) -> dict[str, Any]:
        """Return the table of bundle.json."""
        return _given(self, ("name", "file", "input", "runtime"))


@dataclass
class Manifest:
    """The description of a bundle's model: bundle.json."""

    name: str
    version: str
    title: str
    student: str
    task: str
    outputs: list[Output]
    frontend: dict[str, Any]
    shortest_samples: int
    licence: str = "none stated"
    preprocessing: list[dict[str, Any]] = field(default_factory=list)
    longest_samples: int | None = None
    window_s: float = 8.0
    sample_rate: int = SAMPLE_RATE
    input: dict[str, Any] = field(default_factory=lambda: dict(_WAVEFORM))
    variants: list[Variant] = field(default_factory=list)
    default: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)  # see bundle.calibration
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def output_names(self) -> list[str]:
        return [output.name for output in self.outputs]

    @property
    def calibrated(self) -> Calibration:
        """The parsed ``calibration``."""
        return Calibration.parse(self.calibration, self.output_names)

    @classmethod
    def parse(cls, text: str, source: str, embedded: bool = False) -> "Manifest":
        """Parse JSON and check every value that sertool relies on.

        ``embedded``: from a model file, without what is measured on the file. Raises BundleError, which names
        ``source`` and the fault.
        """
        table = _json(text, source)
        _check_table(table, source, embedded)
        known, more = _split(cls, {key: value for key, value in table.items() if key != "schema"})
        known["outputs"] = [Output(output["name"], *output["range"]) for output in table["outputs"]]
        known["variants"] = [Variant.from_dict(variant) for variant in table["variants"]]
        return cls(**known, more=more)

    def to_dict(self) -> dict[str, Any]:
        """Return the table of bundle.json."""
        table: dict[str, Any] = {"schema": SCHEMA}
        for key in _ORDER:
            value = getattr(self, key)
            if key == "outputs":
                value = [{"name": output.name, "range": [output.low, output.high]} for output in self.outputs]
            elif key == "variants":
                value = [variant.to_dict() for variant in self.variants]
            if value or key not in _OPTIONAL:
                table[key] = value
        return table | self.more

    def text(self) -> str:
        """Return bundle.json's text; measured values that are not finite (a CCC of one clip) become null."""
        return json.dumps(_finite(self.to_dict()), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def embedded(self, variant: Variant) -> str:
        """Return the manifest to embed in a variant's file: enough to label with and to identify the model.

        It lacks the other variants, what is measured on the file, and the metrics, recipe and what the calibration was
        measured on, which would be a tenth of a small model's file. All of that is in bundle.json.
        """
        table = self.to_dict()
        written = {key: value for key, value in variant.to_dict().items() if key in (*_VARIANT_KEYS, "runtime")}
        training = {key: value for key, value in self.training.items() if key != "recipe"}
        table |= {"variants": [written], "default": variant.name, "training": training, "metrics": {}}
        if self.calibration:
            table["calibration"] = {key: value for key, value in self.calibration.items() if key != "about"}
        return json.dumps(table, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _split(kind: "type[Manifest | Variant]", table: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a table into the fields of a dataclass and the other keys."""
    names = {field.name for field in fields(kind)} - {"more"}
    known = {key: value for key, value in table.items() if key in names}
    return known, {key: value for key, value in table.items() if key not in names}


def _given(variant: Variant, always: tuple[str, ...]) -> dict[str, Any]:
    table = {field.name: getattr(variant, field.name) for field in fields(variant) if field.name != "more"}
    if variant.difference is not None:
        always += ("difference",)  # required in bundle.json, even if nothing was measured
    return {key: value for key, value in table.items() if key in always or value not in (None, [], {})} | variant.more


def _check_table(manifest: Any, source: str, embedded: bool) -> None:
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        raise BundleError(f"{source}: schema {quoted(schema)} is unknown (this sertool reads {SCHEMA!r})")
    _require(manifest, _KEYS, source)
    for key in ("name", "version"):  # may be used as file and folder names
        _check(is_plain(manifest[key]), source, key, manifest[key], "a plain name")
    for key in ("title", "student", "licence"):
        _check(is_line(manifest[key]), source, key, manifest[key], "one line")
    if manifest["task"] not in TASKS:
        raise BundleError(f"{source}: task {quoted(manifest['task'])} is unknown (known: {', '.join(TASKS)})")
    if not manifest["outputs"] or not manifest["variants"]:
        raise BundleError(f"{source}: outputs and variants must not be empty")
    _check_outputs(manifest["outputs"], f"{source}: outputs")
    _check_input(manifest, source)
    for key in ("made", "calibration"):
        _check(isinstance(manifest.get(key, {}), dict), source, key, manifest.get(key), "a table")
    try:
        Calibration.parse(manifest.get("calibration", {}), [output["name"] for output in manifest["outputs"]])
    except ValueError as error:
        raise BundleError(f"{source}: {error}") from None
    for variant in manifest["variants"]:
        _check_variant(variant, manifest, f"{source}: variants", embedded)
    names = [variant["name"] for variant in manifest["variants"]]
    if manifest["default"] not in names or len(set(names)) < len(names):
        known = one_line(", ".join(names))
        raise BundleError(
            f"{source}: default {quoted(manifest['default'])} must be one of {known}; names must be unique"
        )


def _check_outputs(outputs: list[Any], source: str) -> None:
    taken = set(RESERVED)
    for output in outputs:
        _require(output, {"name": str, "range": list}, source)
        name, limits = output["name"], output["range"]
        valid = len(name) <= 64 and is_line(name) and name[0].isalnum()  # a spreadsheet reads =1+1 as a formula
        _check(valid, source, "name", name, "one line that begins with a letter or digit")
        _check(name not in taken, source, "name", name, f"unique, and none of {', '.join(RESERVED)}")
        taken.add(name)
        valid = len(limits) == 2 and all(_is_number(limit) for limit in limits) and limits[0] < limits[1]
        _check(valid, source, "range", limits, "two numbers, the lower one first")


def _check_input(manifest: dict[str, Any], source: str) -> None:
    rate, window, shortest = (manifest[key] for key in ("sample_rate", "window_s", "shortest_samples"))
    _check(rate == SAMPLE_RATE, source, "sample_rate", rate, f"{SAMPLE_RATE}")
    _check(0 < window <= _LONGEST_WINDOW, source, "window_s", window, f"above 0 and at most {_LONGEST_WINDOW}")
    longest = int(window * SAMPLE_RATE)
    _check(1 <= shortest <= longest, source, "shortest_samples", shortest, f"1 to {longest} (a window)")
    most = manifest.get("longest_samples", longest)
    _check(type(most) is int and most >= longest, source, "longest_samples", most, f"at least {longest} (a window)")
    try:
        steps.build(manifest["preprocessing"])
    except UsageError as error:
        raise BundleError(f"{source}: {one_line(error)}") from None


def _check_variant(variant: Any, manifest: dict[str, Any], source: str, embedded: bool) -> None:
    _require(variant, _VARIANT_KEYS | ({} if embedded else _MEASURED_ON_FILE), source)
    _check(is_plain(variant["name"]), source, "name", variant["name"], "a plain name")
    if not is_plain(variant["file"]):
        raise BundleError(f"{source}: variant file {quoted(variant['file'])} must be a plain file name")
    if variant["input"] not in INPUTS:
        raise BundleError(f"{source}: input {quoted(variant['input'])} is unknown (known: {', '.join(INPUTS)})")
    if variant.get("runtime", RUNTIMES[0]) not in RUNTIMES:
        raise BundleError(f"{source}: runtime {quoted(variant['runtime'])} is unknown (known: {', '.join(RUNTIMES)})")
    if variant["input"] == "logmel":
        _require(manifest["frontend"], _LOGMEL_KEYS, f"{source}: frontend")
    for key in ("difference", "drop", "cost", "beside"):
        _check(isinstance(variant.get(key, {}), dict), source, key, variant.get(key), "a table")
    for name, size in variant.get("beside", {}).items():
        valid = is_plain(name) and type(size) is int and size >= 0
        _check(valid, source, "beside", name, "a plain name with its bytes")
    checks = variant.get("checks", [])
    valid = isinstance(checks, list) and all(isinstance(check, dict) for check in checks)
    _check(valid, source, "checks", checks, "a list of tables")
    largest = variant.get("difference", {}).get("max", 0)
    _check(_is_number(largest) and largest >= 0, source, "difference", largest, "a number that is not negative")


def _check(valid: bool, source: str, key: str, value: object, wanted: str) -> None:
    if not valid:
        raise BundleError(f"{source}: {key!r} must be {wanted}, not {quoted(value)}")


def _require(table: Any, keys: dict[str, type], source: str) -> None:
    for key, kind in keys.items():
        if not isinstance(table, dict) or key not in table:
            raise BundleError(f"{source}: key {key!r} is missing")
        value = table[key]
        valid = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
        if not valid or isinstance(value, bool) != (kind is bool):
            raise BundleError(f"{source}: {key!r} must be {kind.__name__}, not {type(value).__name__}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _json(text: str, source: str) -> Any:
    """Parse JSON strictly: raise BundleError for duplicate keys, NaN, numbers beyond 64 bits and deep nesting."""
    if len(text) > LARGEST_TEXT:
        raise BundleError(f"{source}: larger than {LARGEST_TEXT >> 20} MB")
    try:
        value = json.loads(
            text, object_pairs_hook=_table, parse_int=_whole, parse_float=_real, parse_constant=_no_constant
        )
    except RecursionError:
        raise BundleError(f"{source}: more than {_DEEPEST} levels of nesting") from None
    except ValueError as error:
        raise BundleError(f"{source}: not JSON ({error})") from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _parts(outer, source)]
    if level:
        raise BundleError(f"{source}: more than {_DEEPEST} levels of nesting")
    return value


def _parts(value: Any, source: str) -> Sequence[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise BundleError(f"{source}: {quoted(value)} is not Unicode")
    return value if isinstance(value, list) else ()


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"key {quoted(key)} is given twice")
        table[key] = value
    return table


def _whole(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError(f"{digits[:18]}... is too large a number")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:18]} is too large a number")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
