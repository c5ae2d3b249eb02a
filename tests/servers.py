"""Local OpenAI-compatible endpoints whose answers a test function computes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

ServerAnswer = tuple[int, Any]
"""HTTP status and body: bytes are sent unchanged, anything else as JSON."""


class Server(NamedTuple):
    """A running endpoint: its base URL, and the requests it has received."""

    url: str
    asked: list[dict[str, Any]]


StartServer = Callable[[Callable[[dict[str, Any], int], ServerAnswer]], Server]


@contextmanager
def server_starter() -> Iterator[StartServer]:
    """Yield a function that starts an endpoint, given a function that answers its requests.

    The answering function gets the request's body and its number, from 1.
    """
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[dict[str, Any], int], ServerAnswer]) -> Server:
        asked: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append({"path": self.path, **body})
                status, content = answer(body, len(asked))
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("retry-after-ms", "1")
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client did not wait

            def log_message(self, *_args: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return Server(f"http://127.0.0.1:{server.server_port}/v1", asked)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def chat_completion(content: Any, **message: Any) -> dict[str, Any]:
    """A chat completion with this content, as JSON unless it is text or None."""
    text = content if isinstance(content, str | None) else json.dumps(content)
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text, **message},
    }
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
