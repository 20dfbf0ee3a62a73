"""A fake of an MCP server at AWS. It knows its callers by SigV4 alone, and a client of it that speaks MCP with a program.

Streamable HTTP of the Model Context Protocol without event streams. It has two tools: `whoami` tells the caller, and
`delete` is denied to a session whose policy only reads.
"""

import json
import queue
import subprocess
import threading
from contextlib import suppress

from serving import Handler, HttpService
from signature import Refusal, signer
from sts import known

SERVICE = "aws-mcp"
READ_ONLY = "policy=ReadOnlyAccess"
NOT_FOUND = -32601  # JSON-RPC 2.0: there is no such method
TOOLS = [
    {"name": "whoami", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "delete", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": False}},
]
ANSWER_DEADLINE = 30.0


class McpEndpoint(HttpService):
    """A context manager: it listens inside `with`. It knows the callers of `sts.known`."""

    def __init__(self):
        super().__init__(_Handler)

    @property
    def url(self) -> str:
        return f"{self.endpoint}/mcp"


class _Handler(Handler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            caller, _ = signer(SERVICE, "POST", self.path, headers, body, known)
        except Refusal as refusal:
            return self.answer(refusal.status, json.dumps({"message": f"{refusal.code}: {refusal.message}"}))
        request = json.loads(body)
        if "id" not in request:
            return self.answer(202, "")
        self.answer(200, json.dumps({"jsonrpc": "2.0", "id": request["id"]} | _reply(request, caller)))

    def do_GET(self) -> None:
        self.answer(405, "{}")

    do_DELETE = do_GET


def _reply(request: dict, caller: str) -> dict:
    parameters = request.get("params", {})
    match request["method"], parameters.get("name"):
        case "initialize", _:
            version = parameters["protocolVersion"]
            about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "fake", "version": "1"}}
            return {"result": {"protocolVersion": version} | about}
        case "ping", _:
            return {"result": {}}
        case "tools/list", _:
            return {"result": {"tools": TOOLS}}
        case "tools/call", "whoami":
            return _said(caller)
        case "tools/call", "delete" if READ_ONLY in caller:
            return _said(f"AccessDenied: {caller}", is_error=True)
        case "tools/call", "delete":
            return _said("deleted")
    return {"error": {"code": NOT_FOUND, "message": f"no method {request['method']}"}}


def _said(text: str, is_error: bool = False) -> dict:
    return {"result": {"content": [{"type": "text", "text": text}], "isError": is_error}}


class Agent:
    """Starts an MCP server as agents do, and calls its tools over standard input and output. A context manager."""

    def __init__(self, command: list[str]):
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._number = 0

    def __enter__(self) -> "Agent":
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
        try:
            answer = self._ask("initialize", about)
            assert "result" in answer, answer
            self._send({"method": "notifications/initialized"})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self._ask("tools/list", {})["result"]["tools"]]

    def call(self, tool: str) -> tuple[bool, str]:
        """Returns true and the text of the tool, or false and that of the error."""
        answer = self._ask("tools/call", {"name": tool, "arguments": {}})
        if "error" in answer:
            return False, answer["error"]["message"]
        result = answer["result"]
        return not result.get("isError", False), result["content"][0]["text"]

    def _ask(self, method: str, parameters: dict) -> dict:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        while True:
            line = self._answers.get(timeout=ANSWER_DEADLINE)
            assert line is not None, "the MCP server ended instead of answering"
            answer = json.loads(line)
            if answer.get("id") == self._number:
                return answer

    def _send(self, message: dict) -> None:
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)
