"""`sertool models`: list bundles and networks."""

import json
from typing import Any

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of tables.")
def models(as_json: bool) -> int:
    """List the available models and networks.

    Models are bundles: those that ship with sertool, and yours below SERTOOL_BUNDLES (by default sertool/bundles in
    your data folder). Use their names with `sertool label --model`. Networks are what plugins can build for
    `sertool train`.
    """
    from sertool import bundle as bundles
    from sertool.errors import BundleError
    from sertool.plugins import load_plugins

    installed: list[dict[str, Any]] = []
    for name, path in sorted(bundles.installed().items()):
        entry: dict[str, Any] = {"name": name, "path": str(path), "shipped": path.parent == bundles.bundled_folder()}
        try:
            manifest = bundles.read(path).manifest
            entry |= {key: getattr(manifest, key) for key in ("version", "student", "task", "licence")}
            entry["outputs"] = manifest.output_names
            entry["variants"] = {variant.name: variant.size for variant in manifest.variants}
        except BundleError as error:
            entry["error"] = str(error)
        installed.append(entry)
    plugins = load_plugins()
    names = plugins.names("models")
    buildable = [{"name": name, "summary": plugins.get("models", name).summary} for name in names]
    if as_json:
        click.echo(json.dumps({"bundles": installed, "networks": buildable}, indent=2))
        return 0
    width = max(map(len, [*(entry["name"] for entry in installed), *names]), default=0)
    click.echo("bundles (sertool label --model NAME)")
    for entry in installed:
        if "error" in entry:
            click.echo(f"  {entry['name']:<{width}} {entry['error']}")
            continue
        sizes = ", ".join(f"{name} {_bytes(size)}" for name, size in entry["variants"].items())
        where = "ships with sertool" if entry["shipped"] else entry["path"]
        outputs = ", ".join(entry["outputs"])
        click.echo(f"  {entry['name']:<{width}} {entry['version']}  {outputs}; {sizes}; {entry['licence']}; {where}")
    if not installed:
        click.echo("  none")
    click.echo("networks (sertool train RECIPE)")
    for entry in buildable:
        click.echo(f"  {entry['name']:<{width}} {entry['summary']}")
    if not buildable:
        click.echo("  none")
    return 0


def _bytes(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"
