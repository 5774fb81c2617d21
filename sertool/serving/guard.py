"""uvicorn's HTTP/1.1, with an end to clients that send their headers byte by byte."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def guarded(patience_s: float) -> type[H11Protocol]:
    """Return a protocol that closes a connection whose request is not complete, up to its body, in time.

    uvicorn itself limits only the pause between requests.
    """

    class Guarded(H11Protocol):
        _guard: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            if self._guard is None and (self.cycle is None or self.cycle.response_complete):
                self._watch()
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._trust()

        def connection_lost(self, exc: Exception | None) -> None:
            self._trust()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._trust()
            super().handle_websocket_upgrade(event)

        def _watch(self) -> None:
            self._guard = self.loop.call_later(patience_s, self.transport.abort)

        def _trust(self) -> None:
            if self._guard is not None:
                self._guard.cancel()
                self._guard = None

    return Guarded
