"""A TCP relay that forwards every byte unchanged and records the heads of the requests.

It is between a client and SeaweedFS and shows the real requests: SeaweedFS accepts an empty
X-Amz-Security-Token, AWS refuses it. The `Host` header stays the client's, so signatures stay valid.
"""

import re
import socket
import socketserver
import threading
from pathlib import Path
from urllib.parse import urlsplit

from serving import Serving

HEAD = re.compile(rb"(?:^|(?<=\n)|(?<=\}))(?:GET|PUT|POST|HEAD|DELETE) \S+ HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*\r\n")


class Relay(Serving):
    """A context manager: inside `with` it relays from `endpoint` to `upstream`, a URL or a socket in the file system."""

    def __init__(self, upstream: str | Path):
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.upstream = upstream
        self._told: dict[int, int] = {}
        super().__init__(self._server)

    def requests(self) -> list[dict[str, str]]:
        """The headers of every request, names in lower case."""
        return [_headers(head) for stream in list(self._server.streams) for head in HEAD.findall(bytes(stream))]

    def news(self) -> list[dict[str, str]]:
        """The headers of the requests since the last call."""
        heads = []
        for number, stream in enumerate(list(self._server.streams)):
            found = HEAD.findall(bytes(stream))
            heads += found[self._told.get(number, 0) :]
            self._told[number] = len(found)
        return [_headers(head) for head in heads]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    upstream: str | Path

    def __init__(self, *arguments):
        self.streams: list[bytearray] = []
        super().__init__(*arguments)


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        stream = bytearray()
        self.server.streams.append(stream)
        with _connect(self.server.upstream) as upstream:
            back = threading.Thread(target=copy, args=(upstream, self.request), daemon=True)
            back.start()
            copy(self.request, upstream, stream)
            back.join()


def _connect(upstream: str | Path) -> socket.socket:
    if isinstance(upstream, Path):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(upstream))
        return connection
    parts = urlsplit(upstream)
    return socket.create_connection((parts.hostname, parts.port))


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").strip().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def copy(source: socket.socket, target: socket.socket, seen: bytearray | None = None) -> None:
    """Copies until either side closes; `seen` gets the bytes as well."""
    try:
        while chunk := source.recv(65536):
            if seen is not None:
                seen += chunk
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either side may close
