"""The table of files in a model card."""

from typing import Any

from sertool.bundle.manifest import Manifest
from sertool.errors import BundleError

#: Input of a variant's file -> its description.
TAKES = {"waveform": "waveform", "logmel": "LogMel frames, computed by sertool's C front-end"}

FILES_BEGIN, FILES_END = "<!-- files -->", "<!-- end of files -->"

FILES_ABOUT = """\
Difference of an output from {whose} over {clips} recordings and pieces of recordings, from the shortest to a
minute."""

COST_ABOUT = """\
Time for {seconds:g} s of audio on {threads} thread, median, turn by turn with fp32; memory of a process of its own.
They are of the machine that exported."""


def file_table(manifest: Manifest) -> str:
    """Return Markdown of a manifest's variants and their measurements, between the marks that ``with_files`` uses."""
    rows, whose = manifest.variants, manifest.made.get("reference", "torch")
    differences = [row.difference or {} for row in rows]
    columns = {
        "variant": [f"{row.name}{' (what `label` runs)' * (row.name == manifest.default)}" for row in rows],
        "file": [f"`{row.file}`" for row in rows],
        "takes": [TAKES[row.input] for row in rows],
        "bytes": [f"{row.size:,}" for row in rows],
        f"from {whose}, largest (mean)": [f"{d['max']:.1e} ({d['mean']:.1e})" for d in differences],
    }
    for check in rows[0].checks:
        results = [next((c for c in row.checks if c["on"] == check["on"]), check) for row in rows]
        columns[f"{check['metric']} on {check['on']} (drop)"] = [
            f"{c['value']:.4f} ({c['drop']:+.4f})" for c in results
        ]
    if all(row.cost for row in rows):
        costs = [row.cost for row in rows]
        columns["speed beside fp32"] = [f"{cost['speed']:.2f} ({cost['median_s'] * 1e3:.1f} ms)" for cost in costs]
        columns["peak memory (over the runtime)"] = [
            f"{cost['peak_bytes'] / 1e6:.0f} MB ({cost['added_bytes'] / 1e6:.1f} MB)" for cost in costs
        ]
    lines = [FILES_BEGIN, f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(cells)} |" for cells in zip(*columns.values(), strict=True)]
    lines += ["", FILES_ABOUT.format(whose=f"the {whose} model", clips=differences[0]["clips"])]
    if rows[0].cost:
        lines.append(COST_ABOUT.format(**rows[0].cost))
    if manifest.made:
        lines.append(_made(manifest.made))
    return "\n".join([*lines, FILES_END])


def with_files(card: str, manifest: Manifest) -> str:
    """Return a card of ``card`` with an updated file table; raise BundleError if it has no such table."""
    before, begin, rest = card.partition(FILES_BEGIN)
    _, end, after = rest.partition(FILES_END)
    if not (begin and end):
        raise BundleError(f"the model card has no file table ({FILES_BEGIN} ... {FILES_END})")
    return before + file_table(manifest) + after


def _made(about: dict[str, Any]) -> str:
    """Describe the version of sertool and the recordings for calibration and checks."""
    parts = [
        f"{key} on {about[key]['clips']:,} clips of {about[key]['on']}"
        for key in ("calibrated", "checked")
        if about[key]["clips"]
    ]
    return f"Made by sertool {', '.join([about['sertool'], *parts])}."
