"""`sertool bundle`: check and show what a trained model is on disk."""

import json

import click


@click.group()
def bundle():
    """Check a bundle, or show what is in it. A bundle is named by its folder or, if installed, its name."""


@bundle.command()
@click.argument("directory", metavar="BUNDLE")
def check(directory):
    """Check form and sums, run the samples and compare with the expected outputs.

    Exit codes: 0 sound, 1 not, with the first fault named.
    """
    from .. import bundle as bundles
    from ..errors import SertoolError
    from ..labelling.selftest import TOLERANCE, self_test

    try:
        found = bundles.read(bundles.find(directory))
        files = bundles.check_sums(found)
        click.echo(f"{found.manifest['name']} {found.manifest['version']}: {files} files as listed in {bundles.SUMS}")
        for variant in found.manifest["variants"]:
            clips, difference = self_test(found, variant["name"])
            click.echo(
                f"{variant['file']}: {clips} samples, largest difference {difference:.1e} (at most {TOLERANCE:g})"
            )
    except SertoolError as error:
        click.echo(f"sertool: {error}", err=True)
        return 1
    click.echo("sound")
    return 0


@bundle.command()
@click.argument("directory", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="The whole of bundle.json.")
def show(directory, as_json):
    """Show a bundle: outputs and their range, variants, licence, training, metrics."""
    from .. import bundle as bundles
    from ..evaluation.run import REPORTS

    found = bundles.read(bundles.find(directory))
    manifest, report = found.manifest, REPORTS[found.manifest["task"]]
    if as_json:
        click.echo(json.dumps(manifest, indent=2, ensure_ascii=False))
        return 0
    outputs = ", ".join(f"{o['name']} ({o['range'][0]:g} to {o['range'][1]:g})" for o in manifest["outputs"])
    click.echo(f"{manifest['name']} {manifest['version']}: {manifest['title']}")
    click.echo(f"  folder    {found.path}")
    click.echo(f"  student   {manifest['student']}, {manifest['task']}")
    click.echo(f"  outputs   {outputs}")
    click.echo(f"  input     {manifest['sample_rate']} Hz mono, at least {manifest['shortest_samples']} samples")
    if manifest["preprocessing"]:
        click.echo(f"  prepared  {', '.join(step['step'] for step in manifest['preprocessing'])}")
    click.echo(f"  window    {manifest['window_s']:g} s")
    for variant in manifest["variants"]:
        size = f"{variant['bytes']} bytes"
        if "max" in variant["difference"]:
            size += f", at most {variant['difference']['max']:.1e} from torch"
        click.echo(f"  variant   {variant['name']}: {variant['file']}, {size}")
    click.echo(f"  licence   {manifest['licence']}")
    data = ", ".join(entry["corpus"] for entry in manifest["training"].get("data", []))
    click.echo(
        f"  trained   on {data or 'data not named'}; targets: {manifest['training'].get('targets', 'not named')}"
    )
    for split, measured in manifest["metrics"].items():
        if split == "robustness":
            passed = ", ".join(f"{n} {sum(r['passed'][n] for r in measured)}" for n in measured[0]["passed"])
            click.echo(f"  robust    of {len(measured)} checks passed: {passed}")
            continue
        for name, group in [("all", measured["overall"]), *measured["corpus"].items()]:
            measures = (m for m in report.headline(measured) if m in group["measures"])
            shown = ", ".join(f"{measure} {group['measures'][measure]['value']:.3f}" for measure in measures)
            click.echo(f"  {split:<9} {name}, {group['clips']} clips: {shown}")
    click.echo(f"  limits    see {found.path / bundles.CARD}")
    return 0
