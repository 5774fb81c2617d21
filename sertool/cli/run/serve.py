"""Implementation of `sertool serve`."""

import http.server
import webbrowser
from pathlib import Path
from typing import Any

import click

from sertool import bundle, web
from sertool.bundle import container
from sertool.cli.terminal import visible
from sertool.errors import UsageError
from sertool.runtime import locate

_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".wasm": "application/wasm"}


def serve(model: str, variant: str | None, port: int, no_open: bool) -> int:
    """Run `sertool serve`; the arguments are its options."""
    files = _files(model, variant)
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler(files))
    except OSError as error:
        raise UsageError(f"--port {port}: {(error.strerror or str(error)).lower()}; choose another one") from None
    with server:
        address = f"http://localhost:{server.server_port}/"
        click.echo(f"{visible(model)} is at {address}; Ctrl-C ends it")
        if not no_open:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended", err=True)
    return 0


def _files(model: str, variant: str | None) -> dict[str, bytes]:
    """Return the files of the page for a model with native weights. Raise UsageError for others."""
    path, opened, kind = locate(model, variant, None)
    if opened:
        native = [one for one in opened.manifest.variants if one.runtime == "native" and variant in (None, one.name)]
        chosen = next((one for one in native if one.name.endswith("int8")), native[0] if native else None)
        if chosen:
            bundle.check_variant(opened, chosen)
            path, kind = opened.path / chosen.file, "native"
    if kind != "native":
        raise UsageError(f"{model}: only models of the C engine run in the browser: wav2small, wav2small-emotion")
    return web.files(container.read(path).data)


def _handler(files: dict[str, bytes]) -> type[http.server.BaseHTTPRequestHandler]:
    """Return a handler that knows these files and nothing else of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        server_version, sys_version = "sertool", ""

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].lstrip("/") or web.PAGE
            data = files.get(name)
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", _TYPES.get(Path(name).suffix, "text/plain; charset=utf-8"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler
