"""A file server on this machine, for the tests of everything that is fetched."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Server(ThreadingHTTPServer):
    """Serves `files`; breaks off the first `breaks` answers half-way; may not know ranges."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks = 0
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.authorization: str | None = None
        """Of the last request."""

    def url(self, name: str = "") -> str:
        """The address of a file."""
        return f"http://127.0.0.1:{self.server_port}{name}"

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that hangs up."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """Answer with the file, or with its rest."""
        span = self.headers.get("Range")
        self.server.asked.append((self.path, span))
        self.server.authorization = self.headers.get("Authorization")
        whole = self.server.files.get(self.path)
        if whole is None:
            self.send_error(404)
            return
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and self.server.ranges else 0
        if start and start >= len(whole):
            self.send_error(416)
            return
        self._send(whole, start)

    def _send(self, whole: bytes, start: int) -> None:
        body = whole[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
