"""A file server on the loopback that behaves badly on request."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["FileServer", "serve"]


@dataclass(slots=True)
class FileServer:
    """What is served, and how.

    Attributes:
        body: the file.
        ranges: whether Range is honoured.
        drops: after how many bytes of a response the connection is dropped, one for each request
            in turn; those after the last are answered whole.
        statuses: answered instead of the file, one for each request in turn; 0 answers it.
        wrong_range: answers a Range from another place than asked.
        extra: bytes sent beyond the file, in chunks of unknown number.
        asked: the Range header of each request, "" for none.
    """

    body: bytes
    ranges: bool = True
    drops: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    wrong_range: bool = False
    extra: bytes = b""
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(server: FileServer) -> Iterator[FileServer]:
    """Serve a file until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            server.asked.append(asked)
            self.close_connection = True
            status = server.statuses.pop(0) if server.statuses else 0
            if status:
                self.send_error(status)
                return
            start = 0
            found = re.fullmatch(r"bytes=(\d+)-", asked)
            size = len(server.body)
            if found is not None and server.ranges:
                start = int(found[1])
                if start >= size:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start -= 1 if server.wrong_range else 0
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            else:
                self.send_response(200)
            body = server.body[start:] + server.extra
            if server.extra:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}/speech.tar.gz"
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
