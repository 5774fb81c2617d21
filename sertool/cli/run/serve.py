"""Implementation of `sertool serve`."""

import contextlib
import http.server
import ipaddress
import socket
import webbrowser
from pathlib import Path
from typing import Any

import click

from sertool import bundle, web
from sertool._about import DEFAULT_MODEL
from sertool._machine import cores
from sertool.bundle import container
from sertool.cli.terminal import visible
from sertool.errors import UsageError
from sertool.runtime import locate

_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".wasm": "application/wasm"}


def serve_page(model: str | None, variant: str | None, host: str, port: int, no_open: bool, **unused: Any) -> int:
    """Run `sertool serve --web`; the arguments are its options."""
    model = model or "wav2small"
    files = _files(model, variant)
    if not _is_own(host):
        raise UsageError("--host: the page is for this machine; sertool export --format web writes it for a web server")
    try:
        server = http.server.ThreadingHTTPServer((host, port), _handler(files))
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


def serve_labels(
    model: str | None,
    variant: str | None,
    host: str,
    port: int,
    token: str | None,
    jobs: int | None,
    queue: int,
    streams: int,
    max_mb: int,
    max_seconds: float,
    timeout: float,
    patience: float,
    no_open: bool,
) -> int:
    """Run `sertool serve`; the arguments are its options."""
    try:
        import uvicorn
        import websockets  # noqa: F401

        from sertool.serving.app import Server
    except ImportError as error:
        raise UsageError(f"serve needs {error.name}: pip install 'sertool[serve]'") from None
    from sertool.labelling import Labeller
    from sertool.serving.guard import guarded
    from sertool.serving.limits import Limits

    if not token and not _is_own(host):
        raise UsageError(f"--host {host}: other machines can reach it: set a token, as in SERTOOL_TOKEN=...")
    limits = Limits(max_mb * 1_000_000, max_seconds, timeout, patience, jobs or cores(), queue, streams)
    server = Server(Labeller(model or DEFAULT_MODEL, variant), limits, token or None)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UsageError(f"--port {port}: {(error.strerror or str(error)).lower()}; choose another one") from None
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sets it only for sockets of its own
    name = "localhost" if _is_own(host) else host
    click.echo(f"{server.labeller.bundle.id} is at http://{name}:{listening.getsockname()[1]}/; Ctrl-C ends it")
    config = uvicorn.Config(
        server.app,
        http=guarded(patience),
        ws="websockets-sansio",
        ws_max_size=limits.message,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(timeout),
    )
    with listening, contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has ended
        uvicorn.Server(config).run([listening])
    click.echo("ended", err=True)
    return 0


def _is_own(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
            """Log nothing: the page is for one person."""

    return Handler
