"""The server: POST a recording, or stream samples through a WebSocket."""

import asyncio
import contextlib
import hmac
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sertool._about import __version__
from sertool.audio.live import Form
from sertool.audio.stream import Resampled, check_samples
from sertool.errors import SertoolError, UsageError
from sertool.labelling import Labeller
from sertool.labelling.job import Result, label_one
from sertool.labelling.labels import Labels
from sertool.labelling.live import LiveSegments, LiveWindows
from sertool.labelling.plan import Plan
from sertool.recordings.recording import Recording
from sertool.serving.limits import Budget, Counts, Limits
from sertool.serving.openapi import described, document

_BY = ("file", "window", "speech-window")
#: Seconds between looks whether a client that waits is still there.
_LOOK_S = 0.25
#: Codes with which a stream is closed (RFC 6455): wrong query or samples, refused, too busy.
_BAD, _REFUSED, _BUSY = 1007, 1008, 1013


class Server:
    """Labels for clients, by one model. ``token``: what they must send, None for anybody."""

    def __init__(self, labeller: Labeller, limits: Limits, token: str | None = None) -> None:
        self.labeller, self.limits, self._token = labeller, limits, token
        self.counts = Counts()
        self._threads = ThreadPoolExecutor(limits.at_once, thread_name_prefix="label")
        self._room = asyncio.Semaphore(limits.at_once)
        self._about = document(labeller, token is not None)
        self._page = described(self._about)
        self.app = Starlette(
            routes=[
                Route("/", self._index),
                Route("/label", self._label, methods=["POST"]),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route("/openapi.json", self._openapi),
                WebSocketRoute("/stream", self._stream),
            ],
            exception_handlers={HTTPException: _told, 500: _failed},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self._threads.shutdown(wait=True, cancel_futures=True)

    # ---- what is not labels ---------------------------------------------------------------------------------------

    async def _index(self, request: Request) -> Response:
        return HTMLResponse(self._page)

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(self._about)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": self.labeller.bundle.id, "sertool": __version__})

    async def _metrics(self, request: Request) -> Response:
        self._require_token(request.headers)
        return PlainTextResponse(self.counts.text(), media_type="text/plain; version=0.0.4")

    def _require_token(self, headers: Mapping[str, str]) -> None:
        """Raise HTTPException 401 for a client without the token."""
        if self._token is None:
            return
        given = headers.get("authorization", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {self._token}".encode()):
            raise HTTPException(401, "send the token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    # ---- a recording ----------------------------------------------------------------------------------------------

    async def _label(self, request: Request) -> Response:
        start = time.monotonic()
        try:
            response = await self._answer(request)
        except HTTPException as error:
            self.counts.request(error.status_code, time.monotonic() - start)
            raise
        except ClientDisconnect:
            self.counts.request(499, time.monotonic() - start)
            return Response(status_code=499)
        self.counts.request(response.status_code, time.monotonic() - start)
        return response

    async def _answer(self, request: Request) -> Response:
        self._require_token(request.headers)
        labeller, plan = self._asked(request.query_params)
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise HTTPException(415, "send the file itself as the body, as with curl --data-binary @FILE; not a form")
        if self.counts.working + self.counts.waiting >= self.limits.at_once + self.limits.waiting:
            raise HTTPException(429, "busy: try again later", {"Retry-After": "1"})
        self.counts.waiting += 1
        waits = True
        descriptor, name = tempfile.mkstemp(prefix="sertool-")
        try:
            with open(descriptor, "wb") as file:
                await self._received(request, file)
            async with self._room:
                self.counts.waiting -= 1
                self.counts.working += 1
                waits = False
                result = await self._worked(request, labeller, Path(name), plan)
        finally:
            os.unlink(name)
            if waits:
                self.counts.waiting -= 1
            else:
                self.counts.working -= 1
        if result.failed:
            raise HTTPException(422, str(result.error))
        self.counts.audio(result.seconds)
        rows = [_cells(row) for row in result.labels]
        return JSONResponse(
            {"model": labeller.bundle.id, "seconds": round(result.seconds, 6), "rows": rows, "notes": [*result.notes]}
        )

    def _asked(self, query: Mapping[str, str]) -> tuple[Labeller, Plan]:
        """Return the labeller and the plan of a query. Raise HTTPException 400."""
        if unknown := set(query) - {"by", "window", "hop", "vad"}:
            raise HTTPException(400, f"unknown query {sorted(unknown)[0]!r}: there are by, window, hop and vad")
        by, vad = query.get("by", "file"), query.get("vad", "true")
        if by not in _BY:
            raise HTTPException(400, f"by must be one of {', '.join(_BY)}")
        if vad not in ("true", "false"):
            raise HTTPException(400, "vad must be true or false")
        window, hop = (_number(query, name, 0.1, 60) for name in ("window", "hop"))
        try:
            return self.labeller.cut(window, hop, vad == "true"), Plan(by)
        except UsageError as error:
            raise HTTPException(400, str(error)) from None

    async def _received(self, request: Request, file: Any) -> None:
        """Write a request's body to a file. Raise HTTPException 408 or 413."""
        most = self.limits.bytes
        too_large = HTTPException(413, f"larger than {most / 1e6:g} MB", {"Connection": "close"})
        stated = request.headers.get("content-length", "0")
        if stated.isdecimal() and int(stated) > most:
            raise too_large
        size, chunks = 0, request.stream().__aiter__()
        while True:
            try:
                chunk = await asyncio.wait_for(anext(chunks), self.limits.quiet_s)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise HTTPException(408, "no byte came for too long", {"Connection": "close"}) from None
            size += len(chunk)
            if size > most:
                raise too_large
            file.write(chunk)

    async def _worked(self, request: Request, labeller: Labeller, path: Path, plan: Plan) -> Result:
        """Label a file in a thread; end the work soon if the client goes away. Raise ClientDisconnect."""
        budget = Budget(self.limits)
        job = partial(label_one, labeller, Recording(path, "recording"), plan, budget)
        future = asyncio.get_running_loop().run_in_executor(self._threads, job)
        while True:
            done, _ = await asyncio.wait([future], timeout=_LOOK_S)
            if done:
                return future.result()
            if await request.is_disconnected():
                budget.abandoned = True
                await asyncio.wait([future])
                raise ClientDisconnect

    # ---- a stream -------------------------------------------------------------------------------------------------

    async def _stream(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            self._require_token(socket.headers)
        except HTTPException as error:
            await _close(socket, _REFUSED, error.detail)
            return
        if self.counts.streams >= self.limits.streams:
            await _close(socket, _BUSY, "busy: try again later")
            return
        self.counts.streams += 1
        try:
            live, form = self._live(socket.query_params)
            await self._follow(socket, live, form)
        except (SertoolError, HTTPException) as error:
            await _close(socket, _BAD, error.detail if isinstance(error, HTTPException) else str(error))
        except TimeoutError:
            await _close(socket, _REFUSED, "no samples came for too long")
        except WebSocketDisconnect:
            pass  # the client is gone, as clients go
        finally:
            self.counts.streams -= 1

    def _live(self, query: Mapping[str, str]) -> tuple[LiveWindows | LiveSegments, Form]:
        """Return what labels a stream, and how its samples lie. Raise UsageError or HTTPException."""
        if unknown := set(query) - {"rate", "channels", "kind", "by", "window", "hop"}:
            raise UsageError(f"unknown query {sorted(unknown)[0]!r}")
        rate, channels = _number(query, "rate", 1, 1e6), _number(query, "channels", 1, 64)
        kind, by = query.get("kind", "s16"), query.get("by", "window")
        if kind not in ("s16", "s32", "f32") or by not in ("window", "segment"):
            raise UsageError("kind must be s16, s32 or f32, by must be window or segment")
        window = _number(query, "window", 1, 30) or 4.0
        labeller = self.labeller.cut(window, _number(query, "hop", 0.1, 30) or min(1.0, window), True)
        form = Form(int(rate or 16_000), int(channels or 1), kind)
        return LiveWindows(labeller) if by == "window" else LiveSegments(labeller), form

    async def _follow(self, socket: WebSocket, live: LiveWindows | LiveSegments, form: Form) -> None:
        """Label the messages of a stream one after the other, so that a client that is too fast has to wait."""
        resampled, held, taken = Resampled(form.rate), b"", 0
        loop = asyncio.get_running_loop()

        def label(data: bytes) -> list[Labels]:
            nonlocal taken
            samples = form.mono(data)
            check_samples(samples, taken, form.rate)
            taken += len(samples)
            return [row for block in resampled.push(samples) for row in live.push(block)]

        while True:
            message = await asyncio.wait_for(socket.receive(), self.limits.quiet_s)
            if message["type"] == "websocket.disconnect":
                return
            if (text := message.get("text")) is not None:
                if text != "end":
                    raise UsageError("text messages are `end` only; samples are binary")
                await self._send(socket, await loop.run_in_executor(self._threads, live.finish), 0.0)
                await socket.close()
                return
            held += message["bytes"]
            whole = len(held) // form.frame * form.frame
            if whole:
                rows = await loop.run_in_executor(self._threads, label, held[:whole])
                await self._send(socket, rows, whole / form.frame / form.rate)
                held = held[whole:]

    async def _send(self, socket: WebSocket, rows: list[Labels], seconds: float) -> None:
        self.counts.stream(seconds, len(rows))
        for row in rows:
            await socket.send_text(json.dumps(_cells(row), ensure_ascii=False))


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}


def _number(query: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    """Return a number of a query, None without it. Raise HTTPException 400."""
    if name not in query:
        return None
    try:
        value = float(query[name])
    except ValueError:
        value = np.nan
    if not low <= value <= high:
        raise HTTPException(400, f"{name} must be a number from {low:g} to {high:g}")
    return value


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close a stream; a reason has at most 123 bytes."""
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, reason.encode()[:120].decode("utf-8", "ignore"))


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "a fault of this server; it was logged"}, 500)
