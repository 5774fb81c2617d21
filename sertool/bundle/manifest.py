"""The manifest: bundle.json, and the part of it that stands inside each model file (docs/bundles.md)."""

import json
import math

from sertool.bundle.names import LARGEST_TEXT, is_line, is_plain, one_line, quoted
from sertool.errors import BundleError, UsageError
from sertool.registry import RUNTIMES
from sertool.tasks import RESERVED, TASKS

SCHEMA = "sertool.bundle/1"
#: What a variant's file takes: 16 kHz samples, or LogMel frames that the C front-end computes of them.
INPUTS = ("waveform", "logmel")
#: Under this key of an ONNX file's metadata_props stands the manifest, so that a lone file still labels.
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
    "variants": list,  # of {"name", "file", "input", "bytes", "sha256", "difference"}, and what else was measured
    "default": str,  # name of the variant that `label` runs
    "licence": str,
    "training": dict,
    "metrics": dict,
}
_VARIANT_KEYS = {"name": str, "file": str, "input": str}
_MEASURED_ON_FILE = {"bytes": int, "sha256": str, "difference": dict}  # cannot stand inside the file
_LOGMEL_KEYS = {"n_fft": int, "hop": int, "n_mels": int, "normalise": bool}
_LONGEST_WINDOW = 3600  # seconds; all of it is held in memory
_DEEPEST = 32  # tables within tables


def parse(text: str, source: str, embedded: bool = False) -> dict:
    """A manifest from JSON, every value that sertool relies on checked; ``embedded`` is the form inside a model file.

    That form lacks what is measured on the file. Raises BundleError, which names ``source`` and the fault.
    """
    manifest = _json(text, source)
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else None
        raise BundleError(f"{source}: schema {quoted(found)} is unknown here (this sertool reads {SCHEMA!r})")
    _require(manifest, _KEYS, source)
    for key in ("name", "version"):  # a file or folder may be called by them
        _check(is_plain(manifest[key]), source, key, manifest[key], "a plain name")
    for key in ("title", "student", "licence"):
        _check(is_line(manifest[key]), source, key, manifest[key], "one line")
    if manifest["task"] not in TASKS:
        raise BundleError(f"{source}: task {quoted(manifest['task'])} is unknown here (known: {', '.join(TASKS)})")
    if not manifest["outputs"] or not manifest["variants"]:
        raise BundleError(f"{source}: outputs and variants must not be empty")
    _check_outputs(manifest["outputs"], f"{source}: outputs")
    _check_input(manifest, source)
    for variant in manifest["variants"]:
        _check_variant(variant, manifest, f"{source}: variants", embedded)
    names = [variant["name"] for variant in manifest["variants"]]
    if manifest["default"] not in names or len(set(names)) < len(names):
        known = one_line(", ".join(names))
        raise BundleError(f"{source}: default {quoted(manifest['default'])} must be one of {known}, each once")
    return manifest


def embedded(manifest: dict, variant: dict) -> str:
    """The manifest as it stands inside a variant's file: all that it takes to label, and to know what it is.

    Without the other variants, without what is measured on the file, and without metrics and recipe, which would be a
    tenth of a small model's file; they are in bundle.json.
    """
    own = {
        "variants": [{key: variant[key] for key in (*_VARIANT_KEYS, "runtime") if key in variant}],
        "default": variant["name"],
        "training": {key: value for key, value in manifest["training"].items() if key != "recipe"},
        "metrics": {},
    }
    return json.dumps(manifest | own, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def runtime_of(variant: dict) -> str:
    """Which of RUNTIMES runs a variant's file."""
    return variant.get("runtime", RUNTIMES[0])


def size(variant: dict) -> int:
    """Bytes of a variant's file and of those that it refers to."""
    return variant["bytes"] + sum(variant.get("beside", {}).values())


def text(manifest: dict) -> str:
    """A manifest as bundle.json holds it; what was measured and is no number (a CCC of one clip) is null."""
    return json.dumps(_finite(manifest), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _check_outputs(outputs: list, source: str) -> None:
    taken = set(RESERVED)
    for output in outputs:
        _require(output, {"name": str, "range": list}, source)
        name, limits = output["name"], output["range"]
        fine = len(name) <= 64 and is_line(name) and name[0].isalnum()  # a spreadsheet takes =1+1 for a formula
        _check(fine, source, "name", name, "one line that begins with a letter or digit")
        _check(name not in taken, source, "name", name, f"given once, and none of {', '.join(RESERVED)}")
        taken.add(name)
        right = len(limits) == 2 and all(_is_number(limit) for limit in limits) and limits[0] < limits[1]
        _check(right, source, "range", limits, "two numbers, the lower one first")


def _check_input(manifest: dict, source: str) -> None:
    from sertool.features import steps
    from sertool.features.mel import SAMPLE_RATE

    rate, window, shortest = (manifest[key] for key in ("sample_rate", "window_s", "shortest_samples"))
    _check(rate == SAMPLE_RATE, source, "sample_rate", rate, f"{SAMPLE_RATE}")
    _check(0 < window <= _LONGEST_WINDOW, source, "window_s", window, f"above 0 and at most {_LONGEST_WINDOW}")
    longest = int(window * SAMPLE_RATE)
    _check(1 <= shortest <= longest, source, "shortest_samples", shortest, f"1 to {longest}, those of a window")
    most = manifest.get("longest_samples", longest)
    _check(type(most) is int and most >= longest, source, "longest_samples", most, f"{longest}, a window's, or more")
    try:
        steps.build(manifest["preprocessing"])
    except UsageError as error:
        raise BundleError(f"{source}: {one_line(error)}") from None


def _check_variant(variant, manifest: dict, source: str, embedded: bool) -> None:
    _require(variant, _VARIANT_KEYS | ({} if embedded else _MEASURED_ON_FILE), source)
    _check(is_plain(variant["name"]), source, "name", variant["name"], "a plain name")
    if not is_plain(variant["file"]):
        raise BundleError(f"{source}: variant file {quoted(variant['file'])} must be a plain file name")
    if variant["input"] not in INPUTS:
        raise BundleError(f"{source}: input {quoted(variant['input'])} is unknown here (known: {', '.join(INPUTS)})")
    if runtime_of(variant) not in RUNTIMES:
        raise BundleError(
            f"{source}: runtime {quoted(variant['runtime'])} is unknown here (known: {', '.join(RUNTIMES)})"
        )
    if variant["input"] == "logmel":
        _require(manifest["frontend"], _LOGMEL_KEYS, f"{source}: frontend")
    for key in ("difference", "drop", "cost", "beside"):
        _check(isinstance(variant.get(key, {}), dict), source, key, variant.get(key), "a table")
    for name, size in variant.get("beside", {}).items():
        _check(
            is_plain(name) and type(size) is int and size >= 0, source, "beside", name, "a plain name with its bytes"
        )
    largest = variant.get("difference", {}).get("max", 0)
    _check(_is_number(largest) and largest >= 0, source, "difference", largest, "a number that is not negative")


def _check(right: bool, source: str, key: str, value, wanted: str) -> None:
    if not right:
        raise BundleError(f"{source}: {key!r} must be {wanted}, not {quoted(value)}")


def _require(table, keys: dict, source: str) -> None:
    for key, kind in keys.items():
        if not isinstance(table, dict) or key not in table:
            raise BundleError(f"{source}: key {key!r} is missing")
        value = table[key]
        right = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
        if not right or isinstance(value, bool) != (kind is bool):
            raise BundleError(f"{source}: {key!r} must be {kind.__name__}, not {type(value).__name__}")


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _json(text: str, source: str):
    """JSON without what only an attack or a slip brings: key given twice, NaN, numbers past 64 bits, endless depth."""
    if len(text) > LARGEST_TEXT:
        raise BundleError(f"{source}: larger than {LARGEST_TEXT >> 20} MB")
    try:
        value = json.loads(
            text, object_pairs_hook=_table, parse_int=_whole, parse_float=_real, parse_constant=_no_constant
        )
    except RecursionError:
        raise BundleError(f"{source}: more than {_DEEPEST} tables within tables") from None
    except ValueError as error:
        raise BundleError(f"{source}: not JSON ({error})") from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _parts(outer, source)]
    if level:
        raise BundleError(f"{source}: more than {_DEEPEST} tables within tables")
    return value


def _parts(value, source: str):
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise BundleError(f"{source}: {quoted(value)} is not Unicode")
    return value if isinstance(value, list) else ()


def _table(pairs: list) -> dict:
    table = {}
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


def _no_constant(name: str):
    raise ValueError(f"{name} is no number")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
