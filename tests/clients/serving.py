"""Shared by fakes and relays: a server in a thread, for the duration of a `with`."""

import socketserver
import threading


class Serving:
    """A context manager: inside `with`, `server` accepts connections. Its threads are daemon threads."""

    def __init__(self, server: socketserver.BaseServer):
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
