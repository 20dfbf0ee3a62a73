"""A TCP relay that hands every byte on unchanged and remembers the heads of the requests.

It sits between a client and SeaweedFS to see what the client really signed and sent: SeaweedFS takes an empty
X-Amz-Security-Token, AWS refuses it. The `Host` header stays the client's, so signatures stay good.
"""

import re
import socket
import socketserver
import threading
from urllib.parse import urlsplit

HEAD = re.compile(rb"(?:^|(?<=\n)|(?<=\}))(?:GET|PUT|POST|HEAD|DELETE) \S+ HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*\r\n")


class Relay:
    """A context manager: inside it listens at `endpoint` and relays to `upstream`."""

    def __init__(self, upstream: str):
        parts = urlsplit(upstream)
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.upstream = (parts.hostname, parts.port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Relay":
        self._thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def requests(self) -> list[dict[str, str]]:
        """The headers of every request so far, names in lower case."""
        heads = []
        for stream in list(self._server.streams):
            for head in HEAD.findall(bytes(stream)):
                lines = head.decode("latin-1").strip().split("\r\n")[1:]
                heads.append({name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)})
        return heads


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    upstream: tuple

    def __init__(self, *arguments):
        self.streams: list[bytearray] = []
        super().__init__(*arguments)


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        stream = bytearray()
        self.server.streams.append(stream)
        with socket.create_connection(self.server.upstream) as upstream:
            back = threading.Thread(target=_copy, args=(upstream, self.request), daemon=True)
            back.start()
            _copy(self.request, upstream, stream)
            back.join()


def _copy(source: socket.socket, target: socket.socket, seen: bytearray | None = None) -> None:
    try:
        while chunk := source.recv(65536):
            if seen is not None:
                seen += chunk
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either side may hang up
