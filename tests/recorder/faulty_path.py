"""A path to an HTTP service on which a test does harm: it answers 500, cuts, flips a bit of what is
sent, or says nothing."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: A request, as "PUT /bucket/key?partNumber=2"; what is to happen: None (nothing), "500", "cut",
#: "flip", or "hang": no answer until the test is over.
Harm = Callable[[str], str | None]
_OF_THE_HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}


class FaultyPath:
    """``requests`` are those that came, in order."""

    def __init__(self) -> None:
        self.harm: Harm = lambda request: None
        self.requests: list[str] = []
        self.url = ""
        self.over = threading.Event()

    def count(self, part: str) -> int:
        return sum(part in request for request in self.requests)


def _flipped(body: bytes) -> bytes:
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


@contextmanager
def faulty_path(host: str, port: int) -> Iterator[FaultyPath]:
    """In front of a service at that address, until the block ends."""
    path = FaultyPath()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            request = f"{self.command} {self.path}"
            path.requests.append(request)
            harm = path.harm(request)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if harm == "cut":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif harm == "hang":
                path.over.wait()
                self.close_connection = True
            elif harm == "500":
                self._send(500, {}, b"")
            else:
                self._forward(_flipped(body) if harm == "flip" else body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

        def _forward(self, body: bytes) -> None:
            upstream = HTTPConnection(host, port)
            try:
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                self._send(answer.status, dict(answer.getheaders()), answer.read())
            finally:
                upstream.close()

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in _OF_THE_HOP:
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        path.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield path
        finally:
            path.over.set()
            server.shutdown()
            thread.join()
