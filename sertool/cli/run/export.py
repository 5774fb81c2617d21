"""Implementation of `sertool export`."""

import json
from pathlib import Path

import click

from sertool.cli import runs as running
from sertool.cli.terminal import bar, libraries_silenced, on_terminal
from sertool.cli.view import export as view
from sertool.errors import UsageError


def export(
    source: str,
    output: Path,
    formats: tuple[str, ...],
    form: str,
    check: Path | None,
    layout: str | None,
    splits: tuple[str, ...],
    corpora: str,
    calibrate: Path | None,
    max_diff: float | None,
    max_metric_drop: float | None,
    max_bytes: int | None,
    min_speed: float | None,
    runs: int,
    name: str | None,
    weights: bool,
    with_embedding: bool,
    tokens: Path | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Run `sertool export`; the arguments are its options."""
    if (layout or splits or corpora or max_metric_drop is not None) and not check:
        raise UsageError("--layout, --split, --corpora and --max-metric-drop need --check CORPUS")
    if min_speed is not None and not runs:
        raise UsageError("--min-speed needs --runs above 0")
    if output.exists() and not ((output / "bundle.json").is_file() or not any(output.iterdir())):
        raise UsageError(f"{output} is neither a bundle nor an empty folder: choose another -o")
    if (output / "bundle.json").is_file() and not overwrite:
        raise UsageError(f"{output} already exists: choose another -o, or add --overwrite")
    running.require_torch()
    from sertool.exporting import pipeline
    from sertool.exporting.variants import Limits

    with bar(0, "", "loading", shown=on_terminal()) as shown, libraries_silenced():
        written = pipeline.export(
            source,
            output,
            formats,
            form,
            pipeline.Checked(check, layout, splits, tuple(part for part in corpora.split(",") if part)),
            calibrate,
            Limits(max_diff, max_metric_drop, max_bytes, min_speed),
            runs,
            name,
            weights,
            with_embedding,
            lambda stage, done, total: shown.update(done, stage, total),
        )
    if tokens:
        width, difference = pipeline.export_tokens(source, tokens)
        click.echo(f"wrote {tokens}: tokens of {width} values, at most {difference:.1e} from torch", err=True)
    if as_json:
        entries = [entry.to_dict() | {"written": entry.name in written.kept} for entry in written.variants]
        click.echo(json.dumps({"variants": entries, "default": written.default, "missed": written.missed}))
    else:
        view.table(written)
    for line in written.missed:
        hint = " (--max-diff sets this gate)" if max_diff is None and "differs from torch" in line else ""
        click.echo(f"sertool: not written: {line}{hint}", err=True)
    if not written.default:
        click.echo(f"nothing was written to {output}", err=True)
        return 1
    click.echo(f"wrote {output}; `sertool label -m {output}` runs its {written.default}", err=True)
    return 1 if written.missed else 0
