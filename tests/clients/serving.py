"""Shared by fakes and relays: a server in a thread, for the duration of a `with`, and whole answers over HTTP."""

import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers for the service at `self.server.service`, which keeps the requests instead of a log."""

    protocol_version = "HTTP/1.1"
    # Head and body are sent in two writes; without this the second waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def answer(self, status: int, body: str, kind: str = "application/json", headers: dict | None = None) -> None:
        content = body.encode()
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_arguments) -> None:
        pass


class HttpService(Serving):
    """A context manager: inside `with`, it answers at `endpoint` through this handler."""

    def __init__(self, handler: type[Handler]):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.service = self
        super().__init__(server)


class ContainerEndpoint(HttpService):
    """Credentials for requests with this authorization, like those of a container agent; late on demand."""

    def __init__(self, access_key: str, secret: str, token: str, authorization: str):
        self.delay, self.asked, self.authorization = 0.0, 0, authorization
        keys = {"AccessKeyId": access_key, "SecretAccessKey": secret, "Token": token}
        self.document = keys | {"Expiration": "2099-01-01T00:00:00Z"}
        super().__init__(_ContainerHandler)
        self.url = f"{self.endpoint}/role"


class _ContainerHandler(Handler):
    def do_GET(self) -> None:
        service = self.server.service
        service.asked += 1
        time.sleep(service.delay)
        is_known = self.path == "/role" and self.headers["Authorization"] == service.authorization
        self.answer(200 if is_known else 401, json.dumps(service.document if is_known else {"code": "no"}))
