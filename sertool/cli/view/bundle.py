"""Output of `sertool bundle check` and `show`."""

from typing import Any

from sertool import bundle as bundles
from sertool.bundle import Bundle


def title(bundle: Bundle) -> str:
    """Return name and version."""
    return f"{bundle.manifest.name} {bundle.manifest.version}"


def checked(result: dict[str, Any]) -> list[str]:
    """Return the lines that describe what packaging.check found in a sound bundle."""
    lines = [
        f"{result['name']} {result['version']}: {result['files']} files as listed in {bundles.SUMS}",
        f"sha256 {result['sha256']}",
    ]
    for variant in result["variants"]:
        lines.append(
            f"{variant['file']}: {variant['samples']} samples, largest difference {variant['difference']:.1e} "
            f"(at most {variant['allowed']:.2g})"
        )
    return [*lines, "sound"]


def description(bundle: Bundle) -> list[str]:
    """Return the lines that describe a bundle.

    Raises LookupError, TypeError, ValueError or AttributeError if training or metrics have an unexpected form.
    """
    from sertool.evaluation.run import REPORTS  # slow; only `show` needs it

    manifest, report = bundle.manifest, REPORTS[bundle.manifest.task]
    outputs = ", ".join(f"{o.name} ({o.low:g} to {o.high:g})" for o in manifest.outputs)
    lines = [
        f"{title(bundle)}: {manifest.title}",
        f"  folder    {bundle.path}",
        f"  sha256    {bundles.digest(bundle.path)}",
        f"  student   {manifest.student}, {manifest.task}",
        f"  outputs   {outputs}",
        f"  input     {manifest.sample_rate} Hz mono, at least {manifest.shortest_samples} samples",
    ]
    if manifest.preprocessing:
        lines.append(f"  prepared  {', '.join(step['step'] for step in manifest.preprocessing)}")
    lines.append(f"  window    {manifest.window_s:g} s")
    for variant in manifest.variants:
        size = f"{variant.bytes} bytes"
        if "max" in (variant.difference or {}):
            size += f", at most {variant.largest_difference:.1e} from torch"
        if "speed" in variant.cost:
            size += f", {variant.cost['speed']:.2f} x as fast as fp32"
        default = " (default)" if variant.name == manifest.default else ""
        lines.append(f"  variant   {variant.name}{default}: {variant.file}, takes {variant.input}, {size}")
    lines.append(f"  licence   {manifest.licence}")
    data = ", ".join(entry["corpus"] for entry in manifest.training.get("data", []))
    lines.append(f"  trained   on {data or 'data not named'}; targets: {manifest.training.get('targets', 'not named')}")
    for split, measured in manifest.metrics.items():
        if split == "robustness":
            passed = ", ".join(f"{n} {sum(r['passed'][n] for r in measured)}" for n in measured[0]["passed"])
            lines.append(f"  robust    of {len(measured)} checks passed: {passed}")
            continue
        for name, group in [("all", measured["overall"]), *measured["corpus"].items()]:
            measures = (m for m in report.headline(measured) if m in group["measures"])
            shown = ", ".join(f"{measure} {_figure(group['measures'][measure]['value'])}" for measure in measures)
            lines.append(f"  {split:<9} {name}, {group['clips']} clips: {shown}")
    return [*lines, f"  limits    see {bundle.path / bundles.CARD}"]


def _figure(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
