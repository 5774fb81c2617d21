"""Two bundles side by side: what of their manifests, files, metrics and outputs differs."""

import json

import numpy as np

from sertool.bundle import SAMPLES, Bundle, check_sums, digest, expected_outputs, sums
from sertool.packaging.check import sample
from sertool.runtime import Runtime


def compare(one: Bundle, other: Bundle, variant: str | None = None, runtime: str | None = None) -> dict:
    """What differs between two bundles, their sums checked first; "equal" says that nothing does.

    "bundles": name, version, path, sha256 and variant of each. "fields": key, a, b of every difference in bundle.json
    beyond metrics and timings, which no two exports share. "files": file, a, b in bytes, None where it is missing.
    "metrics": metric, a, b, change of every figure that differs. "outputs": of the default variants, or of the one
    named or that ``runtime`` runs, over the "clips" samples of both: name, max and mean difference. Raises BundleError.
    """
    for bundle in (one, other):
        check_sums(bundle)
    chosen = [bundle.variant(variant, runtime) for bundle in (one, other)]
    shared = [name for name in one.outputs if name in other.outputs]
    found = {
        "bundles": [_about(b, v["name"]) for b, v in zip((one, other), chosen, strict=True)],
        "fields": _fields(*(_compared(bundle.manifest) for bundle in (one, other))),
        "files": _files(one, other),
        "metrics": _metrics(one.manifest["metrics"], other.manifest["metrics"]),
        **_outputs([one, other], chosen, shared),
    }
    equal = not (found["fields"] or found["files"] or found["metrics"])
    return {"equal": equal and not any(output["max"] for output in found["outputs"]), **found}


def lines(found: dict) -> list[str]:
    """What ``compare`` found for a person: a line a difference, of metrics those of both, no intervals and counts."""
    shown = [
        f"{side}  {about['name']} {about['version']} ({about['variant']})  sha256 {about['sha256']}  {about['path']}"
        for side, about in zip("AB", found["bundles"], strict=True)
    ]
    figures = [e for e in found["metrics"] if e["metric"].endswith(".value") and e["change"] is not None]
    metrics = [(e["metric"].removesuffix(".value").replace(".measures.", " "), _change(e)) for e in figures]
    if others := len(found["metrics"]) - len(figures):
        metrics.append((f"{others} more", "intervals, counts, and what only one of them has: see --json"))
    sections = {
        "bundle.json": list(_changes(found["fields"])),
        "files": [(e["file"], _sizes(e["a"], e["b"])) for e in found["files"]],
        "metrics": metrics,
        f"outputs on {found['clips']} samples": [
            (e["name"], f"at most {e['max']:.1e}, mean {e['mean']:.1e}") for e in found["outputs"]
        ],
    }
    for name, rows in sections.items():
        width = max((len(key) for key, _ in rows), default=0)
        shown += [name, *(f"  {key:<{width}}  {change}" for key, change in rows)] if rows else []
    return [*shown, "equal" if found["equal"] else "different"]


def _compared(manifest: dict) -> dict:
    """A manifest without metrics, which are compared on their own, and without what files took on the day."""
    variants = [{key: value for key, value in entry.items() if key != "cost"} for entry in manifest["variants"]]
    return {**{key: value for key, value in manifest.items() if key != "metrics"}, "variants": variants}


def _changes(fields: list[dict]):
    """(what, how it changed): a line a field, but one for an entry of a list that only one of the two has."""
    alone = {
        e["key"].removesuffix(".name"): e for e in fields if e["key"].endswith("].name") and None in (e["a"], e["b"])
    }
    for entry in fields:
        place = next((place for place in alone if entry["key"].startswith(f"{place}.")), None)
        if place is None:
            yield entry["key"], f"{_short(entry['a'])} -> {_short(entry['b'])}"
        elif entry is alone[place]:
            yield place, "removed" if entry["b"] is None else "added"


def _about(bundle: Bundle, variant: str) -> dict:
    about = {key: bundle.manifest[key] for key in ("name", "version")}
    return {**about, "path": str(bundle.path), "sha256": digest(bundle.path), "variant": variant}


def _fields(one: dict, other: dict) -> list[dict]:
    a, b = dict(_leaves(one)), dict(_leaves(other))
    keys = [*a, *(key for key in b if key not in a)]
    return [{"key": k, "a": a.get(k), "b": b.get(k)} for k in keys if (k in a, a.get(k)) != (k in b, b.get(k))]


def _leaves(value, key: str = ""):
    """(dotted key, value) of everything in a table; entries of a list by their names where those tell them apart."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        names = [str(inner["name"]) for inner in value if isinstance(inner, dict) and "name" in inner]
        for name, inner in zip(names if len(set(names)) == len(value) else range(len(value)), value, strict=True):
            yield from _leaves(inner, f"{key}[{name}]")
    else:
        yield key, value


def _files(one: Bundle, other: Bundle) -> list[dict]:
    a, b = sums(one.path), sums(other.path)

    def size(bundle, listed, name):
        return (bundle.path / name).stat().st_size if name in listed else None

    changed = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    return [{"file": name, "a": size(one, a, name), "b": size(other, b, name)} for name in changed]


def _metrics(one: dict, other: dict) -> list[dict]:
    found = []
    for field in _fields(one, other):
        a, b = field["a"], field["b"]
        both = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
        found.append({"metric": field["key"], "a": a, "b": b, "change": round(b - a, 6) if both else None})
    return found


def _outputs(bundles: list[Bundle], chosen: list[dict], shared: list[str]) -> dict:
    """Differences by output that both have, over every sample of either, the same recording once."""
    clips = {}
    for bundle in bundles:
        listed = sums(bundle.path)
        for name in expected_outputs(bundle):
            clips.setdefault(listed.get(f"{SAMPLES}/{name}"), (bundle, name))
    runtimes = [Runtime(str(b.path.absolute()), v["name"]) for b, v in zip(bundles, chosen, strict=True)]
    differences = []
    for bundle, name in clips.values():
        a, b = (dict(zip(r.bundle.outputs, sample(bundle, name, r).tolist(), strict=True)) for r in runtimes)
        differences.append([abs(a[name] - b[name]) for name in shared])
    outputs = []
    for name, column in zip(shared, np.array(differences).T, strict=False):  # of no clips there are none
        outputs.append({"name": name, "max": float(column.max()), "mean": float(column.mean())})
    return {"clips": len(clips), "outputs": outputs}


def _sizes(one, other) -> str:
    if one is None:
        return f"added, {other} bytes"
    return f"removed, {one} bytes" if other is None else f"{one} -> {other} bytes"


def _change(entry: dict) -> str:
    return f"{entry['a']:.4f} -> {entry['b']:.4f} ({entry['change']:+.4f})"


def _short(value) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
