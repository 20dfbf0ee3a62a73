"""SeaweedFS for rows in network namespaces: a socket in the file system, which every namespace reaches."""

import socket
import socketserver
import threading
from pathlib import Path
from urllib.parse import urlsplit

from relay import copy
from serving import Serving


class Bridge(Serving):
    """A context manager: inside `with` it forwards connections at `path` to `upstream`, a URL."""

    def __init__(self, path: Path, upstream: str):
        parts = urlsplit(upstream)
        self.path = path
        self._server = _Server(str(path), _Connection)
        self._server.upstream = (parts.hostname, parts.port)
        super().__init__(self._server)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    upstream: tuple


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with socket.create_connection(self.server.upstream) as upstream:
            back = threading.Thread(target=copy, args=(upstream, self.request), daemon=True)
            back.start()
            copy(self.request, upstream)
            back.join()
