"""`sertool serve`: labels over HTTP, or a page that labels in the browser."""

from typing import Any

import click

from sertool._about import DEFAULT_MODEL


@click.command(
    epilog="""\b
  POST /label?by=file|window|speech-window&window=8&hop=8&vad=true
                          the body is the recording, in any format; JSON rows
  WebSocket /stream?rate=16000&by=window|segment&window=4&hop=1
                          raw samples in, a row as JSON for each message out
  GET /, /openapi.json, /health, /metrics
Refused: 401 no token, 408 too slow, 413 too large, 415 a form, 422 no labels
(the reason), 429 busy (Retry-After).
\b
Exit codes: 0 ended by Ctrl-C or SIGTERM, after requests under way; 2 wrong
usage.
\b
Examples:
  sertool serve -m mobile-emotion
  curl --data-binary @call.mp3 http://localhost:8000/label
  SERTOOL_TOKEN=... sertool serve --host 0.0.0.0 --port 80
  sertool serve --web -m wav2small"""
)
@click.option("--web", is_flag=True, help="Serve a page that labels in the browser instead; needs no extra.")
@click.option(
    "-m", "--model", help=f"Name of a model or bundle folder.  [default: {DEFAULT_MODEL}; wav2small with --web]"
)
@click.option("--variant", help="Which of its files.  [default: set by the bundle; native-int8 with --web]")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen; others than this machine need a token."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 chooses a free one.")
@click.option(
    "--token", envvar="SERTOOL_TOKEN", help="What clients must send, as Authorization: Bearer TOKEN; or SERTOOL_TOKEN."
)
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Requests labelled at a time.  [default: all cores]")
@click.option("--queue", type=click.IntRange(min=0), default=16, show_default=True, help="Requests that may wait.")
@click.option("--streams", type=click.IntRange(min=0), default=16, show_default=True, help="Streams at a time.")
@click.option("--max-mb", type=click.IntRange(min=1), default=100, show_default=True, help="Largest request in MB.")
@click.option(
    "--max-seconds", type=click.FloatRange(min=1), default=3600.0, show_default=True, help="Longest recording."
)
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=120.0, show_default=True, help="Seconds to label a request."
)
@click.option(
    "--patience",
    type=click.FloatRange(min=1),
    default=20.0,
    show_default=True,
    help="Seconds without a byte from a client.",
)
@click.option("--no-open", is_flag=True, help="With --web: do not open the browser.")
def serve(web: bool, **arguments: Any) -> int:
    """Serve labels over HTTP and WebSocket (pip install 'sertool[serve]'), or with --web, a page for the browser.

    Only this machine can reach it, unless --host says otherwise. Recordings are deleted as soon as they are labelled.
    With --web, the model runs in the page, as WebAssembly, and recordings stay in the browser.
    """
    from sertool.cli.run.serve import serve_labels, serve_page

    return serve_page(**arguments) if web else serve_labels(**arguments)
