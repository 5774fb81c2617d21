"""A web server that fails, stalls and lies, each path in its own way."""

import collections
import contextlib
import http.server
import threading
import time

#: Seconds that a stall lasts, if nobody gives up.
STALL_S = 20


class Server(http.server.ThreadingHTTPServer):
    """Serves ``data`` under any name; what the name begins with says what goes wrong."""

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.requests, self.counts = data, [], collections.Counter()

    def handle_error(self, request, client_address):
        """Clients that give up are no errors."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(head=True)

    def do_GET(self):
        self.answer(head=False)

    def answer(self, head):
        server, data = self.server, self.server.data
        kind = self.path.lstrip("/").partition(".")[0].partition("?")[0]
        wanted = self.headers.get("Range")
        server.requests.append((self.command, self.path, wanted))
        number = 0
        if not head:
            server.counts[self.path] += 1
            number = server.counts[self.path]
        if kind == "folder/" or self.path.endswith("/"):
            links = "".join(f'<a href="{self.path}{name}">{name}</a>' for name in ("good.wav", "norange.wav", "x.txt"))
            return self.send(200, links.encode(), {"Content-Type": "text/html"}, head)
        if kind in ("403", "404", "500"):
            return self.send(int(kind), b"no", {}, head)
        if kind == "unavailable" and number <= 2 and not head:
            return self.send(503, b"later", {}, head)
        if kind == "moved":
            return self.send(302, b"", {"Location": "/good.wav"}, head)
        if kind == "chunked":
            return self.chunked(data, head)
        version = f'"{number > 1}"' if kind == "changing" and (not head or server.counts[self.path]) else '"1"'
        if kind == "changing" and number == 1:
            data = bytes(len(data))  # another version, of the same size
        ranges = kind not in ("norange", "cutwhole", "ignores")
        first = 0
        if wanted and ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            first, last = int(first), min(int(last or len(data)), len(data) - 1)
            body, status = data[first : last + 1], 206
        else:
            body, status = data, 200
        length = len(body)
        if head and kind == "longer":
            length += 1000
        if head and kind == "shorter":
            length -= 1000
        headers = {"ETag": version, "Content-Length": str(length), "Content-Type": "audio/wav"}
        if ranges or kind == "ignores":
            headers["Accept-Ranges"] = "bytes"
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{len(data)}"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if head:
            return None
        cut = {
            "cut": number <= 3,
            "cutwhole": number <= 1,
            "ignores": number <= 1,
            "always": True,
            "changing": number == 1,
        }.get(kind)
        stalls = {"stall": number <= 1, "stuck": True}.get(kind)
        if cut or stalls:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if stalls:
                time.sleep(STALL_S)
            self.close_connection = True
            return None
        with contextlib.suppress(OSError):
            self.wfile.write(body)
        return None

    def send(self, status, body, headers, head):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def chunked(self, data, head):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not head:
            for start in range(0, len(data), 5000):
                part = data[start : start + 5000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")


@contextlib.contextmanager
def serving(data):
    with Server(data) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield server
        finally:
            server.shutdown()
