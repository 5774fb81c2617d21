"""`sertool serve`: open a page that labels recordings in the browser."""

from typing import Any

import click


@click.command(
    epilog="""\b
The page needs no server: `sertool export NAME --format web` writes it as a file
that opens by double click or lies on any web server.
\b
Exit codes: 0 ended by Ctrl-C, 2 wrong usage.
\b
Examples:
  sertool serve --web
  sertool serve --web -m wav2small-emotion --port 9000 --no-open"""
)
@click.option(
    "--web", is_flag=True, required=True, expose_value=False, help="Serve the page that labels in the browser."
)
@click.option(
    "-m",
    "--model",
    default="wav2small",
    show_default=True,
    help="A model that the C engine runs: wav2small, wav2small-emotion, or a bundle with such a variant.",
)
@click.option("--variant", help="Which of its files.  [default: native-int8, or another native one]")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 chooses a free one.")
@click.option("--no-open", is_flag=True, help="Do not open the browser.")
def serve(**arguments: Any) -> int:
    """Open a page that labels recordings in the browser: drop files or a folder, or speak into the microphone.

    The model runs in the page, as WebAssembly; recordings stay in the browser. Only this machine can reach the page.
    """
    from sertool.cli.run.serve import serve

    return serve(**arguments)
