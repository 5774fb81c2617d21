"""Compare two bundles: differences in manifests, files, metrics and outputs."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sertool.bundle import SAMPLES, Bundle, Variant, check_sums, digest, expected_outputs, sums
from sertool.packaging.check import sample
from sertool.runtime import Runtime


def compare(one: Bundle, other: Bundle, variant: str | None = None, runtime: str | None = None) -> dict[str, Any]:
    """Check the checksums of two bundles and return their differences; "equal" is whether there are none.

    "bundles": name, version, path, sha256 and variant of each. "fields": key, a, b of every difference in bundle.json
    except metrics, and timings, which differ between any two exports. "files": file, a, b in bytes, None if missing.
    "metrics": metric, a, b, change of every figure that differs. "outputs": name, max and mean difference on the
    "clips" samples of both, for the default variants, the named one, or one for ``runtime``. Raises BundleError.
    """
    for bundle in (one, other):
        check_sums(bundle)
    chosen = [bundle.variant(variant, runtime) for bundle in (one, other)]
    shared = [name for name in one.outputs if name in other.outputs]
    result: dict[str, Any] = {
        "bundles": [_about(b, v.name) for b, v in zip((one, other), chosen, strict=True)],
        "fields": _fields(*(_compared(bundle.manifest.to_dict()) for bundle in (one, other))),
        "files": _files(one, other),
        "metrics": _metrics(one.manifest.metrics, other.manifest.metrics),
        **_outputs([one, other], chosen, shared),
    }
    equal = not (result["fields"] or result["files"] or result["metrics"])
    return {"equal": equal and not any(output["max"] for output in result["outputs"]), **result}


def lines(comparison: dict[str, Any]) -> list[str]:
    """Format the result of ``compare``, one line per difference; only metrics of both, no intervals and counts."""
    shown = [
        f"{side}  {about['name']} {about['version']} ({about['variant']})  sha256 {about['sha256']}  {about['path']}"
        for side, about in zip("AB", comparison["bundles"], strict=True)
    ]
    figures = [e for e in comparison["metrics"] if e["metric"].endswith(".value") and e["change"] is not None]
    metrics = [(e["metric"].removesuffix(".value").replace(".measures.", " "), _change(e)) for e in figures]
    if others := len(comparison["metrics"]) - len(figures):
        metrics.append((f"{others} more", "intervals, counts, and what only one of them has: see --json"))
    sections = {
        "bundle.json": list(_changes(comparison["fields"])),
        "files": [(e["file"], _sizes(e["a"], e["b"])) for e in comparison["files"]],
        "metrics": metrics,
        f"outputs on {comparison['clips']} samples": [
            (e["name"], f"at most {e['max']:.1e}, mean {e['mean']:.1e}") for e in comparison["outputs"]
        ],
    }
    for name, rows in sections.items():
        width = max((len(key) for key, _ in rows), default=0)
        shown += [name, *(f"  {key:<{width}}  {change}" for key, change in rows)] if rows else []
    return [*shown, "equal" if comparison["equal"] else "different"]


def _compared(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest without metrics, which are compared separately, and without measured costs."""
    variants = [{key: value for key, value in entry.items() if key != "cost"} for entry in manifest["variants"]]
    return {**{key: value for key, value in manifest.items() if key != "metrics"}, "variants": variants}


def _changes(fields: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (key, change) per field, but only once for a list entry that only one of the two has."""
    alone = {
        e["key"].removesuffix(".name"): e for e in fields if e["key"].endswith("].name") and None in (e["a"], e["b"])
    }
    for entry in fields:
        place = next((place for place in alone if entry["key"].startswith(f"{place}.")), None)
        if place is None:
            yield entry["key"], f"{_short(entry['a'])} -> {_short(entry['b'])}"
        elif entry is alone[place]:
            yield place, "removed" if entry["b"] is None else "added"


def _about(bundle: Bundle, variant: str) -> dict[str, Any]:
    about = {"name": bundle.manifest.name, "version": bundle.manifest.version}
    return {**about, "path": str(bundle.path), "sha256": digest(bundle.path), "variant": variant}


def _fields(one: dict[str, Any], other: dict[str, Any]) -> list[dict[str, Any]]:
    a, b = dict(_leaves(one)), dict(_leaves(other))
    keys = [*a, *(key for key in b if key not in a)]
    return [{"key": k, "a": a.get(k), "b": b.get(k)} for k in keys if (k in a, a.get(k)) != (k in b, b.get(k))]


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of all values in a table; list entries are keyed by name if names are unique."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        names = [str(inner["name"]) for inner in value if isinstance(inner, dict) and "name" in inner]
        keys: Iterable[object] = names if len(set(names)) == len(value) else range(len(value))
        for name, inner in zip(keys, value, strict=True):
            yield from _leaves(inner, f"{key}[{name}]")
    else:
        yield key, value


def _files(one: Bundle, other: Bundle) -> list[dict[str, Any]]:
    a, b = sums(one.path), sums(other.path)

    def size(bundle: Bundle, listed: dict[str, str], name: str) -> int | None:
        return (bundle.path / name).stat().st_size if name in listed else None

    changed = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    return [{"file": name, "a": size(one, a, name), "b": size(other, b, name)} for name in changed]


def _metrics(one: dict[str, Any], other: dict[str, Any]) -> list[dict[str, Any]]:
    metrics = []
    for field in _fields(one, other):
        a, b = field["a"], field["b"]
        both = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
        metrics.append({"metric": field["key"], "a": a, "b": b, "change": round(b - a, 6) if both else None})
    return metrics


def _outputs(bundles: list[Bundle], chosen: list[Variant], shared: list[str]) -> dict[str, Any]:
    """Return the differences of shared outputs over all samples of both bundles, each recording once."""
    clips: dict[str | None, tuple[Bundle, str]] = {}
    for bundle in bundles:
        listed = sums(bundle.path)
        for name in expected_outputs(bundle):
            clips.setdefault(listed.get(f"{SAMPLES}/{name}"), (bundle, name))
    runtimes = [Runtime(str(b.path.absolute()), v.name) for b, v in zip(bundles, chosen, strict=True)]
    differences = []
    for bundle, name in clips.values():
        a, b = (dict(zip(r.bundle.outputs, sample(bundle, name, r).tolist(), strict=True)) for r in runtimes)
        differences.append([abs(a[name] - b[name]) for name in shared])
    outputs = []
    for name, column in zip(shared, np.array(differences).T, strict=False):  # empty without clips
        outputs.append({"name": name, "max": float(column.max()), "mean": float(column.mean())})
    return {"clips": len(clips), "outputs": outputs}


def _sizes(one: int | None, other: int | None) -> str:
    if one is None:
        return f"added, {other} bytes"
    return f"removed, {one} bytes" if other is None else f"{one} -> {other} bytes"


def _change(entry: dict[str, Any]) -> str:
    return f"{entry['a']:.4f} -> {entry['b']:.4f} ({entry['change']:+.4f})"


def _short(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
