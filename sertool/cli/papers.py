"""`sertool papers`: what two papers say, the command for each item, and what was measured here."""

import textwrap
import tomllib
from importlib import resources

import click

HEAD = """\
# Both papers, item by item

Made by `sertool papers --markdown > docs/papers.md` from sertool/papers.toml. Commands name folders as their owners
publish them: IEMOCAP_full_release, CREMA-D, MSP-PODCAST, RAVDESS; `corpora` is a folder with a manifest.csv, film.wav
any long recording. tests/test_papers.py runs each on generated miniatures in the same layouts.
"""


@click.command(
    epilog="""\b
Examples:
  sertool papers                both papers, item by item
  sertool papers mobile         one of them
  sertool papers --commands     the commands alone"""
)
@click.argument("paper", required=False)
@click.option("--markdown", is_flag=True, help="A table in Markdown: docs/papers.md is made so.")
@click.option("--commands", is_flag=True, help="The commands alone, a line each.")
def papers(paper, markdown, commands):
    """Show the two papers that sertool implements, item by item, each with the command that gives it.

    PAPER is wav2small (arXiv 2408.13920) or mobile (arXiv 2512.23435). Of every table, figure, number and method: the
    command, the paper's figure, the one measured here, and why they differ.
    """
    from sertool.errors import UsageError

    found = table()
    known = [entry["id"] for entry in found["paper"]]
    if paper and paper not in known:
        raise UsageError(f"no paper {paper!r} (there are: {', '.join(known)})")
    if markdown:
        click.echo(HEAD)
    for entry in found["paper"]:
        if paper in (None, entry["id"]):
            items = [item for item in found["item"] if item["paper"] == entry["id"]]
            if commands:
                click.echo("\n".join(dict.fromkeys(shell(item["command"]) for item in items)))
            else:
                click.echo("\n".join(_markdown(entry, items) if markdown else _text(entry, items)))
    return 0


def table() -> dict:
    """{"paper": [...], "item": [...]}, as papers.toml has them."""
    return tomllib.loads(resources.files("sertool").joinpath("papers.toml").read_text(encoding="utf-8"))


def shell(command: str) -> str:
    """A command with quotes where a shell needs them."""
    return " ".join(f"'{word}'" if set(word) & set("{}[]*$;&|<>") else word for word in command.split())


def _text(paper: dict, items: list[dict]) -> list[str]:
    lines = [paper["title"], ""]
    for item in items:
        lines += textwrap.wrap(item["item"], 100)
        lines.append(f"  $ {shell(item['command'])}")
        for head, key in (("paper", "theirs"), ("here", "ours"), ("why", "why")):
            lines += textwrap.wrap(item[key], 100, initial_indent=f"  {head:<6} ", subsequent_indent=" " * 9)
        lines.append("")
    return lines


def _markdown(paper: dict, items: list[dict]) -> list[str]:
    lines = [f"## {paper['title']}", "", "| item | command | paper | here | why they differ |", "|---|---|---|---|---|"]
    for item in items:
        cells = [item["item"], f"`{shell(item['command'])}`", item["theirs"], item["ours"], item["why"]]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]
