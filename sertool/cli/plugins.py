"""`sertool plugins`: what is installed, what it registers, what failed."""

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
def plugins(as_json):
    """List plugins, what they register, and which failed.

    A plugin comes from an installed package with an entry point in group "sertool", or is a .py file in the folder
    SERTOOL_PLUGINS_DIR. SERTOOL_DISABLE_PLUGINS=a,b passes over plugins by name.
    """
    from ..plugins import load_plugins
    from . import cli

    loaded = load_plugins()
    loaded.add_commands(cli)
    rows = [
        {
            "name": plugin.name,
            "version": plugin.version,
            "source": plugin.source,
            "registers": {kind: names for kind, names in plugin.registered.items() if names},
            "error": plugin.error,
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
    return 0
