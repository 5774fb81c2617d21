"""`sertool plugins`: list plugins, what they register and failures; write a skeleton of a new one."""

import json
import shlex
from pathlib import Path
from typing import Any

import click


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> int | None:
    """List plugins, what they register, and which failed.

    A plugin comes from an installed package with an entry point in group "sertool", or is a .py file in the folder
    SERTOOL_PLUGINS_DIR. SERTOOL_DISABLE_PLUGINS=a,b passes over plugins by name. `sertool plugins new` writes one to
    begin with.
    """
    if context.invoked_subcommand:
        return None
    from sertool.cli import cli
    from sertool.plugins import load_plugins

    loaded = load_plugins()
    loaded.add_commands(cli)
    rows: list[dict[str, Any]] = [
        {
            "name": plugin.name,
            "version": plugin.version,
            "source": plugin.source,
            "registers": {kind: names for kind, names in plugin.registered.items() if names},
            "error": plugin.error,
            "lost": plugin.lost,
        }
        for plugin in loaded.found
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return 0
    width = max((len(row["name"]) for row in rows), default=4)
    for row in rows:
        registered = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in row["registers"].items())
        state = f"skipped: {row['error']}" if row["error"] else registered or "registers nothing"
        click.echo(f"{row['name']:<{width}}  {row['version'] or '-':<8}  {state}")
        for line in row["lost"]:
            click.echo(f"{'':<{width}}  {'':<8}  lost: {line}")
    return 0


@plugins.command()
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["model", "augmentation", "exporter", "corpus", "format", "segmenter", "loss", "decoder"]),
    required=True,
    help="What the plugin registers.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder to write, new or empty.  [default: sertool-NAME]",
)
def new(name: str, kind: str, folder: Path | None) -> int:
    """Write a plugin to begin with: a package that installs, passes its tests and does something small.

    NAME is what it registers; the package is sertool-NAME, imported as sertool_NAME. A model comes with a recipe for
    `sertool train`. Its tests hold it to what sertool relies on (sertool.testing); put your own work in place of the
    example, and they go on telling what is missing.

    \b
    Examples:
      sertool plugins new light-sernet --kind model
      sertool plugins new hum --kind augmentation -o plugins/hum
    """
    from sertool.templates import skeleton

    plugin = skeleton(name, kind)
    folder = folder or Path(plugin.project)
    written = plugin.write(folder)
    click.echo(f"wrote {folder}:")
    for path in written:
        click.echo(f"  {path.as_posix()}")
    click.echo("next:")
    for line in (f"cd {shlex.quote(str(folder))}", "pip install -e '.[test]'", "pytest", plugin.use):
        click.echo(f"  {line}")
    return 0
